"""Rows to fit on: checks of weights, and what each row counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.errors import InputError
from fastplr.representation import TrainingRows
from fastplr.solver_inputs import class_weights, is_number

__all__ = ["training_rows"]

Floats = npt.NDArray[np.float64]


def training_rows(
    labels: list[Any], codes: npt.NDArray[np.int32], sample_weight: npt.ArrayLike | None, class_weight: Any
) -> TrainingRows:
    """Rows of the classes `codes` with their weights.

    Raises:
        InputError: Weights that are none, or leave a class without a row.
    """
    weights = _checked_weights(sample_weight, len(codes))
    _check_every_class_counts(labels, codes, weights, class_weight)
    score_weights = np.ones(len(codes)) if weights is None else weights
    factors = class_weights(_weight_of_codes(labels, class_weight), np.arange(len(labels)), codes, score_weights)
    return TrainingRows(codes, len(labels), score_weights * factors[codes], score_weights)


def _weight_of_codes(labels: list[Any], class_weight: Any) -> Any:
    """`class_weight` by class numbers instead of labels."""
    if isinstance(class_weight, Mapping):
        unknown = [label for label in class_weight if label not in labels]
        if unknown:
            raise InputError(f"class_weight names the label {unknown[0]!r}: the labels are {labels}")
        for label, weight in class_weight.items():
            if not is_number(weight) or not 0 <= weight < np.inf:
                raise InputError(f"class_weight[{label!r}] is {weight!r}: expected a finite number >= 0")
        class_weight = {code: class_weight[name] for code, name in enumerate(labels) if name in class_weight}
    return class_weight


def _checked_weights(sample_weight: npt.ArrayLike | None, n_texts: int) -> Floats | None:
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_weight is not numeric: {error}") from None
    if weights.shape != (n_texts,):
        raise InputError(f"sample_weight has the shape {weights.shape}: expected ({n_texts},)")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"sample_weight[{bad[0]}] is {weights[bad[0]]}: expected a finite number >= 0")
    if not np.isfinite(weights.sum()):
        raise InputError(f"sample_weight adds up to {weights.sum()}: expected a finite sum")
    if not weights.any():
        raise InputError("sample_weight is zero for every text: expected at least one positive weight")
    return weights


def _check_every_class_counts(
    labels: list[Any], codes: npt.NDArray[np.int32], weights: Floats | None, class_weight: Any
) -> None:
    """The solver would say so too, but it does not know the labels."""
    factors = class_weight if isinstance(class_weight, Mapping) else {}
    for label, total in zip(labels, np.bincount(codes, weights=weights), strict=True):
        if total * factors.get(label, 1.0) == 0:
            raise InputError(f"the label {label!r} has no text of positive weight: every label needs one")
