"""What the results of a study add up to: means over tasks with intervals over seeds, learning curves, crossings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

__all__ = ["Group", "Mean", "chance_of", "crossings", "groups", "mean_of", "number_of_bits", "of_group", "tasks_of"]

Row = Mapping[str, Any]

#: Share of the rows of a class up to which draws are different enough for an interval over them.
MOST_OF_POOL = 0.5
#: Draws from which on there is an interval: of two, Student's factor is 12.7.
LEAST_DRAWS = 3


@dataclass(frozen=True)
class Group:
    """What is compared: a method with a model in so many bits and a wording; the last three empty where none is."""

    method: str
    model: str
    bits: str
    wording: str

    def name(self, among: Iterable[Group]) -> str:
        """A name that tells it from the others."""
        others = [other for other in among if other.method == self.method]
        parts = [self.method]
        if len({other.model for other in others}) > 1:
            parts.append(self.model)
        if len({other.bits for other in others}) > 1:
            parts.append(f"{self.bits} bits" if self.bits != "source" else "as fetched")
        if len({other.wording for other in others}) > 1:
            parts.append(self.wording)
        return ", ".join(parts)


@dataclass(frozen=True)
class Mean:
    """A mean over tasks, and the half width of its 95 % interval over draws (Student).

    The half width is NaN of fewer than three draws, and where draws share most of their rows.
    """

    value: float
    half_width: float
    n_tasks: int
    n_seeds: int

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if math.isnan(self.half_width) else f" ± {self.half_width:.3f}")


def groups(rows: Iterable[Row]) -> list[Group]:
    """All groups, in order of model, bits, wording and method."""
    found = {Group(row["method"], row["model"], row["bits"], row["wording"]) for row in rows}
    order = {"plr-e": 0, "plr-e final": 1, "plr-l": 2, "few-shot": 3, "zero-shot calibrated": 4, "zero-shot": 5}
    return sorted(
        found, key=lambda one: (one.model, one.wording, number_of_bits(one.bits), order.get(one.method, 9), one.method)
    )


def number_of_bits(bits: str) -> float:
    """What orders widths; a file as fetched comes last."""
    return float(bits) if bits.isdigit() else math.inf


def of_group(rows: Iterable[Row], group: Group) -> list[Row]:
    """The rows of a group."""
    return [
        row for row in rows
        if (row["method"], row["model"], row["bits"], row["wording"])
        == (group.method, group.model, group.bits, group.wording)
    ]  # fmt: skip


def tasks_of(rows: Iterable[Row], n_per_class: int | None = None) -> set[str]:
    """Names of the tasks that there are rows of, with so many rows of each class."""
    return {row["task"] for row in rows if n_per_class in (None, row["n_per_class"])}


def mean_of(rows: Iterable[Row], metric: str, tasks: Iterable[str] | None = None) -> Mean | None:
    """Mean over tasks of `metric`, over `tasks` alone where they are given; None where one of them is missing.

    Args:
        rows: Of one group and one number of rows; the same seeds for every task.
        metric: One of :data:`fastplr.study.scores.METRICS`.
        tasks: Names.
    """
    by_seed: dict[int, dict[str, float]] = defaultdict(dict)
    overlapping = False
    for row in rows:
        overlapping = overlapping or row.get("share_of_pool", 0.0) > MOST_OF_POOL
        if metric not in row:  # one that needs probabilities, of a method that has none
            return None
        by_seed[row["seed"]][row["task"]] = row[metric]
    if not by_seed:
        return None
    wanted = sorted(set.intersection(*(set(of_task) for of_task in by_seed.values())) if tasks is None else set(tasks))
    if not wanted or any(task not in of_task for of_task in by_seed.values() for task in wanted):
        return None
    means = [float(np.mean([of_task[task] for task in wanted])) for of_task in by_seed.values()]
    half = math.nan
    if len(means) >= LEAST_DRAWS and not overlapping:
        half = float(student.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / math.sqrt(len(means)))
    return Mean(float(np.mean(means)), half, len(wanted), len(means))


def chance_of(rows: Iterable[Row], tasks: set[str]) -> float | None:
    """Balanced accuracy of always the same label, mean over `tasks`; None where a number of labels is not known."""
    n_labels = {row["task"]: row["n_labels"] for row in rows if "n_labels" in row}
    found = [1 / n_labels[task] for task in tasks if task in n_labels]
    return float(np.mean(found)) if found and len(found) == len(tasks) else None


def crossings(learning: Sequence[tuple[int, float]], baseline: float) -> int | None:
    """The fewest rows of each class from which on a learning curve is not below `baseline`; None where it never is.

    Args:
        learning: Pairs of rows of each class and value, by rows ascending.
        baseline: A value to reach.
    """
    found = None
    for n_per_class, value in reversed(learning):
        if value < baseline:
            break
        found = n_per_class
    return found
