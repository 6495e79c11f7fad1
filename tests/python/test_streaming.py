"""Corpora that do not fit in memory: embed_iter(), and embed() of a generator into an array that is there already."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastplr import Embedder, InputError, ModelError, TruncationWarning, embedder
from fastplr.feature_cache import FeatureCache
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny_llama

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = [f"number {i}: " + "the film is slow " * (i % 4) for i in range(20)]
LONG = "the film is good and " * 12


class CountingCache(FeatureCache):
    """The real cache, which counts the rows that were computed and remembered."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        super().__init__(max_bytes)
        self.n_put = 0

    def put(self, keys: Sequence[bytes], features: Iterable[Any], cut: Sequence[bool]) -> None:
        self.n_put += len(keys)
        super().put(keys, features, cut)

    def __len__(self) -> int:
        return len(self._rows)


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> CountingCache:
    """What is remembered in the test, at first nothing."""
    cache = CountingCache()
    monkeypatch.setattr("fastplr.embedder.feature_cache", cache)
    return cache


@pytest.fixture
def model(tiny_llama: TinyModel) -> Embedder:
    return Embedder(tiny_llama.path, n_threads=1)


@pytest.fixture(scope="module")
def expected(tiny_llama: TinyModel) -> np.ndarray:
    """Embeddings of TEXTS with the default settings, by definition."""
    return np.array([expected_embedding(tiny_llama, text, layer=2, pooling="mean") for text in TEXTS])


def untouched() -> Iterator[str]:
    pytest.fail("a text was taken")
    yield "never"


def broken_off(texts: list[str]) -> Iterator[str]:
    yield from texts
    raise KeyError("the source broke off")


# -- when settings are checked ----------------------------------------------------------------------------------------

WRONG = [
    ({}, {"layers": 5}, "layer is 5: expected 0 to 4"),
    ({}, {"layers": [1, "last"]}, "layer is 'last'"),
    ({}, {"layers": []}, "layers or pooling is an empty list"),
    ({}, {"pooling": "max"}, "pooling is 'max'"),
    ({"layer": -2}, {}, "layer is -2"),
    ({"on_long": "cut"}, {}, "on_long is 'cut'"),
    ({"prompt": 5}, {}, "prompt is 5"),
    ({"n_batch": 0}, {}, "n_batch is 0"),
    ({"cache": 2.5}, {}, "cache is 2.5"),
]


