"""The file that features are kept in: what goes in comes out, and it keeps to its size."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastplr.feature_store import FeatureStore
from stored_rows import KEYS, check, fill, put_wide


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path / "features", busy_seconds=0.2)
    yield opened
    opened.close()


# -- round trip -------------------------------------------------------------------------------------------------------

WIDTH = 3
NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
ENTRIES = st.dictionaries(
    st.binary(min_size=32, max_size=32),
    st.tuples(st.lists(NUMBERS, min_size=WIDTH, max_size=WIDTH), st.booleans()),
    max_size=20,
)


@settings(deadline=None, max_examples=30)
@given(batches=st.lists(ENTRIES, max_size=4), unknown=st.binary(min_size=32, max_size=32))
def test_what_was_put_there_last_comes_out_bit_for_bit(
    batches: list[dict[bytes, tuple[list[float], bool]]], unknown: bytes
) -> None:
    kept: dict[bytes, tuple[bytes, bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        for batch in batches:
            rows = np.array([row for row, _ in batch.values()], dtype=np.float32).reshape(len(batch), WIDTH)
            store.put(list(batch), rows, [cut for _, cut in batch.values()])
            kept |= {key: (row.tobytes(), batch[key][1]) for key, row in zip(batch, rows, strict=True)}
        for _ in range(2):
            for key, row in zip([*kept, unknown], store.get([*kept, unknown]), strict=True):
                assert (None if row is None else (row.features.tobytes(), row.cut)) == kept.get(key)
            assert store.info().n_entries == len(kept)
            store.close()  # and open it again


def test_many_rows_come_out_in_the_order_asked_for(store: FeatureStore) -> None:
    keys = [i.to_bytes(32, "big") for i in range(3000)]
    store.put(keys, np.arange(3000, dtype=np.float32)[:, None], [False] * 3000)
    order = np.random.default_rng(0).permutation(3000)
    assert [row.features[0] for row in store.get([keys[i] for i in order])] == order.tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_only_the_user_may_read_it(store: FeatureStore) -> None:
    mask = os.umask(0)
    try:
        fill(store)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    for path in store.folder.glob("*.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_made_by_asking_what_it_holds(store: FeatureStore) -> None:
    assert (store.info().n_entries, store.info().n_bytes, store.clear()) == (0, 0, (0, 0))
    assert not store.folder.exists()


# -- size -------------------------------------------------------------------------------------------------------------


def test_it_does_not_grow_past_its_limit_and_the_least_recently_used_go(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, max_bytes=3_000_000)
    keys = [i.to_bytes(32, "big") for i in range(8000)]
    old = keys[:200]
    for start in range(0, 8000, 200):
        put_wide(store, keys[start : start + 200])
        with sqlite3.connect(store.path) as direct:  # a day passes, on which only the old ones are asked for
            direct.execute("UPDATE features SET used_on = used_on - 1")
        direct.close()
        assert all(store.get(old))
    store.close()
    known = [i for i, row in enumerate(store.get(keys)) if row is not None]
    recent = [i for i in known if i >= 200]
    assert 1500 < len(recent) < 3000
    assert recent == list(range(8000 - len(recent), 8000))
    assert store.path.stat().st_size < 4_000_000
    store.close()


def test_a_lower_limit_takes_effect_bit_by_bit(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    put_wide(store, [i.to_bytes(32, "big") for i in range(5000)])
    store.max_bytes = 500_000
    counts = []
    for i in range(5):
        put_wide(store, [bytes([i]) * 32])
        counts.append(store.info().n_entries)
    assert 5000 > counts[0] > counts[1] > 500 > counts[-1] > 0
    store.close()


def test_a_limit_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, max_bytes=0)
    fill(store)
    assert store.info().n_entries == 0
    store.close()


# -- clear ------------------------------------------------------------------------------------------------------------


def test_clear_frees_the_room_while_others_work(store: FeatureStore) -> None:
    fill(store)
    put_wide(store, [i.to_bytes(32, "big") for i in range(1, 2001)])
    other = FeatureStore(store.folder)
    other.get(KEYS)  # has it open
    (store.folder / "features-0.sqlite3").write_bytes(b"of an older version")
    (store.folder / "notes.txt").write_text("not ours")
    n_entries, n_bytes = store.clear()
    assert n_entries == 2060
    assert n_bytes > 2_000_000
    assert store.info().n_bytes < 200_000
    fill(other)  # which neither loses nor harms anything
    other.close()
    check(store, n_found=60)
    left = {path.name for path in store.folder.iterdir()}
    assert "features-0.sqlite3" not in left
    assert "notes.txt" in left


def test_a_folder_that_was_deleted_is_made_again(store: FeatureStore) -> None:
    fill(store)
    shutil.rmtree(store.folder)
    check(store, n_found=0)
    fill(store)
    other = FeatureStore(store.folder)
    check(other, n_found=60)
    other.close()
