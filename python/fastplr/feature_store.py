"""Features on disk: one SQLite file that runs, threads and processes share, and that outlives them.

What is committed survives the death of the process. An entry carries a checksum of its own; a damaged one is computed
again, and a damaged file is set aside. Nothing in it is irreplaceable, so that every trouble ends in doing without.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from fastplr import feature_table
from fastplr.errors import CacheWarning, FastplrError
from fastplr.feature_cache import CachedRow
from fastplr.feature_table import SCHEMA_VERSION
from fastplr.user_warning import warn_user

__all__ = ["DEFAULT_MAX_BYTES", "FeatureStore", "StoreInfo", "StoreUnavailable"]

T = TypeVar("T")

_logger = logging.getLogger("fastplr")

#: Some 800,000 texts at one layer of a model of width 576, or 120,000 of width 4096: more than most corpora, and no
#: disk of these days minds it.
DEFAULT_MAX_BYTES = 2_000_000_000

#: How long to wait for another process. A batch is committed within milliseconds.
BUSY_SECONDS = 5.0


class StoreUnavailable(FastplrError):
    """The store cannot be used: its folder cannot be written, the disk is full, another process keeps it locked."""


class StoreInfo(NamedTuple):
    """What a store holds.

    Attributes:
        path: The file.
        n_entries: Features of one text at one layer and pooling, each.
        n_bytes: What the store takes on disk, files of other versions included.
        max_bytes: What its entries may take before those that were not used for longest go.
    """

    path: Path
    n_entries: int
    n_bytes: int
    max_bytes: int


class FeatureStore:
    """Rows of features on disk, by the keys of :class:`fastplr.feature_keys.FeatureKeys`.

    May be used by several threads. Nothing is opened or made before the first use. To be had from
    :func:`fastplr.feature_stores.store_for`, which sees to it that forks do no harm.

    Args:
        folder: Where the file lies; made when needed.
        max_bytes: What all entries together may take; the least recently used (by day) go first.
        busy_seconds: How long to wait for another process.
    """

    def __init__(self, folder: Path, *, max_bytes: int = DEFAULT_MAX_BYTES, busy_seconds: float = BUSY_SECONDS) -> None:
        self.folder = folder
        self.path = folder / f"features-{SCHEMA_VERSION}.sqlite3"
        self.max_bytes = max_bytes
        self.busy_seconds = busy_seconds
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened_file: tuple[int, int] | None = None
        self._lost = False

    # -- what can be asked -------------------------------------------------------------------------------------------

    def get(self, keys: Sequence[bytes]) -> list[CachedRow | None]:
        """The row of each key, None where it is not here or was found damaged.

        Raises:
            StoreUnavailable: The store cannot be used.
        """
        found = self._run(lambda connection: feature_table.read(connection, keys))
        return [found.get(key) for key in keys]

    def held(self, keys: Sequence[bytes]) -> set[bytes]:
        """Which of `keys` are here, sound or not.

        Raises:
            StoreUnavailable: The store cannot be used.
        """
        return self._run(lambda connection: feature_table.held(connection, keys))

    def put(self, keys: Sequence[bytes], features: npt.NDArray[np.float32], cut: Sequence[bool]) -> None:
        """Keep ``features[i]``, float32 ``(n_features,)``, and ``cut[i]`` under ``keys[i]``: all of them or none.

        They are committed on return: they outlive the process, though maybe not a failure of power.

        Raises:
            StoreUnavailable: The store cannot be used.
        """
        entries = [feature_table.entry(*values) for values in zip(keys, features, cut, strict=True)]
        self._run(lambda connection: feature_table.write(connection, entries, self.max_bytes))

    def clear(self) -> tuple[int, int]:
        """Delete every entry, and the files of other versions and those set aside.

        Other processes may use the store meanwhile: the file itself stays where it is.

        Returns:
            The number of entries of this version that were deleted, and the number of bytes freed.

        Raises:
            StoreUnavailable: The store cannot be used.
        """
        self._check_folder()
        self.close()  # else what a connection keeps beside the file would be counted
        before = self._n_bytes()
        n_entries = self._run(feature_table.delete_all) if self._exists() else 0
        self.close()
        own = {self.path, *(Path(f"{self.path}{ending}") for ending in ("-wal", "-shm"))}
        try:
            for path in self._files():
                if path not in own:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error
        return n_entries, max(0, before - self._n_bytes())

    def info(self) -> StoreInfo:
        """What the store holds; nothing is made where there is none yet. Raises StoreUnavailable."""
        self._check_folder()
        n_entries = 0
        if self._exists():
            n_entries = self._run(feature_table.count)
            self.close()  # else what the connection keeps beside the file would be counted
        return StoreInfo(self.path, n_entries, self._n_bytes(), self.max_bytes)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._disconnect()

    def _check_folder(self) -> None:
        """That there is none yet is no trouble; that it could not be written is."""
        folder = self.folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise self._unavailable(NotADirectoryError(errno.ENOTDIR, f"{str(folder)!r} is not a folder"))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._unavailable(PermissionError(errno.EACCES, f"{str(folder)!r} cannot be written"))

    def _exists(self) -> bool:
        return _identity_of_file(self.path) is not None

    def _files(self) -> list[Path]:
        """The files of every version, and those set aside."""
        return list(self.folder.glob("features-*.sqlite3*"))

    def _n_bytes(self) -> int:
        total = 0
        for path in self._files():
            with contextlib.suppress(OSError):  # another process may just have deleted it
                total += path.stat().st_size
        return total

    # -- the connection ----------------------------------------------------------------------------------------------

    def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """What `operation` returns; a damaged file is set aside and `operation` begins anew.

        Whatever goes wrong (Ctrl-C too) closes the connection, which rolls back what was not committed.
        """
        with self._lock:
            if self._lost:
                raise StoreUnavailable(
                    f"the feature cache {str(self.path)!r} was in use when this process was forked off"
                )
            for attempt in (1, 2):
                try:
                    return operation(self._connected())
                except (sqlite3.Error, feature_table.NotOurs, UnicodeDecodeError) as error:
                    self._disconnect()
                    if attempt == 2 or not feature_table.says_damaged(error, os.access(self.path, os.W_OK)):
                        raise self._unavailable(error) from error
                    self._set_aside(error)
                except (OSError, NotImplementedError) as error:
                    self._disconnect()
                    raise self._unavailable(error) from error
                except BaseException:
                    self._disconnect()
                    raise
        raise AssertionError("unreachable")

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        reason = getattr(error, "strerror", None) or error
        return StoreUnavailable(f"the feature cache {str(self.path)!r} cannot be used: {reason}")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and _identity_of_file(self.path) != self._opened_file:
            self._disconnect()  # somebody deleted the folder or set the file aside
        if self._connection is None:
            # Features tell something of the texts, so that only the user may read them. A file that is there is not
            # opened here: closing it would free the locks that another connection of this process has on it.
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise NotADirectoryError(errno.ENOTDIR, f"{str(self.folder)!r} is not a folder") from None
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with self._file_lock():
                self._connection = self._open()
        return self._connection

    def _file_lock(self) -> FileLock:
        """Held while the file is opened or set aside: no process opens what another is about to rename."""
        return FileLock(self.folder / f"features-{SCHEMA_VERSION}.lock", timeout=self.busy_seconds, mode=0o600)

    def _open(self) -> sqlite3.Connection:
        self._opened_file = _identity_of_file(self.path)
        connection = sqlite3.connect(
            self.path, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.text_factory = bytes  # damage must not show as an error of decoding
            feature_table.prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _set_aside(self, reason: Exception) -> None:
        """Rename the file, unless another process has done so: a new one takes its place."""
        aside = self.path.with_name(self.path.name + ".set-aside")
        try:
            with self._file_lock():
                if _identity_of_file(self.path) != self._opened_file:
                    return
                for ending in ("-wal", "-shm"):  # first: they must not be taken for those of the new file
                    Path(f"{self.path}{ending}").unlink(missing_ok=True)
                self.path.replace(aside)
        except (OSError, NotImplementedError) as error:
            raise self._unavailable(error) from error
        message = f"the feature cache {str(self.path)!r} was not usable ({reason}): set aside as {aside.name!r}"
        _logger.warning("%s", message)
        warn_user(message, CacheWarning)

    # -- forks: SQLite forbids that a connection is carried across one, used or not ----------------------------------

    def before_fork(self) -> bool:
        """Close the connection and keep the lock; False where another thread does not let go of it."""
        held = self._lock.acquire(timeout=self.busy_seconds + 1)
        if held:
            self._disconnect()
        return held

    def after_fork_in_parent(self) -> None:
        """Let go of the lock that :meth:`before_fork` took."""
        self._lock.release()

    def after_fork_in_child(self, held: bool) -> None:
        """Let go of the lock, or, where it was not `held`, give the store up."""
        if held:
            self._lock.release()
            return
        # The connection is neither used nor closed here, and SQLite's own records of it forbid a new one.
        self._lock = RLock()
        self._lost = True
        _kept_from_closing.append(self._connection)
        self._connection = None


_kept_from_closing: list[sqlite3.Connection | None] = []


def _identity_of_file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
