"""What the engine says of the texts that are finished, batch by batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastplr import Embedder, InputError, _core
from tiny_models import TinyModel

TEXTS = [f"number {i} " + "the film " * (i % 7) for i in range(40)]


@pytest.fixture
def engine(tiny_llama: TinyModel) -> _core.Embedder:
    return _core.Embedder(_core.Model(str(tiny_llama.path)), n_batch=32, n_threads=1)


def test_every_text_is_finished_once_and_its_row_is_final(engine: _core.Embedder) -> None:
    out = np.full((len(TEXTS), 2, 1, 64), np.nan, dtype=np.float32)
    finished: list[int] = []
    rows_then: dict[int, np.ndarray] = {}
    n_done: list[int] = []

    def on_batch(texts: list[int], truncated: list[int]) -> None:
        assert truncated == []
        assert np.isfinite(out[texts]).all()
        finished.extend(texts)
        rows_then.update({index: out[index].copy() for index in texts})
        assert np.isnan(out[[index for index in range(len(TEXTS)) if index not in rows_then]]).all()

    def on_progress(done: int, total: int) -> None:
        assert len(finished) == done  # told before
        n_done.append(done)

    engine.embed(TEXTS, out, layers=[1, 3], poolings=["mean"], on_batch=on_batch, on_progress=on_progress)
    assert sorted(finished) == list(range(len(TEXTS)))
    assert len(n_done) > 5
    for index, row in rows_then.items():
        np.testing.assert_array_equal(out[index], row)


def test_texts_that_were_cut_are_named_with_their_batch(tiny_llama: TinyModel) -> None:
    engine = _core.Embedder(_core.Model(str(tiny_llama.path)), n_ctx=8, n_batch=16, n_threads=1)
    out = np.empty((len(TEXTS), 1, 1, 64), dtype=np.float32)
    cut: list[int] = []

    def on_batch(texts: list[int], truncated: list[int]) -> None:
        assert set(truncated) <= set(texts)
        cut.extend(truncated)

    summary = engine.embed(TEXTS, out, layers=[1], poolings=["mean"], truncate=True, on_batch=on_batch)
    too_long = [index for index, text in enumerate(TEXTS) if len(tiny_llama.tokenize(text)) > 8]
    assert sorted(cut) == summary["truncated"] == too_long
    assert 0 < len(too_long) < len(TEXTS)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
def test_texts_are_tokenised_while_others_are_computed(engine: _core.Embedder) -> None:
    # 512 texts at once; those after them take a second to tokenise, and the first batch a millisecond to compute.
    texts = ["a film"] * 512 + ["the film is slow and boring " * 400] * 512
    out = np.empty((len(texts), 1, 1, 64), dtype=np.float32)
    n_threads: list[int] = []

    def stop(*_: object) -> None:
        n_threads.append(len(list(Path("/proc/self/task").iterdir())))
        raise KeyError("enough")

    for some in (texts[:512], texts):
        with pytest.raises(KeyError, match="enough"):
            engine.embed(some, out[: len(some)], layers=[1], poolings=["mean"], truncate=True, on_batch=stop)
    assert n_threads[1] == n_threads[0] + 1


@pytest.mark.parametrize("n_texts", [2, 31, 32, 33, 511, 513])
def test_texts_that_two_threads_tokenise_stay_in_order(tiny_llama: TinyModel, n_texts: int) -> None:
    texts = [f"film {i}" for i in range(n_texts)]
    one, two = (
        Embedder(Path(tiny_llama.path), n_threads=n, layer=0, cache=False, progress=False).embed(texts) for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("blank", "named"), [((5, 35), 5), ((35, 39), 35), ((19, 20), 19)])
def test_the_first_bad_text_is_named_whichever_thread_met_it(
    tiny_llama: TinyModel, blank: tuple[int, ...], named: int
) -> None:
    engine = _core.Embedder(_core.Model(str(tiny_llama.path)), n_threads=2)
    texts = [" " if i in blank else f"film {i}" for i in range(40)]
    out = np.empty((len(texts), 1, 1, 64), dtype=np.float32)
    with pytest.raises(InputError, match=rf"texts\[{named}\]"):
        engine.embed(texts, out, layers=[1], poolings=["mean"])


def test_what_it_raises_ends_the_work(engine: _core.Embedder, tiny_llama: TinyModel) -> None:
    out = np.full((len(TEXTS), 1, 1, 64), np.nan, dtype=np.float32)
    n_batches = 0

    def stop(*_: object) -> None:
        nonlocal n_batches
        n_batches += 1
        if n_batches == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        engine.embed(TEXTS, out, layers=[1], poolings=["mean"], on_batch=stop)
    assert n_batches == 2
    assert np.isnan(out).any()
    whole = Embedder(Path(tiny_llama.path), n_threads=1, layer=1).embed(TEXTS)
    engine.embed(TEXTS, out, layers=[1], poolings=["mean"])  # and it works on
    np.testing.assert_allclose(out[:, 0, 0], whole, atol=5e-3)
