"""Large output files that are made in a folder of their own beside where they will stand, by code that wants a path.

What is written through a Python file has :mod:`fastplr.tables.atomic_output`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastplr.errors import InputError

__all__ = ["exists_error", "folder_for_making", "put_in_place"]

#: How the name of such a folder begins.
_PREFIX = ".fastplr-making-"
#: Seconds without a change after which a folder may be one that a killed process left.
_LEFT_AFTER = 60


def exists_error(target: Path) -> InputError:
    """What is raised where a file exists that was not to be replaced."""
    return InputError(f"{str(target)!r} exists; it is replaced only where that is asked for (overwrite=True)")


def put_in_place(made: Path, target: Path, *, overwrite: bool) -> None:
    """Have `target` be the file `made`, whose bytes are on the disk before it takes the name.

    Raises:
        InputError: `target` exists, perhaps only since a moment ago, and `overwrite` is not set.
        OSError: It cannot be written.
    """
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    if not overwrite:
        try:
            os.link(made, target.resolve())  # unlike a rename, never in the place of another file
            return
        except FileExistsError:
            raise exists_error(target) from None
        except OSError:  # a file system without hard links
            if target.exists():
                raise exists_error(target) from None
    elif target.exists():
        made.chmod(target.stat().st_mode & 0o777)
    made.replace(target.resolve())


@contextmanager
def folder_for_making(target: Path) -> Iterator[Path]:
    """A folder beside `target` for files in the making. Those that killed processes left there are removed first.

    Raises:
        OSError: It cannot be made.
    """
    beside = target.resolve().parent
    for left in beside.glob(f"{_PREFIX}*"):
        with suppress(OSError, ImportError):
            lock = _lock(left)  # the system frees it when its process ends, however it ends
            try:
                changed = max(path.stat().st_mtime for path in (left, *left.iterdir()))
                if time.time() - changed > _LEFT_AFTER:
                    shutil.rmtree(left)
            finally:
                os.close(lock)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=beside) as working:
        held = None
        with suppress(OSError, ImportError):
            held = _lock(Path(working), wait=True)  # another process may be looking at it
        try:
            yield Path(working)
        finally:
            if held is not None:
                os.close(held)


def _lock(folder: Path, *, wait: bool = False) -> int:
    """A descriptor that locks `folder` until it is closed.

    Raises:
        OSError: Another one does (without `wait`), or the file system has no such locks.
        ImportError: The operating system has none.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
