"""How much memory the engine takes, measured in processes of their own as Linux counts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastplr import _core
from tiny_models import TinyModel, write_tiny_llama

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

N_BATCH = 512

# Prints, as JSON, by how much resident memory and the address space grew at their peak over what they were after the
# imports.
MEASURE = """
import json, os, sys
import numpy as np
import fastplr
from fastplr import Embedder, _core
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(key + ":")))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak of resident memory begins anew
rss, size = status("VmRSS"), status("VmSize")
def report():
    print(json.dumps({"resident": status("VmHWM") - rss, "address_space": status("VmPeak") - size}))
"""


def measured(program: str, *arguments: object) -> dict[str, int]:
    """What `program` reports, run after ``MEASURE``."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + program + "\nreport()", *map(str, arguments)],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # a thread's arena takes 64 MB of address space, and no memory
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown: dict[str, int] = json.loads(done.stdout)
    return grown


@pytest.fixture(scope="module")
def many_tokens(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A vocabulary of 200,000 tokens on states of width 32: 26 MB of embeddings."""
    return write_tiny_llama(tmp_path_factory.mktemp("peak") / "many-tokens.gguf", n_embd=32, n_unused=200_000)


@pytest.mark.parametrize("layer", [2, -1])
def test_no_buffer_of_a_value_for_each_token_of_the_vocabulary(many_tokens: TinyModel, layer: int) -> None:
    program = """
texts = [f"number {i}: " + "the film is slow and boring " * 3 for i in range(60)]
out = np.empty((len(texts), 1, 1, 32), np.float32)
native = _core.Embedder(_core.Model(sys.argv[1]), n_threads=1, n_batch=int(sys.argv[3]))
summary = native.embed(texts, out, layers=[int(sys.argv[2])], poolings=["mean"])
assert summary["n_computed"] > 2 * int(sys.argv[3])  # batches are full
"""
    grown = measured(program, many_tokens.path, layer, N_BATCH)
    logits = N_BATCH * many_tokens.shape.n_vocab * 4  # 410 MB
    weights = sum(4 * tensor.size for name, tensor in many_tokens.tensors.items() if name != "output.weight")
    # Beside the weights there is the vocabulary, at its peak twice: as the file has it, and in tables to look it up.
    assert weights < grown["resident"] < weights + logits / 8
    assert grown["address_space"] < weights + logits / 4


# Features of a corpus in memory would be 2 kB for each text; what is known of them, in a cache of 1 MB, is not counted.
OF_A_CORPUS = """
import fastplr.embedder
from fastplr.feature_cache import FeatureCache
fastplr.embedder.feature_cache = FeatureCache(1 << 20)
n_texts = int(sys.argv[2])
texts = (f"number {i}: a film" for i in range(n_texts))
settings = {"layers": [1, 2, 3, 4], "pooling": ["mean", "last"]}
model = Embedder(sys.argv[1], n_threads=1)
"""
ROW = 4 * 2 * 64 * 4
FEW, MANY = 2_000, 20_000


def growth_by_text(program: str, *arguments: object) -> float:
    """Bytes of resident memory, at the peak, for each text beyond the first few."""
    few, many = (measured(OF_A_CORPUS + program, arguments[0], n, *arguments[1:]) for n in (FEW, MANY))
    return (many["resident"] - few["resident"]) / (MANY - FEW)


def test_a_stream_of_texts_takes_the_same_memory_however_long_it_is(tiny_llama: TinyModel) -> None:
    program = """
assert sum(len(piece) for piece in model.embed_iter(texts, **settings)) == n_texts
"""
    assert growth_by_text(program, tiny_llama.path) < ROW / 8


def test_features_in_a_file_are_not_in_memory_too(tiny_llama: TinyModel, tmp_path: Path) -> None:
    program = """
out = np.memmap(sys.argv[3], np.float32, "w+", shape=(n_texts, 4, 2, 64))
model.embed(list(texts), out=out, **settings)
assert (out[:, 0, 0, 0] != 0).all()
"""
    # Pages of the file count while the system keeps them in memory; and there is each text, its hash and its place.
    assert growth_by_text(program, tiny_llama.path, tmp_path / "features") < ROW + ROW / 4


@pytest.fixture(scope="module")
def wide_q8_0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks of 9.4 million weights each, in 8 bits."""
    folder = tmp_path_factory.mktemp("wide")
    source = write_tiny_llama(folder / "f32.gguf", n_embd=768, n_ff=3072, n_head=12, n_layer=4)
    path = folder / "q8_0.gguf"
    _core.quantize_file(str(source.path), str(path), "Q8_0", 2)
    source.path.unlink()
    return path


@pytest.mark.skipif(not _core.kernels_name(), reason="no kernels for this processor")
@pytest.mark.parametrize("max_layer", [3, 4])
def test_packed_weights_are_the_only_copy(tiny_llama: TinyModel, wide_q8_0: Path, max_layer: int) -> None:
    """Those above the cut are neither read nor packed, and nothing is held twice."""
    program = "model = _core.Model(sys.argv[1], max_layer=int(sys.argv[2]))"
    without_weights = measured(program, tiny_llama.path, 1)["resident"]
    loaded = _core.Model(str(wide_q8_0), max_layer=max_layer).n_bytes_loaded
    assert measured(program, wide_q8_0, max_layer)["resident"] - without_weights < 1.15 * loaded
