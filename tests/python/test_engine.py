"""One engine for many Embedders: shared between them, between threads, after a fork, and after an interruption."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone

from fastplr import Embedder, engine
from fastplr.feature_cache import feature_cache
from fastplr.threads import default_threads
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny_llama

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = [f"number {i}: " + "the film is slow and boring " * (i % 5) for i in range(60)]
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork() on Windows")


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    engine.clear_engines()
    feature_cache.clear()
    yield
    engine.clear_engines()


def expected(tiny: TinyModel, texts: list[str]) -> np.ndarray:
    return np.array([expected_embedding(tiny, text, layer=2, pooling="mean") for text in texts])


# -- the registry -----------------------------------------------------------------------------------------------------


def test_a_model_is_loaded_once_however_many_embedders_name_it(tiny_llama: TinyModel, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny_llama.path)
    first = Embedder(tiny_llama.path, n_threads=1)
    others = [clone(first), Embedder(str(tiny_llama.path), n_threads=1, layer=1), Embedder(link, n_threads=1)]
    for model in [first, *others]:
        model.embed(TEXTS[:5])
    assert (len(engine._models), len(engine._engines)) == (1, 1)
    feature_cache.clear()  # nothing is loaded for texts that are known
    Embedder(tiny_llama.path, n_threads=1, n_batch=64).embed(TEXTS[:5])  # a context of its own, the same weights
    assert (len(engine._models), len(engine._engines)) == (1, 2)


def test_the_least_recently_used_model_goes_first_and_comes_back_when_it_is_named(tmp_path: Path) -> None:
    tinies = [write_tiny_llama(tmp_path / f"{seed}.gguf", seed=seed) for seed in range(3)]
    models = [Embedder(tiny.path, n_threads=1) for tiny in tinies]
    want = [expected(tiny, TEXTS[:3]) for tiny in tinies]
    for which in [0, 1, 0, 2, 1, 0]:
        feature_cache.clear()
        np.testing.assert_allclose(models[which].embed(TEXTS[:3]), want[which], atol=F16_ATTENTION)
        assert len(engine._models) <= engine.MAX_MODELS
    assert [Path(key[0]).stem for key in engine._models] == ["1", "0"]


def test_a_model_is_loaded_as_deep_as_needed_and_anew_where_that_is_deeper(tiny_llama: TinyModel) -> None:
    def depths() -> list[int]:
        return [model.max_layer for model in engine._models.values()]

    model = Embedder(tiny_llama.path, n_threads=1, layer=0).fit()
    assert depths() == [0]
    shallow = model.embed(TEXTS[:3], layers=1)
    assert depths() == [1]
    model.embed(TEXTS[:3], layers=[0, 3])
    assert depths() == [3]
    feature_cache.clear()
    np.testing.assert_array_equal(model.embed(TEXTS[:3], layers=1), shallow)
    assert depths() == [3]  # what is loaded stays
    model.embed(TEXTS[:3], layers=[2, -1])
    assert depths() == [-1]


def test_the_number_of_contexts_is_limited(tiny_llama: TinyModel) -> None:
    for n_batch in range(100, 110):
        feature_cache.clear()
        Embedder(tiny_llama.path, n_threads=1, n_batch=n_batch).embed(TEXTS[:2])
    assert (len(engine._models), len(engine._engines)) == (1, engine.MAX_ENGINES)


def test_more_cores_than_ggml_has_threads_for_are_no_error(
    tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastplr.embedder.default_threads", lambda: 768)
    assert Embedder(tiny_llama.path)._engine_settings()["n_threads"] == 512


def test_the_default_is_the_cores_that_this_process_may_use() -> None:
    assert 1 <= default_threads() <= 512
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    program += "from fastplr.threads import default_threads; print(default_threads())"
    if sys.platform == "linux":
        assert run_program(program, "") == "1"


# -- threads ----------------------------------------------------------------------------------------------------------


def test_threads_may_share_one_embedder(tiny_llama: TinyModel) -> None:
    model = Embedder(tiny_llama.path, n_threads=2)
    shares = [TEXTS[start::4] for start in range(4)]
    want = [expected(tiny_llama, share) for share in shares]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            feature_cache.clear()
            for got, right in zip(pool.map(model.embed, shares), want, strict=True):
                np.testing.assert_allclose(got, right, atol=F16_ATTENTION)


def test_two_embedders_may_work_at_once(tiny_llama: TinyModel, tiny_spm: TinyModel) -> None:
    tinies = [tiny_llama, tiny_spm]
    models = [Embedder(tiny.path, n_threads=2, n_batch=64) for tiny in tinies]
    want = [expected(tiny, TEXTS) for tiny in tinies]
    start = threading.Barrier(2)

    def work(model: Embedder) -> np.ndarray:
        start.wait(timeout=30)
        return model.embed(TEXTS)

    with ThreadPoolExecutor(2) as pool:
        for got, right in zip(pool.map(work, models), want, strict=True):
            np.testing.assert_allclose(got, right, atol=F16_ATTENTION)


# -- other processes --------------------------------------------------------------------------------------------------

PREAMBLE = """
import os, random, resource, signal, sys, threading, time
import numpy as np
import fastplr
from fastplr import Embedder
from fastplr.feature_cache import feature_cache
TEXTS = [f"number {i}: " + "the film is slow and boring " * (i % 5) for i in range(60)]
model = Embedder(sys.argv[1], n_threads=2)
def features(texts=TEXTS):
    feature_cache.clear()
    return model.embed(texts)
def right(got, want):
    return got.shape == want.shape and np.abs(got - want).max() < 5e-3
"""


def run_program(program: str, path: Path | str, timeout: float = 120) -> str:
    """What the program prints; the test fails if it does not end well, or not in time."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


