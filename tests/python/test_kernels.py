"""fastplr's own kernels in a model: the same features as ggml's products, in every type; what turns them off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastplr import Embedder, _core
from fastplr.errors import InputError
from native_embedding import native_embed
from tiny_models import ARCHITECTURES, TinyModel, write_tiny, write_tiny_bert, write_tiny_llama

TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K_M", "Q4_K_S", "Q5_K_M", "Q6_K"]
TEXTS = ["a", "the film was good", "not a good book at all, but " * 9, "??", "the play", "x" * 40]

needs_kernels = pytest.mark.skipif(not _core.kernels_name(), reason="no kernels for this processor")


def features(
    path: Path, *, kernels: bool, floats_in_8_bits: bool = False, n_threads: int = 2, **settings: object
) -> np.ndarray:
    model = _core.Model(str(path), kernels=kernels, floats_in_8_bits=floats_in_8_bits)
    engine = _core.Embedder(model, n_threads=n_threads, **settings)
    return native_embed(engine, TEXTS, [1, 2], ["mean", "last"], prefix="")[0]


def assert_near(found: np.ndarray, expected: np.ndarray, distance: float) -> None:
    dots = (found * expected).sum(axis=-1)
    cosines = dots / (np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1))
    assert cosines.min() > 1.0 - distance


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kernels")
    # Keys and values have 24 outputs, which do not fill two panels of 16.
    source = write_tiny_llama(folder / "f32.gguf", n_embd=256, n_ff=512, n_head=4, n_head_kv=1, n_layer=2)
    paths = {name: folder / f"{name}.gguf" for name in TYPES}
    for name, path in paths.items():
        _core.quantize_file(str(source.path), str(path), name, 1)
    return paths


@pytest.fixture(params=TYPES)
def quantised(request: pytest.FixtureRequest, files: dict[str, Path]) -> Path:
    return files[request.param]


@needs_kernels
def test_features_are_those_of_ggml(quantised: Path) -> None:
    """Both round activations to 8 bits, each its own way."""
    found, expected = features(quantised, kernels=True), features(quantised, kernels=False)
    assert not np.array_equal(found, expected)
    assert_near(found, expected, 2e-3)


@needs_kernels
@pytest.mark.parametrize("tensor_type", ["F32", "F16", "BF16"])
def test_floats_in_8_bits_are_those_of_a_q8_0_file(tmp_path: Path, tensor_type: str) -> None:
    tiny = write_tiny_llama(tmp_path / "f32.gguf", n_embd=256, n_ff=512, n_head=4, n_head_kv=1, n_layer=2)
    path, rounded = tmp_path / f"{tensor_type}.gguf", tmp_path / "q8_0.gguf"
    _core.quantize_file(str(tiny.path), str(path), tensor_type, 1)
    _core.quantize_file(str(path), str(rounded), "Q8_0", 1)
    found = features(path, kernels=True, floats_in_8_bits=True)
    # The table of embeddings is not multiplied by: it keeps its floats.
    assert_near(found, features(rounded, kernels=True), 2e-3)
    assert not np.array_equal(found, features(path, kernels=True))
    model = _core.Model(str(path), floats_in_8_bits=True)
    assert not model.types_left_to_ggml
    assert _core.Model(str(path)).types_left_to_ggml


@needs_kernels
def test_kernels_without_packed_weights_change_rounding_only(tmp_path: Path) -> None:
    """Attention, norms and activation functions are the kernels' whatever the weights."""
    tiny = write_tiny_llama(tmp_path / "f32.gguf", n_embd=256, n_ff=512, n_head=4, n_head_kv=1, n_layer=2)
    found, expected = features(tiny.path, kernels=True), features(tiny.path, kernels=False)
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


# Wide enough for a block of 256 inputs, heads wide enough for rotary embeddings in vectors.
WIDE = {"n_embd": 256, "n_ff": 512, "n_head": 4, "n_layer": 2}


