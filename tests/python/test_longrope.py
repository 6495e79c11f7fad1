"""Models with two sets of rotary factors: which one computes a text is decided by that text alone."""

import numpy as np
import pytest

from fastplr import Embedder, _core
from native_embedding import engine_of, native_embed
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny_llama

N_ORIGINAL = 24
SHORT = "the film was not very good"
LONG = "the plot is thin and the film goes on and on, but the cast is a joy to watch"
PREFIX = "Is this sentence about a film positive or negative? "  # of N_ORIGINAL tokens: every text after it is long
SHORT_PREFIX = "the film: "
#: The cache is float16: see tiny_models/hidden_states.py.
TOLERANCE = 0.03


@pytest.fixture(scope="module")
def longrope(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    path = tmp_path_factory.mktemp("longrope") / "tiny.gguf"
    tiny = write_tiny_llama(path, architecture="phi3", n_ctx_original=N_ORIGINAL)
    assert len(tiny.tokenize(SHORT)) < len(tiny.tokenize(SHORT_PREFIX + SHORT)) <= N_ORIGINAL < len(tiny.tokenize(LONG))
    assert len(tiny.tokenize(PREFIX)) > N_ORIGINAL
    return tiny


def expected(tiny: TinyModel, texts: list[str], prefix: str = "") -> np.ndarray:
    return np.array([expected_embedding(tiny, text, layer=3, pooling="mean", prefix=prefix) for text in texts])


@pytest.mark.parametrize("n_batch", [8, 64, 512])
@pytest.mark.parametrize("prefix", ["", SHORT_PREFIX, PREFIX])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_each_text_turns_by_its_own_length(longrope: TinyModel, n_batch: int, prefix: str, share_prefix: bool) -> None:
    engine = engine_of(longrope.path, n_batch=n_batch, share_prefix=share_prefix)
    for texts in ([SHORT], [LONG], [SHORT, LONG, SHORT + " at all"], [SHORT, SHORT[:12]], [LONG, LONG + "."]):
        states, _ = native_embed(engine, texts, [3], prefix=prefix)
        np.testing.assert_allclose(states[:, 0, 0], expected(longrope, texts, prefix), atol=TOLERANCE)


def test_the_two_sets_of_factors_are_far_apart(longrope: TinyModel) -> None:
    ids = longrope.tokenize(LONG)
    end = next(n for n in range(len(LONG)) if len(longrope.tokenize(LONG[:n])) > N_ORIGINAL)
    below, above = expected(longrope, [LONG[: end - 1], LONG[:end]])
    assert len(ids) > N_ORIGINAL
    assert np.abs(below - above).max() > 10 * TOLERANCE


def test_a_text_of_exactly_the_original_context_is_short(longrope: TinyModel) -> None:
    ends = [n for n in range(len(LONG)) if len(longrope.tokenize(LONG[:n])) == N_ORIGINAL]
    states, _ = native_embed(engine_of(longrope.path), [LONG[: ends[-1]]], [3])
    np.testing.assert_allclose(states[:, 0, 0], expected(longrope, [LONG[: ends[-1]]]), atol=TOLERANCE)


def test_what_was_embedded_before_does_not_matter(longrope: TinyModel) -> None:
    fresh = Embedder(longrope.path, layer=3, n_threads=1).embed([SHORT])
    used = Embedder(longrope.path, layer=3, n_threads=1, n_batch=16)
    used.embed([LONG * 3])
    np.testing.assert_allclose(used.embed([SHORT]), fresh, atol=TOLERANCE)


def test_positions_and_truncation_survive_the_split(longrope: TinyModel) -> None:
    texts = [LONG * 3, SHORT, LONG, SHORT + " at all"]
    engine = engine_of(longrope.path, n_ctx=40)
    out = np.empty((4, 1, 1, longrope.n_embd), dtype=np.float32)
    finished: list[int] = []

    def on_batch(done: list[int], cut: list[int]) -> None:
        finished.extend(done)
        assert cut == [i for i in done if i == 0]

    summary: _core.EmbedSummary = engine.embed(
        texts, out, layers=[3], poolings=["mean"], truncate=True, on_batch=on_batch
    )
    assert sorted(finished) == [0, 1, 2, 3]
    assert list(summary["truncated"]) == [0]
    np.testing.assert_allclose(out[1:, 0, 0], expected(longrope, texts[1:]), atol=TOLERANCE)
