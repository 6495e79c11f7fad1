"""Work stops after the deepest wanted layer, and blocks above it are not loaded: the same bits as the whole model's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fastplr import InputError, _core
from native_embedding import engine_of, load, native_embed
from pooled_states import expected_embedding
from tiny_models import ARCHITECTURES, DECODERS, ENCODERS, write_tiny, write_tiny_llama

F16_ATTENTION = 1.5e-2  # as in test_embedder.py
TEXTS = ["The film isn't very good.", "a", "two  spaces, and 13.1 %", "the company said that it rose"]
POOLINGS = ("mean", "mean_all", "last")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cut_run_gives_the_bits_of_the_uncut_run(tmp_path: Path, architecture: str) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    layers = list(range(tiny.n_layer + 1))
    whole = engine_of(tiny.path)
    # To ask for the output too makes the graph run to its end.
    uncut, _ = native_embed(whole, TEXTS, [*layers, -1], POOLINGS)
    for layer in layers:
        cut_graph, _ = native_embed(whole, TEXTS, [layer], POOLINGS)
        np.testing.assert_array_equal(cut_graph[:, 0], uncut[:, layer])
        cut_model, _ = native_embed(engine_of(tiny.path, max_layer=layer), TEXTS, [layer], POOLINGS)
        np.testing.assert_array_equal(cut_model[:, 0], uncut[:, layer])
    everything, _ = native_embed(engine_of(tiny.path, max_layer=layers[-1]), TEXTS, layers, POOLINGS)
    np.testing.assert_array_equal(everything, uncut[:, :-1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_uncut_run_is_the_forward_pass_in_numpy(tmp_path: Path, architecture: str) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    layers = [*range(tiny.n_layer + 1), -1]
    got, _ = native_embed(engine_of(tiny.path), TEXTS, layers)
    expected = [[expected_embedding(tiny, text, layer=k, pooling="mean") for k in layers] for text in TEXTS]
    np.testing.assert_allclose(got[:, :, 0], expected, atol=F16_ATTENTION)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_above_the_cut_are_not_loaded(tmp_path: Path, architecture: str) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    sizes = [load(tiny.path, max_layer=layer).n_bytes_loaded for layer in range(tiny.n_layer + 1)]
    if architecture in (*DECODERS, *ENCODERS):
        blocks = [
            sum(values.size * 4 for name, values in tiny.tensors.items() if re.match(rf"(enc\.)?blk\.{block}\.", name))
            for block in range(tiny.n_layer)
        ]
        # The first block is loaded even where only the embeddings are wanted.
        np.testing.assert_array_equal(np.diff(sizes), [0, *blocks[1:]])
    else:
        assert len(set(sizes)) == 1


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_output_matrix_is_not_loaded(tmp_path: Path, architecture: str) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    without_head = sum(values.size * 4 for name, values in tiny.tensors.items() if name != "output.weight")
    assert load(tiny.path).n_bytes_loaded == without_head


def test_a_model_says_how_deep_it_was_loaded(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "model.gguf")
    model = load(tiny.path, max_layer=2)
    assert (model.n_layers, model.max_layer) == (4, 2)
    assert (load(tiny.path).n_layers, load(tiny.path).max_layer) == (4, -1)
    assert load(tiny.path, max_layer=4).max_layer == -1
    engine = _core.Embedder(model, n_threads=1)
    for layer in (3, 4, -1):
        with pytest.raises(InputError, match=rf"layer is {layer}: expected at most 2.*without the layers above"):
            native_embed(engine, TEXTS, [1, layer])
    native_embed(engine, TEXTS, [2])  # and it goes on


@pytest.mark.parametrize("max_layer", [-2, 5, 2**31 - 1])
def test_a_depth_that_the_model_does_not_have(tmp_path: Path, max_layer: int) -> None:
    tiny = write_tiny_llama(tmp_path / "model.gguf")
    with pytest.raises(InputError, match=rf"max_layer is {max_layer}: expected 0 to 4, or -1"):
        load(tiny.path, max_layer=max_layer)


def test_layers_in_any_order_of_calls(tmp_path: Path) -> None:
    # The same number of tokens each time: a graph of another depth must not be taken for this one's.
    tiny = write_tiny_llama(tmp_path / "model.gguf")
    engine = engine_of(tiny.path)
    alone = {k: native_embed(engine_of(tiny.path), TEXTS, [k])[0] for k in (0, 1, 2, 3, 4, -1)}
    for layer in (2, 1, 3, 0, 4, -1, 1, 4, 2):
        np.testing.assert_array_equal(native_embed(engine, TEXTS, [layer])[0], alone[layer])
