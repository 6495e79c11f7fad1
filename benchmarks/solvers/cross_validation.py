"""The choice of a penalty beside LogisticRegressionCV: the same penalties, the same folds, the same score."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold

import fastplr
from solvers.problem import Problem

__all__ = ["Choice", "compare_choices"]

N_FOLDS = 10
N_PENALTIES = 20
#: How far the loss of the chosen penalty may be from the exact one, relative to it.
SAME_LOSS = 1e-4
#: Solvers that are in question; newton-cholesky factorises a matrix in the features each time, sag and saga are slower.
SOLVERS = ("newton-cg", "lbfgs", "liblinear")
TOLERANCES = tuple(10.0 ** -np.arange(1, 9))
#: A choice that takes longer, in seconds or times the fastest solver's, is not looked at any further.
PATIENCE = (90.0, 4.0)


@dataclass
class Choice:
    """Of one of the two.

    Attributes:
        name: With its setting.
        seconds: Of each round, the fit of all rows with the chosen penalty included.
        C: Chosen.
        loss: Mean log-loss of held-out rows there.
        trouble: Why it does not count.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    C: float = 0.0
    loss: float = 0.0
    trouble: str = ""


def compare_choices(path: Path, *, n_threads: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """fastplr's, then of each solver the loosest tolerance that chooses the same penalty at the same loss."""
    problem = Problem.load(path)
    Cs = np.logspace(-4, 4, 4 if quick else N_PENALTIES)
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(problem.X, problem.y))
    ours = Choice("fastplr")
    for _ in range(2 if quick else 7):
        started = time.perf_counter()
        model = fastplr.LogisticRegression("auto", Cs=Cs, cv=folds, n_threads=n_threads).fit(problem.X, problem.y)
        ours.seconds.append(time.perf_counter() - started)
    ours.C, ours.loss = model.C_, -float(model.cv_scores_.mean(axis=0).max())
    say(f"    fastplr: {statistics.median(ours.seconds):.3f} s, C {ours.C:.3g}, loss {ours.loss:.6f}")
    found = [ours]
    for solver in SOLVERS:
        fastest = min((min(choice.seconds) for choice in found[1:] if choice.seconds), default=math.inf)
        patience = min(PATIENCE[0], PATIENCE[1] * fastest)
        found.append(_loosest(problem, Cs, folds, solver, ours, n_threads, patience, quick))
        last = found[-1]
        say(f"    {last.name}: {last.trouble or f'{statistics.median(last.seconds):.2f} s, loss {last.loss:.6f}'}")
    return [asdict(choice) for choice in found]


def _loosest(
    problem: Problem, Cs: Any, folds: Any, solver: str, ours: Choice, n_threads: int, patience: float, quick: bool
) -> Choice:
    name = f"LogisticRegressionCV, {solver}"
    for tol in TOLERANCES:
        settings: dict[str, Any] = {"solver": solver, "tol": tol, "max_iter": 20_000, "use_legacy_attributes": False}
        if solver == "liblinear":
            settings["intercept_scaling"] = 1e4  # it penalises the intercept: not with this
        best = Choice(f"{name}, tol {tol:g}")
        # Threads may work on folds or in products.
        for n_jobs in (1, n_threads) if n_threads > 1 else (1,):
            started = time.perf_counter()
            with threadpoolctl.threadpool_limits(n_threads // n_jobs), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = LogisticRegressionCV(
                    Cs=Cs, cv=folds, scoring="neg_log_loss", n_jobs=n_jobs, l1_ratios=(0.0,), **settings
                ).fit(problem.X, problem.y)
            seconds = time.perf_counter() - started
            if not best.seconds or seconds < best.seconds[0]:
                best.seconds = [seconds]
        best.C = float(np.ravel(model.C_)[0])
        losses = -np.asarray(model.scores_).reshape(N_FOLDS, len(Cs)).mean(axis=0)
        best.loss = float(losses[int(np.argmin(np.abs(Cs - best.C)))])
        if quick or (best.C == ours.C and abs(best.loss - ours.loss) <= SAME_LOSS * ours.loss):
            return best
        if best.seconds[0] > patience:
            return Choice(name, trouble=f"loss {best.loss:.6f} after {best.seconds[0]:.0f} s at a tolerance of {tol:g}")
    return Choice(name, trouble=f"never the same penalty and loss; at last C {best.C:.3g}, loss {best.loss:.6f}")
