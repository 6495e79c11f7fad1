"""Checks of what a caller passes to the array-level solver."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.errors import InputError

__all__ = [
    "are_plain",
    "check_labels",
    "checked_C",
    "checked_Cs",
    "checked_bool",
    "checked_int",
    "class_weights",
    "float_types",
    "input_errors",
    "is_number",
    "is_whole",
    "plain",
    "rows_of_split",
]

Floats = npt.NDArray[np.float64]
RowNumbers = npt.NDArray[np.int64]


@contextmanager
def input_errors() -> Iterator[None]:
    """Turns scikit-learn's complaints about input into ours; both are a ValueError."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    except TypeError as error:
        if "parse" not in str(error):
            raise
        raise InputError(f"sparse input is not supported: pass a dense array ({error})") from error


def are_plain(X: Any, y: Any, sample_weight: Any) -> bool:
    """Whether these need no check by scikit-learn: arrays of floats, of whole numbers or strings; no
    weights. The core finds features that are not finite."""
    if type(X) is not np.ndarray or type(y) is not np.ndarray or sample_weight is not None:
        return False
    if X.dtype not in (np.float64, np.float32) or not X.dtype.isnative or y.dtype.kind not in "iubU":
        return False
    return bool(X.ndim == 2 and y.ndim == 1 and len(X) == len(y) and X.size > 0)


def check_labels(y: npt.NDArray[Any]) -> None:
    """Raise InputError for missing labels, bytes, and labels that cannot be sorted: scikit-learn has a bare TypeError.

    Args:
        y: Labels, ``(n_rows,)``.
    """
    if y.dtype.kind not in "SO":
        return
    labels = y.tolist()
    for row, label in enumerate(labels):
        if label is None or isinstance(label, bytes):
            raise InputError(f"y[{row}] is {label!r:.80}: expected a label of str or a number for every row")
    try:
        np.unique(y)
    except TypeError:
        row = next((row for row in range(1, len(labels)) if not _can_be_sorted(labels[0], labels[row])), 1)
        raise InputError(
            f"y[{row}] is {labels[row]!r:.80} and y[0] is {labels[0]!r:.80}, which cannot be sorted: expected labels "
            "of one type, str or numbers"
        ) from None


def _can_be_sorted(a: Any, b: Any) -> bool:
    try:
        return isinstance(a < b, bool | np.bool_)
    except TypeError:
        return False


def float_types(X: Any) -> list[type[np.floating[Any]]]:
    """Types that the solver takes; others are converted to the first, which for float16 is the smaller."""
    half = getattr(X, "dtype", None) == np.float16
    return [np.float32, np.float64] if half else [np.float64, np.float32]


def plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def rows_of_split(split: Any, n_rows: int) -> tuple[RowNumbers, RowNumbers]:
    """The rows that a fold trains on and those that it scores."""
    try:
        train, test = split
    except (TypeError, ValueError):
        raise InputError(f"cv has the split {split!r:.80}: expected a pair (training rows, scored rows)") from None
    return row_numbers(train, n_rows), row_numbers(test, n_rows)


def row_numbers(rows: Any, n_rows: int) -> RowNumbers:
    array = np.asarray(rows)
    if array.dtype == np.bool_ and array.shape == (n_rows,):
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise InputError(f"cv has the rows {rows!r:.80}: expected row numbers, or a mask of {n_rows} booleans")
    return array.astype(np.int64)


def checked_bool(name: str, value: Any) -> bool:
    """The parameter `name` as a bool. Raises InputError for what is none: "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {value!r:.80}: expected True or False")
    return bool(value)


def checked_int(name: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """The parameter `name` as an int. Raises InputError for what is none, less than `least` or more than `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        bounds = f"of at least {least}" if most == 2**63 - 1 else f"from {least} to {most}"
        raise InputError(f"{name} is {value!r:.80}: expected an int {bounds}")
    return int(value)


def checked_C(C: Any) -> float | None:
    """C as a float, None for "auto"."""
    if isinstance(C, str) and C == "auto":
        return None
    # 1 / C must not overflow, which it does for the very smallest numbers.
    if not is_number(C) or not C > 0 or math.isinf(1.0 / float(C)):
        raise InputError(f"C is {C!r}: expected a number > 0, infinity, or 'auto'")
    return float(C)


def checked_Cs(Cs: Any, *, keep_order: bool = False) -> Floats:
    if is_whole(Cs):
        if Cs < 1:
            raise InputError(f"Cs is {Cs!r}: expected at least 1 penalty")
        return np.logspace(-4, 4, int(Cs))
    try:
        values = np.asarray(Cs if isinstance(Cs, np.ndarray) else list(Cs), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"Cs is {Cs!r}: expected a number of penalties or their values") from error
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"Cs has the shape {values.shape}: expected one dimension and at least one value")
    for value in values:
        checked_C(float(value))
    return values if keep_order else np.unique(values)


def class_weights(
    class_weight: Any, classes: npt.NDArray[Any], codes: npt.NDArray[np.int32], sample_weight: Floats
) -> Floats:
    """One factor for each class."""
    factors = np.ones(len(classes))
    if class_weight is None:
        return factors
    if isinstance(class_weight, str) and class_weight == "balanced":
        totals = np.bincount(codes, weights=sample_weight, minlength=len(classes))
        np.divide(sample_weight.sum() / len(classes), totals, out=factors, where=totals > 0)
        return factors
    if not isinstance(class_weight, Mapping):
        raise InputError(f"class_weight is {class_weight!r}: expected None, 'balanced' or a weight for each label")
    position = {plain(label): k for k, label in enumerate(classes)}
    for label, weight in class_weight.items():
        if plain(label) not in position:
            known = ", ".join(repr(known) for known in list(position)[:20])
            raise InputError(f"class_weight names the class {label!r}, which is not among the labels: {known}")
        if not is_number(weight) or not 0 <= weight < math.inf:
            raise InputError(f"class_weight[{label!r}] is {weight!r}: expected a finite number >= 0")
        factors[position[plain(label)]] = float(weight)
    return factors
