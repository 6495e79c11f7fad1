"""Which format a table has, and the optional library that Parquet needs."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from fastplr.errors import InputError

STANDARD_STREAM = "-"
"""The path that stands for standard input when reading and for standard output when writing."""

FORMAT_OF_ENDING = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""Format of a table by the ending of its file name, in lower case."""

DELIMITER_OF_FORMAT = {"csv": ",", "tsv": "\t"}


def format_of(path: str | os.PathLike[str], format: str | None = None) -> str:
    """The format of the table at ``path``: ``format`` where given, else by the ending, else CSV for ``"-"``.

    Raises:
        InputError: ``format`` is not one of ``csv``, ``tsv``, ``jsonl``, ``parquet``, or the ending is none
            of :data:`FORMAT_OF_ENDING`.
    """
    if format is not None:
        if format not in FORMAT_OF_ENDING.values():
            known = ", ".join(dict.fromkeys(FORMAT_OF_ENDING.values()))
            raise InputError(f"unknown table format {format!r}; expected one of {known}")
        return format
    name = os.fspath(path)
    if name == STANDARD_STREAM:
        return "csv"
    ending = Path(name).suffix.lower()
    if ending not in FORMAT_OF_ENDING:
        raise InputError(
            f"{name}: cannot tell the table's format from the ending {ending!r}; "
            f"expected one of {', '.join(FORMAT_OF_ENDING)}"
        )
    return FORMAT_OF_ENDING[ending]


def load_pyarrow(source: str) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``; the error names ``source`` where they are missing."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        message = f"{source}: Parquet needs pyarrow; install it with: pip install 'fastplr[parquet]'"
        raise InputError(message) from error
