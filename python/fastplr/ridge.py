"""Leave-one-out of ridge regression on indicators of the classes: exact, one factorisation for all penalties."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from fastplr.calibration import log_probabilities

__all__ = ["RidgeScreening", "screen_by_ridge"]

Floats = npt.NDArray[np.float64]

#: Penalties, as multiples of the mean squared length of a row.
MULTIPLES = np.logspace(-4, 2, 13)
MOST_LOG_FACTOR = 6.0
#: Rows that are all the same have no squared length.
SMALLEST = 1e-200


class RidgeScreening:
    """Held-out predictions of every row at every penalty.

    Of rows ``sqrt(w_i) x_i``, centred, with left singular vectors U and squared singular values e, the hat matrix at a
    penalty r is ``U diag(e / (e + r)) U'`` plus what the intercept adds; the residual of a row that is left out is
    ``residual_i / (1 - hat_ii)`` (Allen, Technometrics 16 (1974) 125-127).

    Args:
        x: Features ``(n_rows, n_features)``.
        codes: Classes ``(n_rows,)``.
        n_classes: Number of classes.
        weights: Of the rows, ``(n_rows,)``, > 0.

    Attributes:
        penalties: ``(n_penalties,)``, ascending.
        predictions: ``(n_penalties, n_rows, n_classes)``.
    """

    def __init__(self, x: Floats, codes: npt.NDArray[np.int32], n_classes: int, weights: Floats) -> None:
        shares = weights / weights.sum()
        roots = np.sqrt(shares)[:, None]
        targets = np.eye(n_classes)[codes]
        mean = shares @ targets
        rows = roots * (x - shares @ x)
        if len(x) <= x.shape[1]:
            squared, left = np.linalg.eigh(rows @ rows.T)
        else:
            squared, right = np.linalg.eigh(rows.T @ rows)
            left = rows @ (right / np.sqrt(np.maximum(squared, np.finfo(np.float64).tiny)))
        squared = np.maximum(squared, 0.0)
        kept = squared > len(x) * np.finfo(np.float64).eps * squared.max(initial=0.0)
        squared, left = squared[kept], left[:, kept]
        self.penalties = MULTIPLES * max(float(squared.sum()), SMALLEST)
        projected = left.T @ (roots * (targets - mean))
        self.predictions = np.empty((len(self.penalties), *targets.shape))
        for at, penalty in enumerate(self.penalties):
            shrunk = squared / (squared + penalty)
            fitted = mean + left @ (shrunk[:, None] * projected) / roots
            hat = np.square(left) @ shrunk + shares
            rest = np.maximum(1.0 - hat, np.finfo(np.float64).eps)[:, None]
            self.predictions[at] = targets - (targets - fitted) / rest


def screen_by_ridge(x: Floats, codes: npt.NDArray[np.int32], n_classes: int, weights: Floats) -> tuple[float, Floats]:
    """How well rows are told apart, without a fit of the logistic regression.

    The penalty of least held-out squared error is taken, and the predictions there times the factor that makes them the
    best logits.

    Args:
        x, codes, n_classes, weights: As in :class:`RidgeScreening`.

    Returns:
        C of a logistic regression about as strongly penalised, and the log-loss of each row, ``(n_rows,)``.
    """
    found = RidgeScreening(x, codes, n_classes, weights)
    targets = np.eye(n_classes)[codes]
    errors = np.square(found.predictions - targets).sum(axis=2) @ weights
    at = int(errors.argmin())
    own = np.arange(len(codes))

    def losses(log_factor: float) -> Floats:
        return np.asarray(-log_probabilities(np.exp(log_factor) * found.predictions[at])[own, codes])

    best = minimize_scalar(
        lambda log_factor: float(weights @ losses(log_factor)),
        bounds=(0.0, MOST_LOG_FACTOR), method="bounded", options={"xatol": 0.05},
    )  # fmt: skip
    # The log-loss curves by p (1 - p) where squares curve by 1; penalties are of sums here, of weighted means there.
    curvature = (n_classes - 1) / n_classes**2
    return 1.0 / (curvature * found.penalties[at] * float(weights.sum())), losses(float(best.x))
