"""What the solver's estimator refuses, and that its words name what was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse

from fastplr.errors import InputError
from fastplr.logistic_regression import LogisticRegression
from logistic_samples import sample

Array = npt.NDArray[Any]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": 0.0}, "C is 0.0"),
        ({"C": -1}, "C is -1"),
        ({"C": math.nan}, "C is nan"),
        ({"C": "automatic"}, "C is 'automatic'"),
        ({"C": None}, "C is None"),
        ({"C": 5e-324}, "C is 5e-324"),
        ({"C": "auto", "Cs": 0}, "Cs is 0"),
        ({"C": "auto", "Cs": [1.0, -2.0]}, "C is -2.0"),
        ({"C": "auto", "Cs": "many"}, "Cs is 'many'"),
        ({"C": "auto", "Cs": [[1.0]]}, "shape"),
        ({"C": "auto", "cv": 1}, "cv is 1"),
        ({"C": "auto", "cv": None}, "cv is None"),
        ({"C": "auto", "cv": "lol"}, "cv is 'lol': expected a whole number >= 2, 'loo', 'alo', a splitter or splits"),
        ({"C": "auto", "cv": []}, "no folds"),
        ({"C": "auto", "cv": [([0, 1, 2, 3], [99])]}, "scores row 99"),
        ({"C": "auto", "cv": [([0, 1, 2, 3], [3])]}, "both trains on and scores row 3"),
        ({"C": "auto", "cv": [1, 2]}, "cv has the split 1: expected a pair"),
        ({"C": "auto", "cv": [([0, 1], [2], [3])]}, "cv has the split ([0, 1], [2], [3])"),
        ({"C": "auto", "cv": [([0, 1, 2, 3], [0.5])]}, "cv has the rows [0.5]: expected row numbers"),
        ({"C": "auto", "cv": [([0, 1, 2, 3], [4.0])]}, "cv has the rows [4.0]"),
        ({"C": "auto", "cv": [(["0"], [1])]}, "cv has the rows ['0']"),
        ({"C": "auto", "cv": [([True, False], [1])]}, "cv has the rows [True, False]: expected row numbers, or a mask"),
        ({"C": "auto", "cv": [(0, 1)]}, "cv has the rows 0"),
        ({"C": "auto", "cv": object()}, "cv"),
        ({"C": "auto", "cv": "loo", "scoring": "f1_macro"}, "f1_macro"),
        ({"scoring": "roc_auc"}, "scoring is 'roc_auc'"),
        ({"selection": "worst"}, "selection is 'worst'"),
        ({"solver": "lbfgs"}, "solver is 'lbfgs'"),
        ({"tol": 0}, "tol is 0"),
        ({"tol": math.inf}, "tol is inf"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"max_iter": 2.5}, "max_iter is 2.5"),
        ({"fit_intercept": "no"}, "fit_intercept is 'no': expected True or False"),
        ({"keep_training": 1}, "keep_training is 1: expected True or False"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"class_weight": {9: 1.0}}, "class_weight names the class 9"),
        ({"class_weight": {0: -1.0}}, "class_weight[0] is -1.0"),
        ({"class_weight": {0: 0.0}}, "class 0 has no row of positive weight"),
        ({"class_weight": "heavy"}, "class_weight is 'heavy'"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    X, y = sample(12, 5, 2)
    with pytest.raises(InputError) as caught:
        LogisticRegression(**parameters).fit(X, y)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (np.where(X[3, 2] == X, np.nan, X), y, None), "NaN"),
        (lambda X, y: (np.where(X[3, 2] == X, np.inf, X), y, None), "infinity"),
        (lambda X, y: (scipy.sparse.csr_matrix(X), y, None), "sparse input is not supported: pass a dense array"),
        (lambda X, y: (X[0], y, None), "2D"),
        (lambda X, y: (X[:0], y[:0], None), "0 sample"),
        (lambda X, y: (X[:, :0], y, None), "0 feature"),
        (lambda X, y: (X, y[:-1], None), "inconsistent"),
        (lambda X, y: (X, np.ones(12), None), "one class only, 1.0"),
        (lambda X, y: (X, np.linspace(0, 1, 12), None), "continuous"),
        (lambda X, y: (X, ["a", "b", None] * 4, None), "y[2] is None: expected a label"),
        (lambda X, y: (X, [1, 2, None] * 4, None), "y[2] is None: expected a label"),
        (lambda X, y: (X, [None] * 12, None), "y[0] is None: expected a label"),
        (lambda X, y: (X, [b"a", b"b"] * 6, None), "y[0] is b'a': expected a label of str or a number"),
        (lambda X, y: (X, np.array(["a", b"b"] * 6, dtype=object), None), "y[1] is b'b'"),
        (lambda X, y: (X, np.array(["a", "b", 1] * 4, dtype=object), None), "y[2] is 1 and y[0] is 'a'"),
        (lambda X, y: (X, np.array([1, 2.0, "a"] * 4, dtype=object), None), "y[2] is 'a' and y[0] is 1"),
        (lambda X, y: (X, np.array([{}, {}] * 6), None), "y[1] is {} and y[0] is {}"),
        (lambda X, y: (X, y, -np.ones(12)), "sample_weight[0] is -1.0"),
        (lambda X, y: (X, y, np.zeros(12)), "zero"),
        (lambda X, y: (X, y, np.full(12, np.nan)), "NaN"),
        (lambda X, y: (X, y, np.full(12, 1e308)), "sample_weight sums to inf, its largest is 1e+308"),
        (lambda X, y: (X, y, np.ones(11)), "(11,)"),
        (lambda X, y: (X, y, y.astype(float)), "class 0 has no row of positive weight"),
        (lambda X, y: (X * 1e200, y, None), "overflow"),
    ],
)
def test_bad_data_are_named(change: Callable[[Array, Array], Any], message: str) -> None:
    X, y, weight = change(*sample(12, 15, 2))
    with pytest.raises(InputError) as caught:
        LogisticRegression().fit(X, y, weight)
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite(dtype: Any, value: float) -> None:
    X, y = sample(12, 15, 2)
    X = X.astype(dtype)
    X[5, 7] = value
    name = "NaN" if np.isnan(value) else "infinity"
    core = rf"feature 7 of row 5 is -?{name}: features must be finite"
    other = f"Input X contains {name}"
    with pytest.raises(InputError, match=core if dtype in (np.float32, np.float64) else other):
        LogisticRegression().fit(X, y)
    with pytest.raises(InputError, match=other):
        LogisticRegression().fit(X.tolist(), y.tolist())


def test_a_later_fit_of_a_plain_array_forgets_the_names_of_features() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = sample(12, 3, 2)
    model = LogisticRegression().fit(pandas.DataFrame(X, columns=["a", "b", "c"]), y)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    model.fit(X[:, :2], y)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 2
