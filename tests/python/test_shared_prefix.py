"""The tokens that all texts begin with are computed once: the same features as without sharing, for less work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native_embedding import engine_of, native_embed
from pooled_states import expected_embedding
from tiny_models import DECODERS, ENCODERS, RECURRENT, TinyModel, write_tiny, write_tiny_llama

F16_ATTENTION = 1.5e-2  # as in test_embedder.py
POOLINGS = ("mean", "mean_all", "last")
PREFIX = "Is the customer of this bank reporting fraud, complaining, or asking a question? "
SUFFIX = " Answer:"
TEXTS = [
    "The film isn't very good: caf\u00e9 13.1 %, \U0001f600 \u65e5\u672c.",
    "a",
    "the film",
    "the film was good",
    "The company said that the operating profit rose to EUR 13.1 mn from EUR 8.7 mn in the same quarter.",
]


@pytest.mark.parametrize("suffix", ["", SUFFIX])
@pytest.mark.parametrize("architecture", DECODERS)
def test_shared_is_what_numpy_computes_and_what_not_sharing_computes(
    tmp_path: Path, architecture: str, suffix: str
) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    layers = [0, 1, 3, 4, -1]
    shared, saw = native_embed(engine_of(tiny.path), TEXTS, layers, POOLINGS, prefix=PREFIX, suffix=suffix)
    alone, saw_alone = native_embed(
        engine_of(tiny.path, share_prefix=False), TEXTS, layers, POOLINGS, prefix=PREFIX, suffix=suffix
    )
    lengths = [len(tiny.tokenize(PREFIX + text + suffix)) for text in TEXTS]
    assert saw["n_tokens"] == saw_alone["n_tokens"] == saw_alone["n_computed"] == sum(lengths)
    n_prefix = len(tiny.tokenize(PREFIX))
    # A token or two at the seam depend on the text.
    assert saw["n_computed"] <= sum(lengths) - (len(TEXTS) - 1) * (n_prefix - 2)
    np.testing.assert_allclose(shared, alone, atol=2 * F16_ATTENTION)
    for i, layer in enumerate(layers):
        for j, pooling in enumerate(POOLINGS):
            expected = [
                expected_embedding(tiny, text, layer=layer, pooling=pooling, prefix=PREFIX, suffix=suffix)
                for text in TEXTS
            ]
            np.testing.assert_allclose(shared[:, i, j], expected, atol=F16_ATTENTION)


@pytest.mark.parametrize("architecture", [*ENCODERS, *RECURRENT])
def test_models_that_cannot_share_do_not(tmp_path: Path, architecture: str) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    got, saw = native_embed(engine_of(tiny.path), TEXTS, [1, -1], POOLINGS, prefix=PREFIX)
    alone, _ = native_embed(engine_of(tiny.path, share_prefix=False), TEXTS, [1, -1], POOLINGS, prefix=PREFIX)
    assert saw["n_computed"] == saw["n_tokens"]
    np.testing.assert_array_equal(got, alone)


def test_the_next_call_finds_the_prefix_there(tiny_llama: TinyModel) -> None:
    engine = engine_of(tiny_llama.path)
    native_embed(engine, TEXTS[:2], [2], prefix=PREFIX)
    again, second = native_embed(engine, TEXTS[3:4], [2], prefix=PREFIX)
    n_all = len(tiny_llama.tokenize(PREFIX + TEXTS[3]))
    assert second["n_tokens"] == n_all
    assert second["n_computed"] <= n_all - len(tiny_llama.tokenize(PREFIX)) + 2
    expected = expected_embedding(tiny_llama, TEXTS[3], layer=2, pooling="mean", prefix=PREFIX)
    np.testing.assert_allclose(again[0, 0, 0], expected, atol=F16_ATTENTION)


def test_one_text_at_a_time_shares_too(tiny_llama: TinyModel) -> None:
    engine = engine_of(tiny_llama.path)
    n_computed = [native_embed(engine, [text], [2], prefix=PREFIX)[1]["n_computed"] for text in TEXTS]
    own = [len(tiny_llama.tokenize(PREFIX + text)) - len(tiny_llama.tokenize(PREFIX)) for text in TEXTS]
    assert all(n <= m + 2 for n, m in zip(n_computed[1:], own[1:], strict=True))


def test_shallow_then_deep_equals_deep(tiny_llama: TinyModel) -> None:
    engine = engine_of(tiny_llama.path)
    for layers in ([1], [4], [2], [3, -1], [0], [-1]):
        got, _ = native_embed(engine, TEXTS, layers, POOLINGS, prefix=PREFIX)
        fresh, _ = native_embed(engine_of(tiny_llama.path), TEXTS, layers, POOLINGS, prefix=PREFIX)
        np.testing.assert_array_equal(got, fresh)


@pytest.mark.parametrize("tensor_type", ["F32", "Q8_0"])
def test_what_was_computed_before_changes_no_bit(tmp_path: Path, tensor_type: str) -> None:
    # What the end of the prompt becomes depends on the text: " The" is a token, " 13" is two.
    tiny = write_tiny_llama(tmp_path / "model.gguf", tensor_type=tensor_type)
    calls = [["13.1 %"], ["the film"], ["13.1 %", "13.2 %"], ["the film", "the film was good"], TEXTS]
    fresh = [native_embed(engine_of(tiny.path), texts, [2], prefix=PREFIX)[0] for texts in calls]
    for first in range(len(calls)):
        engine = engine_of(tiny.path)
        for then in [first, *range(len(calls))]:
            got, _ = native_embed(engine, calls[then], [2], prefix=PREFIX)
            np.testing.assert_array_equal(got, fresh[then], err_msg=f"{calls[first]}, then {calls[then]}")


def test_the_last_layer_is_computed_to_its_depth_not_that_of_the_layer_before(tiny_llama: TinyModel) -> None:
    # The keys of the deeper blocks are unwritten after a shallow run.
    engine = engine_of(tiny_llama.path)
    native_embed(engine, TEXTS, [1], prefix=PREFIX)
    got, saw = native_embed(engine, TEXTS, [4], prefix=PREFIX)
    expected = [expected_embedding(tiny_llama, t, layer=4, pooling="mean", prefix=PREFIX) for t in TEXTS]
    np.testing.assert_allclose(got[:, 0, 0], expected, atol=F16_ATTENTION)
    _, shallower = native_embed(engine, TEXTS, [2], prefix=PREFIX)
    assert shallower["n_computed"] < saw["n_computed"]  # and what is deep enough is used again


@pytest.mark.parametrize("n_batch", [1, 5, 16, 64])
def test_a_prefix_longer_than_a_batch(tiny_llama: TinyModel, n_batch: int) -> None:
    got, _ = native_embed(engine_of(tiny_llama.path, n_batch=n_batch), TEXTS, [2, 4], POOLINGS, prefix=PREFIX)
    for i, layer in enumerate((2, 4)):
        for j, pooling in enumerate(POOLINGS):
            expected = [expected_embedding(tiny_llama, t, layer=layer, pooling=pooling, prefix=PREFIX) for t in TEXTS]
            np.testing.assert_allclose(got[:, i, j], expected, atol=F16_ATTENTION)


def test_what_the_texts_themselves_have_in_common_is_shared_where_it_saves_a_batch(tiny_llama: TinyModel) -> None:
    common = "the company said that the operating profit rose "
    texts = [f"{common}to number {i}" for i in range(100)]
    for prefix in ("", PREFIX):
        got, saw = native_embed(engine_of(tiny_llama.path), texts, [2], POOLINGS, prefix=prefix)
        assert saw["n_computed"] < saw["n_tokens"] - 99 * (len(tiny_llama.tokenize(common)) - 2)
        for row in (0, 7, 99):
            for j, pooling in enumerate(POOLINGS):
                expected = expected_embedding(tiny_llama, texts[row], layer=2, pooling=pooling, prefix=prefix)
                np.testing.assert_allclose(got[row, 0, j], expected, atol=F16_ATTENTION)


def test_texts_that_are_the_beginning_of_others_and_equal_texts(tiny_llama: TinyModel) -> None:
    texts = ["the film", "the film was", "the film", *["the film was good"] * 80]
    for suffix in ("", SUFFIX):
        got, _ = native_embed(engine_of(tiny_llama.path), texts, [3], POOLINGS, prefix=PREFIX, suffix=suffix)
        for row in (0, 1, 2, 50):
            for j, pooling in enumerate(POOLINGS):
                expected = expected_embedding(
                    tiny_llama, texts[row], layer=3, pooling=pooling, prefix=PREFIX, suffix=suffix
                )
                np.testing.assert_allclose(got[row, 0, j], expected, atol=F16_ATTENTION)


@pytest.fixture(scope="module")
def random_calls_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny_llama(tmp_path_factory.mktemp("shared") / "model.gguf", add_bos=True)


WORDS = st.lists(st.sampled_from(["the", "film", "was", "good", "not", "13.1", "very", "bad"]), min_size=1, max_size=12)
CALLS = st.lists(
    st.tuples(
        st.lists(WORDS.map(" ".join), min_size=1, max_size=6),
        st.sampled_from(["", "Read this: ", "Read this carefully, and say: ", PREFIX]),
        st.sampled_from(["", SUFFIX]),
        st.lists(st.sampled_from([0, 1, 2, 3, 4, -1]), min_size=1, max_size=3),
        st.lists(st.sampled_from(POOLINGS), min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # its repr of the model is long
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, n_batch=st.sampled_from([4, 32, 512]))
def test_any_calls_in_any_order(random_calls_model: TinyModel, calls: list, n_batch: int) -> None:
    tiny = random_calls_model
    engine = engine_of(tiny.path, n_batch=n_batch)
    for texts, prefix, suffix, layers, poolings in calls:
        got, _ = native_embed(engine, texts, layers, poolings, prefix=prefix, suffix=suffix)
        for row, text in enumerate(texts):
            for i, layer in enumerate(layers):
                for j, pooling in enumerate(poolings):
                    expected = expected_embedding(
                        tiny, text, layer=layer, pooling=pooling, prefix=prefix, suffix=suffix
                    )
                    np.testing.assert_allclose(got[row, i, j], expected, atol=2e-2)


@pytest.mark.parametrize("share_prefix", [True, False])
def test_a_suffix_that_no_pooled_token_sees_is_not_computed(tiny_llama: TinyModel, share_prefix: bool) -> None:
    long_suffix = " " + SUFFIX * 5

    def embed(pooling: str, suffix: str) -> tuple[np.ndarray, dict[str, int]]:
        engine = engine_of(tiny_llama.path, share_prefix=share_prefix)
        return native_embed(engine, TEXTS, [2], [pooling], prefix=PREFIX, suffix=suffix)

    without, saw = embed("mean", "")
    within, saw_suffix = embed("mean", long_suffix)
    assert saw_suffix["n_tokens"] > saw["n_tokens"]
    assert saw_suffix["n_computed"] == saw["n_computed"]
    np.testing.assert_array_equal(within, without)
    for pooling in ("mean_all", "last"):
        states, saw_all = embed(pooling, long_suffix)
        assert saw_all["n_computed"] > saw["n_computed"]
        expected = expected_embedding(tiny_llama, TEXTS[0], layer=2, pooling=pooling, prefix=PREFIX, suffix=long_suffix)
        np.testing.assert_allclose(states[0, 0, 0], expected, atol=F16_ATTENTION)


BEGIN_ALIKE = [
    "the film was good",
    "a",
    "the film",
    "the film was good, and so was the cast",
    "the film was not good",
    "a film",
    "the film",
    "The film",
]


def n_beginnings(tokenised: list[list[int]]) -> int:
    return len({tuple(ids[:end]) for ids in tokenised for end in range(1, len(ids) + 1)})


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("architecture", DECODERS)
def test_texts_that_begin_alike_share_more_than_the_prompt(tmp_path: Path, architecture: str, prefix: str) -> None:
    tiny = write_tiny(architecture, tmp_path / "model.gguf")
    layers = [0, 2, -1]
    states, saw = native_embed(engine_of(tiny.path), BEGIN_ALIKE, layers, POOLINGS, prefix=prefix)
    assert saw["n_computed"] == n_beginnings([tiny.tokenize(prefix + text) for text in BEGIN_ALIKE])
    for i, layer in enumerate(layers):
        for j, pooling in enumerate(POOLINGS):
            expected = [
                expected_embedding(tiny, text, layer=layer, pooling=pooling, prefix=prefix) for text in BEGIN_ALIKE
            ]
            np.testing.assert_allclose(states[:, i, j], expected, atol=F16_ATTENTION)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@given(
    texts=st.lists(st.text("ab ", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=20),
    n_batch=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_begins_alike_sharing_changes_nothing(tiny_llama: TinyModel, texts: list[str], n_batch: int) -> None:
    shared, saw = native_embed(engine_of(tiny_llama.path, n_batch=n_batch), texts, [2], POOLINGS)
    alone, saw_alone = native_embed(
        engine_of(tiny_llama.path, n_batch=n_batch, share_prefix=False), texts, [2], POOLINGS
    )
    np.testing.assert_allclose(shared, alone, atol=2 * F16_ATTENTION)
    assert n_beginnings([tiny_llama.tokenize(text) for text in texts]) <= saw["n_computed"] <= saw_alone["n_computed"]
