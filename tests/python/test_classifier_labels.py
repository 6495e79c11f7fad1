"""Labels of every kind come back as they went in, and columns of every kind are read alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastplr
from fastplr import InputError, PLRClassifier
from fastplr.inputs import encode_labels
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel

Fit = Callable[..., PLRClassifier]


@pytest.fixture
def fit(tiny_llama: TinyModel) -> Fit:
    """``fit(texts, labels, ...)`` on the tiny model, with C=0.05 unless told otherwise."""

    def fit_on_tiny(texts: Iterable[str], labels: Iterable[Hashable], **params: Any) -> PLRClassifier:
        return fastplr.fit(texts, labels, **{"model": tiny_llama.path, "C": 0.05, **NO_CHOICE, **params})

    return fit_on_tiny


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["no", "yes"], "U"),
        (["ja", "nö", "日本"], "U"),
        ([0, 1], "i"),
        ([-5, 2**70], "O"),
        ([False, True], "b"),
        ([0.5, 1.5, math.inf], "f"),
        ([np.str_("a"), np.str_("b")], "U"),
        ([np.int64(3), np.int64(7)], "i"),
        ([np.bool_(False), np.bool_(True)], "b"),
        ([("a", 1), ("a", 2), ("b", 1)], "O"),
        (["a", 1], "O"),
        ([False, 1, "b"], "O"),
        ([b"x", b"y"], "O"),
        ([frozenset("a"), frozenset("b")], "O"),
        (["a", "a\0"], "O"),  # NumPy's own text type would lose the NUL
    ],
    ids=repr,
)
def test_labels_come_back_as_they_went_in(fit: Fit, labels: list[Any], dtype: str) -> None:
    train, names, _ = train_and_test(len(labels))
    code = {name: k for k, name in enumerate(sorted(set(names)))}
    classifier = fit(train, [labels[code[name]] for name in names], C=10.0)
    assert classifier.classes_.dtype.kind == dtype
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    assert classifier.classes_.tolist() == plain
    assert [type(label) for label in classifier.classes_.tolist()] == [type(label) for label in plain]
    # Every row is learnt at this C: what is predicted is what was given.
    assert classifier.predict(train).tolist() == [plain[code[name]] for name in names]


@pytest.mark.parametrize(
    "dtype", ["<U5", "int8", "uint16", "float32", "bool", "datetime64[ns]", "timedelta64[s]", "S3"]
)
def test_numpy_labels_keep_their_dtype(fit: Fit, dtype: str) -> None:
    train, names, test = train_and_test()
    labels = np.array([int(name == names[0]) for name in names]).astype(dtype)
    classifier = fit(train, labels, C=10.0)
    assert classifier.classes_.dtype == classifier.predict(test).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(classifier.classes_, np.unique(labels))
    np.testing.assert_array_equal(classifier.predict(train), labels)


@pytest.mark.parametrize(
    "column",
    [
        list,
        tuple,
        np.array,
        lambda values: np.array(values, dtype=object),
        lambda values: (value for value in values),
        lambda values: pd.Series(values, index=range(100, 100 + len(values))),
        lambda values: pd.Series(values, dtype="category"),
        lambda values: pd.Series(values, dtype="string"),
        pd.Index,
        pl.Series,
        lambda values: pl.Series(values, dtype=pl.Categorical),
    ],
    ids=["list", "tuple", "array", "objects", "generator", "series", "category", "string", "index", "polars", "enum"],
)
def test_columns_of_every_kind_give_the_same_classifier(fit: Fit, column: Callable[[list[str]], Any]) -> None:
    train, labels, test = train_and_test(3)
    expected = fit(train, labels)
    found = fit(column(train), column(labels))
    assert found.classes_.tolist() == expected.classes_.tolist()
    np.testing.assert_array_equal(found.predict_proba(column(test)), expected.predict_proba(test))


def test_classes_are_sorted_where_they_can_be(fit: Fit) -> None:
    train, labels, _ = train_and_test(3)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        rename = dict(zip(dict.fromkeys(labels), ["abc"[i] for i in order], strict=True))
        assert fit(train, [rename[label] for label in labels]).classes_.tolist() == ["a", "b", "c"]
    mixed = dict(zip(dict.fromkeys(labels), ["z", 5, "a"], strict=True))
    assert fit(train, [mixed[label] for label in labels]).classes_.tolist() == ["z", 5, "a"]  # as they appear


def test_labels_that_cannot_be_sorted_stay_as_they_appear() -> None:
    # list.sort() would leave [1, 2, 3, "a"] behind.
    classes, codes = encode_labels([3, 1, 2, "a", 3, 1], None)
    assert classes.tolist() == [3, 1, 2, "a"]
    assert codes.tolist() == [0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 0, True], r"labels\[0\] is 1 \(int\) and labels\[2\] is True \(bool\), which are equal"),
        ([0, 1.0, 2, 1], r"labels\[1\] is 1.0 \(float\) and labels\[3\] is 1 \(int\)"),
        (["a", False, np.int64(0)], r"labels\[1\] is False \(bool\) and labels\[2\] is 0 \(int\)"),
        (pd.Series(["a", 1, True], dtype=object), r"labels\[1\] is 1 \(int\) and labels\[2\] is True \(bool\)"),
        ([1, True, 1], r"labels\[0\] is 1 \(int\) and labels\[1\] is True"),  # not "one class only"
    ],
)
def test_equal_labels_of_two_types_are_refused(fit: Fit, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(["a film", "a book", "a song", "a play"][: len(labels)], labels)


@pytest.mark.parametrize("labels", [{"a", "b"}, frozenset({"a", "b"})])
def test_labels_in_a_set_are_refused(fit: Fit, labels: Any) -> None:
    with pytest.raises(InputError, match=f"labels is a {type(labels).__name__}, which has no order"):
        fit(["a film", "a book"], labels)
