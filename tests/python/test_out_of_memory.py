"""What happens when memory does not suffice: our own errors, before gigabytes are read, and an engine that works on.

``tests/cpp/test_out_of_memory.cpp`` lets single allocations fail, one after the other; here the address space ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import TinyModel, write_tiny_llama

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux counts it")

# Leaves the process `n_bytes` more address space than it uses, None: as much as it likes.
PREAMBLE = """
import os, resource, sys
import numpy as np
import fastplr
from fastplr import Embedder, _core, engine
def leave(n_bytes):
    in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = resource.RLIM_INFINITY if n_bytes is None else in_use + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
"""
# What is freed goes back to the system at once, and no thread takes address space in advance.
STEADY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "OPENBLAS_NUM_THREADS": "1"}


def run(program: str, *arguments: object) -> list[str]:
    """The lines that `program` prints; the test fails if it does not end well."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + program, *map(str, arguments)],
        env={**os.environ, **STEADY},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """32 MB of weights, of which four of six blocks take 21 MB, and a context that takes as much at 2048 tokens."""
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    shape = {"n_embd": 512, "n_ff": 1024, "n_layer": 6, "n_head": 8, "n_head_kv": 8, "n_ctx": 8192}
    return write_tiny_llama(path, tensor_type="F16", **shape)


def test_wherever_memory_ends_it_is_our_error_and_the_next_request_is_served(wide: TinyModel) -> None:
    # Whatever is left, from nothing to enough, in steps that are smaller than any of the phases.
    program = """
texts = [f"number {i}: " + "the film is slow and boring " * 8 for i in range(12)]
out = np.zeros((len(texts), 1, 1, 512), np.float32)
def embed(engine, texts):
    engine.embed(texts, out[: len(texts)], layers=[4], poolings=["mean"])
    return out[: len(texts)].copy()
want = embed(_core.Embedder(_core.Model(sys.argv[1], max_layer=4), n_threads=2), texts[:2])
left, said = 0, ""
while said != "works":
    native = None
    leave(left)
    try:
        native = _core.Embedder(_core.Model(sys.argv[1], max_layer=4), n_threads=2, n_batch=2048)
        embed(native, texts)
        said = "works"
    except fastplr.FastplrError as error:
        assert isinstance(error, MemoryError)
        said = f"{type(error).__name__}: {error}"
    leave(None)
    if native is not None:
        assert np.abs(embed(native, texts[:2]) - want).max() < 1e-5
    print(said, flush=True)
    left += 2 << 20
"""
    lines = run(program, wide.path)
    phases = [
        ("ModelMemoryError: ", ""),  # at first there is not even enough to read the head of the file
        ("ContextMemoryError: ", "a context for n_ctx 2048 and n_batch 2048 takes at least 21."),
        ("ContextMemoryError: ", "memory for a context for n_ctx 2048 and n_batch 2048, 21."),
        ("ContextMemoryError: ", "tokens in a context for n_ctx 2048 and n_batch 2048, 21."),
        ("works", ""),
    ]

    def phase(line: str) -> int:
        return next(i for i, (kind, words) in enumerate(phases) if line.startswith(kind) and words in line)

    numbers = [phase(line) for line in lines]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(len(phases)))
    assert any("loading the first 4 blocks of it takes at least 21." in line for line in lines)


def test_an_embedder_whose_context_does_not_fit_serves_a_smaller_request(wide: TinyModel) -> None:
    program = """
texts = ["the film is slow " * n for n in (1000, 5)]  # the context grows with the longest text
model = Embedder(sys.argv[1], layer=4, n_threads=1)
model.embed(["a film"])
leave(24 << 20)
try:
    model.embed(texts)
    print("fits")
except fastplr.ContextMemoryError as error:
    print(error)
print(model.embed(texts[1:]).shape)
leave(None)
print(model.embed(texts).shape)
"""
    error, smaller, larger = run(program, wide.path)
    assert "n_batch 512" in error
    assert (smaller, larger) == ("(1, 512)", "(2, 512)")