@pytest.mark.parametrize(("parameters", "arguments", "message"), WRONG)
def test_settings_are_checked_at_the_call_before_a_text_is_taken(
    model: Embedder, parameters: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    model.set_params(**parameters)
    with pytest.raises(InputError, match=message):
        model.embed_iter(untouched(), **arguments)
    with pytest.raises(InputError, match=message):
        model.embed(untouched(), out=np.empty((4, 64), dtype=np.float32), **arguments)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((4, 63), dtype=np.float32), r"out is float32 \(4, 63\): expected float32 \(4, 64\)"),
        (np.empty((4, 64)), r"out is float64 \(4, 64\): expected float32 \(4, 64\)"),
        (np.empty((4, 1, 1, 64), dtype=np.float32), r"expected float32 \(4, 64\)"),
        (np.empty((64, 4), dtype=np.float32).T, "not C-contiguous"),
        (np.float32(1), r"out is float32 \(\)"),
        ([[0.0] * 64] * 4, "out is list"),
    ],
)
def test_out_is_checked_before_a_text_is_taken(model: Embedder, out: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.embed(untouched(), out=out)


def test_settings_are_those_of_the_call(model: Embedder, expected: np.ndarray) -> None:
    pieces = model.embed_iter(TEXTS, chunk_size=8)
    first = next(pieces)
    model.set_params(layer=0, pooling="last", prompt="Read: ")
    np.testing.assert_allclose(np.vstack([first, *pieces]), expected, atol=F16_ATTENTION)


def test_another_model_in_its_place_ends_the_pieces(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "model.gguf").path
    pieces = Embedder(path, n_threads=1).embed_iter(TEXTS, chunk_size=8)
    next(pieces)
    write_tiny_llama(tmp_path / "other.gguf", seed=1).path.replace(path)
    with pytest.raises(ModelError, match="changed"):
        next(pieces)


# -- how texts are numbered -------------------------------------------------------------------------------------------

BAD = [
    (None, "is None of type NoneType"),
    (" \n", "is blank"),
    ("a\0b", "holds a NUL byte"),
    ("\ud83d", "is not valid Unicode"),
    (LONG, "'the film is good .* is too long"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
@pytest.mark.parametrize("where", [0, 6, 19])
def test_errors_number_a_text_within_the_corpus(model: Embedder, bad: Any, message: str, where: int) -> None:
    model.set_params(n_ctx=32)
    texts = [*TEXTS[:where], bad, *TEXTS[where + 1 :]]
    for chunk_size in (1, 4, 100):
        pieces = model.embed_iter(iter(texts), chunk_size=chunk_size)
        before = [len(next(pieces)) for _ in range(where // chunk_size)]
        assert sum(before) == where - where % chunk_size
        with pytest.raises(InputError, match=rf"^texts\[{where}\] {message}"):
            next(pieces)


def test_numbers_go_on_where_texts_are_known_or_repeated(model: Embedder) -> None:
    model.set_params(n_ctx=32).embed(TEXTS[:5])
    texts = [*TEXTS[:5], *TEXTS[3:8], *TEXTS[3:8], LONG]
    with pytest.raises(InputError, match=r"^texts\[15\] "):
        list(model.embed_iter(texts, chunk_size=4))


def test_errors_and_rows_of_a_generator_are_numbered_together(
    model: Embedder, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "STREAM_TEXTS", 6)
    out = np.full((20, 64), np.nan, dtype=np.float32)
    with pytest.raises(InputError, match=r"^texts\[13\] is blank"):
        model.embed(iter([*TEXTS[:13], " ", *TEXTS[14:]]), out=out)
    np.testing.assert_allclose(out[:12], expected[:12], atol=F16_ATTENTION)
    assert np.isnan(out[12:]).all()


# -- what is warned of ------------------------------------------------------------------------------------------------


def test_that_texts_were_cut_is_warned_of_once_where_the_program_asks_for_the_piece(model: Embedder) -> None:
    model.set_params(n_ctx=32, on_long="truncate")
    texts = [*TEXTS[:7], LONG, *TEXTS[7:], LONG + "!", LONG]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sizes = [len(piece) for piece in model.embed_iter(texts, chunk_size=4)]
    assert sizes == [4, 4, 4, 4, 4, 3]
    assert [(warning.category, warning.filename) for warning in caught] == [(TruncationWarning, __file__)]
    assert str(caught[0].message).startswith("texts[7] is longer than the context: cut at its end")


@pytest.mark.parametrize("known", [False, True])
def test_all_cut_texts_of_a_generator_are_counted_in_one_warning(
    model: Embedder, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(embedder, "STREAM_TEXTS", 6)
    model.set_params(n_ctx=32, on_long="truncate")
    texts = [*TEXTS[:7], LONG, *TEXTS[7:], LONG + "!", LONG]
    if known:
        with pytest.warns(TruncationWarning):
            model.embed(texts)
    out = np.empty((23, 64), dtype=np.float32)
    with pytest.warns(TruncationWarning, match="^3 of 23 texts are longer") as caught:
        model.embed(iter(texts), out=out)
    assert [warning.filename for warning in caught] == [__file__]


def test_scikit_learns_wrappers_are_not_taken_for_the_program(model: Embedder) -> None:
    model.set_params(n_ctx=32, on_long="truncate").set_output(transform="pandas")
    for call in (model.embed, model.transform):
        with pytest.warns(TruncationWarning) as caught:
            call([LONG])
        assert caught[0].filename == __file__


# -- what a source may do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_texts", [0, 1, 8, 11])
def test_what_a_source_gave_before_it_broke_off_comes_out(model: Embedder, expected: np.ndarray, n_texts: int) -> None:
    pieces = model.embed_iter(broken_off(TEXTS[:n_texts]), chunk_size=4)
    for start in range(0, n_texts, 4):
        np.testing.assert_allclose(next(pieces), expected[start : min(start + 4, n_texts)], atol=F16_ATTENTION)
    with pytest.raises(KeyError, match="the source broke off"):
        next(pieces)


def test_rows_are_filled_with_what_a_source_gave_before_it_broke_off(model: Embedder, expected: np.ndarray) -> None:
    out = np.full((20, 64), np.nan, dtype=np.float32)
    with pytest.raises(KeyError, match="the source broke off"):
        model.embed(broken_off(TEXTS[:11]), out=out)
    np.testing.assert_allclose(out[:11], expected[:11], atol=F16_ATTENTION)
    assert np.isnan(out[11:]).all()


def test_an_empty_source_gives_no_pieces(model: Embedder) -> None:
    assert list(model.embed_iter(iter(()))) == []


@pytest.mark.parametrize("stream_texts", [1, 7, 20, 100])
def test_a_generator_fills_an_array(
    model: Embedder, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream_texts: int
) -> None:
    monkeypatch.setattr(embedder, "STREAM_TEXTS", stream_texts)
    file = np.memmap(tmp_path / "features", dtype=np.float32, mode="w+", shape=(20, 64))
    assert model.embed(iter(TEXTS), out=file) is file
    np.testing.assert_allclose(file, expected, atol=F16_ATTENTION)
    four = np.empty((20, 2, 1, 64), dtype=np.float32)
    model.embed(iter(TEXTS), layers=[0, 2], out=four)
    np.testing.assert_array_equal(four[:, 1, 0], file)


@pytest.mark.parametrize("stream_texts", [1, 20, 100])
def test_as_many_texts_as_rows_are_expected(
    model: Embedder, monkeypatch: pytest.MonkeyPatch, stream_texts: int
) -> None:
    monkeypatch.setattr(embedder, "STREAM_TEXTS", stream_texts)

    def rows(n: int) -> np.ndarray:
        return np.empty((n, 64), dtype=np.float32)

    with pytest.raises(InputError, match="out has 19 rows, but there are more texts"):
        model.embed(iter(TEXTS), out=rows(19))
    with pytest.raises(InputError, match="out has 21 rows, but there are 20 texts"):
        model.embed(iter(TEXTS), out=rows(21))
    with pytest.raises(InputError, match="texts is empty"):
        model.embed(iter(()), out=rows(3))


def test_one_bar_for_all_pieces(model: Embedder, capfd: pytest.CaptureFixture[str]) -> None:
    model.set_params(progress=True)
    assert len(list(model.embed_iter(TEXTS, chunk_size=4))) == 5
    out, err = capfd.readouterr()
    assert out == ""
    assert "embedding: 0text" in err
    assert err.count("embedding: 0text") == 1


# -- how much is computed and kept ------------------------------------------------------------------------------------


def test_a_text_that_comes_again_is_computed_once(model: Embedder, memory: CountingCache, expected: np.ndarray) -> None:
    order = np.random.default_rng(0).integers(0, 20, 300)
    got = np.vstack(list(model.embed_iter((TEXTS[i] for i in order), chunk_size=64)))
    np.testing.assert_allclose(got, expected[order], atol=F16_ATTENTION)
    assert memory.n_put == 20


def test_a_stream_leaves_half_of_the_memory_to_others(
    model: Embedder, memory: CountingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = np.empty(64, dtype=np.float32)
    memory = CountingCache(max_bytes=40 * FeatureCache.bytes_of(row))
    monkeypatch.setattr("fastplr.embedder.feature_cache", memory)
    model.embed(TEXTS[:10])
    for prefix in ("a", "b", "c"):
        for _ in model.embed_iter((f"{prefix} {i}" for i in range(100)), chunk_size=8):
            pass
        assert memory.n_put == 30
        memory.n_put = 10
        model.embed(TEXTS[:10])
        assert memory.n_put == 10  # they were all there still
    assert len(memory) == 40


def test_memory_does_not_grow_with_the_corpus(
    tiny_llama: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Embedder(tiny_llama.path, n_threads=1, layer=0)
    monkeypatch.setattr(embedder, "STREAM_TEXTS", 500)

    def peak(n_texts: int, how: str) -> int:
        monkeypatch.setattr("fastplr.embedder.feature_cache", CountingCache(max_bytes=1 << 16))
        texts = (f"{how} {i}" for i in range(n_texts))
        out = np.memmap(tmp_path / "out", dtype=np.float32, mode="w+", shape=(n_texts, 64))
        tracemalloc.start()
        if how == "pieces":
            assert sum(len(piece) for piece in model.embed_iter(texts, chunk_size=500)) == n_texts
        else:
            model.embed(texts, out=out)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    for how in ("pieces", "rows"):
        peak(1000, how)  # what is made once
        assert peak(20_000, how) < peak(2000, how) + 200_000  # the features alone are 5 MB
