"""Sixty rows of features to be put into a store, and looked for there."""

from __future__ import annotations

import numpy as np

from fastplr.feature_store import FeatureStore

KEYS = [bytes([i]) * 32 for i in range(60)]
ROWS = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
CUT = [i % 3 == 0 for i in range(60)]


def fill(store: FeatureStore) -> None:
    for start in range(0, 60, 10):
        part = slice(start, start + 10)
        store.put(KEYS[part], ROWS[part], CUT[part])


def check(store: FeatureStore, *, n_found: int | None = None) -> None:
    """What is found is what was put there; `n_found` of it."""
    found = store.get(KEYS)
    for i, row in enumerate(found):
        if row is not None:
            assert row.features.tobytes() == ROWS[i].tobytes()
            assert row.cut == CUT[i]
    assert n_found in (None, sum(row is not None for row in found))


def put_wide(store: FeatureStore, keys: list[bytes]) -> None:
    """1 MB for a thousand."""
    store.put(keys, np.zeros((len(keys), 256), dtype=np.float32), [False] * len(keys))
