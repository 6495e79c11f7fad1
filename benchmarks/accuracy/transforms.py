"""What else could be done to features before the regression: fitted on training rows, given training and test rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf_shrinkage

__all__ = ["TRANSFORMED", "TRANSFORMS", "Transform"]

Floats = npt.NDArray[np.float64]
Transform = Callable[[Floats, Floats], tuple[Floats, Floats]]

#: The layer and pooling that are transformed.
TRANSFORMED = (16, "mean")


def plain(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Nothing: what the others are compared with."""
    return train, test


def of_length_one(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Each row divided by its length, after standardising. Not affine: scores of tokens would not add up."""
    mean, scale = train.mean(axis=0), train.std(axis=0)
    train, test = (train - mean) / scale, (test - mean) / scale
    return train / np.linalg.norm(train, axis=1, keepdims=True), test / np.linalg.norm(test, axis=1, keepdims=True)


def whitened(power: float) -> Transform:
    """Standardised, and multiplied by the shrunk covariance (Ledoit and Wolf) to the power -`power` / 2."""

    def transform(train: Floats, test: Floats) -> tuple[Floats, Floats]:
        mean, scale = train.mean(axis=0), train.std(axis=0)
        train, test = (train - mean) / scale, (test - mean) / scale
        shrinkage = ledoit_wolf_shrinkage(train)
        values, vectors = np.linalg.eigh(train.T @ train / len(train))
        values = (1.0 - shrinkage) * np.maximum(values, 0.0) + shrinkage * np.square(train).mean()
        # Turned back: standardising, which follows, would whiten fully along the vectors.
        root = (vectors * values ** (-power / 2)) @ vectors.T
        return train @ root, test @ root

    return transform


TRANSFORMS: dict[str, Transform] = {
    "plain": plain,
    "length 1": of_length_one,
    "half whitened": whitened(0.5),
    "whitened": whitened(1.0),
}