FORKS = """
want = features()
stop = threading.Event()
def work():
    while not stop.is_set():
        model.embed([f"{text} {random.random()}" for text in TEXTS])
busy = threading.Thread(target=work)
if sys.argv[2:] == ["busy"]:
    busy.start()
codes = []
for _ in range(8):
    time.sleep(random.random() / 100)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if right(features(), want) and right(features(TEXTS[:7]), want[:7]) else 2
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
child = os.fork()
if child == 0:
    sys.exit(0)  # a child that never embeds takes leave of the engine in the usual way
codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
if busy.ident:
    busy.join()
assert right(features(), want)
print(codes)
"""


@needs_fork
@pytest.mark.parametrize("parent", ["idle", "busy"])
def test_a_forked_child_embeds_and_never_hangs(tiny_llama: TinyModel, parent: str) -> None:
    program = PREAMBLE + FORKS.replace("sys.argv[2:]", repr([parent]))
    assert run_program(program, tiny_llama.path) == str([0] * 9)


@needs_fork
def test_a_child_that_is_forked_inside_embed_gets_our_error_and_can_begin_anew(tiny_llama: TinyModel) -> None:
    program = """
want = features()
def fork_now(*_):
    if os.fork() == 0:
        os.environ["CHILD"] = "1"
signal.signal(signal.SIGALRM, fork_now)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    while True:
        features([f"{text} {random.random()}" for text in TEXTS])
        if "CHILD" in os.environ:
            os._exit(3 if right(features(), want) else 2)  # the signal came between two calls
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                break
        except ChildProcessError:
            pass
except fastplr.ModelError as error:
    assert "forked while it was embedding" in str(error) and "CHILD" in os.environ
    os._exit(0 if right(features(), want) else 2)
print("parent done")
"""
    assert run_program(PREAMBLE + program, tiny_llama.path) == "parent done"


@needs_fork
def test_a_pool_of_forked_processes_works(tiny_llama: TinyModel) -> None:
    program = """
import multiprocessing
want = features()
with multiprocessing.get_context("fork").Pool(2) as pool:
    got = np.vstack(pool.map(features, [TEXTS[:30], TEXTS[30:]]))
print(right(got, want))
"""
    assert run_program(PREAMBLE + program, tiny_llama.path) == "True"


def test_joblibs_processes_work(tiny_llama: TinyModel) -> None:
    model = Embedder(tiny_llama.path, n_threads=1)
    halves = [TEXTS[:30], TEXTS[30:]]
    with joblib.parallel_config("loky", n_jobs=2):
        got = joblib.Parallel()(joblib.delayed(model.embed)(half) for half in halves)
    np.testing.assert_allclose(np.vstack(got), expected(tiny_llama, TEXTS), atol=F16_ATTENTION)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


@needs_fork
def test_a_child_does_not_wait_for_locks_that_threads_of_the_parent_held(tiny_llama: TinyModel) -> None:
    program = """
from tqdm import tqdm
from fastplr import engine
from fastplr.store import identity
want = features()
held = threading.Event()
def hold():
    for lock in (tqdm.get_lock(), identity._hashes_lock, engine._lock, feature_cache._lock):
        lock.acquire()
    held.set()
    time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    again = Embedder(sys.argv[1], n_threads=1, layer=2, progress=True).embed(TEXTS)
    os._exit(0 if right(again, want) else 1)
_, status = os.waitpid(child, 0)
print(status, flush=True)
os._exit(0)
"""
    assert run_program(PREAMBLE + program, tiny_llama.path) == "0"


# -- interruptions and failures ---------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
def test_ctrl_c_stops_a_long_embed_and_the_embedder_works_on(tiny_llama: TinyModel) -> None:
    # Neither the moment nor the delay is measured by the clock: other processes would decide both.
    program = """
signal.signal(signal.SIGINT, signal.default_int_handler)
want = features()
pressed = []
def press():
    while not feature_cache._rows:  # the first batch of the long run
        time.sleep(0.001)
    pressed.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
feature_cache.clear()
threading.Thread(target=press).start()
try:
    model.embed([f"{text} {i}" for text in TEXTS for i in range(1000)])
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", time.process_time() - pressed[0] < 3)
print(right(features(), want))
"""
    # A batch takes milliseconds of processor time here, and all the texts some twenty seconds.
    assert run_program(PREAMBLE + program, tiny_llama.path, timeout=300) == "interrupted True\nTrue"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
def test_ctrl_c_is_not_lost_while_the_log_is_written(tiny_llama: TinyModel) -> None:
    program = """
import logging
signal.signal(signal.SIGINT, signal.default_int_handler)
class Pressing(logging.Handler):
    def emit(self, record):
        logger.removeHandler(self)
        os.kill(os.getpid(), signal.SIGINT)
logger = logging.getLogger("fastplr.llama")
logger.setLevel(logging.INFO)
handler = Pressing()
logger.addHandler(handler)
try:
    features()
    time.sleep(1)
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
print(features().shape)
"""
    assert run_program(PREAMBLE + program, tiny_llama.path) == "interrupted\n(60, 64)"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux counts it")
def test_a_context_that_does_not_fit_in_memory_is_our_error_and_says_the_size(tiny_llama: TinyModel) -> None:
    program = """
want = features()
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (40 << 20), resource.RLIM_INFINITY))
try:
    Embedder(sys.argv[1], n_threads=2, n_batch=8192, layer=-1).embed(["a film"])
except fastplr.ContextMemoryError as error:
    print(isinstance(error, MemoryError), "n_batch 8192" in str(error))
print(right(features(), want))
"""
    assert run_program(PREAMBLE + program, tiny_llama.path) == "True True\nTrue"
