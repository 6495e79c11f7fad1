"""Results of a study on disk: one row for each thing that was measured, in SQLite, so that a stopped run goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastplr.errors import InputError

__all__ = ["Cell", "Results"]

#: Written into the file; another number is another layout.
VERSION = 2


@dataclass(frozen=True)
class Cell:
    """What a row is of.

    Attributes:
        task: Name of a task.
        model: Name of a model; empty where none takes part.
        bits: Of its weights, as asked for: "2", "4", "8", "16", "32" or "source"; empty likewise.
        wording: Of the prompt; empty likewise.
        method: "zero-shot", "plr-e", ...
        n_per_class: Rows of each class that were learned from; 0 where none were; of few-shot the examples in all.
        seed: Of the draw; 0 where nothing is drawn.
        n_test: Rows tested on.
        source: Digest of the rows, the prompt and the model file: what was measured with others is another cell.
    """

    task: str
    model: str
    bits: str
    wording: str
    method: str
    n_per_class: int
    seed: int
    n_test: int
    source: str


_KEYS = tuple(Cell.__dataclass_fields__)


class Results:
    """Measured values by :class:`Cell`, in the SQLite file at `path`, which is made where there is none.

    Raises:
        InputError: The file is none of a study, or of another version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path)
            (found,) = self._database.execute("PRAGMA user_version").fetchone()
            (n_tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if found != VERSION and (found or n_tables):
                raise InputError(f"{str(path)!r} is no file of a study that this version of fastplr can go on with")
            columns = ", ".join(f"{name} {'INTEGER' if name in ('n_per_class', 'seed', 'n_test') else 'TEXT'}"
                                for name in _KEYS)  # fmt: skip
            with self._database:
                self._database.execute(
                    f"CREATE TABLE IF NOT EXISTS results ({columns}, found TEXT, PRIMARY KEY ({', '.join(_KEYS)}))"
                )
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS replies (model TEXT, question TEXT, text TEXT, label TEXT, "
                    "PRIMARY KEY (model, question, text))"
                )
                self._database.execute(f"PRAGMA user_version = {VERSION}")
            self._known = {Cell(*row) for row in self._database.execute(f"SELECT {', '.join(_KEYS)} FROM results")}
        except sqlite3.Error as error:
            raise InputError(f"{str(path)!r} cannot be used for the results of a study: {error}") from error

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._known

    def put(self, found: Iterable[tuple[Cell, Mapping[str, Any]]]) -> None:
        """Keep these, all or none."""
        rows = [(*asdict(cell).values(), json.dumps(dict(values))) for cell, values in found]
        try:
            with self._database:
                marks = ", ".join("?" * (len(_KEYS) + 1))
                self._database.executemany(f"INSERT OR REPLACE INTO results VALUES ({marks})", rows)
        except sqlite3.Error as error:
            raise InputError(f"results cannot be written to {str(self.path)!r}: {error}") from error
        self._known |= {Cell(*row[:-1]) for row in rows}

    def rows(self, cells: Collection[Cell] | None = None) -> list[dict[str, Any]]:
        """What was found of `cells`, of all where None, each with the fields of its cell, in a fixed order."""
        query = f"SELECT {', '.join(_KEYS)}, found FROM results ORDER BY {', '.join(_KEYS)}"
        found = [(Cell(*row[:-1]), row[-1]) for row in self._database.execute(query)]
        return [{**asdict(cell), **json.loads(text)} for cell, text in found if cells is None or cell in cells]

    def replies(self, model: str, question: str) -> dict[str, str]:
        """What a model elsewhere said of each text: a label, or nothing where it named none."""
        query = "SELECT text, label FROM replies WHERE model = ? AND question = ?"
        return dict(self._database.execute(query, (model, question)))

    def put_replies(self, model: str, question: str, labels: Mapping[str, str]) -> None:
        """Keep these."""
        rows = [(model, question, text, label) for text, label in labels.items()]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise InputError(f"replies cannot be written to {str(self.path)!r}: {error}") from error

    def close(self) -> None:
        """Nothing is read or written after this."""
        self._database.close()
