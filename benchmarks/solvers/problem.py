"""The problems: rows, labels and a penalty."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fastplr
from harness.corpus import tasks_folder

__all__ = ["Problem", "real", "synthetic"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to fit.

    Attributes:
        name: In the tables.
        X: Standardised features, float64 ``(n_rows, n_features)``.
        y: Class numbers ``(n_rows,)``.
        C: Inverse penalty.
        targets: Factors by which fastplr is to be faster: than the best rival, and than those named.
    """

    name: str
    X: Floats
    y: npt.NDArray[np.int64]
    C: float
    targets: dict[str, float]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1

    def objective(self, coef: Floats, intercept: Floats) -> float:
        """``sum_i log-loss_i + ||coef||^2 / (2 C)``, with the symmetric softmax for more than two classes."""
        logits = self.X @ np.atleast_2d(coef).T + np.ravel(intercept)
        if self.n_classes == 2:
            loss = np.logaddexp(0.0, np.where(self.y == 1, -logits[:, 0], logits[:, 0])).sum()
        else:
            loss = (np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(self.y)), self.y]).sum()
        return float(loss + np.sum(np.square(coef)) / (2 * self.C))


def synthetic(
    n_rows: int, n_features: int, n_classes: int, *, C: float, targets: dict[str, float] | None = None
) -> Problem:
    """Normal features, an eighth of which matter, with noise; a fixed seed."""
    rng = np.random.default_rng([n_rows, n_features, n_classes])
    X = rng.standard_normal((n_rows, n_features))
    n_used = max(1, n_features // 8)
    scores = X[:, :n_used] @ rng.standard_normal((n_used, n_classes)) / np.sqrt(n_used)
    y = np.argmax(scores + 0.5 * rng.standard_normal(scores.shape), axis=1)
    y[:n_classes] = np.arange(n_classes)
    return Problem(f"synthetic, {n_rows} x {n_features}, {n_classes} classes", X, y, C, targets or {})


def real(task: str, n_rows: int, n_features: int, *, C: float, targets: dict[str, float] | None = None) -> Problem:
    """Hidden states of the default model: rows of a task in equal shares, layers beside one another until there are
    `n_features` of them, standardised. Raises NoTasks where there are no tasks.
    """
    folder: Path = tasks_folder() / task
    with (folder / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels, codes = np.unique([row["label"] for row in rows], return_inverse=True)
    rank = np.zeros(len(rows), dtype=np.int64)  # of a row within its class
    for k in range(len(labels)):
        rank[codes == k] = np.arange((codes == k).sum())
    chosen = np.sort(np.lexsort((codes, rank))[:n_rows])
    embedder = fastplr.Embedder(progress=False)
    n_layers = -(-n_features // embedder.n_embd)
    middle = embedder.layer_number("middle")
    layers = list(range(middle - n_layers // 2, middle - n_layers // 2 + n_layers))
    features = embedder.embed([rows[i]["text"] for i in chosen], layers=layers)[:, :, 0]
    X = features.reshape(len(chosen), -1)[:, :n_features].astype(np.float64)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    n_classes = len(labels)
    return Problem(f"{task}, {len(chosen)} x {n_features}, {n_classes} classes", X, codes[chosen], C, targets or {})
