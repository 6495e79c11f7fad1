"""Leave-one-out of ridge regression, against scikit-learn with every row left out in turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from fastplr.ridge import RidgeScreening, screen_by_ridge


@pytest.mark.parametrize(("n_rows", "n_features"), [(20, 50), (40, 8)])
def test_predictions_are_those_of_fits_without_the_row(n_rows, n_features):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, n_features)) + 2.0
    codes = np.arange(n_rows, dtype=np.int32) % 3
    weights = rng.uniform(0.5, 2.0, n_rows)
    found = RidgeScreening(x, codes, 3, weights)
    targets = np.eye(3)[codes]
    for at in (3, 8):
        # Weights that add up to 1 in the screening.
        model = Ridge(alpha=found.penalties[at] * weights.sum())
        for i in range(n_rows):
            others = np.delete(np.arange(n_rows), i)
            model.fit(x[others], targets[others], sample_weight=weights[others])
            np.testing.assert_allclose(found.predictions[at, i], model.predict(x[i : i + 1])[0], rtol=1e-6, atol=1e-8)


def test_what_tells_classes_apart_has_the_lower_loss():
    rng = np.random.default_rng(0)
    codes = (np.arange(120) % 6).astype(np.int32)
    centres = rng.normal(size=(6, 40))
    noise = rng.normal(size=(120, 40))
    losses = [screen_by_ridge(noise + s * centres[codes], codes, 6, np.ones(120))[1].mean() for s in (0.0, 0.3, 0.8)]
    assert losses[0] > 1.6  # log 6 is 1.79
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.5


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 100),
    n_rows=st.integers(2, 12),
    n_features=st.integers(1, 15),
    size=st.sampled_from([0.0, 1e-12, 1.0, 1e12]),
    duplicated=st.booleans(),
)
def test_odd_rows_give_finite_losses(seed, n_rows, n_features, size, duplicated):
    rng = np.random.default_rng(seed)
    x = size * rng.normal(size=(n_rows, n_features))
    if duplicated:
        x[1:] = x[0]
    codes = (np.arange(n_rows) % 2).astype(np.int32)
    C, losses = screen_by_ridge(x, codes, 2, rng.uniform(0.1, 10, n_rows))
    assert C > 0
    assert np.isfinite(losses).all()
    assert losses.shape == (n_rows,)