def test_models_that_are_only_kept_give_way_to_one_that_is_wanted(wide: TinyModel, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(wide.path.read_bytes())
    program = """
Embedder(sys.argv[1], layer=-1, n_threads=1).embed(["a film"])
leave(60 << 20)  # what one takes with its context, not what two of them take
print(len(engine._models), Embedder(sys.argv[2], layer=-1, n_threads=1, n_batch=64).embed(["a film"]).shape)
print(len(engine._models))
leave(0)
engine.clear_engines()
leave(8 << 20)
try:
    Embedder(sys.argv[1], layer=-1, n_threads=1).embed(["a text"])
except fastplr.ModelMemoryError as error:
    print(isinstance(error, MemoryError), "takes at least 3" in str(error), "RLIMIT_AS" in str(error))
"""
    assert run(program, wide.path, other) == ["1 (1, 512)", "1", "True True True"]


def test_models_that_are_only_kept_give_way_to_a_context(wide: TinyModel, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(wide.path.read_bytes())
    program = """
Embedder(sys.argv[1], layer=-1, n_threads=1).embed(["a film"])
model = Embedder(sys.argv[2], layer=2, n_threads=1)
model.embed(["a film"])
print(len(engine._models))
leave(12 << 20)
print(model.embed(["the film is slow " * 1200]).shape)  # some 20 MB for keys and values alone
print(len(engine._models))
leave(2 << 20)
try:
    model.embed(["the film is slow " * 1600])
except fastplr.ContextMemoryError as error:
    print("n_batch 512" in str(error))
"""
    assert run(program, wide.path, other) == ["2", "(1, 512)", "1", "True"]


def test_lanes_are_no_reason_to_run_out_of_memory(wide: TinyModel) -> None:
    # From room for nothing more than one lane to room for four: the same bits, every text told once.
    program = """
texts = [f"number {i}: " + "the film is slow and boring " * 8 for i in range(40)]
model = _core.Model(sys.argv[1], max_layer=4)
def embed(engine):
    out = np.zeros((len(texts), 1, 1, 512), np.float32)
    told = []
    engine.embed(texts, out, layers=[4], poolings=["mean"], on_batch=lambda finished, cut: told.extend(finished))
    assert sorted(told) == list(range(len(texts)))
    return out
want = embed(_core.Embedder(model, n_threads=1))
n_worked = 0
for left in range(0, 120, 2):
    native = _core.Embedder(model, n_threads=4, max_lanes=4)
    leave(left << 20)
    try:
        got = embed(native)
        n_worked += 1
        assert (got == want).all()
    except fastplr.ContextMemoryError:
        assert n_worked == 0, left
    leave(None)
    del native
print(0 < n_worked < 60)
"""
    assert run(program, wide.path) == ["True"]


def test_lanes_that_are_only_kept_give_way_to_a_longer_text(wide: TinyModel) -> None:
    program = """
model = _core.Model(sys.argv[1], max_layer=4)
native = _core.Embedder(model, n_threads=8, max_lanes=8)
out = np.zeros((60, 1, 1, 512), np.float32)
short = [f"number {i}: " + "the film is slow and boring " * 8 for i in range(60)]
native.embed(short, out, layers=[4], poolings=["mean"])
leave(4 << 20)
long = ["the film is slow " * 400]
native.embed(long, out[:1], layers=[4], poolings=["mean"])
leave(None)
want = np.zeros((1, 1, 1, 512), np.float32)
_core.Embedder(model, n_threads=1).embed(long, want, layers=[4], poolings=["mean"])
print((out[:1] == want).all())
"""
    assert run(program, wide.path) == ["True"]


def test_a_long_word_does_not_overflow_the_stack(tiny_llama: TinyModel) -> None:
    program = """
model = Embedder(sys.argv[1], n_threads=1, on_long="truncate")
model.embed(["a film"])
leave(64 << 20)
try:
    model.embed(["x" * 2000])
except fastplr.ContextMemoryError as error:
    print(error)
leave(None)
print(model.embed(["x" * 2000]).shape)
"""
    (error, shape) = run(program, tiny_llama.path)
    assert "stack of 128 MiB" in error
    assert shape == "(1, 64)"


def test_a_model_is_loaded_no_deeper_than_memory_allows(wide: TinyModel) -> None:
    # A later load takes twice as many blocks as there were; where these do not fit, those that are wanted.
    program = """
depths = []
for layer, left in ((2, None), (3, 8 << 20), (4, 8 << 20)):
    leave(left)  # and what the load before took is free again: 5.3 MB for each block
    Embedder(sys.argv[1], layer=layer, n_threads=1).fit()
    depths += [model.max_layer for model in engine._models.values()]
print(depths)
"""
    assert run(program, wide.path) == ["[2, 3, 4]"]


def test_threads_that_cannot_be_had_are_our_error_and_leave_nothing_behind(tiny_llama: TinyModel) -> None:
    # The stacks of 512 threads do not fit; those of the threads that were there already must be given back.
    program = """
Embedder(sys.argv[1], n_threads=1).embed(["a film"])
leave(300 << 20)
for i in range(5):
    try:
        Embedder(sys.argv[1], n_threads=512).embed([f"film {i}"])
    except fastplr.ContextMemoryError as error:
        print(str(error).split(",")[0])
print(Embedder(sys.argv[1], n_threads=2).embed(["the film"]).shape)
"""
    assert run(program, tiny_llama.path) == [*["a pool of 512 threads could not be created"] * 5, "(1, 64)"]
