"""Which rows a cross-validation trains on and which it scores."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold, check_cv

from fastplr.errors import InputError
from fastplr.solver_inputs import input_errors, is_whole, rows_of_split
from fastplr.user_warning import warn_user

__all__ = ["Folds", "check_own", "is_given", "make_folds", "restricted"]

RowNumbers = npt.NDArray[np.int64]
Folds = list[tuple[RowNumbers, RowNumbers]]


def make_folds(
    cv: Any,
    codes: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float64],
    *,
    n_classes: int,
    features: npt.NDArray[Any],
    random_state: Any,
    words: Sequence[str] = ("loo",),
) -> Folds:
    """Pairs of row numbers, (trained on, scored); none where fewer than two classes have two rows each.

    Args:
        cv: A number of stratified, shuffled folds; one of `words`, for a fold a row; a scikit-learn splitter; or an
            iterable of pairs (training rows, scored rows).
        codes: Class numbers ``(n_rows,)``.
        weights: ``(n_rows,)``; a row of weight 0 counts as absent in folds of our own making.
        n_classes: Number of classes.
        features: ``(n_rows, ...)``, which a splitter may look at.
        random_state: Seed of folds of our own making.
        words: What `cv` may be of str.

    Raises:
        InputError: `cv` is something else, or makes no folds.

    Warns:
        UserWarning: There are fewer folds than asked for, or a class with a single row is never scored.
    """
    if not is_given(cv):
        check_own(cv, words)
        return _own_folds(cv, codes, weights, n_classes, random_state)
    with input_errors():
        splits = cv
        if hasattr(splits, "split") or not isinstance(splits, Iterable):
            splits = check_cv(splits, codes, classifier=True).split(features, codes)
        folds = [rows_of_split(split, len(codes)) for split in splits]
    if not folds:
        raise InputError("cv makes no folds: expected at least one")
    for number, (train, test) in enumerate(folds):
        _check(number, train, test, weights)
    return folds


def is_given(cv: Any) -> bool:
    """Whether folds are the user's, by a splitter or as pairs, and not of our own making."""
    return not isinstance(cv, str | numbers.Number | None)


def check_own(cv: Any, words: Sequence[str] = ("loo",)) -> None:
    """Raise InputError unless `cv` is a number of folds of our own making, or one of `words`."""
    if cv not in words if isinstance(cv, str) else not is_whole(cv):
        expected = ", ".join(map(repr, words))
        raise InputError(f"cv is {cv!r}: expected a whole number >= 2, {expected}, a splitter or splits")
    if not isinstance(cv, str) and cv < 2:
        raise InputError(f"cv is {cv!r}: expected at least 2 folds")


def restricted(folds: Folds, rows: RowNumbers) -> Folds:
    """What is left of `folds` among `rows`, ascending, as positions in these; folds that lose a part are left out."""
    found = []
    for train, test in folds:
        parts = [np.searchsorted(rows, part[np.isin(part, rows)]) for part in (train, test)]
        if all(len(part) for part in parts):
            found.append((parts[0], parts[1]))
    return found


def _check(number: int, train: RowNumbers, test: RowNumbers, weights: npt.NDArray[np.float64]) -> None:
    """As the native core does, which does not see every fold."""
    n_rows = len(weights)
    for rows, verb in ((train, "trains on"), (test, "scores")):
        outside = rows[(rows < 0) | (rows >= n_rows)]
        if outside.size:
            raise InputError(f"fold {number} {verb} row {outside[0]}: expected 0 to {n_rows - 1}")
    both = np.intersect1d(train, test)
    if both.size:
        raise InputError(f"fold {number} both trains on and scores row {both[0]}")
    for rows, verb in ((train, "train on"), (test, "score")):
        if not (weights[rows] > 0).any():
            raise InputError(f"fold {number} has no row of positive weight to {verb}")


def _own_folds(
    cv: Any,
    codes: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float64],
    n_classes: int,
    random_state: Any,
) -> Folds:
    rows = np.flatnonzero(weights > 0)
    counts = np.bincount(codes[rows], minlength=n_classes)
    repeated = counts >= 2
    one_by_one = isinstance(cv, str)
    if repeated.sum() < 2:
        return []
    if not repeated.all():
        warn_user(
            f"{int((~repeated).sum())} of {n_classes} classes have a single row, which no fold "
            "can score: it is trained on in every fold",
            UserWarning,
        )
    scored = rows[repeated[codes[rows]]]
    if one_by_one:
        return [(rows[rows != row], np.array([row])) for row in scored]
    n_folds = int(min(cv, counts[repeated].min()))
    if n_folds < cv:
        warn_user(
            f"cv={cv} folds, but the smallest class with at least two rows has {n_folds}: {n_folds} folds are used",
            UserWarning,
        )
    with input_errors():
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=random_state)
        tests = [scored[test] for _, test in splitter.split(scored, codes[scored])]
    return [(np.setdiff1d(rows, test, assume_unique=True), test) for test in tests]
