"""One call at a time on an engine: who waits can be interrupted, and nobody waits for itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from fastplr import Embedder, ModelError, _core
from fastplr.engine import clear_engines
from fastplr.feature_cache import feature_cache
from native_embedding import engine_of, native_embed
from tiny_models import TinyModel

TEXTS = [f"number {i}: " + "the film is slow " * (i % 5) for i in range(40)]
AT_WORK = "the embedder is at work in this very thread"
needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers that send a signal")


class Alarm(Exception):
    """What a signal handler raises."""


@contextmanager
def on_alarm(handler: Callable[[], object]) -> Iterator[None]:
    """Calls `handler` from a signal handler, every 20 ms."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def engine(tiny_llama: TinyModel) -> _core.Embedder:
    return engine_of(tiny_llama.path, n_batch=32, n_threads=2)


def test_a_callback_cannot_embed_with_the_engine_that_calls_it(engine: _core.Embedder) -> None:
    want = native_embed(engine, TEXTS, [2])[0]
    out = np.empty_like(want)
    with pytest.raises(ModelError, match=AT_WORK):
        engine.embed(TEXTS, out, layers=[2], poolings=["mean"], on_batch=lambda *_: native_embed(engine, TEXTS, [2]))
    np.testing.assert_array_equal(native_embed(engine, TEXTS, [2])[0], want)


@needs_alarm
def test_nor_can_a_signal_handler(tiny_llama: TinyModel) -> None:
    clear_engines()
    said: list[str] = []

    def embed_too() -> None:
        try:
            Embedder(tiny_llama.path, layer=2, n_threads=2, progress=False).embed(["another text"])
        except ModelError as error:
            said.append(str(error))
        feature_cache.clear()

    embedder = Embedder(tiny_llama.path, layer=2, n_threads=2, progress=False)
    want = embedder.embed(TEXTS)
    with on_alarm(embed_too):
        for attempt in range(10_000):  # until a signal has come at such a moment
            texts = [f"{text} {attempt}" for text in TEXTS]
            embedder.embed(texts)
            if said:
                break
    assert AT_WORK in said[0]
    feature_cache.clear()
    np.testing.assert_array_equal(embedder.embed(TEXTS), want)


@needs_alarm
def test_who_waits_for_another_thread_can_be_interrupted(engine: _core.Embedder) -> None:
    want = native_embed(engine, TEXTS, [2])[0]
    out = np.empty_like(want)
    at_work, may_go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        at_work.set()
        may_go_on.wait()

    def ring() -> None:
        raise Alarm

    other = threading.Thread(
        target=lambda: engine.embed(TEXTS, out, layers=[2], poolings=["mean"], on_batch=wait), daemon=True
    )
    other.start()
    at_work.wait()
    try:
        with pytest.raises(Alarm), on_alarm(ring):
            native_embed(engine, TEXTS[:1], [2])
    finally:
        may_go_on.set()
    other.join()
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(native_embed(engine, TEXTS, [2])[0], want)
