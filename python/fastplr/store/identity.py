"""What a model file is: its sha256, and, for files of the store, what it was made from.

A file of the store has a small JSON record beside it, ``FILE.json``. The record is trusted while the file's
size and modification time are those it names, so that identity is known without hashing again; a file with
another date is hashed and compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fastplr.errors import ModelError
from fastplr.progress import byte_bar

__all__ = ["FileRecord", "Recipe", "file_sha256", "read_record", "require_gguf", "unchanged", "write_record"]

CHUNK = 1 << 20
GGUF_MAGIC = b"GGUF"
# Below this a hash takes well under a second and a bar would only flicker.
BAR_FROM_BYTES = 1 << 30

Recipe = dict[str, str | int | None]

_hashes: dict[tuple[str | int, ...], str] = {}
_hashes_lock = threading.Lock()


def _new_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _hashes_lock
    _hashes_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_in_child)


@dataclass(frozen=True)
class FileRecord:
    """What is known of a file of the store.

    Attributes:
        sha256: sha256 of the file.
        size: Its size in bytes.
        mtime_ns: Its modification time in nanoseconds when it was hashed.
        source_sha256: sha256 of the file it was made from; its own where nothing was made.
        recipe: What was made of the source: ``type``, ``cut``, ``llama_cpp_commit``, each None where it does
            not apply.
    """

    sha256: str
    size: int
    mtime_ns: int
    source_sha256: str
    recipe: Recipe


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def write_record(path: Path, record: FileRecord) -> None:
    """Write the record of `path` beside it, atomically. Raises OSError."""
    target = _record_path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_record(path: Path) -> FileRecord | None:
    """The record beside `path`; None where there is none or it cannot be understood."""
    try:
        record = FileRecord(**json.loads(_record_path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    well_formed = isinstance(record.recipe, dict) and isinstance(record.source_sha256, str)
    return record if well_formed and isinstance(record.sha256, str) else None


def unchanged(path: Path, record: FileRecord, progress: bool | None) -> bool:
    """Whether `path` still is the file that `record` describes. Hashes it only if its date has changed."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != record.size:
            return False
        if status.st_mtime_ns == record.mtime_ns:
            return True
        if file_sha256(path, progress) != record.sha256:
            return False
    except (OSError, ModelError):
        return False
    with contextlib.suppress(OSError):  # a read-only store works too, it only hashes in every process
        write_record(path, replace(record, mtime_ns=status.st_mtime_ns))
    return True


def require_gguf(path: Path, shown: str) -> None:
    """Raise :class:`ModelError` unless `path` is a readable regular file that begins as a GGUF file does."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ModelError(f"{shown!r} is a directory; expected a GGUF file")
        if not stat.S_ISREG(mode):
            raise ModelError(f"{shown!r} is not a regular file; expected a GGUF file")
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except FileNotFoundError as error:
        raise ModelError(f"no such file: {shown!r}; expected a GGUF file") from error
    except OSError as error:
        raise ModelError(f"cannot read {shown!r}: {error.strerror or error}") from error
    if magic != GGUF_MAGIC:
        raise ModelError(f"{shown!r} is not a GGUF file: it begins with {magic!r}, expected {GGUF_MAGIC!r}")


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    # Files may have one size, one date, and, one after the other, one inode; but not one time of change as well.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino


def file_sha256(path: Path, progress: bool | None = False) -> str:
    """sha256 of the file at `path`, kept in memory while its size, dates and inode stay the same.

    Raises:
        ModelError: The file changed while it was being read.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key: tuple[str | int, ...] = (os.path.realpath(path), *_stamp(status))
        with _hashes_lock:
            known = _hashes.get(key)
        if known is not None:
            return known
        digest = hashlib.sha256()
        shown = progress if status.st_size >= BAR_FROM_BYTES else False
        with byte_bar(status.st_size, f"sha256 of {path.name}", shown) as bar:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                bar.update(len(chunk))
        after = os.fstat(file.fileno())
    if _stamp(after)[:2] != _stamp(status)[:2]:
        raise ModelError(f"{str(path)!r} changed while it was being read")
    result = digest.hexdigest()
    with _hashes_lock:
        _hashes[key] = result
    return result
