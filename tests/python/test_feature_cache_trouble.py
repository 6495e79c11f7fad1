"""A cache on disk that is damaged, of another version, full, locked or not to be written costs time only."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from fastplr import CacheWarning, Embedder
from fastplr.feature_cache import feature_cache
from fastplr.feature_store import FeatureStore, StoreUnavailable
from fastplr.feature_stores import store_for
from pooled_states import expected_embedding
from stored_rows import CUT, KEYS, ROWS, check, fill
from tiny_models import TinyModel

FILE = "features-1.sqlite3"
F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = ["the film is good", "a slow and boring story", "the profit rose", "café"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path / "features", busy_seconds=0.2)
    yield opened
    opened.close()


@pytest.fixture
def model(tiny_llama: TinyModel, tmp_path: Path) -> Embedder:
    feature_cache.clear()
    return Embedder(tiny_llama.path, n_threads=1, cache=tmp_path / "features")


@pytest.fixture(scope="module")
def expected(tiny_llama: TinyModel) -> np.ndarray:
    return np.array([expected_embedding(tiny_llama, text, layer=2, pooling="mean") for text in TEXTS])


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["value", "checksum", "cut", "key"])
def test_a_damaged_entry_is_dropped_and_the_others_stay(
    store: FeatureStore, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store)
    changed = {
        "value": "zeroblob(length(value))",
        "checksum": "x'0102030405060708'",
        "cut": "1 - cut",
        "key": f"x'{(bytes([200]) * 32).hex()}'",
    }[column]
    with sqlite3.connect(store.path) as direct:
        direct.execute(f"UPDATE features SET {column} = {changed} WHERE key = ?", [KEYS[7]])
    direct.close()
    with caplog.at_level(logging.WARNING, logger="fastplr"):
        assert store.get([bytes([200]) * 32]) == [None]
        check(store, n_found=59)
    assert [record.getMessage() for record in caplog.records] == [
        "1 entries of the feature cache are damaged: computed again"
    ]
    assert store.info().n_entries == 59
    store.put(KEYS[7:8], ROWS[7:8], CUT[7:8])
    check(store, n_found=60)


def test_a_damaged_entry_is_computed_again(model: Embedder, expected: np.ndarray, tiny_llama: TinyModel) -> None:
    model.embed(TEXTS)
    store = store_for(model.cache)
    with sqlite3.connect(store.path) as direct:
        direct.execute("UPDATE features SET value = zeroblob(256) WHERE id = 2")
    direct.close()
    feature_cache.clear()
    features, n_tokens = model._embed_counted(TEXTS, None, None, None)
    assert n_tokens in {len(tiny_llama.tokenize(text)) for text in TEXTS}
    np.testing.assert_allclose(features, expected, atol=F16_ATTENTION)
    feature_cache.clear()
    assert model._embed_counted(TEXTS, None, None, None)[1] == 0


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = FeatureStore(tmp_path_factory.mktemp("intact"))
    fill(store)
    store.close()
    return store.path.read_bytes()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 57_343), st.integers(0, 255)), min_size=1, max_size=20),
    length=st.one_of(st.none(), st.integers(0, 70_000)),
)
@example(changes=[(18, 3)], length=None)  # "to be read only"
@example(changes=[(47, 9)], length=None)  # a schema format that SQLite does not know
@example(changes=[(63, 2)], length=None)  # our own next version
@example(changes=[(0, 0)], length=None)
@example(changes=[(0, 83)], length=0)
@example(changes=[(0, 83)], length=8192)
def test_damage_anywhere_gives_no_wrong_row_and_the_file_can_be_used_again(
    intact: bytes, changes: list[tuple[int, int]], length: int | None
) -> None:
    content = bytearray(intact)
    for place, value in changes:
        content[place % len(content)] = value
    if length is not None:
        content = content[:length] + bytes(max(0, length - len(content)))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        (Path(folder) / FILE).write_bytes(content)
        store = FeatureStore(Path(folder))
        if sys.version_info < (3, 11):  # where sqlite3 gives no code, some damage cannot be told from other trouble
            try:
                store.get(KEYS)
            except StoreUnavailable:
                return
        for _ in range(2):
            check(store)
            fill(store)
            store.close()
        check(store)
        store.clear()
        fill(store)
        check(store, n_found=60)
        store.close()


@pytest.mark.parametrize("content", [b"garbage" * 5000, b"", b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_is_no_database_is_set_aside(
    model: Embedder, expected: np.ndarray, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "features" / FILE
    path.parent.mkdir()
    path.write_bytes(content)
    if content:
        with pytest.warns(CacheWarning, match=r"not usable .*: set aside as 'features-1.sqlite3.set-aside'"):
            model.embed(TEXTS)
        assert path.with_name(FILE + ".set-aside").read_bytes() == content
    else:
        model.embed(TEXTS)  # an empty file is one that was just made
    feature_cache.clear()
    features, n_tokens = model._embed_counted(TEXTS, None, None, None)
    assert n_tokens == 0
    np.testing.assert_allclose(features, expected, atol=F16_ATTENTION)


def test_a_cache_of_another_version_is_never_misread(tmp_path: Path, store: FeatureStore) -> None:
    fill(store)
    store.close()
    newer = store.folder / "features-2.sqlite3"
    shutil.copy(store.path, newer)
    content = newer.read_bytes()
    with sqlite3.connect(store.path) as direct:  # same name, other version inside
        direct.execute("PRAGMA user_version = 2")
    direct.close()
    with pytest.warns(CacheWarning, match="its version 2"):
        check(store, n_found=0)
    fill(store)
    check(store, n_found=60)
    assert newer.read_bytes() == content
    aside = sqlite3.connect(store.path.with_name(FILE + ".set-aside"))
    assert aside.execute("SELECT count(*) FROM features").fetchone() == (60,)
    aside.close()


def test_a_database_of_something_else_is_not_touched(store: FeatureStore) -> None:
    store.folder.mkdir()
    with sqlite3.connect(store.path) as direct:
        direct.execute("CREATE TABLE features (key, value)")
        direct.execute("INSERT INTO features VALUES (1, 2)")
    direct.close()
    content = store.path.read_bytes()
    with pytest.warns(CacheWarning, match="set aside"):
        fill(store)
    check(store, n_found=60)
    assert store.path.with_name(FILE + ".set-aside").read_bytes() == content


def test_one_process_sets_a_file_aside_and_the_other_finds_the_new_one(store: FeatureStore) -> None:
    fill(store)
    store.close()
    store.path.write_bytes(b"garbage" * 10_000)
    other = FeatureStore(store.folder)
    with pytest.warns(CacheWarning, match="set aside"):
        fill(store)
    check(other, n_found=60)
    # A store that met the damage before, and is about to set the file aside, sees that this has been done.
    other._opened_file = (0, 0)
    other._set_aside(sqlite3.DatabaseError("malformed"))
    check(store, n_found=60)
    other.close()


# -- a folder that cannot be used -------------------------------------------------------------------------------------


def run_without(model: Embedder, expected: np.ndarray, reason: str) -> None:
    """It embeds, and says once that it does so without the cache."""
    with pytest.warns(CacheWarning, match="going on without it") as caught:
        features = model.embed(TEXTS)
    assert len(caught) == 1
    assert reason in str(caught[0].message)
    assert caught[0].filename == __file__  # not a line of fastplr, for which Python would say it once a process
    np.testing.assert_allclose(features, expected, atol=F16_ATTENTION)


def test_a_folder_that_cannot_be_made(
    model: Embedder, expected: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    model.set_params(cache=tmp_path / "file" / "folder", n_batch=5)  # one text a batch
    with caplog.at_level(logging.WARNING, logger="fastplr"):
        run_without(model, expected, "is not a folder")
    assert [record.name for record in caplog.records] == ["fastplr"]
    model.set_params(cache=tmp_path / "file")
    feature_cache.clear()
    run_without(model, expected, "is not a folder")


def test_the_pieces_of_a_corpus_are_one_run(model: Embedder, expected: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model.set_params(cache=tmp_path / "file" / "folder")
    with pytest.warns(CacheWarning) as caught:
        pieces = list(model.embed_iter(TEXTS, chunk_size=1))
    assert len(caught) == 1
    np.testing.assert_allclose(np.vstack(pieces), expected, atol=F16_ATTENTION)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="nothing can be written in /proc, by root neither")
def test_a_folder_that_cannot_be_written(model: Embedder, expected: np.ndarray) -> None:
    run_without(model.set_params(cache="/proc/self"), expected, "/proc/self/features-1.sqlite3")


def test_a_folder_where_the_file_should_be(model: Embedder, expected: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "features" / FILE).mkdir(parents=True)
    run_without(model, expected, "unable to open database file")


def test_a_file_of_someone_else_that_may_only_be_read(store: FeatureStore) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    fill(store)
    store.close()
    store.path.chmod(0o400)
    with pytest.raises(StoreUnavailable, match="readonly"):
        fill(store)


def test_a_full_disk_while_a_run_goes_on(model: Embedder, expected: np.ndarray, tmp_path: Path) -> None:
    model.embed(TEXTS[:1])
    store = store_for(tmp_path / "features")
    assert store._connection is not None
    store._connection.execute("PRAGMA max_page_count = 1")  # none more than there are
    model.embed(TEXTS)  # there is room on them
    feature_cache.clear()
    others = [f"text number {i}" for i in range(100)]
    with pytest.warns(CacheWarning, match="full; going on without it") as caught:
        features = model.embed(others)
    assert len(caught) == 1
    feature_cache.clear()
    np.testing.assert_allclose(clone(model).set_params(cache=None).embed(others), features, atol=1e-3)
    feature_cache.clear()
    features, n_tokens = model._embed_counted(TEXTS, None, None, None)  # what is there can be read
    assert n_tokens == 0
    np.testing.assert_allclose(features, expected, atol=F16_ATTENTION)


FULL_DISK = """
import resource, sys, warnings
import numpy as np
from fastplr import CacheWarning, Embedder
from fastplr.feature_cache import feature_cache
model = Embedder(sys.argv[1], n_threads=1, n_batch=20, cache=sys.argv[2])
texts = [f"text number {i}" for i in range(2000)]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    features = model.embed(texts)
print([warning.category.__name__ for warning in caught])
model.set_params(cache=None)
feature_cache.clear()
print(np.abs(model.embed(texts) - features).max() < 1e-3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_disk_that_is_full(tiny_llama: TinyModel, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tiny_llama.path), str(tmp_path / "features")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["['CacheWarning']", "True"]
    store = FeatureStore(tmp_path / "features")
    assert 0 < store.info().n_entries < 2000  # what was kept before is sound, and kept
    store.close()


def test_a_file_that_another_process_keeps_locked(store: FeatureStore) -> None:
    fill(store)
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with sqlite3.connect(store.path) as direct:
        assert direct.execute("SELECT max(used_on) FROM features").fetchone()[0] > 20_000
    direct.close()
    check(store, n_found=60)  # readers do not wait
    with pytest.raises(StoreUnavailable, match="locked"):
        store.put(KEYS[:1], ROWS[:1], CUT[:1])
    with pytest.raises(StoreUnavailable, match="locked"):
        store.clear()
    blocker.execute("COMMIT")
    blocker.close()
    store.put(KEYS[:1], ROWS[:1], CUT[:1])
    check(store, n_found=60)


def test_a_run_does_without_a_file_that_stays_locked(model: Embedder, expected: np.ndarray) -> None:
    store = store_for(model.cache)
    fill(store)
    store.close()
    store.busy_seconds = 0.1
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    run_without(model.set_params(n_batch=5), expected, "locked")
    blocker.close()
    feature_cache.clear()
    assert model._embed_counted(TEXTS, None, None, None)[1] > 0  # nothing was kept; now it is
    assert store.info().n_entries == 60 + len(TEXTS)


def test_noting_that_an_entry_was_used_waits_for_nobody(store: FeatureStore) -> None:
    fill(store)
    store.busy_seconds = 60
    store.close()
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("UPDATE features SET used_on = 1")
    blocker.execute("BEGIN IMMEDIATE")
    check(store, n_found=60)
    blocker.execute("COMMIT")
    assert blocker.execute("SELECT DISTINCT used_on FROM features").fetchall() == [(1,)]
    check(store, n_found=60)
    assert blocker.execute("SELECT min(used_on) > 20000 FROM features").fetchone() == (1,)
    blocker.close()
