"""Tasks, and draws of so many rows a class of their training files."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastplr import Prompt
from harness.corpus import tasks_folder

__all__ = ["Draw", "Task", "core_tasks", "draw"]


@dataclass(frozen=True)
class Task:
    """A labelled task: texts and labels of both files, and its instruction."""

    name: str
    labels: tuple[str, ...]
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    prompt: Prompt


@dataclass(frozen=True)
class Draw:
    """Rows to learn from."""

    texts: list[str]
    labels: list[str]


def core_tasks(names: list[str] | None = None) -> list[Task]:
    """The 17 tasks of the core suite, or those named. Raises NoTasks where there are none."""
    folder = tasks_folder()
    described = json.loads((folder / "tasks.json").read_text("utf-8"))["tasks"]
    chosen = [task for task in described if (task["name"] in names if names else task["suite"] == "core17")]
    return [
        Task(
            task["name"],
            tuple(task["label_words"]),
            _rows(folder / task["name"] / "train.csv"),
            _rows(folder / task["name"] / "test.csv"),
            Prompt.from_task(task, style="instruction"),
        )
        for task in chosen
    ]


def _rows(path: Path) -> tuple[tuple[str, str], ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple((row["text"], row["label"]) for row in csv.DictReader(file))


def draw(task: Task, n_per_class: int, seed: int) -> Draw:
    """`n_per_class` rows of each class without replacement, in the order of the file."""
    rng = np.random.default_rng([seed, n_per_class])
    labels = np.array([label for _, label in task.train])
    chosen = [rng.choice(np.flatnonzero(labels == label), n_per_class, replace=False) for label in sorted(set(labels))]
    rows = [task.train[i] for i in np.sort(np.concatenate(chosen))]
    return Draw([text for text, _ in rows], [label for _, label in rows])
