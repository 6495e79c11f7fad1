"""What commands print on standard output."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from fastplr.errors import InputError

#: Endings of files that matplotlib writes.
PICTURES = (".svg", ".png", ".pdf")


def print_json(value: Any) -> None:
    """Prints a JSON document, in UTF-8 whatever the terminal's encoding is.

    Numbers that JSON does not have (the C of an unpenalised fit) become strings: ``"inf"``, ``"nan"``.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()


def save_picture(draw: Callable[[], Any], output: str) -> None:
    """Writes the figure that `draw` makes with matplotlib, as its file's ending says.

    Raises:
        InputError: matplotlib is not installed.
    """
    from fastplr.tables import atomic_output

    try:
        figure = draw()
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'fastplr[plot]'") from error
    drawn = io.BytesIO()
    figure.savefig(drawn, format=Path(output).suffix[1:].lower())
    with atomic_output(output) as file:
        file.write(drawn.getvalue())


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


def format_estimate(estimate: dict[str, Any]) -> str:
    """As in the report of a fit: ``"balanced accuracy 0.81 (0.75 to 0.87) on new texts of the kind"``."""
    score = estimate["balanced_accuracy"]
    return f"balanced accuracy {score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f}) on new texts like these"


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
