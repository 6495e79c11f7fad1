"""From features to what predicts: the choice, the fit of all rows, and what makes probabilities of logits."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.calibration import fit_temperature
from fastplr.folds import Folds, check_own, is_given, make_folds, restricted
from fastplr.logistic_regression import LogisticRegression
from fastplr.representation import Candidate, Choice, TrainingRows, choose, standardised
from fastplr.solver_inputs import checked_C, checked_Cs
from fastplr.user_warning import warn_user

__all__ = ["Among", "Fit", "FitSettings", "fit_features", "fit_rows", "settings_read", "stratified_sample"]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
RowNumbers = npt.NDArray[np.int64]

#: Rows among which the representation is chosen; where there are more, the others are embedded by the choice alone.
MAX_ROWS_TO_CHOOSE_BY = 2000


@dataclass(frozen=True)
class FitSettings:
    """What a classifier's parameters say of choosing and fitting.

    Attributes:
        C: As in :class:`fastplr.PLRClassifier`.
        Cs, cv, random_state: Likewise.
        speed: See :func:`fastplr.representation.choose`.
        calibrate: Whether there is a temperature other than 1.
        n_threads: Threads.
    """

    C: Any
    Cs: Any
    cv: Any
    random_state: Any
    speed: bool
    calibrate: bool
    n_threads: int


@dataclass(frozen=True, eq=False)
class Among:
    """What a representation was chosen among.

    Attributes:
        rows: Row numbers, ``(n_some,)``.
        features: Theirs, ``(n_some, n_layers, n_poolings, n_features)``.
        layers, poolings: Of the second and third axis.
        candidates: What became of each, best first.
    """

    rows: RowNumbers
    features: Features
    layers: list[int]
    poolings: list[str]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted classifier, but for its labels and its model.

    Attributes:
        layer, pooling: Of the features.
        features: Of the training rows, ``(n_rows, n_features)``, as they were embedded.
        mean, scale: What standardises them.
        solver: The fitted regression on standardised features.
        n_folds: Number of folds of the choice and the calibration; 0 where there were none.
        among: What layer and pooling were chosen among.
        held_out_logits: Of every row by a fit that had not seen it, ``(n_rows, n_outputs)``; NaN where there is none.
        temperature: See :func:`fastplr.calibration.fit_temperature`.
        solve_seconds: Time for all but the embedding.
    """

    layer: int
    pooling: str
    features: Features
    mean: Floats
    scale: Floats
    solver: LogisticRegression
    n_folds: int
    among: Among
    held_out_logits: Floats
    temperature: float
    solve_seconds: float


def fit_rows(
    embed: Callable[[RowNumbers | None, Sequence[int], Sequence[str]], Features],
    rows: TrainingRows,
    settings: FitSettings,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
    fallback: tuple[int, str],
) -> Fit:
    """Embed, choose, fit and calibrate.

    Args:
        embed: Gives float32 features ``(n_rows, n_layers, n_poolings, n_embd)`` of these rows (None: all).
        rows: What is learned from.
        settings: How, as :func:`settings_read` gives them.
        layers, poolings: What may be chosen.
        fallback: Layer and pooling where the rows allow no choice.

    Raises:
        InputError: C, Cs or cv are not usable.
    """
    started = time.perf_counter()
    spent_embedding = 0.0

    def timed(some: RowNumbers | None, layers: Sequence[int], poolings: Sequence[str]) -> Features:
        nonlocal spent_embedding
        began = time.perf_counter()
        features = embed(some, layers, poolings)
        spent_embedding += time.perf_counter() - began
        return features

    sample = stratified_sample(rows, MAX_ROWS_TO_CHOOSE_BY) if len(layers) * len(poolings) > 1 else None
    features = timed(sample, layers, poolings)
    among = Among(np.arange(len(rows)) if sample is None else sample, features, list(layers), list(poolings), ())
    some = (
        settings
        if sample is None or not is_given(settings.cv)
        else replace(settings, cv=restricted(settings.cv, sample))
    )
    found = fit_features(among, rows if sample is None else rows.take(sample), some, fallback=fallback)
    if sample is not None:
        own = timed(None, [found.layer], [found.pooling])
        everything = Among(np.arange(len(rows)), own, [found.layer], [found.pooling], ())
        chosen = found
        found = fit_features(everything, rows, settings, fallback=fallback)
        found = replace(found, among=chosen.among)
    return replace(found, solve_seconds=time.perf_counter() - started - spent_embedding)


