"""What is measured of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from fastplr.study.scores import N_BINS, calibration_error

__all__ = ["N_BINS", "calibration_error", "coverage", "scores_of"]


def scores_of(labels: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Balanced accuracy, macro-F1 and accuracy."""
    return {
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0.0)),
        "accuracy": float(accuracy_score(labels, predicted)),
    }


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
