"""Tasks to study: labelled rows to learn from and to test on, and the task in words."""

from __future__ import annotations

import hashlib
import json
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastplr.errors import InputError
from fastplr.prompt import Prompt
from fastplr.tables import read_table

__all__ = ["StudyTask", "prompt_of", "read_csv_task", "read_tasks"]

Row = tuple[str, str]  # text, label

#: Share of each class of a plain table that is tested on.
TEST_SHARE = 0.5

#: Wordings of a prompt, and what they are.
WORDINGS = {
    "paper": "words around the text, options by letters (Buckmann & Hill 2024)",
    "words": "as paper, but the model answers with a word",
    "instruction": "all words before the text, options by letters",
    "question": "Text: ..., Question: ..., Answer:, one a line, options by letters",
    "short": "as paper without the words before the text",
}


@dataclass(frozen=True)
class StudyTask:
    """A task.

    Attributes:
        name: Its name.
        title: What it is.
        suite: Of tasks whose mean is of interest.
        labels: In the order of the options.
        train: Rows to draw from.
        test: Rows to test on.
        described: ``prefix``, ``suffix``, ``option_letters`` and ``label_words``, as in tasks.json.
        remark: Rows that were left out, in words.
    """

    name: str
    title: str
    suite: str
    labels: tuple[str, ...]
    train: tuple[Row, ...]
    test: tuple[Row, ...]
    described: Mapping[str, Any]
    remark: str = ""

    @cached_property
    def digest(self) -> str:
        """What tells its rows and labels from others."""
        rows = json.dumps([self.labels, self.train, self.test], ensure_ascii=False)
        return hashlib.sha256(rows.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def n_of_class(self) -> dict[str, int]:
        """Rows of each class in `train`."""
        counts = Counter(label for _, label in self.train)
        return {label: counts[label] for label in self.labels}

    def draw(self, n_per_class: int, seed: int) -> list[int] | None:
        """`n_per_class` rows of each class of `train`, by number; None where a class has fewer.

        The draws of one seed are nested: a larger one has the rows of a smaller one.
        """
        rng = np.random.default_rng(seed)
        labels = np.array([label for _, label in self.train])
        drawn: list[int] = []
        for label in self.labels:
            rows = rng.permutation(np.flatnonzero(labels == label))
            if len(rows) < n_per_class:
                return None
            drawn += rows[:n_per_class].tolist()
        return sorted(drawn)

    def tested(self, most: int) -> list[Row]:
        """`most` rows of `test`, or all: the first ones of a fixed order, so that fewer rows are among more."""
        order = np.random.default_rng(0).permutation(len(self.test))
        return [self.test[row] for row in order[:most]]


def prompt_of(task: StudyTask, wording: str) -> Prompt:
    """The prompt of `task` in one of :data:`WORDINGS`. Raises InputError for another one."""
    described = task.described
    if wording == "paper":
        return Prompt.from_task(described)
    if wording == "words":
        return Prompt.from_task(described, answers="words")
    if wording == "instruction":
        return Prompt.from_task(described, style="instruction")
    question = str(described["suffix"]).strip().removesuffix("Answer:").strip()
    if wording == "question":
        return Prompt("Text: ", f"\nQuestion: {question}\nAnswer:", answers=described["option_letters"])
    if wording == "short":
        return Prompt("", described["suffix"], answers=described["option_letters"])
    raise InputError(f"wording is {wording!r}: expected one of {', '.join(WORDINGS)}")


def read_tasks(folder: Path, only: Sequence[str] = ()) -> list[StudyTask]:
    """The tasks of a folder with ``tasks.json`` and, for each task, ``NAME/train.csv`` and ``NAME/test.csv``.

    Args:
        folder: The folder.
        only: Names of tasks or of suites; default: all.

    Raises:
        InputError: A file is missing or cannot be read, a name of `only` is unknown, or a row has a label that
            tasks.json does not name.
    """
    path = folder / "tasks.json"
    try:
        described = json.loads(path.read_text("utf-8"))
        if not isinstance(described, dict) or not isinstance(described.get("tasks"), list):
            raise ValueError("no such object")
        entries = described["tasks"]
        if not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("a task that is no object")
        names = [str(entry["name"]) for entry in entries]
    except OSError as error:
        raise InputError(
            f"no tasks in {str(folder)!r}: tasks.json cannot be read ({error.strerror or error})"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} describes no tasks: expected an object with a list 'tasks' ({error})"
        ) from error
    suites = {str(entry.get("suite", "")) for entry in entries}
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"{str(path)!r} has the tasks {', '.join(names) or 'none'}: expected some, each with its own name"
        )
    for name in only:
        if name not in names and name not in suites:
            raise InputError(f"no task {name!r} in {str(path)!r}; it has {', '.join(names)}")
    chosen = [entry for entry in entries if not only or entry["name"] in only or entry.get("suite") in only]
    return [_described_task(folder, entry, str(path)) for entry in chosen]


