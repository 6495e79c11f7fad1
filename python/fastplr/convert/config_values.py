"""Numbers and flags of a ``config.json``, with errors that name the file, the key and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastplr.errors import ModelError

__all__ = ["require_count", "require_flag", "require_number"]

LARGEST = 1e38  # about what a float32 holds


def require_count(config: Mapping[str, Any], key: str, path: Path) -> int:
    """The whole number above 0 at `key`, below 2**31. Raises ModelError."""
    value = config.get(key)
    if type(value) is not int or not 0 < value < 2**31:  # a bool is an int too
        raise ModelError(f"{str(path)!r} has {key} = {value!r:.200}; expected a whole number above 0")
    return value


def require_number(config: Mapping[str, Any], key: str, path: Path, *, above: float, below: float = LARGEST) -> float:
    """The number at `key`, between `above` and `below`, which do not count. Raises ModelError."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < below:
        expected = f"between {above:g} and {below:g}" if below < LARGEST else f"above {above:g}"
        raise ModelError(f"{str(path)!r} has {key} = {value!r:.200}; expected a number {expected}")
    return float(value)


def require_flag(config: Mapping[str, Any], key: str, path: Path) -> bool:
    """Whether `key` is true; false where it is not there. Raises ModelError."""
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise ModelError(f"{str(path)!r} has {key} = {value!r:.200}; expected true or false")
    return value is True
