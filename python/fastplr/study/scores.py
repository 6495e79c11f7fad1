"""What is measured of probabilities on test rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score, f1_score

__all__ = ["METRICS", "N_BINS", "calibration_error", "scores_of"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

N_BINS = 15
#: Names of the metrics and their headings, the most important one first.
METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "calibration_error": "calibration error",
}


def scores_of(log_p: Floats, codes: Codes) -> dict[str, float]:
    """All of :data:`METRICS`.

    Args:
        log_p: Log-probabilities ``(n_rows, n_classes)``.
        codes: True classes ``(n_rows,)``.
    """
    predicted = log_p.argmax(axis=1)
    return {
        "balanced_accuracy": float(balanced_accuracy_score(codes, predicted)),
        "macro_f1": float(f1_score(codes, predicted, average="macro", zero_division=0.0)),
        "accuracy": float((predicted == codes).mean()),
        "log_loss": float(-log_p[np.arange(len(codes)), codes].mean()),
        "calibration_error": calibration_error(np.exp(log_p), codes),
    }


def calibration_error(probabilities: Floats, codes: Codes, n_bins: int = N_BINS) -> float:
    """Expected calibration error: over bins of equal mass of the probability of the predicted class, the mean distance
    between that probability and the share of right predictions (Naeini et al. 2015; equal mass: Nixon et al.,
    arXiv 1904.01685).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == codes
    order = np.argsort(confidence, kind="stable")
    error = 0.0
    for own in np.array_split(order, min(n_bins, len(order))):
        error += abs(float(right[own].mean() - confidence[own].mean())) * len(own) / len(order)
    return error
