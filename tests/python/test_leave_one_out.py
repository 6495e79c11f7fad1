"""Approximate leave-one-out: beside its Newton step written out with full matrices, and beside exact leave-one-out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastplr import InputError, LogisticRegression, _core
from fastplr.logistic_regression import row_scores

Floats = npt.NDArray[np.float64]


def drawn(n_rows: int, n_features: int, n_classes: int, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Features, and labels that depend on them; every class occurs twice at least."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_rows, n_features))
    scores = features @ rng.normal(size=(n_features, n_classes)) / np.sqrt(n_features)
    labels = np.argmax(scores + 0.5 * rng.normal(size=scores.shape), axis=1)
    labels[: 2 * n_classes] = np.repeat(np.arange(n_classes), 2)
    return features, labels.astype(np.int32)


def native(features: Floats, labels: npt.NDArray[np.int32], lambdas: list[float], **options: Any) -> Floats:
    """Logits (n_lambdas, n_rows, n_outputs); of several classes they sum to zero."""
    given_options: dict[str, Any] = {
        "weights": np.ones(len(labels)),
        "tol": 1e-16,  # of the objective: 1e-8 of the logits
        "max_iter": 200,
        "fit_intercept": True,
        "solver": "auto",
        "n_threads": 1,
        **options,
    }
    n_classes = int(labels.max()) + 1
    logits, n_unconverged = _core.approximate_leave_one_out(
        features, labels, n_classes, lambdas=np.array(lambdas), **given_options
    )
    assert n_unconverged == 0
    return logits if n_classes == 2 else logits - logits.mean(axis=-1, keepdims=True)


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def newton_step_without(
    row: int, features: Floats, labels: npt.NDArray[np.int32], weights: Floats, C: float, fit_intercept: bool
) -> Floats:
    """Logits of `row` after one Newton step, from the optimum of all rows, on the objective of the others."""
    model = LogisticRegression(C, tol=1e-13, max_iter=200, fit_intercept=fit_intercept).fit(
        features, labels, sample_weight=weights
    )
    n_classes = len(model.classes_)
    design = np.column_stack([features, np.ones(len(labels))]) if fit_intercept else features
    coefficients = np.column_stack([model.coef_, model.intercept_]) if fit_intercept else model.coef_
    penalty = np.full(design.shape[1], 1.0 / C)
    if fit_intercept:
        penalty[-1] = 0.0
    others = np.arange(len(labels)) != row
    x, w, y = design[others], weights[others], labels[others]
    if n_classes == 2:
        p = 1.0 / (1.0 + np.exp(-x @ coefficients[0]))
        gradient = x.T @ (w * (p - y)) + penalty * coefficients[0]
        hessian = (x.T * (w * p * (1 - p))) @ x + np.diag(penalty)
        return np.atleast_1d(design[row] @ (coefficients[0] - np.linalg.solve(hessian, gradient)))
    p = softmax(x @ coefficients.T)
    gradient = ((w[:, None] * (p - np.eye(n_classes)[y])).T @ x + penalty * coefficients).ravel()
    curvature = np.einsum("ik,kl->ikl", p, np.eye(n_classes)) - p[:, :, None] * p[:, None, :]
    hessian = np.einsum("i,ikl,ip,iq->kplq", w, curvature, x, x).reshape(len(gradient), -1)
    hessian += np.diag(np.tile(penalty, n_classes))
    step = np.linalg.lstsq(hessian, gradient, rcond=1e-13)[0].reshape(n_classes, -1)
    logits = (coefficients - step) @ design[row]
    return np.asarray(logits - logits.mean())


@pytest.mark.parametrize("solver", ["gram", "primal"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n_rows", "n_features", "n_classes"), [(30, 8, 2), (24, 40, 2), (30, 6, 3), (24, 20, 4)])
def test_it_is_one_newton_step(n_rows, n_features, n_classes, fit_intercept, solver):
    features, labels = drawn(n_rows, n_features, n_classes)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, n_rows)
    found = native(features, labels, [0.5], weights=weights, fit_intercept=fit_intercept, solver=solver)[0]
    for row in range(n_rows):
        expected = newton_step_without(row, features, labels, weights, 2.0, fit_intercept)
        np.testing.assert_allclose(found[row], expected, rtol=1e-6, atol=1e-7)


def exact_logits(features: Floats, labels: npt.NDArray[np.int32], C: float) -> Floats:
    """Of each row, by a fit that has not seen it."""
    logits = []
    for row in range(len(labels)):
        others = np.arange(len(labels)) != row
        model = LogisticRegression(C).fit(features[others], labels[others])
        logits.append(np.atleast_1d(model.decision_function(features[[row]])[0]))
    return np.array(logits)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_close_to_exact_leave_one_out(n_classes):
    features, labels = drawn(60, 120, n_classes)
    for C, tolerance in ((10.0, 0.02), (0.1, 0.02), (0.001, 0.001)):
        fitted = LogisticRegression(C).fit(features, labels)
        own = fitted.decision_function(features).reshape(60, -1)
        approximate = row_scores(native(features, labels, [1 / C])[0], labels, "neg_log_loss").mean()
        exact = row_scores(exact_logits(features, labels, C), labels, "neg_log_loss").mean()
        assert abs(approximate - exact) < tolerance
        # And not because there is nothing to tell apart:
        if C > 0.001:
            assert row_scores(own, labels, "neg_log_loss").mean() - exact > 10 * tolerance


def test_it_chooses_about_the_same_penalty_as_leave_one_out():
    features, labels = drawn(60, 100, 3, seed=3)
    exact = LogisticRegression("auto", cv="loo").fit(features, labels)
    approximate = LogisticRegression("auto", cv="alo").fit(features, labels)
    assert approximate.cv_scores_.shape == exact.cv_scores_.shape == (60, 20)
    means = exact.cv_scores_.mean(axis=0)
    assert means[np.flatnonzero(exact.Cs_ == approximate.C_)[0]] > means.max() - 0.01
    again = LogisticRegression(approximate.C_).fit(features, labels)
    np.testing.assert_allclose(approximate.coef_, again.coef_, rtol=1e-6)


def test_one_standard_error_takes_a_stronger_penalty():
    features, labels = drawn(60, 100, 2, seed=3)
    best = LogisticRegression("auto", cv="alo").fit(features, labels)
    stronger = LogisticRegression("auto", cv="alo", selection="1se").fit(features, labels)
    assert stronger.C_ < best.C_
    scores = best.cv_scores_
    at_best, at_stronger = (scores[:, np.flatnonzero(best.Cs_ == C)[0]] for C in (best.C_, stronger.C_))
    assert at_best.mean() - at_stronger.mean() <= at_best.std(ddof=1) / np.sqrt(60)


def test_rows_count_by_their_weights():
    features, labels = drawn(40, 30, 3)
    weights = np.array([0.0] * 4 + [1.0] * 30 + [2.0] * 6)
    repeated = np.concatenate([np.arange(4, 40), np.arange(34, 40)])
    weighted = LogisticRegression("auto", cv="alo", scoring="accuracy").fit(features, labels, sample_weight=weights)
    assert weighted.cv_scores_.shape == (36, 20)  # rows of weight 0 are not scored
    means = np.average(weighted.cv_scores_, axis=0, weights=weights[4:])
    assert weighted.Cs_[np.flatnonzero(means >= means.max() - 1e-12)[0]] == weighted.C_
    # A row that is left out goes with its whole weight, unlike one of two equal rows.
    fitted = LogisticRegression(1.0).fit(features[repeated], labels[repeated])
    np.testing.assert_allclose(fitted.coef_, LogisticRegression(1.0).fit(features, labels, weights).coef_, atol=1e-6)


def test_a_row_of_weight_zero_is_scored_by_the_fit_of_the_others():
    features, labels = drawn(30, 12, 3)
    weights = np.ones(30)
    weights[[7, 20]] = 0.0
    found = native(features, labels, [1.0], weights=weights)[0]
    others = weights > 0
    model = LogisticRegression(1.0, tol=1e-13).fit(features[others], labels[others])
    np.testing.assert_allclose(found[~others], model.decision_function(features[~others]), atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    n_rows=st.integers(4, 30),
    n_features=st.integers(1, 40),
    n_classes=st.integers(2, 4),
    exponent=st.integers(-6, 6),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["plain", "duplicated", "constant", "separable", "huge"]),
)
def test_whatever_the_rows_scores_are_finite(n_rows, n_features, n_classes, exponent, seed, kind):
    n_rows = max(n_rows, 2 * n_classes)
    features, labels = drawn(n_rows, n_features, n_classes, seed)
    if kind == "duplicated":
        features[: n_rows // 2] = features[0]
    elif kind == "constant":
        features[:] = 1.0
    elif kind == "separable":
        features[:, 0] = 10.0 * labels
    elif kind == "huge":
        features *= 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits, _ = _core.approximate_leave_one_out(
            features,
            labels,
            int(labels.max()) + 1,
            weights=np.ones(n_rows),
            lambdas=np.array([10.0**exponent]),
            tol=1e-8,
            max_iter=100,
            fit_intercept=True,
            solver="auto",
            n_threads=1,
        )
    assert np.isfinite(logits).all()


def test_what_it_cannot_do_is_said():
    features, labels = drawn(20, 5, 2)
    for scoring in ("balanced_accuracy", "f1_macro"):
        with pytest.raises(InputError, match=f"scoring='{scoring}' needs folds of several rows.*cv='alo'"):
            LogisticRegression("auto", cv="alo", scoring=scoring).fit(features, labels)
    with pytest.raises(InputError, match="Cs has infinity, which is no penalty: cv='alo' needs one"):
        LogisticRegression("auto", cv="alo", Cs=[1.0, np.inf]).fit(features, labels)
    with pytest.raises(InputError, match="expected a whole number >= 2, 'loo', 'alo'"):
        LogisticRegression("auto", cv="almost").fit(features, labels)
    features, labels = drawn(4200, 4200, 3)
    with pytest.raises(InputError, match=r"4200 rows and 3 classes inverts a matrix of order 8400: expected at most"):
        native(features, labels, [1.0])


def test_row_scores_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, log_loss

    logits = np.random.default_rng(0).normal(size=(50, 3)) * 5
    labels = np.arange(50, dtype=np.int32) % 3
    assert row_scores(logits, labels, "neg_log_loss").mean() == pytest.approx(-log_loss(labels, softmax(logits)))
    assert row_scores(logits, labels, "accuracy").mean() == accuracy_score(labels, logits.argmax(axis=1))
    assert row_scores(np.array([[900.0]]), np.zeros(1, np.int32), "neg_log_loss")[0] == np.log(np.finfo(float).eps)


def test_weights_count_where_one_row_is_left_out_at_a_time():
    features, labels = drawn(60, 10, 2)
    weights = np.where(np.arange(60) < 40, 1.0, 1e-6)
    few = slice(0, 40)
    for cv in ("loo", "alo"):
        weighted = LogisticRegression("auto", cv=cv).fit(features, labels, sample_weight=weights)
        without = LogisticRegression("auto", cv=cv).fit(features[few], labels[few])
        assert weighted.C_ == without.C_
        means = np.average(weighted.cv_scores_, axis=0, weights=weights)
        assert weighted.Cs_[means.argmax()] == weighted.C_