@needs_kernels
@pytest.mark.parametrize("tensor_type", ["Q8_0", "F32"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(tmp_path: Path, architecture: str, tensor_type: str) -> None:
    """Whatever the graph looks like: the features of ggml, one engine's as a fresh one's, and of one token alone."""
    tiny = write_tiny(architecture, tmp_path / "model.gguf", tensor_type=tensor_type, **WIDE)
    engine, of_ggml = (
        _core.Embedder(_core.Model(str(tiny.path), kernels=kernels), n_threads=2) for kernels in (True, False)
    )
    # In a mixture of experts a router's rounding decides between two of them.
    distance = 1e-5 if tensor_type == "F32" else 0.05 if "moe" in architecture else 5e-3
    for layers in ([0, 1, -1], [1], [1, 2], [2], [0, 2, -1], [-1]):
        found = native_embed(engine, TEXTS, layers, ["mean", "last"])[0]
        fresh = _core.Embedder(_core.Model(str(tiny.path)), n_threads=2)
        np.testing.assert_array_equal(native_embed(fresh, TEXTS, layers, ["mean", "last"])[0], found)
        assert_near(found, native_embed(of_ggml, TEXTS, layers, ["mean", "last"])[0], distance)
        alone = native_embed(engine, TEXTS[:1], layers, ["mean", "last"])[0]
        assert_near(alone, native_embed(of_ggml, TEXTS[:1], layers, ["mean", "last"])[0], distance)


@needs_kernels
def test_an_embedder_may_round_floats(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "f32.gguf", **WIDE)
    features_of = {
        kernels: Embedder(tiny.path, layer=2, kernels=kernels, progress=False).embed(TEXTS)
        for kernels in (True, "8bit", False)
    }
    assert not np.array_equal(features_of["8bit"], features_of[True])
    assert_near(features_of["8bit"], features_of[False], 2e-3)


@needs_kernels
def test_threads_and_batches_do_not_matter(quantised: Path) -> None:
    found = features(quantised, kernels=True)
    np.testing.assert_array_equal(features(quantised, kernels=True, n_threads=1), found)
    assert_near(features(quantised, kernels=True, n_batch=16), found, 2e-3)


@needs_kernels
def test_encoders(tmp_path: Path) -> None:
    tiny = write_tiny_bert(tmp_path / "bert.gguf", tensor_type="Q8_0")
    assert_near(features(tiny.path, kernels=True), features(tiny.path, kernels=False), 2e-3)


def features_in_a_process(files: dict[str, Path], kernels: str) -> dict[str, np.ndarray]:
    program = (
        "import sys, numpy; sys.path.insert(0, sys.argv[1]); from test_kernels import features; "
        "numpy.savez(sys.argv[2], **{path: features(path, kernels=True) for path in sys.argv[3:]})"
    )
    target = next(iter(files.values())).with_name(f"{kernels}.npz")
    paths = {name: str(path) for name, path in files.items()}
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(target), *paths.values()],
        env={**os.environ, "FASTPLR_KERNELS": kernels},
        capture_output=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    with np.load(target) as found:
        return {name: found[path] for name, path in paths.items()}


@pytest.mark.parametrize("name", ["reference", "avx2", "avx-vnni", "avx512-vnni", "neon-dot"])
def test_every_variant_of_this_processor(files: dict[str, Path], name: str) -> None:
    try:
        found = features_in_a_process(files, name)
    except RuntimeError as error:
        if "FASTPLR_KERNELS" in str(error):
            pytest.skip(f"this processor has no {name}")
        raise
    for kind, path in files.items():
        assert_near(found[kind], features(path, kernels=False), 2e-3)


def test_the_environment_turns_them_off(files: dict[str, Path]) -> None:
    few = {"Q4_0": files["Q4_0"]}
    np.testing.assert_array_equal(features_in_a_process(few, "off")["Q4_0"], features(files["Q4_0"], kernels=False))


def test_an_unknown_word_in_the_environment(files: dict[str, Path]) -> None:
    with pytest.raises(RuntimeError, match=r'FASTPLR_KERNELS is "fast": expected on, off, .*reference'):
        features_in_a_process({"Q4_0": files["Q4_0"]}, "fast")


@needs_kernels
def test_an_embedder_may_leave_its_products_to_ggml(quantised: Path, tmp_path: Path) -> None:
    embed = {
        kernels: Embedder(quantised, layer=1, kernels=kernels, cache=tmp_path).embed(TEXTS) for kernels in (True, False)
    }
    np.testing.assert_array_equal(embed[True], features(quantised, kernels=True)[:, 0, 0])
    # Features that the kernels computed are not found again.
    np.testing.assert_array_equal(embed[False], features(quantised, kernels=False)[:, 0, 0])


def test_a_setting_that_is_no_bool(tiny_llama: TinyModel) -> None:
    with pytest.raises(InputError, match="kernels is 'yes': expected True, False or '8bit'"):
        Embedder(tiny_llama.path, kernels="yes").embed(["a"])  # type: ignore[arg-type]
