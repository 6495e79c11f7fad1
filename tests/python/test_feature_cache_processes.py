"""Runs that are killed, interrupted, forked or go on at once: a batch may be lost, and nothing is ever wrong."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastplr import Embedder, _core
from fastplr.feature_cache import feature_cache
from fastplr.feature_keys import FeatureKeys
from fastplr.feature_store import FeatureStore
from fastplr.feature_stores import store_for
from pooled_states import expected_embedding
from tiny_models import TinyModel

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = [f"number {i}: " + "the film is slow and boring " * (i % 5) for i in range(300)]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

#: Arguments: model, folder. Batches of a few texts.
PREAMBLE = """
import os, random, signal, sqlite3, sys, threading, time
import numpy as np
from fastplr import Embedder, ModelError
from fastplr.feature_cache import feature_cache
from fastplr.feature_store import FeatureStore
TEXTS = [f"number {i}: " + "the film is slow and boring " * (i % 5) for i in range(300)]
model = Embedder(sys.argv[1], n_threads=1, n_batch=64, cache=sys.argv[2], on_long="truncate")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture(scope="module")
def expected(tiny_llama: TinyModel) -> np.ndarray:
    return np.array([expected_embedding(tiny_llama, text, layer=2, pooling="mean") for text in TEXTS])


def start(program: str, tiny: TinyModel, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + program, str(tiny.path), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str], code: int = 0) -> list[str]:
    """The lines that it prints until its end, which comes within two minutes and with this code."""
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code, err
    return out.splitlines()


def known_texts(tiny: TinyModel, folder: Path) -> set[str]:
    """Texts whose features are on disk."""
    resolved = Embedder(tiny.path).resolve()
    keys = FeatureKeys(resolved, prefix="", suffix="", n_ctx=0, accelerated=False, kernels=bool(_core.kernels_name()))
    rows = FeatureStore(folder)
    found = rows.get([keys.of(text, 2, "mean") for text in TEXTS])
    rows.close()
    return {text for text, row in zip(TEXTS, found, strict=True) if row is not None}


def resume(tiny: TinyModel, folder: Path, expected: np.ndarray) -> int:
    """Embed all texts, check them and the file, and give the number of tokens computed."""
    feature_cache.clear()
    features, n_tokens = Embedder(tiny.path, n_threads=1, cache=folder)._embed_counted(TEXTS, None, None, None)
    np.testing.assert_allclose(features, expected, atol=F16_ATTENTION)
    direct = sqlite3.connect(store_for(folder).path)
    assert direct.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    direct.close()
    return n_tokens


# -- killed -----------------------------------------------------------------------------------------------------------

KILLED_BEFORE_THE_COMMIT = """
put = FeatureStore.put
n_batches = 0
def put_or_die(self, keys, *rest):
    global n_batches
    n_batches += 1
    if n_batches == 8:  # computed, but not kept
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, keys, *rest)
    print(len(keys), flush=True)
FeatureStore.put = put_or_die
model.embed(TEXTS)
"""


@posix
def test_a_killed_run_resumes_and_redoes_the_batch_that_was_not_kept(
    tiny_llama: TinyModel, folder: Path, expected: np.ndarray
) -> None:
    kept = [int(line) for line in output(start(KILLED_BEFORE_THE_COMMIT, tiny_llama, folder), -signal.SIGKILL)]
    assert len(kept) == 7
    assert max(kept) < 20  # small batches: the test means something
    known = known_texts(tiny_llama, folder)
    assert len(known) == sum(kept)
    missing = [text for text in TEXTS if text not in known]
    assert resume(tiny_llama, folder, expected) == sum(len(tiny_llama.tokenize(text)) for text in missing)
    assert resume(tiny_llama, folder, expected) == 0


KILLED_ANY_TIME = """
put = FeatureStore.put
def put_and_say(self, keys, *rest):
    put(self, keys, *rest)
    print(len(keys), flush=True)
FeatureStore.put = put_and_say
while True:
    feature_cache.clear()
    model.embed(TEXTS)
    print("done", flush=True)
    model.set_params(layer=random.randrange(5), cache=sys.argv[2])
"""


