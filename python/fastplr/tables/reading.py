"""Reading a table from a file or from standard input."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fastplr.errors import InputError
from fastplr.tables.formats import DELIMITER_OF_FORMAT, STANDARD_STREAM, format_of, load_pyarrow
from fastplr.tables.table import Table, missing_column

_BOM = "\ufeff"
_EXPECTED_UTF8 = "expected a table in UTF-8 (in a spreadsheet: save as 'CSV UTF-8')"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_OTHER_DELIMITERS = ";\t|,"

# The field size limit of the csv module is one number for the whole process: it is raised while one table is
# read, then put back.
_FIELD_SIZE_LOCK = threading.Lock()
_FIELD_SIZE_LIMIT = 2**31 - 1  # a C long on Windows


def _renew_lock() -> None:
    global _FIELD_SIZE_LOCK
    _FIELD_SIZE_LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    # The thread that held the lock at the fork is not there in the child to release it.
    os.register_at_fork(after_in_child=_renew_lock)


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    format: str | None = None,
    delimiter: str | None = None,
    stream: BinaryIO | None = None,
) -> Table:
    """Reads the named columns of a table.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet`` file, or ``"-"`` for standard
            input (CSV unless `format` says otherwise).
        columns: The columns to keep. Default: all.
        format: ``"csv"``, ``"tsv"``, ``"jsonl"`` or ``"parquet"``. Default: by the ending.
        delimiter: One character that separates the cells of a ``csv`` or ``tsv`` table, where it is not the
            comma or the tab.
        stream: Read these bytes, with `path` as their name in messages.

    Returns:
        The columns in the order asked for. CSV and TSV cells are strings, JSON Lines and Parquet cells what
        the file holds, None where it holds nothing. Blank lines of CSV, TSV and JSON Lines files are no rows.

    Raises:
        InputError: The file is missing, a directory, empty or without rows, is not UTF-8, holds NUL bytes,
            has broken quoting, rows of unequal length or lines that are not JSON objects, or lacks a column.
            The message names the file and the row.
    """
    source = os.fspath(path)
    if source == STANDARD_STREAM and stream is None:
        stream, source = sys.stdin.buffer, "standard input"
        format = format_of(STANDARD_STREAM, format)
    format = format_of(path, format)
    if delimiter is not None:
        _check_delimiter(delimiter, format)
    data = _read_bytes(source, stream)
    if not data:
        raise InputError(f"{source} is empty; expected a table")
    if format == "parquet":
        return _read_parquet(source, data, columns)
    text = _decode(source, data)
    del data  # a large table is not held twice while it is split
    if not text.strip():
        raise InputError(f"{source} holds only white space; expected a table")
    if format == "jsonl":
        return _read_json_lines(source, text, columns)
    return _read_delimited(source, text, columns, delimiter or DELIMITER_OF_FORMAT[format])


def _check_delimiter(delimiter: str, format: str) -> None:
    if format not in DELIMITER_OF_FORMAT:
        raise InputError(f"delimiter {delimiter!r}: a {format} table has none")
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise InputError(f"delimiter {delimiter!r}: expected one character, no quotation mark and no line end")


def _read_bytes(source: str, stream: BinaryIO | None) -> bytes:
    try:
        if stream is not None:
            return stream.read()
        return Path(source).read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{source} is a directory; expected a table") from error
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{source!r} cannot be read: {reason}") from error


def _decode(source: str, data: bytes) -> str:
    if data.startswith(_UTF16_BOMS):
        raise InputError(f"{source} looks like UTF-16; {_EXPECTED_UTF8}")
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise InputError(f"{source}, line {line}: NUL byte at byte {nul}; {_EXPECTED_UTF8}")
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source}, line {line}: byte 0x{data[error.start]:02X} at byte {error.start} is not UTF-8; "
            + _EXPECTED_UTF8
        ) from error


@contextmanager
def _unlimited_field_size() -> Iterator[None]:
    with _FIELD_SIZE_LOCK:
        before = csv.field_size_limit(_FIELD_SIZE_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _read_delimited(source: str, text: str, columns: Sequence[str] | None, delimiter: str) -> Table:
    lines: list[int] = []
    with _unlimited_field_size():
        records = _records(source, text, delimiter)
        _, header = next(records)
        positions = _positions(source, header, columns, delimiter)
        cells: list[list[str]] = [[] for _ in positions]
        for row, (line, record) in enumerate(records, start=1):
            if len(record) != len(header):
                raise InputError(
                    f"{source}, row {row} (line {line}): {len(record)} cells; expected {len(header)} as in "
                    f"the header (a cell with {delimiter!r}, a quotation mark or a line end must be quoted)"
                )
            lines.append(line)
            for column, position in zip(cells, positions.values(), strict=True):
                column.append(record[position])
    if not lines:
        raise InputError(f"{source} has a header but no rows")
    return Table(source, dict(zip(positions, cells, strict=True)), lines)


def _records(source: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a delimited table, header first, blank lines left out, with the line each begins at."""
    # newline="" leaves line ends inside quoted cells as they are. Strict finds a quotation mark that is never
    # closed, which would otherwise swallow the rest of the file into one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{source}, the row that begins at line {line}: broken quoting ({error}); "
                "a cell in quotation marks ends with one, and those inside it are doubled"
            ) from error
        if record is None:
            return
        if record:
            yield line, record


def _positions(source: str, header: list[str], columns: Sequence[str] | None, delimiter: str) -> dict[str, int]:
    wanted = header if columns is None else columns
    for name in wanted:
        if name not in header:
            raise missing_column(source, name, header, _delimiter_hint(header, delimiter))
        if header.count(name) > 1:
            raise InputError(f"{source} has {header.count(name)} columns named {name!r}; expected one")
    return {name: header.index(name) for name in wanted}


def _delimiter_hint(header: list[str], delimiter: str) -> str:
    if len(header) != 1:
        return ""
    for other in _OTHER_DELIMITERS:
        if other != delimiter and other in header[0]:
            return f" (cells seem to be separated by {other!r}: give that as the delimiter)"
    return ""


def _read_json_lines(source: str, text: str, columns: Sequence[str] | None) -> Table:
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: JSON strings may hold U+2028
        if not line.strip():
            continue
        where = f"{source}, row {len(lines) + 1} (line {number})"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error.msg} at character {error.colno})") from error
        except (RecursionError, ValueError) as error:  # nested too deep; a number of 5000 digits
            raise InputError(f"{where}: JSON that cannot be read ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object on every line, got a {type(record).__name__}")
        records.append(record)
        lines.append(number)
    existing = list(dict.fromkeys(name for record in records for name in record))
    wanted = _existing_columns(source, columns, existing)
    return Table(source, {name: [record.get(name) for record in records] for name in wanted}, lines)


def _read_parquet(source: str, data: bytes, columns: Sequence[str] | None) -> Table:
    pyarrow, parquet = load_pyarrow(source)
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        existing = list(file.schema_arrow.names)
        wanted = _existing_columns(source, columns, existing)
        table = file.read(columns=wanted)
        cells = {name: table.column(name).to_pylist() for name in wanted}
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{source} is no readable Parquet file: {error}") from error
    if table.num_rows == 0:
        raise InputError(f"{source} has columns but no rows")
    return Table(source, cells)


def _existing_columns(source: str, columns: Sequence[str] | None, existing: Iterable[str]) -> list[str]:
    names = list(existing)
    if columns is None:
        return names
    for name in columns:
        if name not in names:
            raise missing_column(source, name, names)
    return list(dict.fromkeys(columns))
