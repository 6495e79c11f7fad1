"""The numbers of an Embedder, against the forward pass in NumPy and the definitions of layer and pooling.

Tolerances: weights are F32, but keys and values are kept in F16 and flash attention computes in F16, which moves states
of up to 20 by up to 1.5e-2 (tiny_models/hidden_states.py). A wrong layer, token or pooling is off by 0.1 and more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastplr import Embedder, InputError, Prompt, TruncationWarning
from fastplr.feature_cache import feature_cache
from pooled_states import expected_embedding, layer_states, mean_positions, pool, text_tokens
from tiny_models import TinyModel, write_tiny, write_tiny_bert, write_tiny_llama

F16_ATTENTION = 1.5e-2
POOLINGS = ["mean", "mean_all", "last"]
TEXTS = [
    "The film isn't very good: caf\u00e9 13.1 %, \U0001f600 \u65e5\u672c.",
    "a",
    "\u65e5",
    "The company said that the operating profit rose to EUR 13.1 mn from EUR 8.7 mn in the same quarter.",
    " two  spaces\n\n\tand lines ",
    "the film",
]
SETTINGS = {
    "llama": {},
    "llama-bos": {"add_bos": True},
    "llama-spm": {"tokenizer": "spm"},
    "gpt2": {"architecture": "gpt2"},
    "qwen2": {"architecture": "qwen2"},
    "gemma3": {"architecture": "gemma3"},
}


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    feature_cache.clear()  # every test computes its own numbers


@pytest.fixture(params=SETTINGS, scope="module")
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    path = tmp_path_factory.mktemp("embedder") / f"{request.param}.gguf"
    return write_tiny_llama(path, **SETTINGS[request.param])


def embedder(tiny: TinyModel, **settings: object) -> Embedder:
    # One thread: several would spend their time waiting for one another on matrices as small as these.
    return Embedder(tiny.path, **{"n_threads": 1, "progress": False, **settings})


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layer", [0, 1, 2, 3, 4, -1])
def test_every_layer_and_pooling_is_the_forward_pass_in_numpy(tiny: TinyModel, layer: int, pooling: str) -> None:
    got = embedder(tiny, layer=layer, pooling=pooling).embed(TEXTS)
    assert got.shape == (len(TEXTS), tiny.n_embd)
    assert got.dtype == np.float32
    expected = [expected_embedding(tiny, text, layer=layer, pooling=pooling) for text in TEXTS]
    # Layer 0 is read from the embedding table: nothing but the rounding to float32.
    np.testing.assert_allclose(got, expected, atol=1e-6 if layer == 0 else F16_ATTENTION)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_with_a_prompt_too(tiny: TinyModel, pooling: str) -> None:
    prefix, suffix = "The following sentence: ", " Is it good?"
    got = embedder(tiny, prompt=Prompt(prefix, suffix), pooling=pooling).embed(TEXTS)
    expected = [
        expected_embedding(tiny, text, layer=2, pooling=pooling, prefix=prefix, suffix=suffix) for text in TEXTS
    ]
    np.testing.assert_allclose(got, expected, atol=F16_ATTENTION)


def test_middle_is_half_of_the_layers_rounded_down(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "five.gguf", n_layer=5)
    model = embedder(tiny)
    assert (model.n_layers, model.n_embd) == (5, 64)
    expected = [expected_embedding(tiny, text, layer=2, pooling="mean") for text in TEXTS]
    np.testing.assert_allclose(model.embed(TEXTS), expected, atol=F16_ATTENTION)


def test_layer_0_is_the_stored_embedding_of_the_token_itself(tiny: TinyModel) -> None:
    # Before gemma's scaling and gpt2's positions: the same row wherever the token stands.
    got = embedder(tiny, layer=0, pooling="last").embed(["the film", "and the film"])
    row = tiny.tensors["token_embd.weight"][tiny.tokenize("the film")[-1]]
    np.testing.assert_allclose(got, [row, row], atol=1e-6)


@pytest.mark.parametrize("file_pooling", ["mean", "none"])
@pytest.mark.parametrize("layer", [1, 2, 3, -1])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_layers_of_an_encoder(tmp_path: Path, layer: int, pooling: str, file_pooling: str) -> None:
    tiny = write_tiny_bert(tmp_path / "bert.gguf", pooling=file_pooling)
    prompt = Prompt("the film: ", " is it good")
    got = embedder(tiny, layer=layer, pooling=pooling, prompt=prompt).embed(TEXTS)
    expected = [
        expected_embedding(tiny, text, layer=layer, pooling=pooling, prefix=prompt.prefix, suffix=prompt.suffix)
        for text in TEXTS
    ]
    np.testing.assert_allclose(got, expected, atol=F16_ATTENTION)


def test_an_encoders_last_layer_is_its_output(tiny_bert: TinyModel) -> None:
    both = embedder(tiny_bert).embed(TEXTS, layers=[-1, 3, 0])
    np.testing.assert_array_equal(both[:, 0], both[:, 1])
    rows = [layer_states(tiny_bert, tiny_bert.tokenize(text), 0).mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(both[:, 2, 0], rows, atol=1e-6)


@pytest.mark.parametrize("n_batch", [16, 512])
def test_a_recurrent_model_too(tmp_path: Path, n_batch: int) -> None:
    tiny = write_tiny("mamba", tmp_path / "mamba.gguf")
    layers = [0, 1, 2, 3, -1]
    got = embedder(tiny, n_batch=n_batch).embed(TEXTS, layers=layers)[:, :, 0]
    expected = [[expected_embedding(tiny, text, layer=k, pooling="mean") for k in layers] for text in TEXTS]
    np.testing.assert_allclose(got, expected, atol=1e-5)  # no attention: all in F32


# -- which tokens are the text's --------------------------------------------------------------------------------------

PROMPTS = [
    ("", ""),
    ("see the ", ""),
    ("see the fi", ""),  # " film" is one token of the byte-level vocabulary: it is half the prompt's
    ("see the", "."),
    ("", "m is good"),
    ("The fi", "m is"),
]


@pytest.mark.parametrize(("prefix", "suffix"), PROMPTS)
@pytest.mark.parametrize("text", ["lm", "film", "l", " fil", "film and the stor", "\u65e5", "the film was good"])
def test_mean_takes_exactly_the_tokens_that_overlap_the_text(
    tiny: TinyModel, prefix: str, suffix: str, text: str
) -> None:
    got = embedder(tiny, layer=1, prompt=Prompt(prefix, suffix)).embed([text])[0]
    expected = expected_embedding(tiny, text, layer=1, pooling="mean", prefix=prefix, suffix=suffix)
    np.testing.assert_allclose(got, expected, atol=F16_ATTENTION)


def test_some_of_these_prompts_do_cut_a_token_in_two(tiny_llama: TinyModel) -> None:
    pieces = tiny_llama.vocabulary.pieces
    for prefix, text, suffix in [("see the fi", "lm", ""), ("", "the fil", "m is good"), ("The fi", "l", "m is")]:
        tokens = tiny_llama.tokenize(prefix + text + suffix)
        own = text_tokens(tiny_llama, text, prefix, suffix)
        assert b" film" in [pieces[tokens[i]] for i in own]


def test_position_0_is_left_out_of_mean_unless_it_is_the_only_token(
    tiny_llama: TinyModel, tiny_llama_bos: TinyModel
) -> None:
    states = layer_states(tiny_llama, tiny_llama.tokenize("the film"), 2)
    got = embedder(tiny_llama).embed(["the film", "a"])
    np.testing.assert_allclose(got[0], states[1:].mean(axis=0), atol=F16_ATTENTION)
    np.testing.assert_allclose(got[1], layer_states(tiny_llama, tiny_llama.tokenize("a"), 2)[0], atol=F16_ATTENTION)
    # With BOS at position 0 all of the text's own tokens count.
    states = layer_states(tiny_llama_bos, tiny_llama_bos.tokenize("the film"), 2)
    got = embedder(tiny_llama_bos).embed(["the film"])
    np.testing.assert_allclose(got[0], states[1:].mean(axis=0), atol=F16_ATTENTION)


def test_mean_where_the_tokeniser_changes_the_bytes(tiny_spm: TinyModel) -> None:
    # SentencePiece's own sign for a space in the text becomes a space: bytes cannot be counted.
    text, prefix, suffix = "the\u2581film was good", "see: ", "!?"
    ids = tiny_spm.tokenize(prefix + text + suffix)
    n_before, n_after = len(tiny_spm.tokenize("see:")), 2
    states = layer_states(tiny_spm, ids, 2)[n_before : len(ids) - n_after]
    got = embedder(tiny_spm, prompt=Prompt(prefix, suffix)).embed([text])[0]
    np.testing.assert_allclose(got, states.mean(axis=0), atol=F16_ATTENTION)


# -- many at once -----------------------------------------------------------------------------------------------------


def test_layers_and_poolings_in_one_pass_equal_single_passes_in_any_order(tiny: TinyModel) -> None:
    layers, poolings = [-1, 2, 0, 4, 2, "middle"], ["last", "mean", "last"]
    model = embedder(tiny)
    together = model.embed(TEXTS, layers=layers, pooling=poolings)
    assert together.shape == (len(TEXTS), len(layers), len(poolings), tiny.n_embd)
    for i, layer in enumerate(layers):
        for j, pooling in enumerate(poolings):
            # The same batches: the same bits.
            np.testing.assert_array_equal(together[:, i, j], model.embed(TEXTS, layers=layer, pooling=pooling))


def test_one_list_is_enough_for_four_dimensions(tiny_llama: TinyModel) -> None:
    model = embedder(tiny_llama)
    assert model.embed(TEXTS, layers=(1,)).shape == (len(TEXTS), 1, 1, 64)
    assert model.embed(TEXTS, pooling=["last"]).shape == (len(TEXTS), 1, 1, 64)
    assert model.embed(TEXTS, layers=range(3), pooling="last").shape == (len(TEXTS), 3, 1, 64)


def test_order_and_duplicates_come_back_as_they_went_in(tiny_llama: TinyModel) -> None:
    rng = np.random.default_rng(0)
    order = rng.integers(0, len(TEXTS), 300)
    got = embedder(tiny_llama).embed([TEXTS[i] for i in order])
    expected = np.array([expected_embedding(tiny_llama, text, layer=2, pooling="mean") for text in TEXTS])
    np.testing.assert_allclose(got, expected[order], atol=F16_ATTENTION)


@pytest.mark.parametrize("n_batch", [1, 7, 16, 512, 8192])
def test_batching_does_not_matter_and_long_texts_go_through_in_pieces(tiny: TinyModel, n_batch: int) -> None:
    # 150 texts of all lengths, more than the 64 that go into one batch; the longest needs many batches of 16 tokens.
    texts = [*TEXTS, *[f"number {i} " + "the film is slow and boring " * (i % 7) for i in range(150)]]
    assert max(len(tiny.tokenize(text)) for text in texts) > 32
    layers = [1, 4, -1]
    got = embedder(tiny, n_batch=n_batch).embed(texts, layers=layers, pooling=POOLINGS)
    for row in [*range(6), 10, 11, 12, 99, 155]:
        positions = mean_positions(tiny, texts[row])
        for i, layer in enumerate(layers):
            states = layer_states(tiny, tiny.tokenize(texts[row]), layer)
            expected = [pool(states, pooling, positions) for pooling in POOLINGS]
            np.testing.assert_allclose(got[row, i], expected, atol=F16_ATTENTION)


def test_an_encoder_takes_a_text_longer_than_a_batch_at_once(tiny_bert: TinyModel) -> None:
    text = "the film is slow and boring " * 8
    got = embedder(tiny_bert, n_batch=16, layer=-1).embed([text, "a"])
    expected = [expected_embedding(tiny_bert, t, layer=-1, pooling="mean") for t in (text, "a")]
    np.testing.assert_allclose(got, expected, atol=F16_ATTENTION)


# -- texts that are too long ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
def test_truncation_cuts_the_end_of_the_text_and_not_the_prompt(tiny: TinyModel, pooling: str) -> None:
    prefix, suffix, n_ctx = "Read: ", " Is it good?", 24
    texts = ["the film is good", "the company said that the acting was slow and boring " * 3, "the film " * 40]
    model = embedder(tiny, n_ctx=n_ctx, on_long="truncate", prompt=Prompt(prefix, suffix), pooling=pooling)
    with pytest.warns(TruncationWarning, match="2 of 3 texts"):
        got = model.embed(texts)
    for row, text in zip(got, texts, strict=True):
        ids = tiny.tokenize(prefix + text + suffix)
        positions = text_tokens(tiny, text, prefix, suffix)
        n_kept = len(positions) - max(0, len(ids) - n_ctx)
        cut = ids[: positions[0] + n_kept] + ids[positions[-1] + 1 :]
        assert len(cut) == min(n_ctx, len(ids))
        expected = pool(layer_states(tiny, cut, 2), pooling, [p for p in positions[:n_kept] if p > 0])
        np.testing.assert_allclose(row, expected, atol=F16_ATTENTION)


def test_a_cut_text_is_warned_of_each_time(tiny_llama: TinyModel) -> None:
    model = embedder(tiny_llama, n_ctx=8, on_long="truncate")
    for _ in range(2):
        with pytest.warns(TruncationWarning, match="1 of 2"):
            model.embed(["the film " * 10, "a film"])


def test_the_error_for_a_long_text_says_which_and_how_long(tiny_llama: TinyModel) -> None:
    long = "the film is good and " * 12
    n_all, n_own = len(tiny_llama.tokenize("See: " + long)), len(text_tokens(tiny_llama, long, "See: "))
    assert n_all > n_own > 32
    with pytest.raises(InputError) as error:
        embedder(tiny_llama, n_ctx=32, prompt=Prompt("See: ")).embed(["short", "short", long, "other"])
    message = str(error.value)
    assert message.startswith("texts[2] 'the film is good and ")
    assert f"{n_all} tokens with the prompt, {n_own} of its own; the context holds 32" in message
    assert "on_long='truncate'" in message


def test_the_error_for_a_long_text_speaks_of_a_prompt_only_where_there_is_one(tiny_llama: TinyModel) -> None:
    long = "the film is good and " * 12
    with pytest.raises(
        InputError, match=f" is too long: {len(tiny_llama.tokenize(long))} tokens; the context holds 32"
    ):
        embedder(tiny_llama, n_ctx=32).embed([long])


@pytest.mark.parametrize("layers", [{1, 2}, frozenset([1]), {1: 2}, (layer for layer in (1, 2)), b"\x01"])
def test_layers_without_an_order_are_refused(tiny_llama: TinyModel, layers: object) -> None:
    with pytest.raises(InputError, match=r"layers is .*: expected one, or a list"):
        embedder(tiny_llama).embed(["a film"], layers=layers)  # type: ignore[arg-type]


@pytest.mark.parametrize("on_long", ["error", "truncate"])
def test_a_prompt_that_fills_the_context_is_an_error_whatever_is_asked(tiny_llama: TinyModel, on_long: str) -> None:
    prompt = "the film is good and " * 5
    n_own = len(text_tokens(tiny_llama, "a film", prompt))
    n_prompt = len(tiny_llama.tokenize(prompt + "a film")) - n_own
    model = embedder(tiny_llama, n_ctx=16, on_long=on_long, prompt=Prompt(prompt))
    size = rf"the prompt takes {n_prompt} tokens and leaves no room for texts\[0\] with {n_own} of its own"
    with pytest.raises(InputError, match=f"{size}; the context holds 16"):
        model.embed(["a film"])


def test_a_text_that_fills_the_context_to_the_last_token_is_taken(tiny_llama: TinyModel) -> None:
    text = "the film is good and " * 5
    n_tokens = len(tiny_llama.tokenize(text))
    expected = expected_embedding(tiny_llama, text, layer=2, pooling="mean")
    got = embedder(tiny_llama, n_ctx=n_tokens).embed([text])[0]
    np.testing.assert_allclose(got, expected, atol=F16_ATTENTION)
    with pytest.raises(InputError, match=f"the context holds {n_tokens - 1}"):
        embedder(tiny_llama, n_ctx=n_tokens - 1).embed([text])
