"""The solver's estimator against scikit-learn, SciPy, and its own definition."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.optimize
import scipy.special
import sklearn.linear_model
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastplr.errors import NotConverged
from fastplr.logistic_regression import LogisticRegression
from logistic_samples import sample

Array = npt.NDArray[Any]


def objective(X: Array, y: Array, C: float, coef: Array, intercept: Array, weight: Array | float = 1.0) -> float:
    logits = X @ coef.T + intercept
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    losses = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return float(np.sum(weight * losses) + np.sum(coef**2) / (2 * C))


@parametrize_with_checks(
    [
        LogisticRegression(),
        LogisticRegression("auto", Cs=3, cv=3, random_state=0),
        LogisticRegression(solver="gram"),
    ]
)
def test_scikit_learn_estimator_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("n_rows", "n_features"), [(40, 150), (150, 12)])
@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_coefficients_and_objective_as_scikit_learn(
    n_rows: int, n_features: int, n_classes: int, C: float, weighted: bool
) -> None:
    X, y = sample(n_rows, n_features, n_classes)
    weight = np.random.default_rng(1).uniform(0.1, 3, n_rows) if weighted else np.ones(n_rows)
    theirs = sklearn.linear_model.LogisticRegression(C=C, solver="newton-cg", tol=1e-11, max_iter=10_000)
    theirs.fit(X, y, weight)
    ours = LogisticRegression(C=C).fit(X, y, weight)
    intercept = theirs.intercept_ - (theirs.intercept_.mean() if n_classes > 2 else 0.0)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, intercept, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-6)
    reached = objective(X, y, C, ours.coef_, ours.intercept_, weight)
    assert reached <= objective(X, y, C, theirs.coef_, theirs.intercept_, weight) * (1 + 1e-10)
    assert ours.converged_
    assert ours.gap_ <= ours.tol


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_scipy_finds_no_lower_objective(n_classes: int, fit_intercept: bool) -> None:
    X, y = sample(25, 10, n_classes)
    n_outputs = 1 if n_classes == 2 else n_classes

    def value(parameters: Array) -> float:
        table = parameters.reshape(n_outputs, -1)
        return objective(X, y, 0.5, table[:, :10], table[:, 10] if fit_intercept else np.zeros(n_outputs))

    found = scipy.optimize.minimize(
        value, np.zeros(n_outputs * (10 + fit_intercept)), method="BFGS", options={"gtol": 1e-6}
    )
    ours = LogisticRegression(0.5, fit_intercept=fit_intercept).fit(X, y)
    assert objective(X, y, 0.5, ours.coef_, ours.intercept_) <= found.fun + 1e-10
    np.testing.assert_allclose(ours.coef_, found.x.reshape(n_outputs, -1)[:, :10], atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gap_is_the_distance_to_a_feasible_dual_point(n_classes: int) -> None:
    """Weak duality from its definition: entropy less the norm of what the residuals make of X."""
    X, y = sample(30, 80, n_classes)
    C = 10.0
    with pytest.warns(NotConverged):
        early = LogisticRegression(C, max_iter=3, fit_intercept=False).fit(X, y)
    p = early.predict_proba(X)
    entropy = -scipy.special.xlogy(p, p).sum()
    residual = np.eye(n_classes)[y] - p
    if n_classes == 2:
        residual = residual[:, 1:]
    dual = entropy - C / 2 * np.sum((X.T @ residual) ** 2)
    primal = objective(X, y, C, early.coef_, early.intercept_)
    assert early.gap_ == pytest.approx((primal - dual) / primal, rel=1e-8)
    best = LogisticRegression(C, fit_intercept=False).fit(X, y)
    assert dual <= objective(X, y, C, best.coef_, best.intercept_) <= primal


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(4, 20),
    n_features=st.integers(1, 25),
    n_classes=st.integers(2, 4),
    log_C=st.floats(-6, 6),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_gradient_vanishes_and_nothing_is_nan(
    n_rows: int, n_features: int, n_classes: int, log_C: float, scale: float, seed: int
) -> None:
    X, y = sample(n_rows, n_features, n_classes, seed)
    X = X * scale
    C = 10.0**log_C
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        model = LogisticRegression(C).fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    residual = model.predict_proba(X) - np.eye(n_classes)[y]
    if n_classes == 2:
        residual = residual[:, 1:]
    gradient = residual.T @ X + model.coef_ / C
    if model.converged_:
        bound = math.sqrt(2 * model.tol * objective(X, y, C, model.coef_, model.intercept_) / C)
        assert np.linalg.norm(gradient) <= 1.01 * bound + 1e-9 * scale
        if n_classes > 2:
            assert abs(model.intercept_.sum()) <= 1e-9 * (1 + abs(model.intercept_).max())
    else:
        assert C * scale**2 > 1e6  # only where double precision has nothing left


@settings(max_examples=30, deadline=None)
@given(data=st.data(), n_classes=st.integers(2, 3), n_features=st.sampled_from([3, 40]))
def test_integer_weights_equal_repeated_rows(data: st.DataObject, n_classes: int, n_features: int) -> None:
    X, y = sample(12, n_features, n_classes)
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=12, max_size=12)))
    counts[:n_classes] = np.maximum(counts[:n_classes], 1)
    weighted = LogisticRegression(2.0).fit(X, y, counts)
    repeated = LogisticRegression(2.0).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-7)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_weights_are_row_weights(n_classes: int) -> None:
    X, y = sample(31, 50, n_classes)
    y[:9] = 0
    labels = np.array(["a", "b", "c"])[y]
    balanced = LogisticRegression(class_weight="balanced").fit(X, labels)
    theirs = sklearn.linear_model.LogisticRegression(class_weight="balanced", solver="newton-cg", tol=1e-10).fit(
        X, labels
    )
    np.testing.assert_allclose(balanced.coef_, theirs.coef_, atol=1e-6)
    chosen = LogisticRegression(class_weight={"a": 3.0}).fit(X, labels)
    weighted = LogisticRegression().fit(X, labels, np.where(labels == "a", 3.0, 1.0))
    np.testing.assert_allclose(chosen.coef_, weighted.coef_, atol=1e-9)


@pytest.mark.parametrize("C", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(
    "case",
    ["separable", "repeated", "contradictory", "constant", "all constant", "lonely", "p=1", "n=2", "n=K=3"],
)
def test_degenerate_data(case: str, C: float) -> None:
    X, y = sample(20, 60, 2)
    if case == "separable":
        y = (X[:, 0] > 0).astype(int)
    elif case == "repeated":
        X[10:], y[10:] = X[:10], y[:10]
    elif case == "contradictory":
        X[10:], y[10:] = X[:10], 1 - y[:10]
    elif case == "constant":
        X[:, 5:] = 7.0
    elif case == "all constant":
        X[:] = 1 / 3
    elif case == "lonely":
        y = (np.arange(20) == 3).astype(int)
    elif case == "p=1":
        X = X[:, :1]
    elif case == "n=2":
        X, y = X[:2], y[:2]
    else:
        X, y = X[:3], np.arange(3)
    model = LogisticRegression(C).fit(X, y)
    assert model.converged_
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_no_penalty_where_an_optimum_exists() -> None:
    X, y = sample(200, 4, 3)
    theirs = sklearn.linear_model.LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-10, max_iter=1000).fit(X, y)
    ours = LogisticRegression(math.inf).fit(X, y)
    assert ours.converged_
    assert ours.lambda_ == 0.0
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)


@pytest.mark.parametrize("n_features", [1, 30])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_penalty_on_separable_data_ends_unconverged(n_features: int, n_classes: int) -> None:
    X, y = sample(12, n_features, n_classes)
    if n_features == 1:
        X[:, 0] = y if n_classes == 2 else np.maximum(y, 1)  # three classes: one apart, two alike
    with pytest.warns(NotConverged, match="separated"):
        model = LogisticRegression(np.inf).fit(X, y)
    assert not model.converged_
    assert model.gap_ == math.inf
    assert np.isfinite(model.coef_).all()


def test_too_few_iterations_warn_with_the_gap() -> None:
    X, y = sample(30, 100, 2)
    with pytest.warns(NotConverged, match=r"relative duality gap is .* after 2 iterations"):
        model = LogisticRegression(100.0, max_iter=2).fit(X, y)
    assert not model.converged_
    assert model.gap_ > model.tol
    assert model.n_iter_ == 2


def test_weights_that_drown_the_penalty_are_named() -> None:
    X, y = sample(12, 15, 2)
    with pytest.warns(NotConverged, match=r"C times the sum of the weights is 1.2e\+301, .*use smaller weights"):
        LogisticRegression().fit(X, y, np.full(12, 1e300))


def test_folds_may_be_masks_and_an_iterator() -> None:
    X, y = sample(12, 5, 2)
    scored = np.arange(12) % 3 == 0
    numbers = [(np.flatnonzero(~scored), np.flatnonzero(scored))]
    expected = LogisticRegression("auto", cv=numbers).fit(X, y).cv_scores_
    for cv in ([(~scored, scored)], iter(numbers), [(part.tolist() for part in numbers[0])]):
        np.testing.assert_array_equal(LogisticRegression("auto", cv=cv).fit(X, y).cv_scores_, expected)


def test_many_classes_need_no_dense_system_of_all_classes() -> None:
    """77 classes: all factors of all classes would take gigabytes."""
    X, y = sample(800, 120, 77)
    model = LogisticRegression(0.1).fit(X, y)
    theirs = sklearn.linear_model.LogisticRegression(C=0.1, solver="lbfgs", tol=1e-7, max_iter=10_000).fit(X, y)
    assert model.converged_
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("separable", [False, True])
def test_many_classes_whose_penalty_is_approached(C: float, separable: bool) -> None:
    X, y = sample(360, 30, 12)
    X[:, -1] = 3.0
    if separable:
        X += 20.0 * np.eye(12, 30)[y]
    ours = LogisticRegression(C).fit(X, y)
    theirs = sklearn.linear_model.LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=10_000).fit(X, y)
    reached = objective(X, y, C, ours.coef_, ours.intercept_)
    assert ours.converged_
    assert reached <= objective(X, y, C, theirs.coef_, theirs.intercept_) * (1 + 1e-8)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-3)


def test_many_classes_without_a_penalty() -> None:
    X, y = sample(360, 8, 10)
    y[::3] = np.random.default_rng(0).permutation(y[::3])
    model = LogisticRegression(math.inf).fit(X, y)
    assert model.converged_
    held = objective(X, y, math.inf, model.coef_, model.intercept_)
    assert held <= objective(X, y, math.inf, *_free_fit(X, y)) * (1 + 1e-6)


def _free_fit(X: Array, y: Array) -> tuple[Array, Array]:
    theirs = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000).fit(X, y)
    return theirs.coef_, theirs.intercept_


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, ">f8"])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed"])
@pytest.mark.parametrize("n_features", [5, 90])
def test_number_types_and_memory_layouts(dtype: Any, layout: str, n_features: int) -> None:
    X, y = sample(30, n_features, 3)
    X = (8 * X).astype(dtype)
    expected = LogisticRegression().fit(X.astype(np.float64), y)
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "strided":
        wide = np.full((60, 2 * n_features), 9, dtype=dtype)
        wide[::2, ::2] = X
        X = wide[::2, ::2]
    elif layout == "reversed":
        X = np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    np.testing.assert_allclose(LogisticRegression().fit(X, y).coef_, expected.coef_, atol=1e-9)


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], [False, True], [3, 7], np.array(["b", "a"], dtype=object), [-1.0, 1.0], ["x", "y", "z"]],
    ids=str,
)
def test_labels_come_back_as_they_went_in(labels: Any) -> None:
    labels = np.asarray(labels)
    X, y = sample(60, 80, len(labels))
    model = LogisticRegression(1e4).fit(X, labels[y])
    assert model.classes_.dtype == labels.dtype
    assert (model.predict(X) == labels[y]).all()
    assert model.predict(X).dtype == labels.dtype


def test_shapes_and_probabilities() -> None:
    for n_classes in (2, 3):
        X, y = sample(30, 7, n_classes)
        model = LogisticRegression().fit(X, y)
        n_outputs = 1 if n_classes == 2 else 3
        assert model.coef_.shape == (n_outputs, 7)
        assert model.intercept_.shape == (n_outputs,)
        assert model.decision_function(X).shape == ((30,) if n_classes == 2 else (30, 3))
        assert model.predict_proba(X).shape == (30, n_classes)
        far = model.predict_log_proba(1e5 * X)
        assert np.isfinite(far).all()
        assert far.min() < -1000
        np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_path_equals_separate_fits(n_classes: int) -> None:
    X, y = sample(40, 100, n_classes)
    Cs = [1.0, 1e-4, 50.0, 0.01]
    path = LogisticRegression().path(X, y, Cs)
    assert path.Cs.tolist() == Cs
    assert path.converged.all()
    for i, C in enumerate(Cs):
        single = LogisticRegression(C).fit(X, y)
        np.testing.assert_allclose(path.coef[i], single.coef_, atol=1e-7)
        np.testing.assert_allclose(path.intercept[i], single.intercept_, atol=1e-7)
        assert path.objective[i] == pytest.approx(objective(X, y, C, single.coef_, single.intercept_))
    assert LogisticRegression(Cs=5).path(X, y).coef.shape == (5, 1 if n_classes == 2 else 3, 100)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy", "balanced_accuracy", "f1_macro"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_features", [6, 70])
def test_scores_equal_a_plain_loop_over_scikit_learn_folds(scoring: Any, n_classes: int, n_features: int) -> None:
    X, y = sample(45, n_features, n_classes)
    Cs = np.array([1e-3, 0.1, 10.0])
    folds = list(StratifiedKFold(4, shuffle=True, random_state=3).split(X, y))
    expected = np.empty((4, 3))
    for f, (train, test) in enumerate(folds):
        for c, C in enumerate(Cs):
            plain = sklearn.linear_model.LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=1000)
            expected[f, c] = get_scorer(scoring)(plain.fit(X[train], y[train]), X[test], y[test])
    for cv in (4, StratifiedKFold(4, shuffle=True, random_state=3), folds, iter(folds)):
        model = LogisticRegression("auto", Cs=Cs, cv=cv, scoring=scoring, tol=1e-12, random_state=3).fit(X, y)
        np.testing.assert_allclose(model.cv_scores_, expected, atol=1e-6)
        assert Cs[expected.mean(axis=0).argmax()] == model.C_
    np.testing.assert_allclose(model.coef_, LogisticRegression(model.C_).fit(X, y).coef_, atol=1e-7)


def test_one_standard_error_takes_the_strongest_penalty_within_it() -> None:
    X, y = sample(60, 100, 2)
    Cs = np.logspace(-5, 2, 15)
    model = LogisticRegression("auto", Cs=Cs, cv=5, selection="1se", random_state=0).fit(X, y)
    mean = model.cv_scores_.mean(axis=0)
    error = model.cv_scores_.std(axis=0, ddof=1) / math.sqrt(5)
    best = mean.argmax()
    assert Cs[np.flatnonzero(mean >= mean[best] - error[best])[0]] == model.C_
    assert model.C_ < LogisticRegression("auto", Cs=Cs, cv=5, random_state=0).fit(X, y).C_


def test_leave_one_out_equals_fits_without_each_row() -> None:
    X, y = sample(14, 30, 2)
    model = LogisticRegression("auto", Cs=[0.01, 1.0], cv="loo", tol=1e-12).fit(X, y)
    for row in range(14):
        rest = np.arange(14) != row
        for c, C in enumerate([0.01, 1.0]):
            left_out = LogisticRegression(C).fit(X[rest], y[rest]).predict_proba(X[[row]])
            assert model.cv_scores_[row, c] == pytest.approx(-log_loss([y[row]], left_out, labels=[0, 1]), abs=1e-5)


def test_scores_are_weighted_and_rows_of_weight_zero_are_in_no_fold() -> None:
    X, y = sample(30, 40, 2)
    weight = np.ones(30)
    weight[20:] = 0.0
    settings = {"Cs": [0.01, 1.0], "cv": 4, "random_state": 0}
    with_zeros = LogisticRegression("auto", **settings).fit(X, y, weight)
    without = LogisticRegression("auto", **settings).fit(X[:20], y[:20])
    np.testing.assert_allclose(with_zeros.cv_scores_, without.cv_scores_, atol=1e-5)
    doubled = LogisticRegression("auto", Cs=[0.01, 1.0], cv=[(np.arange(20), np.arange(20, 30))]).fit(
        X, y, np.where(np.arange(30) == 25, 2.0, 1.0)
    )
    rows = np.r_[np.arange(30), 25]
    repeated = LogisticRegression("auto", Cs=[0.01, 1.0], cv=[(np.arange(20), np.arange(20, 31))]).fit(X[rows], y[rows])
    np.testing.assert_allclose(doubled.cv_scores_, repeated.cv_scores_, atol=1e-6)


def test_folds_are_reduced_to_the_smallest_class() -> None:
    X, y = sample(20, 30, 2)
    y[:] = np.arange(20) < 3
    with pytest.warns(UserWarning, match="3 folds are used"):
        model = LogisticRegression("auto", Cs=3, cv=10, random_state=0).fit(X, y)
    assert model.cv_scores_.shape == (3, 3)


def test_rows_of_classes_with_one_row_are_never_held_out() -> None:
    X, y = sample(21, 30, 2)
    y[20] = 2
    with pytest.warns(UserWarning, match="1 of 3 classes have a single row"):
        model = LogisticRegression("auto", Cs=[0.1], cv=5, random_state=0).fit(X, y)
    assert model.predict_proba(X).shape == (21, 3)
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(X[:20], y[:20])
    explicit = [(np.r_[train, 20], test) for train, test in folds]
    expected = LogisticRegression("auto", Cs=[0.1], cv=explicit).fit(X, y)
    np.testing.assert_allclose(model.cv_scores_, expected.cv_scores_, atol=1e-6)
    with pytest.warns(UserWarning, match=r"C=1\.0 is used"):
        assert LogisticRegression("auto").fit(X[:3], [0, 1, 2]).C_ == 1.0


def test_a_class_that_a_fold_does_not_train_on_has_probability_zero_there() -> None:
    X, y = sample(30, 10, 3)
    order = np.argsort(y, kind="stable")
    model = LogisticRegression("auto", Cs=[1.0], cv=KFold(3)).fit(X[order], y[order])
    np.testing.assert_allclose(model.cv_scores_, np.log(np.finfo(float).eps))


def test_random_state_decides_the_folds() -> None:
    X, y = sample(40, 50, 2)
    scores = [LogisticRegression("auto", Cs=3, cv=4, random_state=s).fit(X, y).cv_scores_ for s in (0, 0, 1)]
    assert (scores[0] == scores[1]).all()
    assert not (scores[0] == scores[2]).all()


def test_works_with_grid_search_clone_and_pickle() -> None:
    X, y = sample(40, 20, 2)
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=3).fit(X, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert (again.predict_proba(X) == search.predict_proba(X)).all()
    assert clone(again).get_params() == again.get_params()