def _described_task(folder: Path, entry: Mapping[str, Any], path: str) -> StudyTask:
    name = str(entry["name"])
    for key in ("prefix", "suffix", "option_letters", "label_words"):
        if key not in entry:
            raise InputError(f"the task {name!r} in {path!r} has no {key!r}")
    labels = tuple(str(label) for label in entry.get("labels") or entry["option_letters"])
    for key in ("option_letters", "label_words"):
        if entry[key] and set(map(str, entry[key])) != set(labels):
            raise InputError(f"the task {name!r} in {path!r} has {key} for {list(entry[key])}: expected {list(labels)}")
    rows = {part: _rows(folder / name / f"{part}.csv", "text", "label") for part in ("train", "test")}
    for part, some in rows.items():
        for number, (_, label) in enumerate(some):
            if label not in labels:
                raise InputError(
                    f"row {number + 1} of {folder / name / part}.csv has the label {label!r}, which tasks.json does"
                    f" not name: expected one of {', '.join(map(repr, labels))}"
                )
    title = str(entry.get("title", name))
    return StudyTask(name, title, str(entry.get("suite", "")), labels, rows["train"], rows["test"], entry)


def _rows(path: Path, text: str, label: str) -> tuple[Row, ...]:
    table = read_table(str(path), [text, label])
    return tuple(zip(table.texts(text), map(str, table.labels(label)), strict=True))


def read_csv_task(path: Path, text: str, label: str, instruction: str) -> StudyTask:
    """A task from one table: half of the rows of each class are tested on, drawn by a fixed seed.

    Args:
        path: A table as :func:`fastplr.tables.read_table` reads it.
        text, label: Columns. Of a text that is there more than once, one row counts; none where its labels differ.
        instruction: The question that the labels answer, such as "Is the customer complaining?"; the options are the
            labels themselves.

    Raises:
        InputError: The table cannot be read, has fewer than two labels or more than 26, or a class with one row.
    """
    if not path.is_file():
        raise InputError(f"no tasks in {str(path)!r}: expected a folder with tasks.json, or a table")
    every = _rows(path, text, label)
    known: dict[str, set[str]] = {}
    for given, own_label in every:
        known.setdefault(given, set()).add(own_label)
    rows = [(given, next(iter(said))) for given, said in known.items() if len(said) == 1]
    counts = Counter(label for _, label in rows)
    labels = tuple(sorted(counts))
    if not 2 <= len(labels) <= len(string.ascii_lowercase):
        raise InputError(f"{str(path)!r} has {len(labels)} labels: expected 2 to {len(string.ascii_lowercase)}")
    rare = min(labels, key=counts.__getitem__)
    if counts[rare] < 2:
        raise InputError(
            f"{str(path)!r} has one row of the label {rare!r}: expected one to learn from and one to test on"
        )
    rng = np.random.default_rng(0)
    own = np.array([label for _, label in rows])
    tested: set[int] = set()
    for name in labels:
        of_class = rng.permutation(np.flatnonzero(own == name))
        tested |= set(of_class[: max(1, int(TEST_SHARE * len(of_class)))].tolist())
    n_contradicting = sum(len(said) > 1 for said in known.values())
    dropped = {"rows whose text is there before": len(every) - len(known), "texts with several labels": n_contradicting}
    remark = ", ".join(f"{n} {what}" for what, n in dropped.items() if n)
    letters = dict(zip(labels, string.ascii_lowercase, strict=False))
    options = ", ".join(f"({letter}) {name}" for name, letter in letters.items())
    described = {
        "prefix": "",
        "suffix": f" {instruction.strip()} {options}. Answer:".replace("  ", " "),
        "option_letters": letters,
        "label_words": {name: name for name in labels},
    }
    return StudyTask(
        path.stem, path.name, "", labels,
        tuple(row for number, row in enumerate(rows) if number not in tested),
        tuple(row for number, row in enumerate(rows) if number in tested),
        described, remark,
    )  # fmt: skip
