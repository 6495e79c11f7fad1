"""What the classifier asks of the solver: choices of a penalty, by folds and by approximate leave-one-out."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastplr
from solvers.plan import Shape
from solvers.problem import Problem

__all__ = ["time_choices"]

#: Rows a class times classes of the model's width, and the task they come from.
ROWS = (
    Shape(150, 576, 2, task="sst2"),
    Shape(225, 576, 3, task="fpb"),
    Shape(300, 576, 4, task="ag_news"),
    Shape(600, 576, 2, task="sst2"),
    Shape(700, 576, 7, task="snips"),
)


def time_choices(folder: Path, *, n_threads: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Seconds of ten folds at 20 penalties, and of approximate leave-one-out at 9, a row a shape."""
    found = []
    for shape in ROWS[:2] if quick else ROWS:
        problem = Problem.load(shape.problem("real", folder))
        row: dict[str, Any] = {"shape": shape.name, "task": shape.task}
        for name, settings in (
            ("folds", {"cv": 10, "Cs": 20}),
            ("leave-one-out", {"cv": "alo", "Cs": np.logspace(-4, 0, 9)}),
        ):
            seconds = []
            while len(seconds) < 3 or (sum(seconds) < 2.0 and len(seconds) < 15):
                model = fastplr.LogisticRegression("auto", n_threads=n_threads, random_state=0, **settings)
                started = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    model.fit(problem.X, problem.y)
                seconds.append(time.perf_counter() - started)
            row[name] = statistics.median(seconds)
        say(f"    {shape.name}: {row['folds']:.3f} s by folds, {row['leave-one-out']:.3f} s by leave-one-out")
        found.append(row)
    return found
