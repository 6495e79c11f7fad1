"""glmnet's coordinate descent (python-glmnet's LogitNet), at no penalty but the ridge."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from solvers.problem import Problem
from solvers.rival import RivalUnavailable

Floats = npt.NDArray[np.float64]


class Glmnet:
    """See Rival."""

    name = "glmnet"
    tolerances = tuple(10.0 ** -np.arange(6, 19, 2))

    def fit(self, problem: Problem, tol: float, n_threads: int) -> tuple[Floats, Floats]:
        """See Rival."""
        try:
            from glmnet import LogitNet
        except ImportError as error:
            raise RivalUnavailable(f"not installed: {error}") from None
        # It minimises the mean log-loss + lambda / 2 ||coef||^2.
        penalty = 1.0 / (problem.C * len(problem.y))
        model = LogitNet(
            alpha=0.0, n_splits=0, lambda_path=[penalty], standardize=False, tol=tol, max_iter=10_000_000,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(problem.X, problem.y)
        if problem.n_classes == 2:
            return model.coef_path_[..., -1].reshape(1, -1), np.ravel(model.intercept_path_[..., -1])
        return model.coef_path_[:, :, -1], model.intercept_path_[:, -1]
