"""The native engine without the Python layer: no caches between a test and what is computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastplr import _core


def native_embed(
    engine: _core.Embedder,
    texts: Sequence[str],
    layers: Sequence[int],
    poolings: Sequence[str] = ("mean",),
    *,
    prefix: str = "",
    suffix: str = "",
) -> tuple[np.ndarray, _core.EmbedSummary]:
    """float32 ``(n_texts, n_layers, n_poolings, n_embd)``, and what the engine says of the call."""
    out = np.full((len(texts), len(layers), len(poolings), engine.model.n_embd), np.nan, dtype=np.float32)
    summary = engine.embed(list(texts), out, layers=list(layers), poolings=list(poolings), prefix=prefix, suffix=suffix)
    return out, summary


def load(path: str | Path, *, max_layer: int = -1) -> _core.Model:
    """The model at `path` with its blocks up to `max_layer`, or all of them."""
    return _core.Model(os.fspath(path), max_layer=max_layer)


def engine_of(path: str | Path, *, max_layer: int = -1, **settings: object) -> _core.Embedder:
    """An engine of its own for the model at `path`; one thread unless said otherwise."""
    return _core.Embedder(load(path, max_layer=max_layer), **{"n_threads": 1, **settings})
