"""Features that were computed in this process, so that a grid search or a cross-validation embeds each text once."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

__all__ = ["FeatureCache", "feature_cache"]

Row = npt.NDArray[np.float32]

#: What an entry takes beside its numbers: array object, key, text, two dictionary slots (sys.getsizeof, CPython 3.11).
ENTRY_OVERHEAD = 500


class CachedRow(NamedTuple):
    """What is known of a text: its features, and whether it was cut to fit the context."""

    features: Row
    cut: bool


class FeatureCache:
    """Rows of features by (what they were computed with, text); the least recently used go first.

    Args:
        max_bytes: Memory for all rows together.
    """

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        self.max_bytes = max_bytes
        self._rows = self._empty()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _empty(self) -> LRUCache[Hashable, CachedRow]:
        return LRUCache(self.max_bytes, getsizeof=lambda row: row.features.nbytes + ENTRY_OVERHEAD)

    def _after_fork(self) -> None:
        # Another thread of the parent may have been writing: then the child cannot trust what is there.
        if self._lock.locked():
            self._rows = self._empty()
        self._lock = threading.Lock()

    def get(self, setting: Hashable, texts: Iterable[str]) -> list[CachedRow | None]:
        """The row of each text, None where it is not here."""
        with self._lock:
            return [self._rows.get((setting, text)) for text in texts]

    def put(self, setting: Hashable, texts: Sequence[str], features: Row, cut: Sequence[bool]) -> None:
        """Keep ``features[i]`` and ``cut[i]`` for ``texts[i]``."""
        with self._lock:
            for text, row, was_cut in zip(texts, features, cut, strict=True):
                self._rows[setting, text] = CachedRow(row.copy(), was_cut)

    def clear(self) -> None:
        """Forget every row."""
        with self._lock:
            self._rows.clear()


feature_cache = FeatureCache()
