"""Texts and labels as users bring them: lists, arrays, columns of data frames, generators."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr import _core
from fastplr.errors import InputError

__all__ = ["as_labels", "as_texts", "check_collection", "encode_labels", "label_number", "text_pieces"]

#: Texts handed to the native core at once, which copies them.
TEXTS_AT_ONCE = 2048


def check_collection(values: object, what: str) -> Iterable[Any]:
    """`values`, if it is a one-dimensional collection with an order; a str, a mapping or a set is a mistake."""
    if isinstance(values, str | bytes | Mapping):
        raise InputError(f"{what} is a single {type(values).__name__}, {values!r:.80}: expected a list or a column")
    if isinstance(values, set | frozenset):
        raise InputError(f"{what} is a {type(values).__name__}, which has no order: expected a list or a column")
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise InputError(f"{what} has the shape {shape}: expected one dimension, (n_texts,)")
    if not isinstance(values, Iterable):
        raise InputError(f"{what} is {values!r:.80} of type {type(values).__name__}: expected a list or a column")
    return values


def as_texts(texts: object, *, first: int = 0) -> list[str]:
    """A list of str from any one-dimensional collection.

    Args:
        texts: The collection.
        first: The number of its first text in error messages.

    Raises:
        InputError: Not a collection, no texts at all, an element that is not a str, is empty or blank, holds a NUL
            byte, or is not valid Unicode (lone surrogates, as left by ``errors="surrogateescape"``).
    """
    items = list(check_collection(texts, "texts"))
    if not items:
        raise InputError("texts is empty: expected at least one text")
    for index, item in enumerate(items):
        number = first + index
        if not isinstance(item, str):
            raise InputError(f"texts[{number}] is {item!r:.80} of type {type(item).__name__}: expected a str")
        if not item.isascii():
            try:
                item.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"texts[{number}] is not valid Unicode: the character {item[error.start]!r} at {error.start} is"
                    " half of a surrogate pair (was the file read with the wrong encoding?)"
                ) from None
        items[index] = str(item)  # numpy.str_ and other subclasses
    for start in range(0, len(items), TEXTS_AT_ONCE):
        _core.check_texts(items[start : start + TEXTS_AT_ONCE], first=first + start)
    return items


def text_pieces(texts: Iterable[Any], size: int) -> Iterator[list[str]]:
    """The texts of an iterable in lists of `size`, taken as they are wanted, the last one maybe shorter.

    Where the iterable raises an exception, what it gave before comes out first, then the exception.

    Raises:
        InputError: As :func:`as_texts`; texts are numbered through all pieces.
    """
    remaining = iter(texts)
    first = 0
    while True:
        piece: list[Any] = []
        failure: Exception | None = None
        try:
            for item in itertools.islice(remaining, size):
                piece.append(item)
        except Exception as error:
            failure = error
        if piece:
            yield as_texts(piece, first=first)
        first += len(piece)
        if failure is not None:
            raise failure
        if len(piece) < size:
            return


def as_labels(labels: object, n_texts: int) -> list[Hashable]:
    """A list of `n_texts` hashable labels; NumPy scalars become the Python values they hold.

    Raises:
        InputError: Not a collection, another length than the texts, a label that is missing (None, NaN) or not
            hashable.
    """
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    items = list(check_collection(labels, "labels"))
    if len(items) != n_texts:
        raise InputError(f"{n_texts} texts but {len(items)} labels: expected as many labels as texts")
    for index, item in enumerate(items):
        missing = isinstance(item, np.datetime64 | np.timedelta64) and bool(np.isnat(item))
        # A date in nanoseconds would become an int.
        plain = isinstance(item, np.generic) and not isinstance(item, np.datetime64 | np.timedelta64)
        value = item.item() if plain else item
        missing = missing or value is None or (isinstance(value, float) and math.isnan(value))
        if missing or type(value).__name__ in {"NAType", "NaTType"}:
            raise InputError(f"labels[{index}] is {item!r}: expected a label for every text")
        try:
            hash(value)
        except TypeError:
            raise InputError(f"labels[{index}] is {item!r:.80}: expected something hashable (str, int, bool)") from None
        items[index] = value
    return items


def encode_labels(labels: list[Hashable], given: object) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """Classes, in sorted order where they can be sorted and in order of appearance otherwise, and each label's class.

    The classes have the dtype of `given` where that is a NumPy array of plain values, the dtype that NumPy gives to the
    labels where they are all of one kind, and ``object`` otherwise, so that they come back as they went in.

    Raises:
        InputError: Fewer than two classes, or labels that are equal but of different types (1 and True, 1 and 1.0),
            which would silently become one class.
    """
    first: dict[Hashable, int] = {}
    for index, label in enumerate(labels):
        seen = first.setdefault(label, index)
        if type(labels[seen]) is not type(label):
            raise InputError(
                f"labels[{seen}] is {labels[seen]!r:.80} ({type(labels[seen]).__name__}) and labels[{index}] is"
                f" {label!r:.80} ({type(label).__name__}), which are equal: expected labels of one type"
            )
    distinct = list(first)
    with contextlib.suppress(TypeError):  # a new list: one that fails to be sorted in place is left half sorted
        distinct = sorted(distinct)  # type: ignore[type-var]
    if len(distinct) < 2:
        raise InputError(f"all {len(labels)} labels are {distinct[0]!r}: expected at least two classes")
    code = {label: index for index, label in enumerate(distinct)}
    codes = np.fromiter((code[label] for label in labels), dtype=np.int32, count=len(labels))
    kinds = {type(label) for label in distinct}
    given_dtype = getattr(given, "dtype", None)
    if isinstance(given_dtype, np.dtype) and given_dtype.kind in "biufUSmM":
        return np.array(distinct, dtype=given_dtype), codes
    if len(kinds) == 1 and kinds <= {str, int, bool, float}:
        plain = np.array(distinct)
        if plain.dtype.kind in "biufU" and plain.tolist() == distinct:
            return plain, codes
    classes = np.empty(len(distinct), dtype=object)
    classes[:] = distinct
    return classes, codes


def label_number(label: object, labels: list[Any]) -> int:
    """The position of `label` among `labels`. Raises InputError where it is none of them."""
    try:
        return labels.index(label)
    except ValueError:
        raise InputError(f"label is {label!r:.80}: expected one of {labels}") from None
