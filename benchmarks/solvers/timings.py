"""What the classifier asks of the solver: choices of a penalty, by folds and by approximate leave-one-out."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import fastplr
from solvers.plan import SHAPES, Shape
from solvers.problem import Problem

__all__ = ["time_choices", "time_products"]

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


def time_products(folder: Path, *, n_threads: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Median seconds of X X', in double and in single precision, by NumPy's BLAS, a row a shape with fewer rows than
    features: the least that a solver takes which forms that matrix.
    """
    found = []
    for shape in SHAPES:
        if shape.n_rows >= shape.n_features:
            continue
        X = Problem.load(shape.problem("synthetic", folder)).X
        row: dict[str, Any] = {"shape": shape.name, "flops": shape.n_rows**2 * shape.n_features}
        for features in (X, X.astype(np.float32)):
            seconds: list[float] = []
            with threadpoolctl.threadpool_limits(n_threads):
                while len(seconds) < 5 or (sum(seconds) < 1.0 and len(seconds) < 41):
                    started = time.perf_counter()
                    features @ features.T
                    seconds.append(time.perf_counter() - started)
            row[str(features.dtype)] = statistics.median(seconds)
        say(f"    {shape.name}: X X' in {1e3 * row['float64']:.2f} and {1e3 * row['float32']:.2f} ms")
        found.append(row)
    return found
