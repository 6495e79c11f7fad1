"""Whether a text is like those that a classifier learned from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["familiarity"]

Floats = npt.NDArray[np.float64]

#: Neighbours whose likeness is averaged.
N_NEIGHBOURS = 5


def familiarity(features: npt.NDArray[np.float32], training: npt.NDArray[np.float32], mean: Floats, scale: Floats) -> Floats:
    """The share of training rows that are no more like the others than each row is like them, ``(n_rows,)``.

    Likeness is the mean cosine, in standardised features, to the nearest five training rows (nearest neighbours as in
    Sun et al., "Out-of-distribution detection with deep nearest neighbors", arXiv 2204.06507). A conformal p-value: for
    rows drawn as the training rows were it is spread evenly over (0, 1).

    Args:
        features: ``(n_rows, n_features)``.
        training: ``(n_training, n_features)``.
        mean, scale: What standardises both.
    """
    new, known = (_directions(rows, mean, scale) for rows in (features, training))
    among = known @ known.T
    np.fill_diagonal(among, -np.inf)
    n_neighbours = min(N_NEIGHBOURS, len(known) - 1)
    own = np.sort(_mean_of_largest(among, n_neighbours))
    likeness = _mean_of_largest(new @ known.T, n_neighbours)
    return np.asarray((1 + np.searchsorted(own, likeness, side="right")) / (1 + len(own)), dtype=np.float64)


def _directions(rows: npt.NDArray[np.float32], mean: Floats, scale: Floats) -> Floats:
    standardised = (np.asarray(rows, dtype=np.float64) - mean) / scale
    lengths = np.linalg.norm(standardised, axis=1, keepdims=True)
    return np.asarray(standardised / np.maximum(lengths, np.finfo(np.float64).tiny))


def _mean_of_largest(values: Floats, n: int) -> Floats:
    return np.asarray(-np.partition(-values, n - 1, axis=1)[:, :n].mean(axis=1))
