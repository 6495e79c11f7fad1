"""Writing a table to a file or to standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from fastplr.errors import InputError
from fastplr.tables.atomic_output import atomic_output
from fastplr.tables.formats import DELIMITER_OF_FORMAT, STANDARD_STREAM, format_of, load_pyarrow

Column = Sequence[object] | np.ndarray[Any, Any]


def write_table(
    path: str | os.PathLike[str],
    columns: Mapping[str, Column],
    *,
    format: str | None = None,
    stream: BinaryIO | None = None,
) -> None:
    """Writes columns of equal length as a table.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet`` file, replaced as a whole once the
            table is complete, or ``"-"`` for standard output (CSV unless `format` says otherwise).
        columns: Column name -> cells: strings, numbers, booleans, None (an empty cell in CSV and TSV), or a
            2-D array ``[n_rows, width]``, which becomes a list a row in JSON Lines and Parquet and the
            columns ``<name>_0``, ``<name>_1``, ... in CSV and TSV.
        format: ``"csv"``, ``"tsv"``, ``"jsonl"`` or ``"parquet"``. Default: by the ending.
        stream: Write to this binary stream, with `path` as its name in messages.

    Raises:
        InputError: Unknown format, columns of unequal length, a cell that the format cannot hold, or a path
            that cannot be written.
    """
    name = os.fspath(path)
    if name == STANDARD_STREAM and stream is None:
        stream, format = sys.stdout.buffer, format_of(path, format)
    format = format_of(path, format)
    n_rows = {len(cells) for cells in columns.values()}
    if len(n_rows) > 1:
        lengths = {key: len(cells) for key, cells in columns.items()}
        raise InputError(f"{name}: columns of unequal length: {lengths}")
    if stream is not None:
        _write(stream, name, columns, format)
        stream.flush()
        return
    with atomic_output(name) as file:
        _write(file, name, columns, format)


def _write(file: BinaryIO, name: str, columns: Mapping[str, Column], format: str) -> None:
    try:
        if format == "parquet":
            _write_parquet(file, name, columns)
        elif format == "jsonl":
            for line in _json_lines(columns):
                file.write(line.encode("utf-8"))
        else:
            _write_delimited(file, columns, DELIMITER_OF_FORMAT[format])
    except UnicodeEncodeError as error:  # a lone surrogate
        raise InputError(f"{name}: {error.object!r} cannot be written as UTF-8") from error


class _UnixLines:
    """Ends the records of csv.writer with LF; it is told CRLF, so that it quotes cells with either."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, record: str) -> int:
        return self._file.write((record.removesuffix("\r\n") + "\n").encode("utf-8"))


def _write_delimited(file: BinaryIO, columns: Mapping[str, Column], delimiter: str) -> None:
    flat = _flat_columns(columns)
    writer = csv.writer(_UnixLines(file), delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(flat)
    writer.writerows(zip(*flat.values(), strict=True))


def _flat_columns(columns: Mapping[str, Column]) -> dict[str, Iterable[object]]:
    flat: dict[str, Iterable[object]] = {}
    for name, cells in columns.items():
        if isinstance(cells, np.ndarray) and cells.ndim == 2:
            # float32 scalars print as the shortest decimal that reads back as the same float32
            flat.update({f"{name}_{j}": map(str, cells[:, j]) for j in range(cells.shape[1])})
        else:
            flat[name] = cells.tolist() if isinstance(cells, np.ndarray) else cells
    return flat


def _json_lines(columns: Mapping[str, Column]) -> Iterator[str]:
    names = list(columns)
    for row in zip(*columns.values(), strict=True):
        record = {name: _plain(cell) for name, cell in zip(names, row, strict=True)}
        try:
            yield json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise InputError(f"a row cannot be written as JSON: {error}; the row is {record!r}") from error


def _plain(cell: object) -> object:
    """A NumPy scalar or row as what json can write; float32 by its shortest decimal."""
    if isinstance(cell, np.ndarray):
        return [_plain(value) for value in cell]
    if isinstance(cell, np.float32):
        return float(str(cell))
    return cell.item() if isinstance(cell, np.generic) else cell


def _write_parquet(file: BinaryIO, name: str, columns: Mapping[str, Column]) -> None:
    pyarrow, parquet = load_pyarrow(name)
    arrays = {}
    try:
        for key, cells in columns.items():
            if isinstance(cells, np.ndarray) and cells.ndim == 2:
                values = pyarrow.array(np.ascontiguousarray(cells).reshape(-1))
                arrays[key] = pyarrow.FixedSizeListArray.from_arrays(values, cells.shape[1])
            else:
                arrays[key] = pyarrow.array(cells)
        parquet.write_table(pyarrow.table(arrays), io.BufferedWriter(_Unclosed(file)))
    except pyarrow.ArrowException as error:
        raise InputError(f"{name}: the table cannot be written as Parquet: {error}") from error


class _Unclosed(io.RawIOBase):
    """Passes bytes on but not close(): pyarrow closes what it writes to; the file is still to be renamed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)
