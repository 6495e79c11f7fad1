"""Features that were computed in this process, so that a grid search or a cross-validation embeds each text once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

__all__ = ["CachedRow", "FeatureCache", "feature_cache"]

Row = npt.NDArray[np.float32]

#: What an entry takes beside its numbers: array object, key, row, two dictionary slots (sys.getsizeof, CPython 3.11).
ENTRY_OVERHEAD = 500


class CachedRow(NamedTuple):
    """What is known of a text at one layer and pooling: its features, and whether it was cut to fit the context."""

    features: Row
    cut: bool


class FeatureCache:
    """Rows of features in memory, by the keys of :class:`fastplr.feature_keys.FeatureKeys`.

    The least recently used go first.

    Args:
        max_bytes: Memory for all rows together.
    """

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        self.max_bytes = max_bytes
        self._rows = self._empty()
        self._lock = threading.RLock()  # a signal handler that embeds may interrupt its own thread here
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _empty(self) -> LRUCache[bytes, CachedRow]:
        return LRUCache(self.max_bytes, getsizeof=lambda row: self.bytes_of(row.features))

    @staticmethod
    def bytes_of(features: Row) -> int:
        """Memory that an entry with these `features` takes."""
        return features.nbytes + ENTRY_OVERHEAD

    def _after_fork(self) -> None:
        # Another thread of the parent may have been writing: then the child cannot trust what is there.
        if not self._lock.acquire(blocking=False):
            self._rows = self._empty()
        self._lock = threading.RLock()

    def get(self, keys: Iterable[bytes]) -> list[CachedRow | None]:
        """The row of each key, None where it is not here."""
        with self._lock:
            return [self._rows.get(key) for key in keys]

    def put(self, keys: Sequence[bytes], features: Iterable[Row], cut: Sequence[bool]) -> None:
        """Keep a copy of the i-th of `features`, float32 ``(n_features,)``, and ``cut[i]`` under ``keys[i]``."""
        with self._lock:
            for key, row, was_cut in zip(keys, features, cut, strict=True):
                self._rows[key] = CachedRow(row.copy(), was_cut)

    def clear(self) -> None:
        """Forget every row."""
        with self._lock:
            self._rows.clear()


feature_cache = FeatureCache()
