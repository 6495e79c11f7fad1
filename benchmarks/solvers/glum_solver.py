"""glum's GeneralizedLinearRegressor (binomial)."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import threadpoolctl

from solvers.problem import Problem
from solvers.rival import RivalUnavailable

Floats = npt.NDArray[np.float64]


class Glum:
    """See Rival."""

    name = "glum, irls-ls"
    tolerances = tuple(10.0 ** -np.arange(1, 11))

    def fit(self, problem: Problem, tol: float, n_threads: int) -> tuple[Floats, Floats]:
        """See Rival."""
        try:
            from glum import GeneralizedLinearRegressor
        except ImportError as error:
            raise RivalUnavailable(f"not installed: {error}") from None
        if problem.n_classes > 2:
            raise RivalUnavailable("no softmax")
        n_rows = len(problem.y)
        # It minimises the mean of half deviances, which are log-losses, + alpha / 2 ||coef||^2.
        model = GeneralizedLinearRegressor(
            family="binomial", alpha=1.0 / (problem.C * n_rows), l1_ratio=0.0, gradient_tol=tol, max_iter=10_000,
            scale_predictors=False,
        )  # fmt: skip
        with threadpoolctl.threadpool_limits(n_threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(problem.X, problem.y.astype(float))
        return model.coef_, np.atleast_1d(model.intercept_)