def settings_read(settings: FitSettings, rows: TrainingRows) -> FitSettings:
    """With penalties and splits that can be used more than once, which those of an iterator cannot.

    Raises:
        InputError: C, Cs or cv are not usable.
    """
    Cs = np.array([1.0]) if checked_C(settings.C) is not None else checked_Cs(settings.Cs)
    cv = settings.cv
    if is_given(cv):
        nothing = np.zeros((len(rows), 1))
        cv = make_folds(cv, rows.codes, rows.fit_weights, n_classes=rows.n_classes, features=nothing, random_state=None)
    else:
        check_own(cv)
    return replace(settings, Cs=Cs, cv=cv)


def fit_features(among: Among, rows: TrainingRows, settings: FitSettings, *, fallback: tuple[int, str]) -> Fit:
    """Choose, fit and calibrate by the features of `among`, which are of all `rows`.

    Raises:
        InputError: C, Cs or cv are not usable.
    """
    started = time.perf_counter()
    C = checked_C(settings.C)
    Cs = checked_Cs(settings.Cs) if C is None else np.array([C])
    features, layers, poolings = _without_repetition(among)
    n_places = len(layers) * len(poolings)
    choice: Choice | None = None
    folds: Folds = []
    if C is None or n_places > 1 or settings.calibrate:
        with warnings.catch_warnings():
            if C is not None and n_places == 1:  # nobody asked for folds: they only calibrate
                warnings.simplefilter("ignore", UserWarning)
            folds = make_folds(
                settings.cv, rows.codes, rows.fit_weights, n_classes=rows.n_classes,
                features=features.reshape(len(rows), -1), random_state=settings.random_state,
            )  # fmt: skip
        if folds:
            choice = choose(
                features, rows, layers=layers, poolings=poolings, Cs=Cs, folds=folds, speed=settings.speed,
                n_threads=settings.n_threads,
            )  # fmt: skip
        elif C is None or n_places > 1:
            warn_user(
                "there are no two classes with two rows each to choose by cross-validation: C=1.0"
                f", layer {fallback[0]} and {fallback[1]} pooling are used where they were not given",
                UserWarning,
            )
    if choice is not None:
        layer, pooling, C = choice.layer, choice.pooling, choice.C
        logits = choice.logits
    else:
        layer, pooling = fallback if n_places > 1 else (layers[0], poolings[0])
        C = 1.0 if C is None else C
        logits = np.full((len(rows), rows.n_outputs), np.nan)
    own = np.ascontiguousarray(features[:, layers.index(layer), poolings.index(pooling)])
    x, mean, scale = standardised(own, rows.score_weights)
    solver = LogisticRegression(C, n_threads=settings.n_threads)
    solver.fit(x, rows.codes, sample_weight=rows.fit_weights)
    temperature = 1.0
    if settings.calibrate and choice is not None:
        scored = np.flatnonzero(~np.isnan(logits[:, 0]) & (rows.fit_weights > 0))
        temperature = fit_temperature(logits[scored], rows.codes[scored], rows.fit_weights[scored])
    among = Among(among.rows, features, layers, poolings, () if choice is None else choice.candidates)
    seconds = time.perf_counter() - started
    return Fit(layer, pooling, own, mean, scale, solver, len(folds), among, logits, temperature, seconds)


def _without_repetition(among: Among) -> tuple[Features, list[int], list[str]]:
    """Poolings that are the same, as those of an encoder are, leave one."""
    features = among.features
    kept: list[int] = []
    for j in range(features.shape[2]):
        if not any(np.array_equal(features[:, :, i], features[:, :, j]) for i in kept):
            kept.append(j)
    if len(kept) < features.shape[2]:
        features = np.ascontiguousarray(features[:, :, kept])
    return features, among.layers, [among.poolings[j] for j in kept]


def stratified_sample(rows: TrainingRows, most: int) -> RowNumbers | None:
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
