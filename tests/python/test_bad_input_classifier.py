"""What cannot be fitted, predicted or loaded: our own error, with the value and what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastplr
from fastplr import ClassifierFileError, FastplrError, InputError, ModelError, PLRClassifier
from fastplr.engine import clear_engines
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel

TEXTS, LABELS, _ = train_and_test(2, n_train=12)
Fit = Callable[..., PLRClassifier]


@pytest.fixture
def fit(tiny_llama: TinyModel) -> Fit:
    """``fit(labels=..., ...)``: everything not given is good."""

    def fit_on_tiny(texts: Any = TEXTS, labels: Any = LABELS, **params: Any) -> PLRClassifier:
        return fastplr.fit(texts, labels, **{"model": tiny_llama.path, "C": 1.0, **NO_CHOICE, **params})

    return fit_on_tiny


@pytest.fixture(scope="module")
def fitted(tiny_llama: TinyModel) -> PLRClassifier:
    return fastplr.fit(TEXTS, LABELS, model=tiny_llama.path, C=1.0, **NO_CHOICE)


# -- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:-1], "12 texts but 11 labels"),
        ([*LABELS, "x"], "12 texts but 13 labels"),
        ([], "12 texts but 0 labels"),
        (["same"] * 12, "all 12 labels are 'same': expected at least two classes"),
        ([None, *LABELS[1:]], r"labels\[0\] is None: expected a label for every text"),
        ([*LABELS[:5], math.nan, *LABELS[6:]], r"labels\[5\] is nan: expected a label for every text"),
        (np.array([0.0, 1.0, np.nan] * 4), r"labels\[2\] is .*nan"),
        (np.array(["NaT", "2020-01-01"] * 6, dtype="datetime64[s]"), r"labels\[0\] is .*NaT"),
        (pd.Series(["a", "b", None] * 4), r"labels\[2\] is (None|nan)"),
        (pd.Series([1, 2, None] * 4, dtype="Int64"), r"labels\[2\] is <NA>"),
        (pd.Series([pd.NaT, pd.Timestamp("2020")] * 6), r"labels\[0\] is NaT"),
        (pl.Series(["a", "b", None] * 4), r"labels\[2\] is None"),
        ([["a"], ["b"]] * 6, r"labels\[0\] is \['a'\]: expected something hashable"),
        ([{"a": 1}, "b"] * 6, r"labels\[0\] is \{'a': 1\}: expected something hashable"),
        ("ab" * 6, "labels is a single str, 'abab.*expected a list or a column"),
        ({"a": 1}, "labels is a single dict"),
        (7, "labels is 7 of type int"),
        (None, "labels is None of type NoneType"),
        (np.zeros((12, 2)), r"labels has the shape \(12, 2\)"),
        (pd.DataFrame({"a": [0, 1] * 6, "b": [0, 1] * 6}), r"labels has the shape \(12, 2\)"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:30],
)
def test_labels(fit: Fit, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(labels=labels)


# -- texts ---------------------------------------------------------------------------------------------------------

BAD_TEXTS = [
    ([], "texts is empty"),
    ("one text", "texts is a single str, 'one text'"),
    (b"bytes", "texts is a single bytes"),
    (None, "texts is None of type NoneType"),
    (3.5, "texts is 3.5 of type float"),
    (["good", ""], r"text.*1.* is empty"),
    (["good", " \n\t"], r"text.*1.*(white space|blank)"),
    (["good", None], r"texts\[1\] is None of type NoneType: expected a str"),
    (["good", 7], r"texts\[1\] is 7 of type int: expected a str"),
    (["good", math.nan], r"texts\[1\] is nan of type float: expected a str"),
    (["good", b"bytes"], r"texts\[1\] is b'bytes' of type bytes"),
    (["good", ["nested"]], r"texts\[1\] is \['nested'\] of type list"),
    (["good", "a\0b"], r"text.*1.*NUL"),
    (["good", "a\ud800b"], r"texts\[1\] is not valid Unicode"),
    (np.array([["a", "b"]]), r"texts has the shape \(1, 2\)"),
    (["good", "very long " * 600], r"text.*1.*tokens"),
]


@pytest.mark.parametrize(("texts", "message"), BAD_TEXTS, ids=[message[:30] for _, message in BAD_TEXTS])
def test_texts_to_fit_and_to_predict(fit: Fit, fitted: PLRClassifier, texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(texts=texts, labels=["a", "b"])
    for method in (fitted.predict, fitted.predict_proba, fitted.decision_function):
        with pytest.raises(InputError, match=message):
            method(texts)
    with pytest.raises(InputError, match=message):
        fastplr.predict(fitted, texts)


# -- few rows ------------------------------------------------------------------------------------------------------


def test_fewer_rows_than_folds_uses_fewer_folds_with_a_warning(fit: Fit) -> None:
    with pytest.warns(UserWarning, match="cv=10 folds, but the smallest class .* has 6: 6 folds are used"):
        report = fit(C="auto").report_
    assert report["n_folds"] == 6


def test_a_class_of_one_row_is_trained_on_and_never_scored(fit: Fit) -> None:
    with pytest.warns(UserWarning, match="1 of 3 classes have a single row, which no fold can score"):
        classifier = fit(labels=["rare", *LABELS[1:]], C="auto", cv=2)
    assert classifier.predict(TEXTS[:1]).shape == (1,)
    assert classifier.report_["n_folds"] == 2


def test_no_choice_of_C_where_nothing_can_be_left_out(fit: Fit) -> None:
    with pytest.warns(UserWarning, match="no two classes with two rows each .* C=1.0"):
        classifier = fit(TEXTS[:2], ["a", "b"], C="auto")
    assert classifier.C_ == 1.0
    assert classifier.report_["n_folds"] == 0


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "cv is 1: expected at least 2 folds"),
        (2.5, "cv is 2.5: expected a whole number >= 2, 'loo', a splitter or splits"),
        ("alo", "cv is 'alo': expected a whole number >= 2, 'loo', a splitter or splits"),
        ("many", "cv is 'many'"),
        (None, "cv is None"),
        (True, "cv is True"),
        ([], "cv makes no folds"),
        ([([], [0])], "fold 0 has no row of positive weight to train on"),
        ([([0, 1], [])], "fold 0 has no row of positive weight to score"),
        ([([0, 1], [2]), ([0, 1], [99])], "fold 1 scores row 99: expected 0 to 11"),
        ([([0, -1], [2])], "fold 0 trains on row -1"),
        ([([0, 1, 2], [2])], "fold 0 both trains on and scores row 2"),
        ([1, 2], "cv has the split 1: expected a pair"),
    ],
)
def test_folds_that_are_none(fit: Fit, cv: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(C="auto", cv=cv)


# -- weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0] * 11, r"sample_weight has the shape \(11,\): expected \(12,\)"),
        (np.ones((12, 1)), r"sample_weight has the shape \(12, 1\)"),
        (2.0, r"sample_weight has the shape \(\)"),
        ([1.0] * 3 + [math.nan] + [1.0] * 8, r"sample_weight\[3\] is nan: expected a finite number >= 0"),
        ([1.0] * 3 + [math.inf] + [1.0] * 8, r"sample_weight\[3\] is inf"),
        ([1.0] * 11 + [-0.5], r"sample_weight\[11\] is -0.5"),
        ([0.0] * 12, "sample_weight is zero for every text"),
        (["heavy"] * 12, "sample_weight is not numeric"),
        ([1.0, None] * 6, r"sample_weight"),
        ([float(label == LABELS[0]) for label in LABELS], f"label '{LABELS[1]}' has no text of positive weight"),
    ],
)
def test_sample_weight(fit: Fit, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(sample_weight=weights)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({"nonsense": 1.0}, f"names the label 'nonsense': the labels are .*'{LABELS[0]}'"),
        ({LABELS[0]: -1}, f"'{LABELS[0]}'.* is -1: expected a finite number >= 0"),
        ({LABELS[0]: math.nan}, f"'{LABELS[0]}'.* is nan"),
        ({LABELS[0]: "x"}, f"'{LABELS[0]}'.* is 'x'"),
        ({LABELS[0]: True}, f"'{LABELS[0]}'.* is True"),
        ({LABELS[0]: 0.0}, f"label '{LABELS[0]}' has no text of positive weight"),
        ("even", "class_weight is 'even': expected None, 'balanced' or a weight for each label"),
        ([1.0, 2.0], r"class_weight is \[1.0, 2.0\]"),
    ],
)
def test_class_weight(fit: Fit, class_weight: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(class_weight=class_weight)


# -- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": -1}, "C is -1: expected a number > 0"),
        ({"C": 0}, "C is 0: expected"),
        ({"C": math.nan}, "C is nan: expected"),
        ({"C": "best"}, "C is 'best': expected a number > 0, infinity, or 'auto'"),
        ({"C": True}, "C is True"),
        ({"C": None}, "C is None"),
        ({"C": "auto", "Cs": 0}, "Cs is 0"),
        ({"C": "auto", "Cs": [1.0, -1.0]}, "C is -1.0"),
        ({"C": "auto", "Cs": []}, "Cs has the shape"),
        ({"C": "auto", "cv": 1}, "cv is 1: expected at least 2 folds"),
        ({"C": "auto", "cv": "many"}, "cv is 'many'"),
        ({"speed": "yes"}, "speed is 'yes': expected True or False"),
        ({"calibrate": "no"}, "calibrate is 'no': expected True or False"),
        ({"keep_training": None}, "keep_training is None: expected True or False"),
        ({"speed": 1}, "speed is 1: expected True or False"),
        ({"layer": 5}, "layer is 5: expected 0 to 4, -1"),
        ({"layer": -2}, "layer is -2"),
        ({"layer": 1.0}, "layer is 1.0"),
        ({"layer": "last"}, "layer is 'last'"),
        ({"pooling": "max"}, "pooling is 'max': expected 'mean', 'mean_all', 'last'"),
        ({"pooling": None}, "pooling is None"),
        ({"on_long": "cut"}, "on_long is 'cut': expected 'error' or 'truncate'"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"kernels": "fast"}, "kernels is 'fast'"),
        ({"n_threads": "all"}, "n_threads is 'all'"),
        ({"prompt": 3}, "prompt is 3 of type int"),
        ({"prompt": "a\0b"}, "NUL|x00"),
        ({"penalty": "l1"}, "unknown parameter 'penalty': expected some of C, Cs, cache, calibrate, class_prior"),
    ],
    ids=str,
)
def test_parameters(fit: Fit, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(**parameters)


def test_a_bool_may_be_numpys(fit: Fit) -> None:
    params = {"speed": np.False_, "calibrate": np.True_, "keep_training": np.True_}
    np.testing.assert_array_equal(fit(**params).predict_proba(TEXTS), fit(calibrate=True).predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("smolm2-135m", ModelError, "smollm2-135m"),
        ("missing.gguf", ModelError, "no such file: 'missing.gguf'"),
        ("", InputError, "model is an empty text"),
        (3, InputError, "not int: 3"),
        (Path(__file__).parent, ModelError, "is a directory"),
        (Path(__file__), ModelError, "is not a GGUF file"),
    ],
    ids=str,
)
def test_models(fit: Fit, model: Any, error: type[FastplrError], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(model=model)


def test_what_costs_nothing_is_checked_before_the_model_is_loaded(tiny_llama: TinyModel, fit: Fit) -> None:
    for bad in (
        {"labels": LABELS[:-1]}, {"sample_weight": [0] * 12}, {"class_weight": {"x": 1}}, {"texts": [""] * 12},
        {"cv": "alo"}, {"cv": 1}, {"C": -1}, {"speed": "yes"},
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"labels|sample_weight|class_weight|text|cv|C is|speed"):
            fit(**{"model": "missing.gguf", **bad})


# -- predicting and loading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classifier", [None, 3, b"c.plr", {"a": 1}, PLRClassifier])
def test_what_is_no_classifier(classifier: Any) -> None:
    with pytest.raises(InputError, match="expected a PLRClassifier or the path of a classifier file"):
        fastplr.predict(classifier, TEXTS)


def test_files_that_are_no_classifier(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("good,bad\n" * 100)
    (tmp_path / "magic").write_bytes(b"GGUF")
    for name, message in (
        ("missing", "there is no such file"),
        (".", "is a directory"),
        ("empty", "is empty"),
        ("text", "begins with 'good'"),
        ("magic", "no usable classifier file"),
    ):
        path = tmp_path / name
        for read in (fastplr.load, fastplr.classifier_file_info, lambda path: fastplr.predict(path, TEXTS)):
            with pytest.raises(ClassifierFileError, match=message) as caught:
                read(path)
            assert str(path) in str(caught.value)
    for bad in (None, 3, ["a"]):
        with pytest.raises(InputError, match="expected a str or a path"):
            fastplr.load(bad)  # type: ignore[arg-type]


def test_a_model_that_is_gone_when_predicting(tiny_llama: TinyModel, tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(tiny_llama.path.read_bytes())
    classifier = fastplr.fit(TEXTS, LABELS, model=model, C=1.0, **NO_CHOICE)
    clear_engines()
    model.unlink()
    with pytest.raises(ModelError, match="no such file"):
        classifier.predict(TEXTS)
