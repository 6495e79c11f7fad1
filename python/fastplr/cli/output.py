"""What commands print on standard output."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """Prints a JSON document, in UTF-8 whatever the terminal's encoding is.

    Numbers that JSON does not have (the C of an unpenalised fit) become strings: ``"inf"``, ``"nan"``.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Prints names and values in two columns."""
    rows = list(pairs)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def format_cross_validation(cv: dict[str, Any]) -> str:
    """The scores in the report of a fit: ``"10-fold cross-validation: log-loss 0.412, accuracy 0.871"``."""
    accuracy = f", accuracy {cv['accuracy']:.3f}" if "accuracy" in cv else ""
    return f"{cv['n_folds']}-fold cross-validation: log-loss {-cv['neg_log_loss']:.3f}{accuracy}"


def format_numbers(values: Sequence[float], at_most: int = 6) -> str:
    """The numbers themselves where they are few, else their range."""
    if len(values) <= at_most:
        return ", ".join(f"{value:.4g}" for value in values)
    return f"{min(values):.4g} to {max(values):.4g}"


def format_bytes(n_bytes: int) -> str:
    """``98362432`` as ``"98.4 MB"``."""
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{n_bytes} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
