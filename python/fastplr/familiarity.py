"""Whether a text is like those that a classifier learned from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf_shrinkage

__all__ = ["Familiarity"]

Floats = npt.NDArray[np.float64]


class Familiarity:
    """How far rows are from the training rows, as a share of these.

    The distance is Mahalanobis' from the mean of the training rows (for telling texts of another kind: Lee et al., "A
    simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888; here without classes), in
    standardised features, with the covariance shrunk towards a multiple of the identity as by Ledoit and Wolf (Journal
    of Multivariate Analysis 88 (2004) 365-411).

    Args:
        training: ``(n_training, n_features)``, at least one row.
        mean, scale: What standardises them, ``(n_features,)``.
    """

    def __init__(self, training: npt.NDArray[np.float32], mean: Floats, scale: Floats) -> None:
        self._mean, self._scale = mean, scale
        rows = self._standardised(training)
        n = len(rows)
        self._centre = rows.mean(axis=0)
        rows -= self._centre
        self._shrinkage = float(ledoit_wolf_shrinkage(rows, assume_centered=True)) if n > 1 else 1.0
        # Rows that are all the same span nothing; any length will do for what is unlike them.
        self._level = float(np.square(rows).mean()) or 1.0
        _, singular, directions = np.linalg.svd(rows, full_matrices=False)
        self._variances, self._directions = np.square(singular) / n, directions.T
        self._own = np.sort(self._left_out(rows))

    def p_values(self, features: npt.NDArray[np.float32]) -> Floats:
        """The share of training rows at least as far from the others as each row is from all, ``(n_rows,)``.

        (1 + their number) / (1 + n_training): a conformal p-value, for rows drawn as the training rows were spread
        evenly over (0, 1].

        Args:
            features: ``(n_rows, n_features)``.
        """
        far = self._distances(self._standardised(features) - self._centre, self._variances)
        n_nearer = np.searchsorted(self._own, far, side="left")
        return np.asarray((1 + len(self._own) - n_nearer) / (1 + len(self._own)), dtype=np.float64)

    def _standardised(self, features: npt.NDArray[np.float32]) -> Floats:
        return np.asarray((np.asarray(features, dtype=np.float64) - self._mean) / self._scale)

    def _distances(self, centred: Floats, variances: Floats) -> Floats:
        """Squared, of rows from the centre, with the covariance of these variances along the directions, shrunk."""
        floor = self._level * max(self._shrinkage, float(np.finfo(np.float64).eps))
        along = np.square(centred @ self._directions)
        beside = np.maximum(np.square(centred).sum(axis=1) - along.sum(axis=1), 0.0)
        return np.asarray(along @ (1.0 / ((1.0 - self._shrinkage) * variances + floor)) + beside / floor)

    def _left_out(self, rows: Floats) -> Floats:
        """Squared distances of the training rows from what the others say; the shrinkage is that of all.

        Without row d the mean moves by -d / (n - 1) and n / (n - 1) cov loses n / (n - 1)^2 d d'; the inverse follows
        by Sherman and Morrison.
        """
        n = len(rows)
        if n < 2:
            return np.full(n, np.inf)
        q = self._distances(rows, self._variances * n / (n - 1))
        lost = (1.0 - self._shrinkage) * n / (n - 1) ** 2 * q
        return np.asarray((n / (n - 1)) ** 2 * q / np.maximum(1.0 - lost, np.finfo(np.float64).eps))