@posix
def test_a_run_that_is_killed_at_any_moment_loses_nothing_that_was_kept(
    tiny_llama: TinyModel, folder: Path, expected: np.ndarray
) -> None:
    generator = random.Random(0)
    for _ in range(5):
        n_before = len(known_texts(tiny_llama, folder))
        process = start(KILLED_ANY_TIME, tiny_llama, folder)
        assert process.stdout is not None
        said = []
        for _ in range(4):
            said.append(process.stdout.readline().strip())
            if said[-1] == "done":
                break
        time.sleep(generator.random() / 50)
        process.kill()
        said += process.communicate(timeout=60)[0].splitlines()
        said = said[: said.index("done")] if "done" in said else said  # what follows is of another layer
        n_said = sum(map(int, said))
        assert len(known_texts(tiny_llama, folder)) >= n_before + n_said
    missing = [text for text in TEXTS if text not in known_texts(tiny_llama, folder)]
    assert resume(tiny_llama, folder, expected) == sum(len(tiny_llama.tokenize(text)) for text in missing)


# -- at once ----------------------------------------------------------------------------------------------------------

ONE_OF_TWO = """
print("ready", flush=True)
share = TEXTS if sys.stdin.readline() == "all\\n" else TEXTS[50:]
features = model.embed(share)
for layer in range(5):
    model.embed(share[::-1], layers=layer)
    feature_cache.clear()
print(np.abs(model.embed(share) - features).max() < 5e-3)
"""


def test_two_processes_may_share_it(tiny_llama: TinyModel, folder: Path, expected: np.ndarray) -> None:
    processes = [start(ONE_OF_TWO, tiny_llama, folder) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process, share in zip(processes, ["all", "some"], strict=True):
        assert process.stdin is not None
        process.stdin.write(f"{share}\n")
        process.stdin.flush()
    for process in processes:  # a warning would have been an error
        assert output(process) == ["True"]
    assert resume(tiny_llama, folder, expected) == 0
    assert store_for(folder).info().n_entries == 5 * len(TEXTS)


def test_threads_may_share_it(tiny_llama: TinyModel, folder: Path, expected: np.ndarray) -> None:
    feature_cache.clear()
    one = Embedder(tiny_llama.path, n_threads=1, n_batch=64, cache=folder)
    models = [one, one, *(Embedder(tiny_llama.path, n_threads=1, n_batch=100, cache=folder) for _ in range(2))]
    order = np.random.default_rng(0)
    shares = [order.permutation(len(TEXTS))[:200] for _ in models]

    def work(which: int) -> np.ndarray:
        return models[which].embed([TEXTS[i] for i in shares[which]])

    with ThreadPoolExecutor(len(models)) as pool:
        for _ in range(2):
            for features, share in zip(pool.map(work, range(len(models))), shares, strict=True):
                np.testing.assert_allclose(features, expected[share], atol=F16_ATTENTION)
            feature_cache.clear()
    resume(tiny_llama, folder, expected)


# -- interrupted ------------------------------------------------------------------------------------------------------


@posix
# Python only reports an interruption that falls into a finaliser.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_at_any_point_leaves_it_sound(
    tiny_llama: TinyModel, folder: Path, expected: np.ndarray
) -> None:
    model = Embedder(tiny_llama.path, n_threads=1, n_batch=64, cache=folder)
    model.embed(TEXTS[:1])
    generator = random.Random(1)
    n_interrupted = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for layer in [2, 0, 1, 3, 4, -1, 2, 2] * 3:
            feature_cache.clear()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + generator.random() / 20)
                model.embed(TEXTS, layers=layer, pooling=["mean", "last"])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert n_interrupted > 3
    resume(tiny_llama, folder, expected)
    assert resume(tiny_llama, folder, expected) == 0


# -- forked -----------------------------------------------------------------------------------------------------------

