"""Large problems, whose Gram matrix is computed in single precision: results are those of double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastplr.errors import InputError
from fastplr.logistic_regression import LogisticRegression
from logistic_samples import sample

Array = npt.NDArray[Any]

N_ROWS, N_FEATURES = 130, 1300  # enough products


def check(X: Array, y: Array, C: float, weight: Array | None = None, **parameters: Any) -> LogisticRegression:
    """A fit, compared with one in primal form, in double precision."""
    found = LogisticRegression(C, **parameters).fit(X, y, weight)
    exact = LogisticRegression(C, **{**parameters, "tol": 1e-13, "max_iter": 1000}, solver="primal").fit(X, y, weight)
    assert found.converged_
    assert found.gap_ <= found.tol
    # The gap bounds lambda / 2 |B - B*|^2, B* being the optimum, relative to the objective.
    scores = found.decision_function(X)
    size = np.abs(exact.decision_function(X)).max() + 1e-300
    np.testing.assert_allclose(scores, exact.decision_function(X), rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(found.coef_, exact.coef_, rtol=0, atol=1e-6 * np.abs(exact.coef_).max())
    return found


@pytest.mark.parametrize("C", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("layout", ["float64", "float32", "by column", "off centre", "far off centre"])
def test_layouts(layout: str, n_classes: int, C: float) -> None:
    X, y = sample(N_ROWS, N_FEATURES, n_classes)
    if layout == "float32":
        X = X.astype(np.float32)
    elif layout == "by column":
        X = np.asfortranarray(X)
    elif layout == "off centre":
        X += 0.5
    elif layout == "far off centre":
        X += 1000.0
    check(X, y, C)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_and_no_intercept(n_classes: int) -> None:
    X, y = sample(N_ROWS, N_FEATURES, n_classes)
    weight = np.random.default_rng(1).uniform(0.1, 3.0, N_ROWS)
    weight[::10] = 0.0
    check(X, y, 1.0, weight)
    check(X, y, 1.0, weight, fit_intercept=False)


@pytest.mark.parametrize("scale", [1e-15, 1e-7, 1e7, 1e12])
def test_features_of_any_size(scale: float) -> None:
    X, y = sample(N_ROWS, N_FEATURES, 2)
    expected = LogisticRegression(0.01, solver="primal", tol=1e-13).fit(X, y).decision_function(X)
    found = LogisticRegression(0.01 / scale**2).fit(X * scale, y)
    assert found.converged_
    np.testing.assert_allclose(found.decision_function(X * scale), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite(dtype: type, value: float) -> None:
    X, y = sample(N_ROWS, N_FEATURES, 2)
    X = X.astype(dtype)
    X[5, 700] = value
    with pytest.raises(InputError, match="feature 700 of row 5 is"):
        LogisticRegression().fit(X, y)


def test_one_feature_that_hides_the_others() -> None:
    """Single precision has no digits left for them beside it."""
    X, y = sample(N_ROWS, N_FEATURES, 2)
    X[:, 7] = 1e4 * np.random.default_rng(1).normal(size=N_ROWS)
    check(X, y, 1e-4)


@settings(max_examples=25, deadline=None)
@given(
    repeated=st.integers(2, N_ROWS),
    constant=st.integers(0, N_FEATURES),
    rank=st.sampled_from([None, 1, 3]),
    log_C=st.floats(-8, 8),
    contradict=st.booleans(),
    seed=st.integers(0, 5),
)
def test_degenerate_rows(
    repeated: int, constant: int, rank: int | None, log_C: float, contradict: bool, seed: int
) -> None:
    """Gram matrices of low rank, that rounding makes indefinite."""
    X, y = sample(N_ROWS, N_FEATURES, 2, seed)
    if rank is not None:
        left, sizes, right = np.linalg.svd(X, full_matrices=False)
        X = left[:, :rank] * sizes[:rank] @ right[:rank]
    X[:, :constant] = 7.0
    X[:repeated] = X[0]
    if contradict:
        y = np.random.default_rng(seed).permutation(y)
    found = LogisticRegression(10.0**log_C).fit(X, y)
    assert found.converged_
    exact = LogisticRegression(10.0**log_C, solver="primal", tol=1e-13, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(found.predict_proba(X), exact.predict_proba(X), rtol=0, atol=1e-4)
