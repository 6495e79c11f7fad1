"""Standard errors of probabilities: against the inverse of the whole second derivative, and against resampling."""

from __future__ import annotations

import numpy as np
import pytest

from fastplr import InputError, LogisticRegression
from fastplr.laplace import LaplaceApproximation


def drawn(n_rows, n_features, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_rows, n_features))
    scores = features @ rng.normal(size=(n_features, n_classes)) / np.sqrt(n_features)
    labels = np.argmax(scores + 0.5 * rng.normal(size=scores.shape), axis=1)
    labels[:n_classes] = np.arange(n_classes)
    return features, labels


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n_rows", "n_features", "n_classes"), [(40, 6, 2), (20, 30, 2), (40, 6, 3), (20, 25, 4)])
def test_it_is_the_inverse_second_derivative(n_rows, n_features, n_classes, fit_intercept):
    features, labels = drawn(n_rows, n_features, n_classes)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, n_rows)
    weights[3] = 0.0 if (labels == labels[3]).sum() > 1 else 1.0
    model = LogisticRegression(0.7, tol=1e-12, fit_intercept=fit_intercept).fit(features, labels, weights)
    p = model.predict_proba(features)
    found = LaplaceApproximation(features, p, weights, 1 / 0.7, fit_intercept=fit_intercept)

    design = np.column_stack([features, np.ones(n_rows)]) if fit_intercept else features
    penalty = np.full(design.shape[1], 1 / 0.7)
    if fit_intercept:
        penalty[-1] = 0.0
    new = np.random.default_rng(2).normal(size=(5, n_features))
    new_design = np.column_stack([new, np.ones(5)]) if fit_intercept else new
    if n_classes == 2:
        hessian = (design.T * (weights * p[:, 0] * p[:, 1])) @ design + np.diag(penalty)
        covariance = np.einsum("np,pq,nq->n", new_design, np.linalg.inv(hessian), new_design)[:, None, None]
    else:
        curvature = np.einsum("ik,kl->ikl", p, np.eye(n_classes)) - p[:, :, None] * p[:, None, :]
        basis = found.contrasts
        curvature = basis.T @ curvature @ basis
        m = n_classes - 1
        hessian = np.einsum("i,iab,ip,iq->apbq", weights, curvature, design, design).reshape(m * len(penalty), -1)
        inverse = np.linalg.inv(hessian + np.diag(np.tile(penalty, m))).reshape(m, len(penalty), m, len(penalty))
        covariance = np.einsum("np,apbq,nq->nab", new_design, inverse, new_design)
    np.testing.assert_allclose(found.covariance(new), covariance, rtol=1e-7, atol=1e-9)

    # And by finite differences of the probabilities along the contrasts.
    q = model.predict_proba(new)
    step = 1e-6
    logits = np.log(q)
    slopes = []
    for direction in found.contrasts.T:
        moved = np.exp(logits + step * direction)
        slopes.append((moved / moved.sum(axis=1, keepdims=True) - q) / step)
    slopes = np.stack(slopes, axis=2)
    expected = np.sqrt(np.einsum("nka,nab,nkb->nk", slopes, covariance, slopes))
    np.testing.assert_allclose(found.standard_errors(new, q), expected, rtol=1e-4, atol=1e-6)


def test_it_tells_how_far_fits_of_other_samples_are_apart():
    rng = np.random.default_rng(0)
    true = rng.normal(size=8)
    new = rng.normal(size=(30, 8))

    def sample(seed):
        rows = np.random.default_rng(seed)
        features = rows.normal(size=(400, 8))
        labels = (rows.uniform(size=400) < 1 / (1 + np.exp(-features @ true))).astype(int)
        return LogisticRegression(10.0, keep_training=True).fit(features, labels)

    models = [sample(seed) for seed in range(60)]
    spread = np.std([model.predict_proba(new)[:, 1] for model in models], axis=0)
    stated = np.mean([model.predict_proba_stderr(new)[:, 1] for model in models], axis=0)
    assert np.median(stated / spread) == pytest.approx(1.0, abs=0.15)


def test_many_rows_and_classes_are_refused_when_asked_for():
    features, labels = drawn(150, 2, 60)
    model = LogisticRegression(keep_training=True).fit(features, labels)
    with pytest.raises(InputError, match="150 rows and 60 classes needs a matrix of order 8850: expected at most 8192"):
        model.predict_proba_stderr(features)


def test_it_needs_the_training_rows_and_a_penalty():
    features, labels = drawn(20, 3, 2)
    with pytest.raises(InputError, match="keep_training is False: standard errors need the training rows"):
        LogisticRegression().fit(features, labels).predict_proba_stderr(features)
    with pytest.raises(InputError, match="C is inf: standard errors need a penalty"):
        LogisticRegression(np.inf, keep_training=True).fit(features, labels).predict_proba_stderr(features)
    model = LogisticRegression(keep_training=True).fit(features, labels)
    assert model.predict_proba_stderr(features).shape == (20, 2)
