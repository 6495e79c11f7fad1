"""scikit-learn's LogisticRegression, each of its solvers (``liblinear`` is LIBLINEAR)."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import threadpoolctl
from sklearn.linear_model import LogisticRegression

from solvers.problem import Problem
from solvers.rival import RivalUnavailable

Floats = npt.NDArray[np.float64]

SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky", "liblinear", "sag", "saga")


class ScikitLearn:
    """See Rival.

    Args:
        solver: One of the SOLVERS.
    """

    tolerances = tuple(10.0 ** -np.arange(1, 13))

    def __init__(self, solver: str) -> None:
        self.solver = solver
        self.name = f"scikit-learn, {solver}"

    def fit(self, problem: Problem, tol: float, n_threads: int) -> tuple[Floats, Floats]:
        """See Rival."""
        n_unknowns = problem.X.shape[1] * (1 if problem.n_classes == 2 else problem.n_classes)
        if self.solver == "newton-cholesky" and n_unknowns > 10_000:
            raise RivalUnavailable(f"a second derivative of order {n_unknowns}")
        settings = {"solver": self.solver, "C": problem.C, "tol": tol, "max_iter": 20_000}
        if self.solver == "liblinear":
            if problem.n_classes > 2:
                raise RivalUnavailable("no softmax")
            settings["intercept_scaling"] = 1e4  # it penalises the intercept: not with this
        with threadpoolctl.threadpool_limits(n_threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(**settings).fit(problem.X, problem.y)
        return model.coef_, model.intercept_
