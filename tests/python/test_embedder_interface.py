"""What goes into an Embedder and how it comes out: collections, out=, pieces, scikit-learn, silence."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import FeatureUnion, make_pipeline

from fastplr import Embedder, InputError, Prompt, TruncationWarning
from fastplr.feature_cache import feature_cache
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny_llama

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = ["the film is good", "a slow and boring story", "the profit rose to EUR 13.1 mn", "caf\u00e9 \u65e5\u672c"]


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    feature_cache.clear()


@pytest.fixture
def model(tiny_llama: TinyModel) -> Embedder:
    return Embedder(tiny_llama.path, n_threads=1)


@pytest.fixture(scope="module")
def expected(tiny_llama: TinyModel) -> np.ndarray:
    """Embeddings of TEXTS with the default settings, by definition."""
    return np.array([expected_embedding(tiny_llama, text, layer=2, pooling="mean") for text in TEXTS])


# -- collections ------------------------------------------------------------------------------------------------------

COLLECTIONS: dict[str, Callable[[list[str]], object]] = {
    "list": list,
    "tuple": tuple,
    "generator": iter,
    "dict keys": dict.fromkeys,
    "numpy str": np.array,
    "numpy object": lambda texts: np.array(texts, dtype=object),
    "pandas object": lambda texts: pandas.Series(texts, index=[7, 3, 9, 1], dtype=object),
    "pandas string": lambda texts: pandas.Series(texts, dtype="string"),
    "pandas category": lambda texts: pandas.Series(texts, dtype="category"),
    "pandas index": pandas.Index,
    "polars": polars.Series,
}


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_any_one_dimensional_collection_of_str_will_do(model: Embedder, expected: np.ndarray, kind: str) -> None:
    texts = COLLECTIONS[kind](TEXTS)
    texts = texts.keys() if isinstance(texts, dict) else texts
    np.testing.assert_allclose(model.embed(texts), expected, atol=F16_ATTENTION)


def test_subclasses_of_str_are_their_characters(model: Embedder, expected: np.ndarray) -> None:
    class Text(str):
        __slots__ = ()

    np.testing.assert_allclose(model.embed([Text(text) for text in TEXTS]), expected, atol=F16_ATTENTION)


# -- out= -------------------------------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(model: Embedder, expected: np.ndarray, tmp_path: Path) -> None:
    array = np.full((4, 64), np.nan, dtype=np.float32)
    assert model.embed(TEXTS, out=array) is array
    np.testing.assert_allclose(array, expected, atol=F16_ATTENTION)
    file = np.memmap(tmp_path / "features", dtype=np.float32, mode="w+", shape=(4, 64))
    assert model.embed(TEXTS, out=file) is file
    file.flush()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "features", dtype=np.float32).reshape(4, 64), array)
    four = np.empty((4, 2, 1, 64), dtype=np.float32)
    model.embed(TEXTS, layers=[2, 0], out=four)
    np.testing.assert_array_equal(four[:, 0, 0], array)


READ_ONLY = np.empty((4, 64), dtype=np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((4, 63), dtype=np.float32), r"out is float32 \(4, 63\): expected float32 \(4, 64\)"),
        (np.empty((3, 64), dtype=np.float32), r"\(3, 64\): expected float32 \(4, 64\)"),
        (np.empty((4, 1, 1, 64), dtype=np.float32), r"\(4, 1, 1, 64\): expected float32 \(4, 64\)"),
        (np.empty((4, 64)), r"out is float64 \(4, 64\)"),
        (np.empty((4, 64), dtype=">f4"), "out is >f4"),
        (np.empty((64, 4), dtype=np.float32).T, "not C-contiguous"),
        (np.empty((4, 128), dtype=np.float32)[:, ::2], "not C-contiguous"),
        (READ_ONLY, "writeable"),
        ([[0.0] * 64] * 4, "out is list"),
    ],
)
def test_out_of_another_shape_or_kind_is_refused(model: Embedder, out: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.embed(TEXTS, out=out)


def test_a_result_is_the_callers_own(model: Embedder, expected: np.ndarray) -> None:
    model.embed(TEXTS)[...] = 0
    np.testing.assert_allclose(model.embed(TEXTS), expected, atol=F16_ATTENTION)


# -- pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk_size", "sizes"), [(1, [1] * 4), (3, [3, 1]), (4, [4]), (100, [4])])
def test_embed_iter_gives_the_same_rows_in_pieces(
    model: Embedder, expected: np.ndarray, chunk_size: int, sizes: list[int]
) -> None:
    pieces = list(model.embed_iter(TEXTS, chunk_size=chunk_size))
    assert [len(piece) for piece in pieces] == sizes
    np.testing.assert_allclose(np.vstack(pieces), expected, atol=F16_ATTENTION)
    assert next(model.embed_iter(TEXTS, layers=[0, 1], pooling="last")).shape == (4, 2, 1, 64)


def test_embed_iter_takes_texts_as_it_needs_them(model: Embedder) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield f"text number {taken}"

    pieces = model.embed_iter(endless(), chunk_size=5)
    assert next(pieces).shape == next(pieces).shape == (5, 64)
    assert taken == 10


@pytest.mark.parametrize("chunk_size", [0, -1, 2.0, True, "10"])
def test_embed_iter_refuses_at_once_what_is_wrong(model: Embedder, chunk_size: object) -> None:
    with pytest.raises(InputError, match=r"chunk_size is .*: expected a positive int"):
        model.embed_iter(TEXTS, chunk_size=chunk_size)
    with pytest.raises(InputError, match="texts is a single str, 'the film'"):
        model.embed_iter("the film")


# -- scikit-learn -----------------------------------------------------------------------------------------------------


def test_an_embedder_is_a_transformer(model: Embedder, expected: np.ndarray) -> None:
    assert model.fit(TEXTS) is model
    np.testing.assert_allclose(model.transform(TEXTS), expected, atol=F16_ATTENTION)
    np.testing.assert_allclose(model.fit_transform(TEXTS), expected, atol=F16_ATTENTION)
    assert list(model.get_feature_names_out()[[0, 63]]) == ["embedding0", "embedding63"]
    model.set_output(transform="pandas")
    frame = model.transform(TEXTS)
    assert frame.columns[5] == "embedding5"
    np.testing.assert_allclose(frame.to_numpy(), expected, atol=F16_ATTENTION)


def test_clones_and_pickles_have_the_same_parameters(tiny_llama: TinyModel) -> None:
    model = Embedder(tiny_llama.path, layer=1, pooling="last", prompt=Prompt("a", "b"), n_ctx=64, n_threads=1)
    features = model.embed(TEXTS)
    for copy in (clone(model), pickle.loads(pickle.dumps(model)), Embedder(**model.get_params())):
        assert copy.get_params() == model.get_params()
        np.testing.assert_allclose(copy.embed(TEXTS), features, atol=F16_ATTENTION)


def test_parameters_set_later_count(model: Embedder, tiny_llama: TinyModel, tmp_path: Path) -> None:
    model.embed(TEXTS)
    model.set_params(layer=4, pooling="last", prompt="Read: ")
    want = [expected_embedding(tiny_llama, text, layer=4, pooling="last", prefix="Read: ") for text in TEXTS]
    np.testing.assert_allclose(model.embed(TEXTS), want, atol=F16_ATTENTION)
    other = write_tiny_llama(tmp_path / "other.gguf", seed=1, n_embd=32)
    assert model.set_params(model=other.path).embed(TEXTS).shape == (4, 32)


def test_an_embedder_stands_in_pipelines_and_unions(tiny_llama: TinyModel, expected: np.ndarray) -> None:
    first, last = (Embedder(tiny_llama.path, pooling=pooling, n_threads=1) for pooling in ("mean", "last"))
    union = FeatureUnion([("first", first), ("last", last)])
    reduced = make_pipeline(union, PCA(2)).fit_transform(TEXTS)
    assert reduced.shape == (4, 2)
    np.testing.assert_allclose(union.fit_transform(TEXTS)[:, :64], expected, atol=F16_ATTENTION)


def test_info_is_that_of_the_file(model: Embedder, tiny_llama: TinyModel) -> None:
    assert (model.n_layers, model.n_embd) == (tiny_llama.n_layer, tiny_llama.n_embd)
    assert model.model_info.architecture == "llama"


# -- features that are known already ----------------------------------------------------------------------------------


def test_a_text_is_computed_once_and_again_when_anything_changed(model: Embedder) -> None:
    def n_computed(**changes: object) -> int:
        return clone(model).set_params(**changes)._embed_counted(TEXTS, None, None, None)[1]

    everything = n_computed()
    assert everything > len(TEXTS)
    assert n_computed() == 0
    for change in [
        {"layer": 1},
        {"pooling": "last"},
        {"prompt": "See:"},
        {"prompt": Prompt(suffix="?")},
        {"n_ctx": 99},
    ]:
        assert n_computed(**change) >= everything
        assert n_computed(**change) == 0


def test_a_file_that_took_the_models_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_llama(path, seed=1)
    model = Embedder(path, n_threads=1)
    model.embed(TEXTS)
    other = write_tiny_llama(tmp_path / "new.gguf", seed=2)
    other.path.replace(path)
    want = [expected_embedding(other, text, layer=2, pooling="mean") for text in TEXTS]
    np.testing.assert_allclose(model.embed(TEXTS), want, atol=F16_ATTENTION)


def test_a_text_that_was_cut_is_computed_once_and_warned_of_each_time(tiny_llama: TinyModel) -> None:
    model = Embedder(tiny_llama.path, n_threads=1, n_ctx=16, on_long="truncate")
    texts = ["short", "the film " * 30]
    with pytest.warns(TruncationWarning, match="1 of 2"):
        first, n_tokens = model._embed_counted(texts, None, None, None)
    assert n_tokens > 16
    with pytest.warns(TruncationWarning, match="1 of 2"):
        second, n_tokens = model._embed_counted(texts, None, None, None)
    assert n_tokens == 0
    np.testing.assert_array_equal(first, second)
    with pytest.raises(InputError, match="too long"):  # what was cut for one is not taken for another
        Embedder(tiny_llama.path, n_threads=1, n_ctx=16).embed(texts)


# -- silence ----------------------------------------------------------------------------------------------------------


def test_nothing_is_printed_and_no_bar_is_drawn_where_there_is_no_terminal(
    tiny_llama: TinyModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Loading, embedding, a file that llama.cpp refuses, a context longer than the model was trained with.
    Embedder(tiny_llama.path, n_threads=1, n_batch=1000).embed(TEXTS)
    Embedder(write_tiny_llama(tmp_path / "new.gguf").path, n_threads=1, layer=-1).embed(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        Embedder(tiny_llama.path, n_threads=1, n_ctx=8, on_long="truncate").embed(["the film " * 30])
    assert capfd.readouterr() == ("", "")


def test_a_program_that_sets_up_no_logging_prints_nothing(tiny_llama: TinyModel) -> None:
    program = f"import fastplr; fastplr.Embedder({str(tiny_llama.path)!r}, n_batch=1000).embed(['a film'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_bar_is_drawn_where_it_is_asked_for(model: Embedder, capfd: pytest.CaptureFixture[str]) -> None:
    model.set_params(progress=True).embed(TEXTS)
    out, err = capfd.readouterr()
    assert out == ""
    assert "embedding" in err
    assert "0/4" in err  # a later state is drawn only where the work takes longer


def test_llamas_log_goes_to_the_logger(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny = write_tiny_llama(tmp_path / "logged.gguf")
    with caplog.at_level(logging.INFO, logger="fastplr.llama"):
        Embedder(tiny.path, n_threads=1).embed(TEXTS)
    assert any("llama_context" in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} == {"fastplr.llama"}
