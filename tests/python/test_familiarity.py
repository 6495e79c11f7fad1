"""Familiarity: against scikit-learn's covariance with a row truly left out, and on draws whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from fastplr.familiarity import Familiarity


def drawn(n_rows, n_features, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n_rows, n_features)) @ rng.normal(size=(n_features, n_features))).astype(np.float32)


@pytest.mark.parametrize(("n_rows", "n_features"), [(30, 8), (12, 40)])
def test_distances_are_those_of_the_shrunk_covariance_without_the_row(n_rows, n_features):
    training, new = drawn(n_rows, n_features), drawn(5, n_features, 1)
    mean, scale = training.mean(axis=0).astype(float), training.std(axis=0).astype(float)
    found = Familiarity(training, mean, scale)
    rows = (training - mean) / scale
    theirs = LedoitWolf(assume_centered=False).fit(rows)
    delta, level = theirs.shrinkage_, np.square(rows - rows.mean(axis=0)).mean()

    def squared(row, others):
        centre = others.mean(axis=0)
        covariance = (others - centre).T @ (others - centre) / len(others)
        shrunk = (1 - delta) * covariance + delta * level * np.eye(n_features)
        return (row - centre) @ np.linalg.solve(shrunk, row - centre)

    own = np.array([squared(rows[i], np.delete(rows, i, axis=0)) for i in range(n_rows)])
    far = np.array([squared(row, rows) for row in (new - mean) / scale])
    expected = [(1 + (own >= distance).sum()) / (1 + n_rows) for distance in far]
    np.testing.assert_allclose(found.p_values(new), expected)
    np.testing.assert_allclose(found._own, np.sort(own), rtol=1e-6)


@pytest.mark.parametrize("n_features", [20, 300])
def test_rows_of_the_same_kind_are_spread_evenly_and_others_are_not(n_features):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2, n_features))

    def of_the_kind(n):
        return (centres[rng.integers(0, 2, n)] + rng.normal(size=(n, n_features))).astype(np.float32)

    training, same = of_the_kind(200), of_the_kind(2000)
    other = (rng.normal(size=n_features) + 1.5 * rng.normal(size=(200, n_features))).astype(np.float32)
    familiarity = Familiarity(training, training.mean(axis=0).astype(float), training.std(axis=0).astype(float))
    found = familiarity.p_values(same)
    for level in (0.05, 0.25, 0.5, 0.75):
        assert (found <= level).mean() == pytest.approx(level, abs=0.08)
    assert (familiarity.p_values(other) <= 0.05).mean() > 0.9


@settings(deadline=None, max_examples=50)
@given(
    n_rows=st.integers(1, 6),
    n_features=st.integers(1, 5),
    copies=st.booleans(),
    size=st.sampled_from([0.0, 1e-20, 1.0, 1e15]),
)
def test_few_and_equal_rows_give_a_share(n_rows, n_features, copies, size):
    training = np.random.default_rng(0).normal(size=(n_rows, n_features)).astype(np.float32) * np.float32(size)
    if copies:
        training[:] = training[0]
    found = Familiarity(training, np.zeros(n_features), np.ones(n_features)).p_values(training)
    assert found.shape == (n_rows,)
    assert ((found > 0) & (found <= 1)).all()