FORKS = """
want = model.embed(TEXTS)
def right(texts, rows):
    feature_cache.clear()
    return np.abs(model.embed(texts) - rows).max() < 5e-3
stop = threading.Event()
def work():
    while not stop.is_set():
        model.embed([f"{text} {random.random()}" for text in TEXTS[:20]])
busy = threading.Thread(target=work)
if sys.stdin.readline() == "busy\\n":
    busy.start()
codes = []
for i in range(8):
    time.sleep(random.random() / 100)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            model.embed([f"{text} of child {i}" for text in TEXTS[:40]])
            code = 0 if right(TEXTS, want) else 2
        finally:
            os._exit(code)
    if i % 2:
        assert right(TEXTS[:50], want[:50])  # while the child is at work
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
if busy.ident:
    busy.join()
assert right(TEXTS, want)
feature_cache.clear()
of_children = [f"{text} of child {i}" for text in TEXTS[:40] for i in range(8)]
print(codes, model._embed_counted(of_children, None, None, None)[1])
"""


@needs_fork
@pytest.mark.parametrize("parent", ["idle", "busy"])
def test_parent_and_forked_children_use_it(
    tiny_llama: TinyModel, folder: Path, expected: np.ndarray, parent: str
) -> None:
    process = start("import warnings; warnings.simplefilter('ignore', DeprecationWarning)" + FORKS, tiny_llama, folder)
    assert process.stdin is not None
    process.stdin.write(f"{parent}\n")
    process.stdin.flush()
    assert output(process) == [f"{[0] * 8} 0"]  # what the children computed is known
    assert resume(tiny_llama, folder, expected) == 0


FORKED_INSIDE = """
import warnings
warnings.simplefilter("always")
from fastplr.feature_stores import store_for
from fastplr.feature_store import StoreUnavailable
store = store_for(sys.argv[2])
store.put([bytes(32)], np.zeros((1, 4), np.float32), [False])
outcome = []
def fork(connection):
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM features")
    child = os.fork()
    outcome.append(child)
    connection.execute("COMMIT")
try:
    store._run(fork)
except StoreUnavailable as error:
    outcome.append(str(error))
found = store.get([bytes(32)]) != [None]
if outcome[0] == 0:
    os._exit(0 if found and "closed" in outcome[1] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(outcome[0], 0)[1]), found, "closed" in outcome[1])
"""


@needs_fork
def test_a_fork_in_the_middle_of_a_statement_carries_no_connection_along(tiny_llama: TinyModel, folder: Path) -> None:
    assert output(start(FORKED_INSIDE, tiny_llama, folder)) == ["0 True True"]


STUCK_THREAD = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
from fastplr.feature_stores import store_for
from fastplr.feature_store import StoreUnavailable
store = store_for(sys.argv[2])
store.busy_seconds = -0.9
store.put([bytes(32)], np.zeros((1, 4), np.float32), [False])
held = threading.Event()
done = threading.Event()
def hold():
    with store._lock:
        held.set()
        done.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    try:
        store.get([bytes(32)])
    except StoreUnavailable as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
store.busy_seconds = 5
print(store.get([bytes(32)]) != [None])
"""


@needs_fork
def test_a_child_does_without_what_a_thread_of_its_parent_would_not_let_go(tiny_llama: TinyModel, folder: Path) -> None:
    assert output(start(STUCK_THREAD, tiny_llama, folder)) == ["0", "True"]


def test_a_batch_waits_for_another_process_that_is_writing(tiny_llama: TinyModel, folder: Path) -> None:
    feature_cache.clear()
    store = store_for(folder)
    store.put([bytes(32)], np.zeros((1, 4), np.float32), [False])
    blocker = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: blocker.execute("COMMIT")).start()
    began = time.monotonic()
    Embedder(tiny_llama.path, n_threads=1, cache=folder).embed(TEXTS[:5])  # waits, and goes on with the cache
    assert time.monotonic() - began > 0.3
    assert store.info().n_entries == 6
    blocker.close()
