"""Texts that no context holds: refused or cut before they cost time, memory or, by recursion, the process."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastplr import Embedder, InputError, TruncationWarning
from tiny_models import TinyModel, write_tiny_llama

LONGEST_RUN = 65536


@pytest.fixture(scope="module")
def recursive_tokeniser(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose pre-tokeniser falls back to std::regex in llama.cpp (a name as long as the one it replaces)."""
    path = tmp_path_factory.mktemp("falcon") / "tiny.gguf"
    write_tiny_llama(path, n_ctx=8192)
    content = path.read_bytes()
    assert content.count(b"smollm") == 1
    path.write_bytes(content.replace(b"smollm", b"falcon"))
    return str(path)


@pytest.mark.parametrize("character", ["a", "1", "!", "\u00e9", "\n"])
def test_a_long_run_of_one_character_does_not_exhaust_the_stack(recursive_tokeniser: str, character: str) -> None:
    program = f"""
import sys, warnings, fastplr
warnings.simplefilter("ignore")
text = "x" + {character!r} * 60_000
for on_long in ("error", "truncate"):
    try:
        print(fastplr.Embedder(sys.argv[1], on_long=on_long, layer=1, n_threads=1).embed([text]).shape)
    except fastplr.InputError as error:
        print("InputError", "too long" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, recursive_tokeniser], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[1] == "(1, 64)"


def test_a_run_longer_than_any_text_has_is_refused_or_cut(tiny_llama: TinyModel, tiny_bert: TinyModel) -> None:
    word = "a" * (LONGEST_RUN + 1)
    with pytest.raises(InputError, match=r"texts\[1\].*65536 characters of one kind"):
        Embedder(tiny_bert.path, layer=-1, n_threads=1).embed(["fine", word])
    bert = Embedder(tiny_bert.path, layer=-1, n_threads=1, on_long="truncate")
    with pytest.warns(TruncationWarning):
        cut, shorter = bert.embed([word]), bert.embed([word[:1000]])  # more than the context holds, both
    np.testing.assert_array_equal(cut, shorter)
    with pytest.raises(InputError, match="prompt has more than 65536"):
        Embedder(tiny_llama.path, n_threads=1, prompt=word).embed(["fine"])


def test_a_text_that_cannot_fit_is_refused_by_its_bytes(tiny_llama: TinyModel) -> None:
    text = "the film " * 1_000_000
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"texts\[0\].*9000000 bytes"):
        Embedder(tiny_llama.path, n_threads=1).embed([text])
    with pytest.warns(TruncationWarning):
        cut = Embedder(tiny_llama.path, n_threads=1, on_long="truncate").embed([text])
    assert time.perf_counter() - started < 10  # tokenising all of it takes longer and hundreds of megabytes
    with pytest.warns(TruncationWarning):
        np.testing.assert_array_equal(
            cut, Embedder(tiny_llama.path, n_threads=1, on_long="truncate").embed([text[:100_000]])
        )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
def test_ctrl_c_stops_within_a_long_text(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "deep.gguf", n_ctx=8192, n_layer=24, n_embd=256, n_ff=1024)
    # By processor time: other processes would decide what the clock says.
    program = """
import os, signal, sys, threading, time, fastplr
signal.signal(signal.SIGINT, signal.default_int_handler)
model = fastplr.Embedder(sys.argv[1], n_threads=1, n_batch=16, layer=-1)
model.embed(["warm"])
def seconds(text):
    started = time.process_time()
    model.embed([text])
    return time.process_time() - started
text = "the film was a good one " * 300
whole = seconds(text)
def press():
    while time.process_time() < begun + whole / 4:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
begun = time.process_time()
threading.Thread(target=press).start()
try:
    model.embed(["Now " + text])
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", time.process_time() - begun < whole / 2)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny.path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "interrupted True\n", done.stderr
