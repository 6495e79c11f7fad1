"""fastplr.LogisticRegression beside scikit-learn, each solver as loose as it may be for the same objective."""

import warnings

import numpy as np
import pytest
import threadpoolctl
from sklearn.linear_model import LogisticRegression as ScikitLearn

import fastplr

SHAPES = [(60, 576), (200, 4096), (1000, 576)]
LAMBDA = 10.0


def rows(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    y = (X[:, : p // 8].sum(axis=1) + rng.standard_normal(n) * np.sqrt(p) / 4 > 0).astype(int)
    return X, y


def objective(X, y, coef, intercept) -> float:
    margin = (2 * y - 1) * (X @ coef.ravel() + intercept)
    return float(np.logaddexp(0, -margin).sum() + LAMBDA / 2 * np.sum(coef**2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fastplr(benchmark, n_threads, shape):
    X, y = rows(*shape)
    estimator = fastplr.LogisticRegression(1 / LAMBDA, n_threads=n_threads)
    benchmark.pedantic(estimator.fit, args=(X, y), rounds=10, warmup_rounds=1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_scikit_learn(benchmark, n_threads, shape, solver):
    if solver == "newton-cholesky" and shape[1] > 1000:
        pytest.skip("a Cholesky factorisation of 4096 x 4096 at every step: minutes")
    X, y = rows(*shape)
    ours = fastplr.LogisticRegression(1 / LAMBDA).fit(X, y)
    wanted = objective(X, y, ours.coef_, ours.intercept_) * (1 + 1e-8)
    with threadpoolctl.threadpool_limits(n_threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tol in 10.0 ** -np.arange(2, 13):
            rival = ScikitLearn(C=1 / LAMBDA, solver=solver, tol=tol, max_iter=10_000).fit(X, y)
            if objective(X, y, rival.coef_, rival.intercept_) <= wanted:
                benchmark.extra_info["tol"] = tol
                benchmark.pedantic(rival.fit, args=(X, y), rounds=5, warmup_rounds=1)
                return
    pytest.skip("reaches fastplr's objective to 1e-8 at no tolerance tried")
