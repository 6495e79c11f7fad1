"""Rows for the tests of the solver."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def sample(n_rows: int, n_features: int, n_classes: int, seed: int = 0) -> tuple[Array, Array]:
    """Overlapping classes; every class has at least n_rows // n_classes rows."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_rows) % n_classes
    X = rng.normal(size=(n_rows, n_features)) + 0.8 * np.eye(n_classes, n_features)[y]
    return X, y
