"""The choice of layer, pooling and penalty: against a plain loop over scikit-learn's parts, and on planted answers."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastplr.folds import make_folds
from fastplr.representation import (
    TrainingRows,
    candidate_layers,
    choose,
    held_out_logits,
    standardised,
)

CS = np.logspace(-4, 2, 13)


def rows_of(codes, n_classes, weights=None):
    weights = np.ones(len(codes)) if weights is None else weights
    return TrainingRows(codes.astype(np.int32), n_classes, weights, weights)


def drawn(n_classes=2, n_per_class=60, n_layers=4, n_features=40, best=2, seed=0):
    """Features (n, n_layers, 2, n_features) in which the classes are furthest apart at layer `best`, pooling 1."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_classes), n_per_class)
    rng.shuffle(codes)
    features = rng.normal(size=(len(codes), n_layers, 2, n_features))
    centres = rng.normal(size=(n_classes, n_features))
    for layer in range(n_layers):
        for pooling in range(2):
            strength = 0.35 - 0.15 * abs(layer - best) - 0.15 * (pooling == 0)
            features[:, layer, pooling] += max(strength, 0.0) * centres[codes]
    features *= rng.uniform(0.1, 10, size=n_features)  # of unlike size, as hidden states are
    return features.astype(np.float32), codes.astype(np.int32)


def folds_of(codes, n=5):
    return make_folds(
        n, codes, np.ones(len(codes)), n_classes=int(codes.max()) + 1, features=codes[:, None], random_state=0
    )


def choice_of(features, rows, **settings):
    defaults = {"layers": [5, 6, 7, 8], "poolings": ["mean", "mean_all"], "Cs": CS, "speed": False, "n_threads": 2}
    return choose(features, rows, folds=folds_of(rows.codes), **{**defaults, **settings})


@pytest.mark.parametrize("n_classes", [2, 3])
def test_held_out_logits_are_those_of_scikit_learn_with_a_scaler_in_each_fold(n_classes):
    features, codes = drawn(n_classes)
    rows, folds = rows_of(codes, n_classes), folds_of(codes)
    found = held_out_logits(features[:, 1, 0], rows, np.array([0.01, 1.0]), folds, n_threads=2)
    for at, C in enumerate((0.01, 1.0)):
        for train, test in folds:
            theirs = make_pipeline(
                StandardScaler(), sklearn.linear_model.LogisticRegression(C=C, solver="newton-cg", tol=1e-10)
            ).fit(features[train, 1, 0].astype(float), codes[train])
            expected = theirs.decision_function(features[test, 1, 0].astype(float)).reshape(len(test), -1)
            # Fits that are only compared stop at a relative duality gap of 1e-4.
            np.testing.assert_allclose(found[at][test], expected, atol=0.05)


def test_standardising_is_scikit_learns():
    features = np.random.default_rng(0).normal(size=(20, 5)) * 7 + 3
    features[:, 2] = 1.25
    weights = np.random.default_rng(1).uniform(size=20)
    x, mean, scale = standardised(features, weights)
    theirs = StandardScaler().fit(features, sample_weight=weights)
    np.testing.assert_allclose(x, theirs.transform(features), atol=1e-10)
    np.testing.assert_allclose((mean, scale), (theirs.mean_, theirs.scale_), rtol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_finds_where_the_classes_are_furthest_apart(n_classes):
    features, codes = drawn(n_classes)
    choice = choice_of(features, rows_of(codes, n_classes))
    assert (choice.layer, choice.pooling) == (7, "mean_all")
    assert choice.C in CS
    assert len(choice.candidates) == 8
    assert sum(candidate.confirmed for candidate in choice.candidates) == 4
    best = choice.candidates[0]
    assert (best.layer, best.pooling, best.C) == (7, "mean_all", choice.C)
    assert best.log_loss == min(best.curve) == best.curve[best.Cs.index(best.C)]
    assert choice.logits.shape == (len(codes), 1 if n_classes == 2 else n_classes)
    assert np.isfinite(choice.logits).all()


def test_the_penalty_is_the_best_of_all_even_where_leave_one_out_says_another():
    features, codes = drawn()
    rows, folds = rows_of(codes, 2), folds_of(codes)
    choice = choice_of(features[:, 2:3, 1:], rows, layers=[7], poolings=["mean_all"])
    every = held_out_logits(features[:, 2, 1], rows, CS, folds, n_threads=1)[:, :, 0]
    losses = np.logaddexp(0, np.where(codes == 1, -every, every)).mean(axis=1)
    assert pytest.approx(CS[losses.argmin()]) == choice.C
    assert len(choice.candidates[0].Cs) < len(CS)  # without looking at all


def test_speed_takes_the_shallowest_that_is_about_as_good():
    rng = np.random.default_rng(0)
    features, codes = drawn()
    for layer in range(4):  # equally good from the second on
        features[:, layer] = features[:, 3] + 0.01 * rng.normal(size=features[:, 3].shape) if layer else 0.0
    features[:, 0] = rng.normal(size=features[:, 0].shape)
    quick = choice_of(features, rows_of(codes, 2), speed=True)
    assert quick.layer == 6


def test_a_row_that_no_fold_scores_has_no_logits_and_a_class_that_a_fold_lacks_is_unlikely():
    features, codes = drawn(3, n_per_class=10)
    rows = rows_of(codes, 3)
    others = np.flatnonzero(codes < 2)
    thirds = np.flatnonzero(codes == 2)
    logits = held_out_logits(features[:, 0, 0], rows, np.ones(1), [(others, thirds[:5])], n_threads=1)[0]
    assert np.isnan(logits[np.setdiff1d(np.arange(30), thirds[:5])]).all()
    assert (logits[thirds[:5], 2] < logits[thirds[:5], :2].min(axis=1) - 30).all()


def test_weights_are_those_of_the_fit_and_of_the_score():
    features, codes = drawn(n_per_class=20)
    weights = np.where(np.arange(40) < 30, 1.0, 0.0)
    weighted = choice_of(features, TrainingRows(codes, 2, weights, weights))
    few = np.arange(30)
    folds = make_folds(5, codes, weights, n_classes=2, features=codes[:, None], random_state=0)
    without = choose(
        features[few],
        rows_of(codes[few], 2),
        layers=[5, 6, 7, 8],
        poolings=["mean", "mean_all"],
        Cs=CS,
        folds=folds,
        speed=False,
        n_threads=1,
    )
    weighted = choose(
        features,
        TrainingRows(codes, 2, weights, weights),
        layers=[5, 6, 7, 8],
        poolings=["mean", "mean_all"],
        Cs=CS,
        folds=folds,
        speed=False,
        n_threads=1,
    )
    assert (weighted.layer, weighted.pooling, weighted.C) == (without.layer, without.pooling, without.C)
    np.testing.assert_allclose(weighted.logits[few], without.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("n_layers", "max_layer", "expected"),
    [
        (30, 0.75, [8, 10, 12, 14, 16, 18, 20, 22]),
        (18, 0.75, [4, 5, 7, 8, 10, 11, 13, 14]),
        (6, 1.0, [2, 3, 4, 5, 6]),
        (2, 0.75, [1, 2]),
        (1, 0.01, [1]),
    ],
)
def test_candidate_layers(n_layers, max_layer, expected):
    layers = candidate_layers(n_layers, max_layer)
    assert len(layers) <= 8
    assert layers == sorted(set(layers))
    assert (layers[0], layers[-1]) == (expected[0], expected[-1])
    assert all(1 <= layer <= max(1, round(max_layer * n_layers)) for layer in layers)
