"""Sets of labels that hold the true one as often as was asked, class by class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["label_sets", "p_values"]

Floats = npt.NDArray[np.float64]


def p_values(log_p: Floats, held_out_log_p: Floats, codes: npt.NDArray[np.int32]) -> Floats:
    """For each row and class: the share of the class's own rows that fit it no better, ``(n_rows, n_classes)``.

    Class-conditional (Mondrian) conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
    World" (2005), section 4.5) with the held-out rows of a cross-validation in the place of a calibration set
    (Vovk, "Cross-conformal predictors", arXiv 1208.0806). How well a row fits a class is its log-probability of it.

    Args:
        log_p: Log-probabilities of new rows, ``(n_rows, n_classes)``.
        held_out_log_p: Of training rows, by fits that had not seen them, ``(n_held_out, n_classes)``.
        codes: Classes of these, ``(n_held_out,)``.

    Returns:
        (1 + number of held-out rows of the class with at most this log-probability of it) / (1 + number of held-out
        rows of the class).
    """
    found = np.ones_like(log_p)
    for k in range(log_p.shape[1]):
        own = np.sort(held_out_log_p[codes == k, k])
        found[:, k] = (1 + np.searchsorted(own, log_p[:, k], side="right")) / (1 + len(own))
    return found


def label_sets(p: Floats, coverage: float) -> npt.NDArray[np.bool_]:
    """Which classes belong to the set of each row: those whose p-value is more than 1 - coverage.

    A class with fewer than coverage / (1 - coverage) held-out rows is in every set: so few rows say too little.
    """
    # A p-value is a quotient of small whole numbers: 0.1 must not be less than 1 - 0.9.
    return np.asarray(p > 1.0 - coverage + 1e-12)
