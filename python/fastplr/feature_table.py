"""The table of features in the SQLite file of a store: its form, and the statements that read and write it.

The functions raise what sqlite3 raises, and :class:`NotOurs`.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fastplr.feature_cache import CachedRow
from fastplr.feature_keys import KEY_BYTES

__all__ = [
    "SCHEMA_VERSION",
    "NotOurs",
    "count",
    "delete_all",
    "entry",
    "held",
    "prepare",
    "read",
    "says_damaged",
    "write",
]

T = TypeVar("T")
Entry = tuple[bytes, int, int, bytes, bytes]

_logger = logging.getLogger("fastplr")

#: Part of the file's name and of its header: a file of another version is never read as one of this.
SCHEMA_VERSION = 1
APPLICATION_ID = 0x66706C72  # "fplr"
SCHEMA = (
    "CREATE TABLE features (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, cut INTEGER NOT NULL, "
    "used_on INTEGER NOT NULL, value BLOB NOT NULL, checksum BLOB NOT NULL)",
    "CREATE INDEX features_by_use ON features (used_on)",
)

#: Rows of 1.5 to 4 kB (width 384 to 896) fill pages of this size by 90 %, those of SQLite's default by 60 %.
PAGE_BYTES = 8192
#: Parameters of one statement: SQLite's own limit was 999 for long.
PARAMETERS_AT_ONCE = 500
#: Entries that go at once where room is needed.
DELETED_AT_ONCE = 256

_SECONDS_A_DAY = 86_400
_SQLITE_ERROR = 1  # "unsupported file format", "no such table": not what this file should say
_ERRORS_OF_FORM = ("unsupported file format", "no such table", "no such column")
_SQLITE_READONLY = 8  # a file that may be written, but says of itself that it is of a later format


class NotOurs(Exception):
    """The file is a database, but not one of this version of ours."""


def prepare(connection: sqlite3.Connection) -> None:
    """Give a new file its form. Raises NotOurs for a file of another form."""
    found = [row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")]
    marks = (_number(connection, "PRAGMA application_id"), _number(connection, "PRAGMA user_version"))
    new = not found and marks == (0, 0)
    if new:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    elif marks != (APPLICATION_ID, SCHEMA_VERSION):
        raise NotOurs(f"its application is {marks[0]:#x} and its version {marks[1]}")
    elif found != [statement.encode() for statement in SCHEMA]:
        raise NotOurs("its tables are others")
    # A commit appends to the log and does not wait for the disk; readers and a writer do not wait for each other.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    if new:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def read(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, CachedRow]:
    """The rows that are there and sound. Those that are not sound are deleted."""
    found: dict[bytes, CachedRow] = {}
    damaged: list[int] = []
    stale: list[int] = []
    today = _today()
    for some in _pieces(keys):
        query = f"SELECT id, key, cut, used_on, value, checksum FROM features WHERE key IN ({_marks(some)})"
        for row_id, key, cut, used_on, value, checksum in connection.execute(query, some).fetchall():
            if not _is_sound(key, cut, value, checksum):
                damaged.append(row_id)
                continue
            found[key] = CachedRow(np.frombuffer(value, "<f4").astype(np.float32, copy=False), bool(cut))
            if used_on != today:
                stale.append(row_id)
    if damaged:
        _logger.warning("%d entries of the feature cache are damaged: computed again", len(damaged))
        for rows in _pieces(damaged):
            connection.execute(f"DELETE FROM features WHERE id IN ({_marks(rows)})", rows)
    if stale:
        _touch(connection, stale)
    return found


def held(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Which of `keys` have a row; whether it is sound is not looked at."""
    found: set[bytes] = set()
    for some in _pieces(keys):
        query = f"SELECT key FROM features WHERE key IN ({_marks(some)})"
        found.update(key for (key,) in connection.execute(query, some))
    return found


def _touch(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Note that these entries were used today. Where there is no room, or another process writes, it is left out."""
    patience = _number(connection, "PRAGMA busy_timeout")
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        for some in _pieces(ids):
            connection.execute(f"UPDATE features SET used_on = {_today()} WHERE id IN ({_marks(some)})", some)
    except sqlite3.OperationalError:
        pass
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")


def entry(key: bytes, features: npt.NDArray[np.float32], cut: bool) -> Entry:
    """What :func:`write` takes."""
    value = features.astype("<f4").tobytes()
    return key, int(cut), _today(), value, _checksum(key, cut, value)


def write(connection: sqlite3.Connection, entries: Sequence[Entry], max_bytes: int) -> None:
    """Add `entries`, all or none; those that were not used for longest go where all take more than `max_bytes`."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT OR REPLACE INTO features (key, cut, used_on, value, checksum) VALUES (?, ?, ?, ?, ?)", entries
    )
    n_at_once = max(DELETED_AT_ONCE, len(entries))
    # As much as comes in at the most, or a little more: no batch waits long where the limit was lowered.
    for _ in range(8):
        if _bytes_in_use(connection) <= max_bytes:
            break
        oldest = f"SELECT id FROM features ORDER BY used_on, id LIMIT {n_at_once}"
        connection.execute(f"DELETE FROM features WHERE id IN ({oldest})")
    connection.execute("COMMIT")


def count(connection: sqlite3.Connection) -> int:
    """The number of entries."""
    return _number(connection, "SELECT count(*) FROM features")


def delete_all(connection: sqlite3.Connection) -> int:
    """Delete every entry and give the room back to the disk; their number."""
    n_entries = count(connection)
    connection.execute("DELETE FROM features")
    with contextlib.suppress(sqlite3.OperationalError):  # another process is at work: the pages will be used again
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return n_entries


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    pages = _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")
    return pages * _number(connection, "PRAGMA page_size")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def says_damaged(error: Exception, writable: bool) -> bool:
    """Whether it is the file that is at fault, and not its surroundings. `writable`: whether it may be written."""
    if isinstance(error, sqlite3.OperationalError):
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:  # Python 3.10
            return str(error).startswith(_ERRORS_OF_FORM)
        return code == _SQLITE_ERROR or (code == _SQLITE_READONLY and writable)
    if isinstance(error, sqlite3.ProgrammingError):  # closed by a fork in the middle of a statement
        return False
    # UnicodeDecodeError: SQLite's message quotes what it found in the file.
    return isinstance(error, sqlite3.DatabaseError | NotOurs | UnicodeDecodeError)


def _checksum(key: bytes, cut: int, value: bytes) -> bytes:
    return blake2b(value, digest_size=8, key=key, person=b"cut" if cut else b"whole").digest()


def _is_sound(key: object, cut: object, value: object, checksum: object) -> bool:
    if not (isinstance(key, bytes) and isinstance(cut, int) and isinstance(value, bytes) and len(value) % 4 == 0):
        return False
    return len(key) == KEY_BYTES and checksum == _checksum(key, cut, value)


def _today() -> int:
    return int(time.time()) // _SECONDS_A_DAY


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _pieces(values: Sequence[T]) -> Iterator[list[T]]:
    remaining = iter(values)
    return iter(lambda: list(islice(remaining, PARAMETERS_AT_ONCE)), [])
