"""The problems: rows and labels, with a penalty."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fastplr
from harness.corpus import tasks_folder

__all__ = ["Problem", "real", "synthetic", "tasks_apart"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to fit.

    Attributes:
        X: Standardised features, float64 ``(n_rows, n_features)``.
        y: Class numbers ``(n_rows,)``.
        C: Inverse penalty.
    """

    X: Floats
    y: Codes
    C: float = 1.0

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1

    def with_penalty(self, C: float) -> Problem:
        """The same rows."""
        return replace(self, C=C)

    def objective(self, coef: Floats, intercept: Floats) -> float:
        """``sum_i log-loss_i + ||coef||^2 / (2 C)``, with the symmetric softmax for more than two classes."""
        logits = self.X @ np.atleast_2d(coef).T + np.ravel(intercept)
        if self.n_classes == 2:
            loss = np.logaddexp(0.0, np.where(self.y == 1, -logits[:, 0], logits[:, 0])).sum()
        else:
            loss = (np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(self.y)), self.y]).sum()
        return float(loss + np.sum(np.square(coef)) / (2 * self.C))

    def save(self, path: Path) -> None:
        """Rows and labels, without the penalty."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, X=self.X, y=self.y)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Of a saved one."""
        with np.load(path) as arrays:
            return cls(arrays["X"], arrays["y"])


def synthetic(n_rows: int, n_features: int, n_classes: int) -> Problem:
    """Normal features whose singular values fall as k^-1/2, as those of hidden states do, and noisy labels; a fixed
    seed.
    """
    rng = np.random.default_rng([n_rows, n_features, n_classes])
    n_directions = min(n_rows, n_features)
    latent = rng.standard_normal((n_rows, n_directions)) * np.arange(1, n_directions + 1) ** -0.5
    X = latent @ rng.standard_normal((n_directions, n_features))
    scores = latent @ rng.standard_normal((n_directions, n_classes))
    y = np.argmax(scores + 0.5 * scores.std() * rng.standard_normal(scores.shape), axis=1)
    y[:n_classes] = np.arange(n_classes)
    return Problem(_standardised(X), y)


def real(task: str, n_rows: int, n_features: int, cache: Path) -> Problem:
    """Hidden states of the default model: rows of a task in equal shares, layers beside one another until there are
    `n_features` of them. Raises NoTasks where there are no tasks.
    """
    rows = _rows_of(task)
    labels, codes = np.unique([label for _, label in rows], return_inverse=True)
    rank = np.zeros(len(rows), dtype=np.int64)  # of a row within its class
    for k in range(len(labels)):
        rank[codes == k] = np.arange((codes == k).sum())
    chosen = np.sort(np.lexsort((codes, rank))[:n_rows])
    features = _hidden_states([rows[i][0] for i in chosen], n_features, cache)
    return Problem(_standardised(features), codes[chosen])


def tasks_apart(tasks: Sequence[str], n_rows: int, n_features: int, cache: Path) -> Problem:
    """Rows of several tasks in equal shares; the label is whether a row's task is in the first half of them."""
    texts: list[str] = []
    labels: list[int] = []
    for number, task in enumerate(tasks):
        rows = _rows_of(task)[: -(-n_rows // len(tasks))]
        texts += [text for text, _ in rows]
        labels += [int(2 * number >= len(tasks))] * len(rows)
    features = _hidden_states(texts[:n_rows], n_features, cache)
    return Problem(_standardised(features), np.array(labels[:n_rows]))


def _rows_of(task: str) -> list[tuple[str, str]]:
    """Texts and labels, the training rows first."""
    rows = []
    for name in ("train.csv", "test.csv"):
        with (tasks_folder() / task / name).open(encoding="utf-8", newline="") as file:
            rows += [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return rows


def _hidden_states(texts: Sequence[str], n_features: int, cache: Path) -> Floats:
    embedder = fastplr.Embedder(on_long="truncate", cache=str(cache), progress=False)
    n_layers = -(-n_features // embedder.n_embd)
    middle = embedder.layer_number("middle")
    layers = [middle - n_layers // 2 + k for k in range(n_layers)]
    features = embedder.embed(list(texts), layers=layers)[:, :, 0]
    return np.asarray(features.reshape(len(texts), -1)[:, :n_features], dtype=np.float64)


def _standardised(X: Floats) -> Floats:
    return np.ascontiguousarray((X - X.mean(axis=0)) / X.std(axis=0))
