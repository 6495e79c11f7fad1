"""Messages of the Python API in the words of the command line: rows of a table and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastplr.errors import InputError

if TYPE_CHECKING:
    from fastplr.tables import Table

_PLACE = re.compile(r"\b(text|label)s\[(\d+)\]")

_OPTION_OF_ARGUMENT = {
    "on_long='truncate'": "--on-long truncate",
    "allow_variant=True": "--allow-variant",
    "overwrite=True": "--overwrite",
    "(allow_requantize)": "(--allow-requantize)",
    "model=...": "--model",
    "n_threads is": "--threads is",
    "random_state is": "--seed is",
    "C='auto'": "--C auto",
}


def in_options(message: str) -> str:
    """`message` with ``--allow-variant`` in place of ``allow_variant=True``, and the like."""
    for argument, option in _OPTION_OF_ARGUMENT.items():
        message = message.replace(argument, option)
    return message


@contextmanager
def rows_named(table: Table) -> Iterator[None]:
    """Errors raised in this block name the table's row where they name an element of its texts or labels."""
    try:
        yield
    except InputError as error:
        message = _with_rows(str(error), table)
        if message == str(error):
            raise
        raise InputError(message) from error


def _with_rows(message: str, table: Table) -> str:
    """``"t.csv, row 6 (line 7): the text is blank"`` for ``"texts[5] is blank"``."""
    # What comes after the place of a text may quote the text, which may look like a place itself.
    n_places = 0 if message.startswith("labels[") else 1

    def named(match: re.Match[str]) -> str:
        kind, row = match[1], int(match[2])
        if row >= table.n_rows:
            return match[0]
        if match.start() == 0:
            return f"{table.source}, {table.where(row)}: the {kind}"
        return f"the {kind} of {table.where(row)}"

    return _PLACE.sub(named, message, count=n_places)
