"""Temperature, class priors and prediction sets, on draws whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from fastplr import InputError
from fastplr.calibration import class_shares, fit_temperature, log_prior_ratio, log_probabilities
from fastplr.conformal import label_sets, p_values


def drawn_logits(n_rows, n_classes, seed, spread=2.0):
    """Logits, and classes drawn from the probabilities that they state."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n_rows, n_classes))
    p = softmax(logits, axis=1)
    codes = (p.cumsum(axis=1) < rng.uniform(size=(n_rows, 1))).sum(axis=1)
    return logits, codes.astype(np.int32)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(n_classes, temperature):
    logits, codes = drawn_logits(4000, n_classes, 0)
    stated = temperature * logits
    if n_classes == 2:
        stated = stated[:, 1:] - stated[:, :1]
    assert fit_temperature(stated, codes, np.ones(4000)) == pytest.approx(temperature, rel=0.1)


def test_few_rows_do_not_move_it_far():
    logits = np.array([[3.0], [-2.0], [4.0], [-1.0]])  # all right: without a prior the temperature would be 0
    assert 0.3 < fit_temperature(logits, np.array([1, 0, 1, 0], dtype=np.int32), np.ones(4)) < 1.0


def test_weights_count_as_repetitions_whatever_their_unit():
    logits, codes = drawn_logits(3000, 3, 1)
    weights = np.random.default_rng(0).integers(0, 3, 3000).astype(float)
    repeated = np.repeat(np.arange(3000), weights.astype(int))
    found = fit_temperature(2 * logits, codes, weights)
    # But for the prior, which is worth more beside fewer rows.
    assert found == pytest.approx(
        fit_temperature(2 * logits[repeated], codes[repeated], np.ones(len(repeated))), rel=1e-2
    )
    for unit in (1e-300, 1 / 150, 100.0, 1e300):
        assert fit_temperature(2 * logits, codes, unit * weights) == pytest.approx(found, rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]), n_rows=st.integers(1, 40))
def test_it_is_always_a_positive_number(seed, scale, n_rows):
    logits, codes = drawn_logits(n_rows, 3, seed)
    found = fit_temperature(scale * logits, codes, np.ones(n_rows))
    assert 0.04 < found < 21


@pytest.mark.parametrize("n_classes", [2, 4])
def test_log_probabilities_are_the_softmax(n_classes):
    logits, _ = drawn_logits(20, n_classes, 0)
    ratio = np.random.default_rng(1).normal(size=n_classes)
    expected = np.log(softmax(logits / 1.7 + ratio, axis=1))
    given_logits = logits[:, 1:] - logits[:, :1] if n_classes == 2 else logits
    np.testing.assert_allclose(log_probabilities(given_logits, 1.7, ratio), expected, rtol=1e-10, atol=1e-12)


def test_a_prior_makes_probabilities_right_where_classes_have_other_shares():
    rng = np.random.default_rng(0)
    means = np.array([-1.0, 1.0])

    def log_density(x):
        return -0.5 * (x[:, None] - means) ** 2

    codes = (rng.uniform(size=20000) < 0.9).astype(int)
    x = rng.normal(means[codes])
    balanced = log_density(x)  # logits that are right for equal shares
    ratio = log_prior_ratio({"a": 1, "b": 9}, ["a", "b"], np.array([0.5, 0.5]))
    p = np.exp(log_probabilities(balanced, 1.0, ratio))[:, 1]
    for low, high in ((0.0, 0.5), (0.5, 0.9), (0.9, 1.0)):
        inside = (p >= low) & (p < high)
        error = 3 * np.sqrt((p[inside] * (1 - p[inside])).mean() / inside.sum())
        assert codes[inside].mean() == pytest.approx(p[inside].mean(), abs=error)


def test_shares_are_of_weight():
    shares = class_shares(np.array([0, 1, 1], dtype=np.int32), np.array([2.0, 1.0, 1.0]), 2)
    np.testing.assert_allclose(shares, [0.5, 0.5])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"a": 0.5}, "class_prior has no share for the label 'b'"),
        ({"a": 0.5, "b": 0.3, "c": 0.2}, "class_prior names the label 'c'"),
        ([0.5], r"class_prior has 1 shares: expected one for each of the labels \['a', 'b'\]"),
        ([0.5, 0.0], "class_prior of the label 'b' is 0.0: expected a number > 0"),
        ([0.5, "x"], "class_prior of the label 'b' is 'x'"),
        ([float("nan"), 1], "class_prior of the label 'a' is nan"),
        ([True, 1], "class_prior of the label 'a' is True"),
        (0.5, "class_prior is 0.5: expected a share for each of the labels"),
        ("balanced", "class_prior is 'balanced'"),
    ],
)
def test_priors_that_cannot_be_used_are_refused(prior, message):
    with pytest.raises(InputError, match=message):
        log_prior_ratio(prior, ["a", "b"], np.array([0.5, 0.5]))


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("n_per_class", [19, 60])
def test_each_class_is_covered_as_often_as_was_asked(coverage, n_per_class):
    """Over many draws of held-out rows and new rows; classes of very unlike difficulty."""
    rng = np.random.default_rng(0)
    inside = np.zeros((3, 300))
    for trial in range(300):
        codes = np.repeat(np.arange(3), n_per_class).astype(np.int32)
        spread = np.array([0.3, 1.0, 3.0])

        def draw(own, spread=spread):
            logits = np.eye(3)[own] * 2 + spread[own, None] * rng.normal(size=(len(own), 3))
            return log_probabilities(logits)

        new = np.arange(3).repeat(5)
        sets = label_sets(p_values(draw(new), draw(codes), codes), coverage)
        for k in range(3):
            inside[k, trial] = sets[new == k, k].mean()
    # The exact coverage is floor((n + 1) (1 - alpha)) / (n + 1) or a little more; a mean over trials errs by 0.01.
    for k in range(3):
        assert coverage - 0.03 < inside[k].mean() < coverage + 1 / (n_per_class + 1) + 0.03


def test_a_class_with_few_held_out_rows_is_in_every_set():
    codes = np.array([0] * 8 + [1] * 30, dtype=np.int32)
    held_out = log_probabilities(np.random.default_rng(0).normal(size=(38, 2)))
    sets = label_sets(p_values(np.log([[1e-9, 1.0 - 1e-9]]), held_out, codes), 0.9)
    assert sets.tolist() == [[True, True]]
    sets = label_sets(p_values(np.log([[1.0 - 1e-9, 1e-9]]), held_out, codes), 0.9)
    assert sets.tolist() == [[True, False]]


def test_p_values_count():
    held_out = np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    codes = np.array([0, 0, 0, 1], dtype=np.int32)
    found = p_values(np.log([[0.5, 0.5], [0.1, 0.9]]), held_out, codes)
    np.testing.assert_allclose(found, [[3 / 4, 1 / 2], [1 / 4, 2 / 2]])
