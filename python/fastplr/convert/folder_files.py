"""The small files of a model folder: found, bounded, read as text or JSON, with errors that name the file."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from fastplr.errors import ModelError

__all__ = ["has_file", "read_json_object", "read_text", "require_file"]

# The largest known tokenizer.json has 34 MB; a file without an end (a device) must not fill the memory.
MAX_TEXT_BYTES = 256 << 20


def has_file(path: Path) -> bool:
    """Whether there is anything at `path`; what cannot be looked at counts as there, so that reading it says why."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def require_file(path: Path) -> int:
    """The size in bytes of the regular file at `path`. Raises ModelError where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ModelError(f"no such file: {str(path)!r}; expected a Hugging Face model folder to have it") from None
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{str(path)!r} is not a regular file")
    return status.st_size


def read_text(path: Path) -> str:
    """The text of the UTF-8 file at `path`, line ends as they are in the file. Raises ModelError."""
    size = require_file(path)
    if size > MAX_TEXT_BYTES:
        raise ModelError(f"{str(path)!r} has {size} bytes; expected at most {MAX_TEXT_BYTES}")
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{str(path)!r} is not UTF-8 text: {error}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`. Raises ModelError."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested without end
        raise ModelError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{str(path)!r} holds a JSON {type(value).__name__}; expected an object")
    return value
