"""The encoder of T5 and Flan-T5 as an extractor, against the forward pass in NumPy: the decoder is never loaded.

Tolerances: attention with a bias runs in float32 (flash attention has none), so that ReLU models come within 1e-4; GELU
is looked up in a table of half-precision values (tiny_models/hidden_states.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import pytest

from fastplr import Embedder, ModelError, Prompt, TruncationWarning, _core
from fastplr.feature_cache import feature_cache
from native_embedding import engine_of, load, native_embed
from pooled_states import expected_embedding, pool
from tiny_models import TinyModel, forward, write_tiny_t5

GELU_TABLE = 1e-2
FLOAT32 = 1e-4
TEXTS = [
    "The film isn't very good: caf\u00e9 13.1 %, \U0001f600 \u65e5\u672c.",
    "a",
    "\u65e5\u672c",  # nothing but unknown characters
    "  two  spaces and one at the end ",
    "the film",
    "The company said that the operating profit rose to EUR 13.1 mn from EUR 8.7 mn in the same quarter. " * 4,
]
LAYERS = [0, 1, 2, 3, -1]
POOLINGS = ["mean", "mean_all", "last"]
SETTINGS = {
    "flan-t5": {},
    "t5": {"gated": False},
    "flan-t5-encoder": {"architecture": "t5encoder"},
    "t5-encoder": {"architecture": "t5encoder", "gated": False},
    "umt5": {"bias_in_every_block": True},
    "deeper-decoder": {"n_layer_decoder": 5},
    "few-buckets": {"n_rel_buckets": 4, "gated": False},
    "many-buckets": {"n_rel_buckets": 511, "gated": False},
}


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    feature_cache.clear()


@pytest.fixture(params=SETTINGS, scope="module")
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny_t5(tmp_path_factory.mktemp("t5") / f"{request.param}.gguf", **SETTINGS[request.param])


@pytest.fixture(scope="module")
def flan(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny_t5(tmp_path_factory.mktemp("t5") / "flan.gguf")


def tolerance(tiny: TinyModel) -> float:
    return GELU_TABLE if tiny.shape.gated else FLOAT32


def expected(tiny: TinyModel, texts: list[str], prefix: str = "", suffix: str = "") -> np.ndarray:
    """``[n_texts, n_layers, n_poolings, n_embd]``; layer 0 is the first of the states, since T5 does nothing to the
    embeddings, and ``mean`` takes all tokens, as of every encoder.
    """
    every_text = []
    for text in texts:
        states = forward(tiny, tiny.tokenize(prefix + text + suffix))
        every_text.append([[pool(states[k], p, range(len(states[k]))) for p in POOLINGS] for k in LAYERS])
    return np.array(every_text)


def test_every_layer_and_pooling_is_the_forward_pass_in_numpy(tiny: TinyModel) -> None:
    assert max(len(tiny.tokenize(text)) for text in TEXTS) > 130  # distances beyond the last bucket
    got, summary = native_embed(engine_of(tiny.path), TEXTS, LAYERS, POOLINGS)
    np.testing.assert_allclose(got, expected(tiny, TEXTS), atol=tolerance(tiny))
    np.testing.assert_allclose(got[:, 0], expected(tiny, TEXTS)[:, 0], atol=1e-6)
    assert summary["n_computed"] == sum(len(tiny.tokenize(text)) for text in TEXTS)  # no prefix is shared


def test_what_shares_a_batch_does_not_matter(tiny: TinyModel) -> None:
    together, _ = native_embed(engine_of(tiny.path), TEXTS, LAYERS, POOLINGS)
    alone = np.concatenate([native_embed(engine_of(tiny.path), [text], LAYERS, POOLINGS)[0] for text in TEXTS])
    small_batches, _ = native_embed(engine_of(tiny.path, n_batch=16), TEXTS, LAYERS, POOLINGS)
    # Matrices of other sizes are added up in another order; a bias or a mask that is off by one token shows by 0.1.
    tight = 1e-3 if tiny.shape.gated else FLOAT32
    np.testing.assert_allclose(together, alone, atol=tight)
    np.testing.assert_allclose(together, small_batches, atol=tight)


def test_with_a_prompt(flan: TinyModel) -> None:
    prompt = {"prefix": "The following sentence: ", "suffix": " Is it good?"}
    got, summary = native_embed(engine_of(flan.path), TEXTS, LAYERS, POOLINGS, **prompt)
    np.testing.assert_allclose(got, expected(flan, TEXTS, **prompt), atol=GELU_TABLE)
    whole = [prompt["prefix"] + text + prompt["suffix"] for text in TEXTS]
    assert summary["n_computed"] == sum(len(flan.tokenize(text)) for text in whole)


def assert_near(engine: _core.Embedder, tiny: TinyModel) -> None:
    """To what rounding activations to 8 bits leaves."""
    got, _ = native_embed(engine, TEXTS, LAYERS, POOLINGS)
    want = expected(tiny, TEXTS)
    cosine = np.sum(got * want, axis=-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(want, axis=-1)
    assert cosine.min() > 0.998


@pytest.mark.parametrize("tensor_type", ["F16", "Q8_0"])
def test_other_tensor_types(tmp_path: Path, tensor_type: str) -> None:
    tiny = write_tiny_t5(tmp_path / "model.gguf", tensor_type=tensor_type)
    assert_near(engine_of(tiny.path), tiny)


@pytest.mark.parametrize("architecture", ["t5", "t5encoder"])
@pytest.mark.parametrize("tensor_type", ["Q8_0", "Q4_0", "Q4_K_M"])
def test_a_file_made_smaller_by_our_own_command(tmp_path: Path, architecture: str, tensor_type: str) -> None:
    tiny = write_tiny_t5(tmp_path / "model.gguf", architecture=architecture)
    small = tmp_path / "small.gguf"
    _core.quantize_file(str(tiny.path), str(small), tensor_type, 1, allow_fallback=True)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(small).tensors}
    assert stored.keys() == tiny.tensors.keys()
    assert stored["enc.blk.1.ffn_up.weight"].tensor_type.name != "F32"
    assert stored["enc.blk.0.attn_rel_b.weight"].tensor_type.name == "F32"
    values = {name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for name, t in stored.items()}
    assert_near(engine_of(small), replace(tiny, tensors=values))


@pytest.mark.parametrize("pooling_type", range(4))
def test_the_pooling_in_the_file_is_not_asked(tmp_path: Path, pooling_type: int) -> None:
    tiny = write_tiny_t5(
        tmp_path / "model.gguf",
        architecture="t5encoder",
        change=lambda writer: writer.add_uint32("t5encoder.pooling_type", pooling_type),
    )
    got, _ = native_embed(engine_of(tiny.path), TEXTS, LAYERS, POOLINGS)
    np.testing.assert_allclose(got, expected(tiny, TEXTS), atol=GELU_TABLE)


@pytest.mark.parametrize("n_layer_decoder", [1, 5])
def test_the_decoder_and_the_head_are_not_loaded(tmp_path: Path, n_layer_decoder: int) -> None:
    tiny = write_tiny_t5(tmp_path / "model.gguf", n_layer_decoder=n_layer_decoder)
    assert any(name.startswith("dec.") for name in tiny.tensors)
    encoder = [name for name in tiny.tensors if name.startswith(("enc.", "token_embd"))]
    assert load(tiny.path).n_bytes_loaded == sum(4 * tiny.tensors[name].size for name in encoder)
    assert load(tiny.path).n_layers == 3


def test_the_encoder_is_the_same_with_and_without_a_decoder(flan: TinyModel, tmp_path: Path) -> None:
    alone = write_tiny_t5(tmp_path / "encoder.gguf", architecture="t5encoder")
    both = [native_embed(engine_of(tiny.path), TEXTS, LAYERS, POOLINGS)[0] for tiny in (flan, alone)]
    np.testing.assert_array_equal(*both)


def test_through_the_public_class(flan: TinyModel) -> None:
    embedder = Embedder(flan.path, n_threads=1, progress=False, prompt=Prompt("Classify: "))
    want = [expected_embedding(flan, text, layer=1, pooling="mean", prefix="Classify: ") for text in TEXTS]
    np.testing.assert_allclose(embedder.embed(TEXTS), want, atol=GELU_TABLE)
    assert embedder.n_layers == 3
    assert embedder.model_info.architecture == "t5"


def test_a_long_text_is_refused_or_cut_before_the_end_of_sequence(flan: TinyModel) -> None:
    text = "the film is good " * 40
    settings = {"n_threads": 1, "progress": False, "n_ctx": 64, "layer": -1, "pooling": "mean"}
    with pytest.raises(ValueError, match=r"texts\[0\] 'the film.* is too long: \d+ tokens"):
        Embedder(flan.path, **settings).embed([text])
    with pytest.warns(TruncationWarning):
        got = Embedder(flan.path, **settings, on_long="truncate").embed([text])
    ids = flan.tokenize(text)
    eos = flan.vocabulary.special["eos"]
    assert ids[-1] == eos
    want = forward(flan, [*ids[:63], eos])[-1].mean(axis=0)
    np.testing.assert_allclose(got, [want], atol=GELU_TABLE)


def test_a_text_longer_than_a_batch(flan: TinyModel) -> None:
    assert len(flan.tokenize(TEXTS[-1])) > 64
    got, _ = native_embed(engine_of(flan.path, n_batch=64), [TEXTS[-1], "a"], LAYERS, POOLINGS)
    np.testing.assert_allclose(got, expected(flan, [TEXTS[-1], "a"]), atol=GELU_TABLE)


def test_tokens_are_the_likeliest_segmentation(flan: TinyModel) -> None:
    engine = engine_of(flan.path)
    table = flan.tensors["token_embd.weight"]
    for text in [*TEXTS, "the filmworks", "xx the yy", "\u2581the", "\ttabs\n", "<unk></s>", "Zz zZ"]:
        ids = flan.tokenize(text)
        assert engine.count_tokens(text) == len(ids)
        # The mean of the rows of the table tells which tokens they were.
        got, _ = native_embed(engine, [text], [0], ["mean_all"])
        np.testing.assert_allclose(got[0, 0, 0], table[ids].mean(axis=0), atol=1e-6)


def key(architecture: str, name: str, value: int | None) -> Callable[[gguf.GGUFWriter], None]:
    """Writes an integer, or with None nothing, in place of what the writer has put there."""

    def change(writer: gguf.GGUFWriter) -> None:
        full = f"{architecture}.{name}"
        for data in writer.kv_data:
            data.pop(full, None)
        if value is not None:
            writer.add_uint32(full, value)

    return change


@pytest.mark.parametrize("architecture", ["t5", "t5encoder"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("attention.relative_buckets_count", 0, "is 0; expected 4 to 511"),
        ("attention.relative_buckets_count", 3, "is 3; expected 4 to 511"),
        ("attention.relative_buckets_count", 512, "is 512; expected 4 to 511"),
        ("attention.relative_buckets_count", 33, "attn_rel_b"),
        ("attention.relative_buckets_count", None, "relative_buckets_count' is missing"),
        ("attention.layer_norm_rms_epsilon", None, "layer_norm_rms_epsilon"),
        ("attention.head_count", 0, "is 0; expected 1 to"),
        ("attention.head_count", 2, "attn_rel_b|attn_q"),
        ("attention.head_count_kv", 1, "expected as many key-value heads as heads"),
        ("attention.key_length", 16, "expected equal values"),
        ("attention.value_length", 64, "expected equal values"),
        ("block_count", 4, r"no tensors of block 3 \('enc.blk.3.\*'\)"),
        ("block_count", 2, "belongs to block 2"),
        ("context_length", 46341, "is 46341; expected 1 to 46340"),
        ("feed_forward_length", 64, "ffn_"),
        ("embedding_length", 32, "token_embd.weight"),
    ],
)
def test_files_that_would_stop_llama_cpp_are_refused(
    tmp_path: Path, architecture: str, name: str, value: int | None, message: str
) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_t5(path, architecture=architecture, change=key(architecture, name, value))
    with pytest.raises(ModelError, match=message):
        load(path)


@pytest.mark.parametrize(("name", "value"), [("decoder_block_count", 2**32 - 1), ("decoder_start_token_id", 2**32 - 1)])
def test_what_describes_the_decoder_is_not_looked_at(flan: TinyModel, tmp_path: Path, name: str, value: int) -> None:
    changed = write_tiny_t5(tmp_path / "model.gguf", change=key("t5", name, value))
    both = [native_embed(engine_of(path), TEXTS, LAYERS)[0] for path in (flan.path, changed.path)]
    np.testing.assert_array_equal(*both)


def test_every_tensor_of_the_encoder_is_needed_and_none_of_the_decoder(tmp_path: Path) -> None:
    tensors = write_tiny_t5(tmp_path / "whole.gguf", n_layer=2).tensors
    optional = [name for name in tensors if name.startswith(("dec.", "output"))]
    assert len(optional) > 20
    write_tiny_t5(tmp_path / "part.gguf", n_layer=2, leave_out=tuple(optional))
    assert load(tmp_path / "part.gguf").n_layers == 2
    for name in tensors.keys() - {*optional, *(f"enc.blk.{i}.ffn_gate.weight" for i in range(2))}:
        write_tiny_t5(tmp_path / "part.gguf", n_layer=2, leave_out=(name,))
        with pytest.raises(ModelError, match=name):
            load(tmp_path / "part.gguf")


def test_an_unknown_token_that_the_vocabulary_does_not_have(tmp_path: Path) -> None:
    # llama.cpp takes it to be token 2 where the file names none.
    tiny = write_tiny_t5(tmp_path / "model.gguf")
    with pytest.raises(ModelError, match=r"'tokenizer\.ggml\.unknown_token_id' is missing; .* one of the 2 tokens"):
        load(with_two_tokens(tiny.path, tmp_path / "two.gguf"))


def with_two_tokens(path: Path, target: Path) -> Path:
    """The file with the first two tokens only, and without ids of special tokens."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(target, "t5")
    for name, field in reader.fields.items():
        if name.startswith("t5."):
            writer.add_key_value(name, field.contents(), field.types[0])
    writer.add_tokenizer_model("t5")
    writer.add_token_list(["<pad>", "</s>"])
    for tensor in reader.tensors:
        values = np.array(tensor.data)
        writer.add_tensor(tensor.name, values[:2] if tensor.name == "token_embd.weight" else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_a_token_so_long_that_the_stack_would_not_hold_its_trie(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter, n_bytes: int) -> None:
        tokens = next(data["tokenizer.ggml.tokens"] for data in writer.kv_data if "tokenizer.ggml.tokens" in data)
        tokens.value[-1] = "x" * n_bytes

    write_tiny_t5(tmp_path / "model.gguf", change=partial(change, n_bytes=1024))
    assert load(tmp_path / "model.gguf").n_layers == 3
    write_tiny_t5(tmp_path / "model.gguf", change=partial(change, n_bytes=100_000))
    with pytest.raises(
        ModelError, match=r"token \d+ of 'tokenizer.ggml.tokens' has 100000 bytes; expected at most 1024"
    ):
        load(tmp_path / "model.gguf")


def test_a_character_map_that_points_out_of_itself(tmp_path: Path) -> None:
    # 16 nodes without children, and one empty replacement: llama.cpp looks for the child of the root for a letter
    # beyond them. It tokenises a line feed while it loads, and a map without a node for that does not get further.
    path = tmp_path / "model.gguf"
    for n_nodes, message in ((16, "tokeniser of the model failed: Index out of"), (1, "be loaded: .*Index out of")):
        charsmap = bytes([4 * n_nodes, 0, 0, 0, *bytes(4 * n_nodes), 0, 0])
        write_tiny_t5(path, change=lambda writer, charsmap=charsmap: writer.add_precompiled_charsmap(charsmap))
        with pytest.raises(ModelError, match=message):
            native_embed(engine_of(path), ["the film"], [1])
