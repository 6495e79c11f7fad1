"""adelie's group elastic net, at no group penalty but the ridge (python-glmnet does not build on recent Pythons)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from solvers.problem import Problem
from solvers.rival import RivalUnavailable

Floats = npt.NDArray[np.float64]


class Adelie:
    """See Rival."""

    name = "adelie"
    tolerances = tuple(10.0 ** -np.arange(4, 15, 2))

    def fit(self, problem: Problem, tol: float, n_threads: int) -> tuple[Floats, Floats]:
        """See Rival."""
        try:
            import adelie as ad
        except ImportError as error:
            raise RivalUnavailable(f"not installed: {error}") from None
        n_rows, n_features = problem.X.shape
        matrix = ad.matrix.dense(np.asfortranarray(problem.X), n_threads=n_threads)
        if problem.n_classes == 2:
            family = ad.glm.binomial(problem.y.astype(float))
        else:
            family = ad.glm.multinomial(np.eye(problem.n_classes)[problem.y])
        # It minimises the mean log-loss (of softmaxes a K-th of it) + lambda sum_g penalty_g (alpha ||b_g|| +
        # (1 - alpha) / 2 ||b_g||^2).
        scale = 1.0 / (problem.C * n_rows * (problem.n_classes if problem.n_classes > 2 else 1))
        state = ad.grpnet(
            X=matrix, glm=family, alpha=1e-9, penalty=np.ones(n_features), lmda_path=np.array([scale]), tol=tol,
            max_iters=int(1e6), progress_bar=False, n_threads=n_threads, early_exit=False,
        )  # fmt: skip
        coef = np.asarray(state.betas[-1].todense()).reshape(n_features, -1).T
        return coef, np.atleast_1d(state.intercepts[-1])
