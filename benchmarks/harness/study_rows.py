"""Choosing among the results of benchmarks/study.py, and means of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastplr.study import summary

__all__ = ["AT", "ON_FEW", "Parts", "Row", "asked_of_the_largest", "by_task", "chance_of", "chosen", "mean_of_tasks"]

Row = Mapping[str, Any]
#: Results by part of the study.
Parts = Mapping[str, Sequence[Row]]

#: Rows of each class that methods which learn are compared at.
AT = 75
#: Balanced accuracy on the test rows that few-shot has.
ON_FEW = "balanced_accuracy_of_few_shot_rows"


def chosen(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def by_task(rows: Iterable[Row], metric: str) -> dict[str, float]:
    """Mean over draws for each task."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row["task"]].append(row[metric])
    return {task: float(np.mean(values)) for task, values in found.items()}


def mean_of_tasks(rows: Iterable[Row], metric: str = "balanced_accuracy") -> float:
    found = list(by_task(rows, metric).values())
    return float(np.mean(found)) if found else math.nan


def chance_of(rows: Iterable[Row]) -> float:
    """Balanced accuracy of always the same label, mean over the tasks of `rows`; NaN where it is not known."""
    rows = list(rows)
    found = summary.chance_of(rows, summary.tasks_of(rows))
    return math.nan if found is None else found


def asked_of_the_largest(parts: Parts) -> tuple[list[Row], dict[str, list[Row]]]:
    """Rows of fastplr's default, and of what the largest model was asked by form, on the same tasks and test rows."""
    letters, words, chat = parts["qwen-1.5b"], parts["qwen-1.5b-words"], parts["qwen-1.5b-chat"]
    asked = {
        f"{method}, {name}, {bits} bits": chosen(rows, method=method, bits=bits)
        for method in ("zero-shot", "zero-shot calibrated", "few-shot")
        for name, rows in (("letters", letters), ("words", words))
        for bits in ("4", "8")
    }
    for name, wording in (("letters", "paper"), ("words", "words")):
        asked[f"zero-shot as a chat, {name}, 8 bits"] = chosen(chat, method="endpoint", wording=wording)
    for bits in ("4", "8"):
        asked[f"its own PLR-E, {AT} rows, {bits} bits"] = chosen(letters, method="plr-e", n_per_class=AT, bits=bits)
    default = chosen(parts["wordings"], method="plr-e", wording="instruction", n_per_class=AT)
    return default, {name: rows for name, rows in asked.items() if rows}
