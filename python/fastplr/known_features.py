"""What is known of the features of texts before they are computed, in memory and on disk."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastplr.errors import CacheWarning
from fastplr.feature_cache import CachedRow, FeatureCache
from fastplr.feature_keys import FeatureKeys
from fastplr.feature_store import FeatureStore, StoreUnavailable
from fastplr.user_warning import warn_user

__all__ = ["Gap", "KnownFeatures", "fill_known"]

Features = npt.NDArray[np.float32]
Row = npt.NDArray[np.float32]

_logger = logging.getLogger("fastplr")

#: Rows looked up at once: memory for them is taken whatever the size of the corpus.
ROWS_AT_ONCE = 2048


class KnownFeatures:
    """The cache in memory and, where there is one, the store on disk behind it, for one run.

    A store that cannot be used is warned of once, and done without from then on. Of a corpus that does not fit in half
    of the memory, what comes first is remembered there and no more: the other half stays with those of other runs, and
    what comes later would only take the place of what came before.

    Args:
        memory: The cache in memory.
        store: The store on disk, or None.
    """

    def __init__(self, memory: FeatureCache, store: FeatureStore | None) -> None:
        self._memory = memory
        self._store = store
        self._bytes_left = memory.max_bytes // 2

    def get(self, keys: Sequence[bytes]) -> list[CachedRow | None]:
        """The row of each key, None where it is not known. What only memory knew is then on disk as well."""
        rows = self._memory.get(keys)
        if self._store is None:
            return rows
        remembered = {key: row for key, row in zip(keys, rows, strict=True) if row is not None}
        missing = [place for place, row in enumerate(rows) if row is None]
        try:
            if remembered:
                _add(self._store, remembered)
            stored = self._store.get([keys[place] for place in missing]) if missing else []
        except StoreUnavailable as error:
            self._go_on_without_store(error)
            return rows
        found = [(place, row) for place, row in zip(missing, stored, strict=True) if row is not None]
        for place, row in found:
            rows[place] = row
        self._remember(
            [keys[place] for place, _ in found], [row.features for _, row in found], [row.cut for _, row in found]
        )
        return rows

    def put(self, keys: Sequence[bytes], features: Features, cut: Sequence[bool]) -> None:
        """Keep ``features[i]`` and ``cut[i]`` under ``keys[i]``: on disk, and in memory where it has room for them."""
        self._remember(keys, features, cut)
        if self._store is None:
            return
        try:
            self._store.put(keys, features, cut)
        except StoreUnavailable as error:
            self._go_on_without_store(error)

    def _remember(self, keys: Sequence[bytes], features: Sequence[Row] | Features, cut: Sequence[bool]) -> None:
        if len(keys) == 0:
            return
        n_bytes = self._memory.bytes_of(features[0])
        n = min(len(keys), self._bytes_left // n_bytes)
        if n > 0:
            self._bytes_left -= n * n_bytes
            self._memory.put(keys[:n], features[:n], cut[:n])

    def _go_on_without_store(self, error: StoreUnavailable) -> None:
        self._store = None
        message = f"{error}; going on without it"
        _logger.warning("%s", message)
        warn_user(message, CacheWarning)


def _add(store: FeatureStore, rows: Mapping[bytes, CachedRow]) -> None:
    """Put into `store` those of `rows` that it does not have."""
    held = store.held(list(rows))
    new = {key: row for key, row in rows.items() if key not in held}
    if new:
        features = np.stack([row.features for row in new.values()])
        store.put(list(new), features, [row.cut for row in new.values()])


class Gap(NamedTuple):
    """What is not known of a text: places in the lists of the wanted layers and poolings."""

    layers: tuple[int, ...]
    poolings: tuple[int, ...]


def fill_known(
    rows: Features,
    first: Mapping[str, int],
    keys: FeatureKeys,
    known: KnownFeatures,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
    truncate: bool,
) -> tuple[dict[Gap, list[str]], set[int]]:
    """Write what is known of each text to its row.

    Args:
        rows: float32 ``(n_rows, n_layers, n_poolings, n_features)``, to be filled.
        first: The row of each text.
        keys: What the features are kept under.
        known: Where they are kept.
        layers: The wanted layers, as numbers.
        poolings: The wanted poolings.
        truncate: Whether features of a text that was cut will do.

    Returns:
        The texts of which something is not known, by what that is, the deepest layers first: the model is then loaded
        once, as deep as all of them need. And the rows of the other texts that were cut.
    """
    pairs = [(layer, pooling) for layer in range(len(layers)) for pooling in range(len(poolings))]
    missing: dict[Gap, list[str]] = {}
    cut: set[int] = set()
    texts = iter(first)
    while chunk := list(itertools.islice(texts, max(1, ROWS_AT_ONCE // len(pairs)))):
        wanted = [keys.of(text, layers[layer], poolings[pooling]) for text in chunk for layer, pooling in pairs]
        found = iter(known.get(wanted))
        for text in chunk:
            lacking: list[tuple[int, int]] = []
            was_cut = False
            for layer, pooling in pairs:
                row = next(found)
                if row is None or (row.cut and not truncate):
                    lacking.append((layer, pooling))
                else:
                    rows[first[text], layer, pooling] = row.features
                    was_cut = was_cut or row.cut
            if lacking:
                gap = Gap(*(tuple(sorted(set(places))) for places in zip(*lacking, strict=True)))
                missing.setdefault(gap, []).append(text)
            elif was_cut:
                cut.add(first[text])
    by_depth = sorted(missing, key=lambda gap: max(depth(layers[place]) for place in gap.layers), reverse=True)
    return {gap: missing[gap] for gap in by_depth}, cut


def depth(layer: int) -> float:
    """How deep `layer` lies: -1, the state after the output norm, below all the others."""
    return math.inf if layer == -1 else layer
