"""BERT's descendants, beyond what the tests over all architectures say: windows, activations, slopes, bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from fastplr import FastplrError, ModelError
from native_embedding import engine_of, load, native_embed
from pooled_states import expected_embedding
from tiny_models import BERTS, TinyModel, write_tiny_bert

F16_ATTENTION = 1.5e-2  # as in test_embedder.py
TEXTS = [
    "The film isn't very good.",
    "a",
    "the company said that it rose",
    "the film was slow and boring and " * 9,
    "number 13.1 and " * 30,
]


def assert_all_layers_are_right(tiny: TinyModel, texts: list[str], n_batch: int = 512) -> None:
    layers = [*range(tiny.n_layer + 1), -1]
    got, _ = native_embed(engine_of(tiny.path, n_batch=n_batch), texts, layers, ["mean", "last"])
    for j, pooling in enumerate(("mean", "last")):
        expected = [[expected_embedding(tiny, text, layer=k, pooling=pooling) for k in layers] for text in texts]
        np.testing.assert_allclose(got[:, :, j], expected, atol=F16_ATTENTION)


# -- a sliding window -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_batch", [16, 2048])
@pytest.mark.parametrize("n_window", [2, 8, 64, 128])
def test_texts_shorter_and_longer_than_the_window_side_by_side(tmp_path: Path, n_window: int, n_batch: int) -> None:
    tiny = write_tiny_bert(tmp_path / "model.gguf", architecture="modern-bert", n_window=n_window)
    n_tokens = sorted(len(tiny.tokenize(text)) for text in TEXTS)
    assert n_tokens[0] <= n_window < 129 < n_tokens[-1]
    assert_all_layers_are_right(tiny, TEXTS, n_batch)


@pytest.mark.parametrize("window_every", [2, 3, 4])
def test_which_layers_see_everything(tmp_path: Path, window_every: int) -> None:
    tiny = write_tiny_bert(
        tmp_path / "model.gguf", architecture="modern-bert", n_layer=5, n_window=6, window_every=window_every
    )
    assert_all_layers_are_right(tiny, TEXTS)


def test_a_file_that_does_not_say_it_means_every_third_layer(tmp_path: Path) -> None:
    def without_pattern(writer: gguf.GGUFWriter) -> None:
        del writer.kv_data[0]["modern-bert.attention.sliding_window_pattern"]

    path = tmp_path / "model.gguf"
    tiny = write_tiny_bert(path, architecture="modern-bert", n_layer=5, window_every=3, change=without_pattern)
    assert_all_layers_are_right(tiny, TEXTS)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_a_modern_bert_with_another_activation(tmp_path: Path) -> None:
    # Granite Embedding R2
    def silu(writer: gguf.GGUFWriter) -> None:
        writer.add_string("modern-bert.hidden_activation", "silu")

    path = tmp_path / "model.gguf"
    assert_all_layers_are_right(write_tiny_bert(path, architecture="modern-bert", ffn="silu_fused", change=silu), TEXTS)


@pytest.mark.parametrize("n_head", [1, 6, 8, 12])
def test_slopes_of_any_number_of_heads(tmp_path: Path, n_head: int) -> None:
    tiny = write_tiny_bert(tmp_path / "model.gguf", architecture="jina-bert-v2", n_embd=96, n_head=n_head)
    assert_all_layers_are_right(tiny, TEXTS)


@pytest.mark.parametrize("architecture", BERTS)
def test_texts_side_by_side_and_one_longer_than_a_batch(tmp_path: Path, architecture: str) -> None:
    assert_all_layers_are_right(write_tiny_bert(tmp_path / "model.gguf", architecture=architecture), TEXTS, 16)


@pytest.mark.parametrize("pooling", ["mean", "none"])
@pytest.mark.parametrize("n_words", [508, 511, 600])
def test_a_text_of_any_length_whatever_pooling_the_file_names(tmp_path: Path, n_words: int, pooling: str) -> None:
    tiny = write_tiny_bert(tmp_path / "model.gguf", n_ctx=1024, pooling=pooling)
    text = "the film " * (n_words // 2) + "a" * (n_words % 2)
    assert len(tiny.tokenize(text)) == n_words + 2
    assert_all_layers_are_right(tiny, [text, "a film"])


@pytest.mark.parametrize("architecture", BERTS)
def test_quantised_weights(tmp_path: Path, architecture: str) -> None:
    # Matrices of 32 columns and more in every form that the architecture has, experts too.
    tiny = write_tiny_bert(tmp_path / "model.gguf", architecture=architecture, tensor_type="Q8_0")
    got, _ = native_embed(engine_of(tiny.path), TEXTS, [3])
    expected = [expected_embedding(tiny, text, layer=3, pooling="mean") for text in TEXTS]
    np.testing.assert_allclose(got[:, 0, 0], expected, atol=0.25)


def key(architecture: str, name: str, value: object) -> Callable[[gguf.GGUFWriter], None]:
    """A change that writes uint32 or bool `value` at `name`, or leaves the key out where it is None."""

    def change(writer: gguf.GGUFWriter) -> None:
        full = f"{architecture}.{name}"
        writer.kv_data[0].pop(full, None)
        if isinstance(value, bool):
            writer.add_bool(full, value)
        elif isinstance(value, int):
            writer.add_uint32(full, value)

    return change


@pytest.mark.parametrize("architecture", ["modern-bert", "neo-bert"])
def test_a_fused_matrix_has_as_many_keys_as_queries(tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_bert(path, architecture=architecture, change=key(architecture, "attention.head_count_kv", 2))
    with pytest.raises(ModelError, match="expected as many key-value heads as heads"):
        load(path)


@pytest.mark.parametrize("architecture", BERTS)
@pytest.mark.parametrize(("value", "found"), [(None, "missing"), (True, "true"), (1, "no bool")])
def test_an_encoder_that_is_said_to_be_causal(tmp_path: Path, architecture: str, value: object, found: str) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_bert(path, architecture=architecture, change=key(architecture, "attention.causal", value))
    with pytest.raises(ModelError, match=rf"{architecture}.attention.causal' is {found}; expected false"):
        load(path)


@pytest.mark.parametrize("architecture", BERTS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attention.head_count", 8),
        ("attention.head_count", 3),
        ("attention.key_length", 8),
        ("attention.key_length", 32),
        ("feed_forward_length", 48),
        ("feed_forward_length", 192),
        ("embedding_length", 32),
        ("block_count", 2),
        ("block_count", 4),
        ("attention.layer_norm_epsilon", None),
        ("attention.layer_norm_rms_epsilon", None),
        ("attention.sliding_window", 2**23),
        ("attention.sliding_window_pattern", 1),
        ("expert_count", 2),
        ("expert_count", None),
        ("expert_used_count", 0),
        ("moe_every_n_layers", 0),
        ("rope.dimension_count", 3),
        ("context_length", 16),
    ],
)
def test_no_metadata_stops_the_process(tmp_path: Path, architecture: str, name: str, value: int | None) -> None:
    # Refused, or of no meaning to this architecture: then the numbers are those of a model.
    path = tmp_path / "model.gguf"
    write_tiny_bert(path, architecture=architecture, change=key(architecture, name, value))
    try:
        got, _ = native_embed(engine_of(path), TEXTS[:2], [1, -1])
    except FastplrError:
        return
    assert np.isfinite(got).all()
