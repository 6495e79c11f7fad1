"""From features to what predicts: the choice, the fit of all rows, and what makes probabilities of logits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.calibration import fit_temperature
from fastplr.folds import make_folds
from fastplr.logistic_regression import LogisticRegression
from fastplr.representation import Choice, TrainingRows, choose, standardised
from fastplr.solver_inputs import checked_C, checked_Cs
from fastplr.user_warning import warn_user

__all__ = ["Fit", "fit_rows"]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

#: Rows among which the representation is chosen; where there are more, the others are embedded by the choice alone.
MAX_ROWS_TO_CHOOSE_BY = 2000


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted classifier, but for its labels and its model.

    Attributes:
        layer, pooling: Of the features.
        features: Of the training rows, ``(n_rows, n_features)``, as they were embedded.
        mean, scale: What standardises them.
        solver: The fitted regression on standardised features.
        choice: How layer, pooling and penalty were chosen; None where there was no choice and no fold.
        temperature: See :func:`fastplr.calibration.fit_temperature`.
        solve_seconds: Time for all but the embedding.
    """

    layer: int
    pooling: str
    features: Features
    mean: Floats
    scale: Floats
    solver: LogisticRegression
    choice: Choice | None
    temperature: float
    solve_seconds: float


def fit_rows(
    embed: Callable[[npt.NDArray[np.int64] | None, Sequence[int], Sequence[str]], Features],
    rows: TrainingRows,
    solver: LogisticRegression,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
    fallback: tuple[int, str],
    speed: bool,
    calibrate: bool,
    n_threads: int,
) -> Fit:
    """Choose, fit and calibrate.

    Args:
        embed: Gives float32 features ``(n_rows, n_layers, n_poolings, n_embd)`` of these rows (None: all).
        rows: What is learned from.
        solver: Its C, Cs, cv and random_state are what a PLRClassifier was given; it is fitted.
        layers, poolings: What may be chosen.
        fallback: Layer and pooling where the rows allow no choice.
        speed: See :func:`fastplr.representation.choose`.
        calibrate: Whether there is a temperature other than 1.
        n_threads: Threads.

    Raises:
        InputError: C, Cs or cv are not usable.
    """
    started = time.perf_counter()
    spent_embedding = 0.0

    def timed(some: npt.NDArray[np.int64] | None, layers: Sequence[int], poolings: Sequence[str]) -> Features:
        nonlocal spent_embedding
        began = time.perf_counter()
        features = embed(some, layers, poolings)
        spent_embedding += time.perf_counter() - began
        return features

    C = checked_C(solver.C)
    Cs = checked_Cs(solver.Cs) if C is None else np.array([C])
    n_places = len(layers) * len(poolings)
    sample = _sample(rows, MAX_ROWS_TO_CHOOSE_BY) if n_places > 1 else None
    if sample is not None:
        part = fit_rows(
            lambda some, *what: timed(sample if some is None else sample[some], *what),
            rows.take(sample), solver, layers=layers, poolings=poolings, fallback=fallback,
            speed=speed, calibrate=False, n_threads=n_threads,
        )  # fmt: skip
        layers, poolings, n_places = [part.layer], [part.pooling], 1

    features = timed(None, layers, poolings)
    choice = None
    if C is None or n_places > 1 or calibrate:
        folds = make_folds(
            solver.cv, rows.codes, rows.fit_weights, n_classes=rows.n_classes,
            features=features.reshape(len(rows), -1), random_state=solver.random_state,
        )  # fmt: skip
        if folds:
            choice = choose(
                features, rows, layers=layers, poolings=poolings, Cs=Cs, folds=folds, speed=speed,
                n_threads=n_threads,
            )  # fmt: skip
        elif C is None or n_places > 1:
            warn_user(
                "there are no two classes with two rows each to choose by cross-validation: C=1.0"
                f", layer {fallback[0]} and {fallback[1]} pooling are used where they were not given",
                UserWarning,
            )
    if choice is not None:
        layer, pooling, C = choice.layer, choice.pooling, choice.C
    else:
        layer, pooling = fallback if n_places > 1 else (layers[0], poolings[0])
        C = 1.0 if C is None else C
    own = np.ascontiguousarray(features[:, layers.index(layer), poolings.index(pooling)])
    x, mean, scale = standardised(own, rows.fit_weights)
    solver.set_params(C=C).fit(x, rows.codes, sample_weight=rows.fit_weights)
    temperature = 1.0
    if calibrate and choice is not None:
        scored = np.flatnonzero(~np.isnan(choice.logits[:, 0]) & (rows.fit_weights > 0))
        temperature = fit_temperature(choice.logits[scored], rows.codes[scored], rows.fit_weights[scored])
    seconds = time.perf_counter() - started - spent_embedding
    return Fit(layer, pooling, own, mean, scale, solver, choice, temperature, seconds)


def _sample(rows: TrainingRows, most: int) -> npt.NDArray[Any] | None:
    """`most` rows, of each class in proportion, and at least two; None where there are no more than that."""
    if len(rows) <= most:
        return None
    rng = np.random.default_rng(0)
    taken = []
    for k in range(rows.n_classes):
        own = np.flatnonzero((rows.codes == k) & (rows.fit_weights > 0))
        n = min(len(own), max(2, math.ceil(len(own) * most / len(rows))))
        taken.append(rng.choice(own, n, replace=False))
    return np.sort(np.concatenate(taken))
