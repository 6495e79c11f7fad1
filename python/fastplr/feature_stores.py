"""Which store on disk the parameter ``cache`` means, and the stores that are open in this process."""

from __future__ import annotations

import atexit
import math
import os
import threading
from pathlib import Path

from fastplr.errors import InputError
from fastplr.feature_store import DEFAULT_MAX_BYTES, FeatureStore
from fastplr.model_store import home

__all__ = ["close_stores", "default_folder", "store_for"]

#: Environment variables: another default folder, and how many megabytes a store may take.
FOLDER_VARIABLE = "FASTPLR_CACHE_DIR"
SIZE_VARIABLE = "FASTPLR_CACHE_MB"

_lock = threading.RLock()
_stores: dict[tuple[str, int], FeatureStore] = {}


def default_folder() -> Path:
    """The folder of the features: ``FASTPLR_CACHE_DIR``, or ``features`` in the folder of everything fastplr keeps."""
    given = os.environ.get(FOLDER_VARIABLE)
    return _absolute(given) if given else home() / "features"


def store_for(cache: object) -> FeatureStore | None:
    """The store that the parameter ``cache`` means, the same one for every caller in this process.

    Args:
        cache: None or False for none, True for that in :func:`default_folder`, or the path of a folder.

    Raises:
        InputError: `cache` is something else, or ``FASTPLR_CACHE_MB`` is no number > 0.
    """
    if cache is None or cache is False:
        return None
    folder = default_folder() if cache is True else _given_folder(cache)
    max_bytes = _max_bytes()
    with _lock:
        key = (os.path.realpath(folder), max_bytes)
        if key not in _stores:
            _stores[key] = FeatureStore(folder, max_bytes=max_bytes)
        return _stores[key]


def close_stores() -> None:
    """Close every store that is open in this process; it opens again when it is used."""
    with _lock:
        for store in _stores.values():
            store.close()


def _given_folder(cache: object) -> Path:
    if not isinstance(cache, str | os.PathLike):
        raise InputError(f"cache is {cache!r}: expected None, True, False or the path of a folder")
    text = os.fsdecode(cache)
    if not text.strip() or "\0" in text:
        raise InputError(f"cache is {cache!r}: expected the path of a folder")
    return _absolute(text)


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111  (Path's raises without HOME)


def _max_bytes() -> int:
    given = os.environ.get(SIZE_VARIABLE)
    if not given:
        return DEFAULT_MAX_BYTES
    try:
        megabytes = float(given)
    except ValueError:
        megabytes = math.nan
    if not 0 < megabytes < math.inf:
        raise InputError(
            f"{SIZE_VARIABLE} is {given!r}: expected a number of megabytes > 0 (cache=None or --no-cache keeps nothing)"
        )
    return int(megabytes * 1_000_000)


# SQLite forbids that a connection is carried across a fork, even to be closed: they are closed before it.

_held_for_fork = threading.local()


def _before_fork() -> None:
    _lock.acquire()
    _held_for_fork.stores = [(store, store.before_fork()) for store in _stores.values()]


def _after_fork_in_parent() -> None:
    for store, held in _held_for_fork.stores:
        if held:
            store.after_fork_in_parent()
    _lock.release()


def _after_fork_in_child() -> None:
    for store, held in _held_for_fork.stores:
        store.after_fork_in_child(held)
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(close_stores)
