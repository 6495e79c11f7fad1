"""Batches that are computed side by side, each with its share of the threads: nothing but the time may differ."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastplr import InputError, ModelError, _core
from native_embedding import engine_of, native_embed
from tiny_models import TinyModel, write_tiny_llama

# Some are longer than a batch, some begin alike, and one is as long as all others together.
TEXTS = [f"number {i % 9} " + "the film is slow " * (i * i % 23) for i in range(60)] + ["a boring film " * 500]
N_BATCH = 64
PROMPT = {"prefix": "Does the sentence have a positive sentiment? ", "suffix": " Answer:"}


@pytest.fixture(params=["tiny_llama", "tiny_bert", "tiny_spm"])
def tiny(request: pytest.FixtureRequest) -> TinyModel:
    model = request.getfixturevalue(request.param)
    assert isinstance(model, TinyModel)
    return model


def texts_for(tiny: TinyModel) -> list[str]:
    """Those that fit its context."""
    n_ctx = engine_of(tiny.path).model.n_ctx_train
    return [text for text in TEXTS if len(tiny.tokenize(PROMPT["prefix"] + text + PROMPT["suffix"])) <= n_ctx]


def n_threads_of_process() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def most_threads(engine: _core.Embedder) -> int:
    """While short texts are embedded."""
    seen: list[int] = []
    out = np.empty((40, 1, 1, engine.model.n_embd), dtype=np.float32)
    engine.embed(
        TEXTS[:40], out, layers=[1], poolings=["mean"], on_batch=lambda *_: seen.append(n_threads_of_process())
    )
    return max(seen)


@pytest.mark.parametrize("prompt", [{}, PROMPT], ids=["bare", "prompted"])
def test_the_number_of_lanes_and_threads_does_not_change_a_bit(tiny: TinyModel, prompt: dict[str, str]) -> None:
    texts = texts_for(tiny)
    poolings = ("mean", "mean_all", "last")

    def embed(n_threads: int, max_lanes: int) -> tuple[np.ndarray, object]:
        engine = engine_of(tiny.path, n_batch=N_BATCH, n_threads=n_threads, max_lanes=max_lanes)
        first = native_embed(engine, texts, [1, 2], poolings, **prompt)
        again = native_embed(engine, texts[:7], [1], poolings, **prompt)  # with what the lanes have kept
        alone = native_embed(engine, texts[:1], [2], poolings, **prompt)
        return np.concatenate([part[0].ravel() for part in (first, again, alone)]), [
            part[1] for part in (first, again, alone)
        ]

    want, summaries = embed(1, 1)
    assert np.isfinite(want).all()
    for n_threads, max_lanes in [(2, 1), (2, 2), (2, 0), (3, 2), (4, 0), (7, 3)]:
        got, said = embed(n_threads, max_lanes)
        np.testing.assert_array_equal(got, want, err_msg=f"{n_threads} threads, {max_lanes} lanes")
        assert said == summaries


def text_of(tiny: TinyModel, n_tokens: int, begin: str) -> str:
    """A text that begins so and has so many tokens."""
    text = begin
    while len(tiny.tokenize(text + " film")) <= n_tokens:
        text += " film"
    while len(tiny.tokenize(text)) < n_tokens:
        text += "q"
    assert len(tiny.tokenize(text)) == n_tokens
    return text


def test_a_token_alone_in_its_batch_is_computed_alike_by_any_number_of_threads(tmp_path: Path) -> None:
    # The last piece of 513 tokens in batches of 256 is one token, and ggml would cut the keys before it into a part for
    # each thread.
    wide = write_tiny_llama(tmp_path / "wide.gguf", n_ctx=2048)
    prefix = text_of(wide, 513, "") + "\n"
    prompts = [({}, [text_of(wide, 513, f"{i}") for i in range(6)]), ({"prefix": prefix}, TEXTS[:40])]
    for prompt, texts in prompts:
        want: np.ndarray | None = None
        for n_threads, max_lanes in [(1, 1), (2, 1), (3, 1), (5, 0), (8, 3)]:
            engine = engine_of(wide.path, n_threads=n_threads, max_lanes=max_lanes)
            native_embed(engine, texts[:1], [4], **prompt)  # all threads, and what is kept of it
            got = native_embed(engine, texts, [4], ("last",), **prompt)[0]
            want = got if want is None else want
            np.testing.assert_array_equal(got, want, err_msg=f"{n_threads} threads, {max_lanes} lanes, {prompt}")


def test_every_text_is_finished_once(tiny_llama: TinyModel) -> None:
    engine = engine_of(tiny_llama.path, n_batch=N_BATCH, n_threads=3, max_lanes=3)
    texts = texts_for(tiny_llama)
    out = np.full((len(texts), 1, 1, 64), np.nan, dtype=np.float32)
    finished: Counter[int] = Counter()
    n_done: list[int] = []

    def on_batch(positions: list[int], truncated: list[int]) -> None:
        assert np.isfinite(out[positions]).all()
        finished.update(positions)

    engine.embed(
        texts, out, layers=[1], poolings=["mean"], on_batch=on_batch, on_progress=lambda done, _: n_done.append(done)
    )
    assert finished == Counter(range(len(texts)))
    assert n_done == sorted(n_done)
    assert len(n_done) > 10


@pytest.mark.parametrize("n_batches", [1, 2, 5])
def test_what_a_callback_raises_ends_all_lanes(tiny_llama: TinyModel, n_batches: int) -> None:
    engine = engine_of(tiny_llama.path, n_batch=N_BATCH, n_threads=2, max_lanes=2)
    want = native_embed(engine, TEXTS[:40], [2])[0]
    n_told = 0

    def stop(*_: object) -> None:
        nonlocal n_told
        n_told += 1
        if n_told == n_batches:
            raise KeyboardInterrupt

    out = np.empty_like(want)
    with pytest.raises(KeyboardInterrupt):
        engine.embed(TEXTS[:40], out, layers=[2], poolings=["mean"], on_batch=stop)
    assert n_told == n_batches
    np.testing.assert_array_equal(native_embed(engine, TEXTS[:40], [2])[0], want)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_while_lanes_work_gets_our_error_and_begins_anew(tiny_llama: TinyModel) -> None:
    engine = engine_of(tiny_llama.path, n_batch=N_BATCH, n_threads=2, max_lanes=2)
    want = native_embed(engine, TEXTS[:40], [2])[0]
    out = np.empty_like(want)
    children: list[int] = []

    def fork(*_: object) -> None:
        if not children:
            children.append(os.fork())

    def embed() -> None:
        engine.embed(TEXTS[:40], out, layers=[2], poolings=["mean"], on_batch=fork)

    try:
        embed()
    except ModelError as error:
        ok = children == [0] and "forked while it was embedding" in str(error)
        ok = ok and np.array_equal(native_embed(engine, TEXTS[:40], [2])[0], want)
        os._exit(0 if ok else 1)
    finally:
        if children == [0]:
            os._exit(2)
    np.testing.assert_array_equal(out, want)
    assert os.waitpid(children[0], 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_embeds_within_the_callback_does_not_go_on_with_the_work_of_its_parent(
    tiny_llama: TinyModel,
) -> None:
    engine = engine_of(tiny_llama.path, n_batch=N_BATCH, n_threads=2, max_lanes=2)
    want = native_embed(engine, TEXTS[:40], [2])[0]
    out = np.empty_like(want)
    children: list[int] = []

    def fork(*_: object) -> None:
        if children:
            return
        children.append(os.fork())
        if children == [0] and not np.array_equal(native_embed(engine, TEXTS[:40], [2])[0], want):
            os._exit(1)

    try:
        engine.embed(TEXTS[:40], out, layers=[2], poolings=["mean"], on_batch=fork)
    except ModelError as error:
        os._exit(0 if children == [0] and "forked while it was embedding" in str(error) else 3)
    finally:
        if children == [0]:
            os._exit(2)
    np.testing.assert_array_equal(out, want)
    assert os.waitpid(children[0], 0)[1] == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
def test_one_long_text_does_not_take_the_lanes_from_short_ones(tmp_path: Path) -> None:
    # 64 MB hold many contexts for short texts, and none more for a long one.
    shape = {"n_embd": 512, "n_ff": 64, "n_layer": 4, "n_head": 8, "n_head_kv": 8, "n_ctx": 8192}
    wide = write_tiny_llama(tmp_path / "wide.gguf", **shape)
    before = n_threads_of_process()
    engine = engine_of(wide.path, n_threads=3, n_batch=N_BATCH)
    n_tokens = len(wide.tokenize("a boring film " * 2000))
    assert 5000 < n_tokens < 8000
    native_embed(engine, ["a boring film " * 2000], [4])
    assert most_threads(engine) == before + 3 + 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
@pytest.mark.parametrize(("max_lanes", "more"), [(1, 1 + 2), (2, 2 + 2), (0, 3 + 2)])
def test_lanes_have_threads_of_their_own_while_they_work(tiny_llama: TinyModel, max_lanes: int, more: int) -> None:
    # Every lane is a thread; the first one's pool has two more, for batches that all of them compute together.
    before = n_threads_of_process()
    engine = engine_of(tiny_llama.path, n_batch=N_BATCH, n_threads=3, max_lanes=max_lanes)
    assert most_threads(engine) == before + more


def test_a_negative_number_of_lanes_is_refused(tiny_llama: TinyModel) -> None:
    with pytest.raises(InputError, match="max_lanes is -1: expected 0 or more"):
        engine_of(tiny_llama.path, max_lanes=-1)
