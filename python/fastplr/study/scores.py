"""What is measured of probabilities on test rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

__all__ = ["METRICS", "N_BINS", "calibration_error", "scores_of", "scores_of_labels"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

N_BINS = 15
#: Draws of labels by which it is known what chance alone makes of the calibration error.
N_SIMULATED = 20
#: Names of the metrics and their headings, the most important one first.
METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "calibration_error": "calibration error",
}


def scores_of(log_p: Floats, codes: Codes) -> dict[str, float]:
    """All of :data:`METRICS`, and ``calibration_error_by_chance``.

    The latter is what the calibration error of probabilities that are right would be with as many rows.

    Args:
        log_p: Log-probabilities ``(n_rows, n_classes)``.
        codes: True classes ``(n_rows,)``.
    """
    return {
        **scores_of_labels(log_p.argmax(axis=1), codes),
        "log_loss": float(-log_p[np.arange(len(codes)), codes].mean()),
        "calibration_error": calibration_error(np.exp(log_p), codes),
        "calibration_error_by_chance": _by_chance(np.exp(log_p)),
    }


def _by_chance(probabilities: Floats) -> float:
    """What :func:`calibration_error` is on average where these probabilities are right: labels are drawn by them."""
    rng = np.random.default_rng(0)
    steps = np.cumsum(probabilities / probabilities.sum(axis=1, keepdims=True), axis=1)
    drawn = [(rng.random((len(steps), 1)) > steps[:, :-1]).sum(axis=1) for _ in range(N_SIMULATED)]
    return float(np.mean([calibration_error(probabilities, codes) for codes in drawn]))


def scores_of_labels(predicted: Codes, codes: Codes) -> dict[str, float]:
    """Those of :data:`METRICS` that need no probabilities; a prediction that is no class (-1) is wrong."""
    known = np.unique(codes)
    recalls = [float((predicted[codes == code] == code).mean()) for code in known]
    return {
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(f1_score(codes, predicted, labels=known, average="macro", zero_division=0.0)),
        "accuracy": float((predicted == codes).mean()),
    }


def calibration_error(
    probabilities: Floats, codes: Codes, weights: Floats | None = None, n_bins: int = N_BINS
) -> float:
    """Expected calibration error (Naeini et al. 2015), with bins of equal mass (Nixon et al., arXiv 1904.01685).

    The mean distance, over bins of the probability of the predicted class, between that probability and the share of
    right predictions.

    Args:
        probabilities: ``(n_rows, n_classes)``.
        codes: True classes ``(n_rows,)``.
        weights: Of the rows; default: 1.
        n_bins: Number of bins.
    """
    weights = np.ones(len(codes)) if weights is None else weights
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == codes).astype(float)
    order = np.argsort(confidence, kind="stable")
    mass = np.cumsum(weights[order]) / weights.sum()
    bins = np.minimum((mass * n_bins - 1e-9).astype(int), n_bins - 1)
    first = np.searchsorted(confidence[order], confidence[order])  # what is equal belongs together
    bins = bins[first]
    error = 0.0
    for number in range(n_bins):
        own = order[bins == number]
        if len(own):
            gap = np.average(right[own], weights=weights[own]) - np.average(confidence[own], weights=weights[own])
            error += abs(float(gap)) * float(weights[own].sum() / weights.sum())
    return error
