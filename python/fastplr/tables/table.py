"""A table in memory: named columns that know which row of which file each cell came from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fastplr.errors import InputError

Label: TypeAlias = str | int | bool | float

_N_ROWS_NAMED = 5  # how many bad rows an error lists before it only counts


@dataclass(frozen=True)
class Table:
    """Columns of equal length, read from ``source``.

    Rows count from 0 here, as in any Python sequence; messages count them from 1, header not included, and
    add the line of the file where one is known (a quoted cell may span lines, so the two differ).
    """

    source: str
    columns: Mapping[str, Sequence[object]]
    lines: Sequence[int] = field(default=())
    """For each row the line of the file at which it begins, from 1; empty where a format has no lines."""

    @property
    def n_rows(self) -> int:
        """Number of rows, header not included."""
        return max((len(cells) for cells in self.columns.values()), default=0)

    def where(self, row: int) -> str:
        """``"row 3 (line 5)"`` for ``row == 2``."""
        return f"row {row + 1} (line {self.lines[row]})" if self.lines else f"row {row + 1}"

    def column(self, name: str) -> Sequence[object]:
        """The cells of one column as they were read.

        Raises:
            InputError: No such column; the message names those that exist.
        """
        if name not in self.columns:
            raise missing_column(self.source, name, self.columns)
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """The texts of column ``name``, each a string with at least one character that is not white space.

        Raises:
            InputError: A cell is empty, blank, no string, holds a NUL character, or cannot be encoded as
                UTF-8.
        """
        cells = self.column(name)
        self._refuse_rows(_rows_where(is_missing, cells), "no text", name)
        texts: list[str] = []
        for row, cell in enumerate(cells):
            if not isinstance(cell, str):
                where = f"{self.source}, {self.where(row)}"
                kind = type(cell).__name__
                raise InputError(f"{where}: column {name!r} holds {cell!r} ({kind}); expected text")
            if "\0" in cell:
                where = f"{self.source}, {self.where(row)}"
                raise InputError(f"{where}: the text in column {name!r} holds a NUL character")
            try:
                cell.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{self.source}, {self.where(row)}: the text in column {name!r} holds the lone surrogate "
                    f"U+{ord(cell[error.start]):04X} at character {error.start}, which is no text"
                ) from error
            texts.append(cell)
        return texts

    def labels(self, name: str) -> list[Label]:
        """The labels of column ``name`` as they were read: strings from CSV and TSV, and also numbers or
        booleans elsewhere.

        White space around a label is kept: ``"spam "`` and ``"spam"`` are two labels.

        Raises:
            InputError: A label is missing (empty, blank, null or not a number) or is a list, an object, a
                date and the like.
        """
        cells = self.column(name)
        self._refuse_rows(_rows_where(is_missing, cells), "no label", name)
        labels: list[Label] = []
        for row, cell in enumerate(cells):
            if not isinstance(cell, (str, int, float)):  # bool is an int
                raise InputError(
                    f"{self.source}, {self.where(row)}: the label in column {name!r} is {cell!r} "
                    f"({type(cell).__name__}); expected text, a number or a boolean"
                )
            labels.append(cell)
        return labels

    def _refuse_rows(self, rows: Sequence[int], what: str, name: str) -> None:
        if not rows:
            return
        named = ", ".join(self.where(row) for row in rows[:_N_ROWS_NAMED])
        more = f" and {len(rows) - _N_ROWS_NAMED} more" if len(rows) > _N_ROWS_NAMED else ""
        count = "1 row has" if len(rows) == 1 else f"{len(rows)} rows have"
        raise InputError(f"{self.source}: {count} {what} in column {name!r}: {named}{more}")


def is_missing(cell: object) -> bool:
    """Whether a cell holds nothing: null, not a number, an empty string or white space only."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return not cell.strip()
    return isinstance(cell, float) and math.isnan(cell)


def missing_column(source: str, name: str, existing: Iterable[str], hint: str = "") -> InputError:
    """The error for a column that is not there: names those that are, and the one that was probably meant."""
    names = list(existing)
    by_folded = {column.strip().casefold(): column for column in names}
    near = difflib.get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=0.6)
    suggestion = f" Did you mean {by_folded[near[0]]!r}?" if near else ""
    listed = ", ".join(map(repr, names)) if names else "none"
    return InputError(f"{source} has no column {name!r}; its columns: {listed}{hint}.{suggestion}")


def _rows_where(test: Callable[[object], bool], cells: Sequence[object]) -> list[int]:
    return [row for row, cell in enumerate(cells) if test(cell)]
