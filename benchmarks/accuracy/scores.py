"""What is measured of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

__all__ = ["N_BINS", "calibration_error", "coverage", "scores_of"]

Floats = npt.NDArray[np.float64]
N_BINS = 15


def scores_of(labels: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Balanced accuracy, macro-F1 and accuracy."""
    return {
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0.0)),
        "accuracy": float(accuracy_score(labels, predicted)),
    }


def calibration_error(
    probabilities: Floats, codes: npt.NDArray[np.int64], weights: Floats | None = None, n_bins: int = N_BINS
) -> float:
    """Expected calibration error: over bins of equal mass of the probability of the predicted class, the mean distance
    between that probability and the share of right predictions (Naeini et al. 2015; equal mass: Nixon et al.,
    arXiv 1904.01685).

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
    error = 0.0
    for number in range(n_bins):
        own = order[bins == number]
        if len(own):
            gap = np.average(right[own], weights=weights[own]) - np.average(confidence[own], weights=weights[own])
            error += abs(float(gap)) * float(weights[own].sum() / weights.sum())
    return error


def coverage(sets: Sequence[Sequence[str]], labels: Sequence[str]) -> dict[str, float]:
    """Share of the rows of a class whose set has their label, the mean over classes and the least; mean set size."""
    inside = np.array([label in members for members, label in zip(sets, labels, strict=True)])
    names = np.array(labels)
    by_class = [float(inside[names == name].mean()) for name in sorted(set(labels))]
    return {
        "coverage": float(np.mean(by_class)),
        "least_coverage": min(by_class),
        "set_size": float(np.mean([len(members) for members in sets])),
    }
