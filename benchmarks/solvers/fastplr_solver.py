"""fastplr.LogisticRegression itself."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

import fastplr
from solvers.problem import Problem

Floats = npt.NDArray[np.float64]


class Fastplr:
    """See Rival. Its own default is the only setting: it is not allowed what its rivals are."""

    name = "fastplr"
    tolerances = (1e-8,)

    def fit(self, problem: Problem, tol: float, n_threads: int) -> tuple[Floats, Floats]:
        """See Rival."""
        model = fastplr.LogisticRegression(problem.C, tol=tol, n_threads=n_threads)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(problem.X, problem.y)
        return model.coef_, model.intercept_
