"""What is measured, and the factors that were to be reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.corpus import tasks_folder
from solvers.problem import Problem, real, synthetic, tasks_apart

__all__ = ["BEST", "CROSS_VALIDATED", "SHAPES", "Shape"]

#: Stands for the fastest rival in Shape.factors.
BEST = "the best rival"


@dataclass(frozen=True)
class Shape:
    """Problems of one shape.

    Attributes:
        n_rows, n_features, n_classes: Of the problems.
        factors: How many times as fast as a rival fastplr is to be, by the rival's name.
        task: Whose rows the real features are of; several stand for "which half of the core tasks is it from".
        peak_bytes: What a process of its own may take at the most, if that is asked.
    """

    n_rows: int
    n_features: int
    n_classes: int
    factors: dict[str, float] = field(default_factory=dict)
    task: str = "sst2"
    peak_bytes: int | None = None

    @property
    def name(self) -> str:
        """In tables and file names."""
        return f"{self.n_rows} x {self.n_features}, {self.n_classes} classes"

    def problem(self, kind: str, folder: Path) -> Path:
        """The file of the problem of this kind, "synthetic" or "real", which is made where there is none."""
        path = folder / f"{kind} {self.name}.npz".replace(", ", " ").replace(" ", "-")
        if not path.is_file():
            makers: dict[str, Callable[[], Problem]] = {
                "synthetic": lambda: synthetic(self.n_rows, self.n_features, self.n_classes),
                "real": lambda: self._real(folder / "features"),
            }
            makers[kind]().save(path)
        return path

    def _real(self, cache: Path) -> Problem:
        if self.task:
            return real(self.task, self.n_rows, self.n_features, cache)
        described = json.loads((tasks_folder() / "tasks.json").read_text("utf-8"))["tasks"]
        core = [task["name"] for task in described if task["suite"] == "core17"]
        return tasks_apart(core, self.n_rows, self.n_features, cache)


SHAPES = (
    Shape(60, 576, 2, {BEST: 5.0}),
    Shape(200, 4096, 2, {BEST: 8.0, "scikit-learn, lbfgs": 40.0}),
    Shape(1000, 4096, 2, {BEST: 3.0}),
    Shape(300, 2048, 4, {BEST: 4.0}, task="ag_news"),
    Shape(2500, 576, 77, {BEST: 1.5}, task="banking77", peak_bytes=10**9),
    Shape(20_000, 576, 2, {"scikit-learn, newton-cholesky": 1.0}, task=""),
)

#: The shape of the cross-validation beside LogisticRegressionCV, and how many times as fast it is to be.
CROSS_VALIDATED = Shape(200, 4096, 2, {"LogisticRegressionCV": 30.0})
