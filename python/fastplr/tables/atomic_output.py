"""Output files that are complete or not there: written under another name beside them, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fastplr.errors import InputError


def check_output(
    path: str | os.PathLike[str],
    *,
    inputs: tuple[str | os.PathLike[str], ...] = (),
    devices: bool = True,
) -> None:
    """Refuses a path that could not be written, before long work is done for it.

    Args:
        path: The file to be written.
        inputs: The files that are read, none of which it may be.
        devices: Whether it may be a device or a pipe, as ``/dev/stdout`` is.

    Raises:
        InputError: ``path`` is a directory, lies in a folder that does not exist, may not be written, is one
            of the files in ``inputs``, or is a device or a pipe that is not wanted.
    """
    name, given = os.fspath(path), Path(path)
    if not devices and (_is_device(given) or _is_open_stream(given)):
        raise InputError(f"{name} is a device or a pipe; expected the name of a file to write")
    if _is_device(given):
        return
    target = given.resolve()
    if target.is_dir():
        raise InputError(f"{name} is a directory; expected the name of a file to write")
    if not target.parent.is_dir():
        raise InputError(f"{name} cannot be written: there is no folder {given.parent}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InputError(f"{name} cannot be written: permission denied")
    if any(Path(other).is_file() and Path(other).resolve() == target for other in inputs):
        raise InputError(f"{name} is an input as well; writing the output there would destroy it")


@contextmanager
def atomic_output(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends, and leaves no trace when it raises.

    A link is followed. What exists and is no regular file (a device, a pipe) cannot be replaced, so it is
    written directly.

    Raises:
        InputError: The path cannot be written; the message holds the system's reason.
    """
    name = os.fspath(path)
    if _is_device(Path(path)):
        with Path(path).open("wb") as file:
            yield file
        return
    check_output(path)
    target = Path(path).resolve()
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        # Not by tempfile, whose files only their owner may read.
        file = temporary.open("xb")
    except OSError as error:
        raise InputError(f"{name} cannot be written: {error.strerror or error}") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise InputError(f"{name} cannot be written: {error.strerror or error}") from error
        raise


def _is_device(path: Path) -> bool:
    """Whether ``path`` exists and is neither a regular file nor a directory."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _is_open_stream(path: Path) -> bool:
    """Whether ``path`` names an open stream of this process, which may lead to a regular file (``> FILE``)."""
    return str(path) in {"/dev/stdin", "/dev/stdout", "/dev/stderr"} or str(path.parent) == "/dev/fd"
