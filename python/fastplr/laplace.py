"""How sure the fitted coefficients are: standard errors of logits and probabilities by Laplace's approximation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from fastplr.errors import InputError

__all__ = ["MAX_ORDER", "LaplaceApproximation"]

Floats = npt.NDArray[np.float64]

#: Of the matrix that is factorised; half a gigabyte.
MAX_ORDER = 8192


class LaplaceApproximation:
    """The normal distribution of the coefficients around a fit, its covariance the inverse second derivative of
    ``sum_i w_i log-loss_i + (lambda / 2) ||coef||^2`` (MacKay, Neural Computation 4 (1992) 720-736).

    Works in the ``n_classes - 1`` contrasts of the logits that probabilities depend on, and in the rows: with R R' the
    curvature of the rows' losses by contrasts and G the Gram matrix, the covariance of the contrasts at a row x is
    ``(x'x I - Q Q') / lambda`` where Q = (x'X (x) I) R L^-T and L L' = lambda I + R'(G (x) I)R. The intercept, which
    has no penalty, adds ``(I - Q J) (lambda J'J)^-1 (I - Q J)'`` with J = L^-1 R'(1 (x) I), by the inverse of a
    bordered matrix. One matrix of order ``n_rows (n_classes - 1)``, at most ``MAX_ORDER``, is factorised when
    the first standard error is asked for.

    Args:
        features: The rows of the fit ``(n_rows, n_features)``.
        probabilities: Of their classes by the fit, ``(n_rows, n_classes)``.
        weights: Of the rows in the fit, ``(n_rows,)``.
        penalty: lambda, > 0.
        fit_intercept: Whether there is an intercept.
    """

    def __init__(
        self, features: Floats, probabilities: Floats, weights: Floats, penalty: float, *, fit_intercept: bool
    ) -> None:
        counts = weights > 0
        rows, p, w = features[counts], probabilities[counts], weights[counts]
        self._centre = rows.mean(axis=0) if fit_intercept else np.zeros(rows.shape[1])
        self._fit_intercept = fit_intercept
        self._penalty = penalty
        self._rows = rows - self._centre
        self.contrasts = _contrasts(p.shape[1])
        self._probabilities, self._weights = p, w
        self._roots = self._factor = np.empty(0)

    def _factorise(self) -> None:
        """At the first question, not in the fit."""
        if len(self._factor):
            return
        p, m = self._probabilities, self.contrasts.shape[1]
        order = len(p) * m
        if order > MAX_ORDER:
            raise InputError(
                f"the covariance of {len(p)} rows and {p.shape[1]} classes needs a matrix of order {order}: "
                f"expected at most {MAX_ORDER}"
            )
        curvature = np.einsum("ka,ik,kb->iab", self.contrasts, p, self.contrasts)
        mean = p @ self.contrasts
        curvature -= mean[:, :, None] * mean[:, None, :]
        values, vectors = np.linalg.eigh(self._weights[:, None, None] * curvature)
        self._roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        gram = self._rows @ self._rows.T
        system = np.einsum("ij,ika,jkb->iajb", gram, self._roots, self._roots, optimize=True).reshape(order, order)
        system[np.diag_indices_from(system)] += self._penalty
        self._factor = cholesky(system, lower=True, overwrite_a=True, check_finite=False)

    def covariance(self, features: Floats) -> Floats:
        """Of the contrasts ``logits @ contrasts`` at each row, ``(n_rows, n_classes - 1, n_classes - 1)``."""
        rows = features - self._centre
        m = self.contrasts.shape[1]
        solved, left = self._solved(rows)
        covariance = -np.einsum("rna,rnb->nab", solved, solved)
        covariance[:, np.arange(m), np.arange(m)] += np.einsum("np,np->n", rows, rows)[:, None]
        covariance /= self._penalty
        if self._fit_intercept:
            covariance += left @ left.transpose(0, 2, 1)
        return np.asarray(covariance)

    def _solved(self, rows: Floats) -> tuple[Floats, Floats]:
        """Q' of each centred row, and ``(I - Q J) B`` with B B' = (lambda J'J)^-1, which is the intercept's part.

        ``(order, n_rows, n_classes - 1)`` and ``(n_rows, n_classes - 1, n_classes - 1)``.
        """
        self._factorise()
        n_new, m = len(rows), self.contrasts.shape[1]
        # L^-1 R'(X x (x) I)
        right = np.einsum("ji,ika->iajk", rows @ self._rows.T, self._roots).reshape(-1, n_new * m)
        solved = solve_triangular(self._factor, right, lower=True, check_finite=False).reshape(-1, n_new, m)
        ones = self._roots.transpose(0, 2, 1).reshape(-1, m)
        half = solve_triangular(self._factor, ones, lower=True, check_finite=False)
        left = np.eye(m) - np.einsum("rna,rb->nab", solved, half)
        root = np.linalg.inv(cholesky(self._penalty * half.T @ half, lower=True)).T
        return np.asarray(solved), np.asarray(left @ root)

    def leave_one_out_changes(self, features: Floats, codes: npt.NDArray[np.int32]) -> Floats:
        """By how much the fit's contrasts at `features` exceed those of fits without each of its rows.

        One Newton step from the fit, with the curvature that is left without the row (the leave-one-out of Pregibon,
        Annals of Statistics 9 (1981) 705-724, and Rad & Maleki, arXiv 1801.10243): with S the covariance of the
        contrasts at two rows, W the curvature of row i's loss and r the residual, ``S(x, i) (I - W S(i, i))^-1 r``.

        Args:
            features: ``(n_new, n_features)``.
            codes: Classes of the rows of positive weight, ``(n_rows,)``.

        Returns:
            ``(n_new, n_rows, n_classes - 1)``.
        """
        own = self.covariance(self._rows + self._centre)
        residuals = -self._probabilities
        residuals[np.arange(len(codes)), codes] += 1.0
        residuals = self._weights[:, None] * (residuals @ self.contrasts)
        curvature = np.einsum("iak,ibk->iab", self._roots, self._roots)
        steps = np.linalg.solve(
            np.eye(self.contrasts.shape[1]) - curvature @ own, residuals[:, :, None]
        )[:, :, 0]  # fmt: skip
        m = self.contrasts.shape[1]
        solved, left = self._solved(self._rows)
        changes = np.empty((len(features), len(codes), m))
        for row, one in enumerate(features - self._centre):
            new_solved, new_left = self._solved(one[None])
            cross = -np.tensordot(new_solved[:, 0], solved, axes=(0, 0)).transpose(1, 0, 2)
            cross[:, np.arange(m), np.arange(m)] += (self._rows @ one)[:, None]
            cross /= self._penalty
            if self._fit_intercept:
                cross += new_left[0] @ left.transpose(0, 2, 1)
            changes[row] = np.einsum("iab,ib->ia", cross, steps)
        return changes

    def standard_errors(self, features: Floats, probabilities: Floats) -> Floats:
        """Of `probabilities` ``(n_rows, n_classes)`` at `features`, by the delta method; as many."""
        # d p_k / d contrast_a = p_k (contrasts_ka - sum_l p_l contrasts_la)
        mean = probabilities @ self.contrasts
        slopes = probabilities[:, :, None] * (self.contrasts[None] - mean[:, None, :])
        variance = np.einsum("nka,nab,nkb->nk", slopes, self.covariance(features), slopes)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _contrasts(n_classes: int) -> Floats:
    """Orthonormal directions of logits that sum to zero, ``(n_classes, n_classes - 1)``.

    For two classes, whose one logit is penalised alone, the direction of that logit.
    """
    if n_classes == 2:
        return np.array([[0.0], [1.0]])
    basis = np.zeros((n_classes, n_classes - 1))
    for j in range(n_classes - 1):
        basis[: j + 1, j] = 1.0
        basis[j + 1, j] = -(j + 1.0)
    return np.asarray(basis / np.linalg.norm(basis, axis=0))
