"""What the benchmark of accuracy measures, on predictions whose truth is known."""

import numpy as np
import pytest

from accuracy.draws import Task, draw
from accuracy.scores import calibration_error, coverage, scores_of
from accuracy.transforms import TRANSFORMS
from fastplr import Prompt


def test_probabilities_that_are_right_have_no_error_and_others_that_of_their_distance():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 60_000)
    codes = (rng.uniform(size=len(p)) < p).astype(int)
    assert calibration_error(np.column_stack([1 - p, p]), codes) < 0.01
    surer = np.minimum(p + 0.2, 1.0)
    expected = (surer - p).mean()
    assert calibration_error(np.column_stack([1 - surer, surer]), codes) == pytest.approx(expected, abs=0.01)


def test_weights_of_rows_are_repetitions():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 300)
    codes = rng.integers(0, 3, 300)
    weights = rng.integers(1, 4, 300)
    repeated = np.repeat(np.arange(300), weights)
    found = calibration_error(p, codes, weights.astype(float))
    assert found == pytest.approx(calibration_error(p[repeated], codes[repeated]), abs=0.02)


def test_bins_have_equal_mass():
    p = np.concatenate([np.full(50, 0.6), np.full(50, 0.9)])
    codes = np.concatenate([np.ones(50), np.ones(50)]).astype(int)
    found = calibration_error(np.column_stack([1 - p, p]), codes, n_bins=2)
    assert found == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_coverage_is_of_each_class():
    found = coverage([["a"], ["a", "b"], [], ["b"]], ["a", "a", "a", "b"])
    assert found == {
        "coverage": pytest.approx((2 / 3 + 1) / 2),
        "least_coverage": pytest.approx(2 / 3),
        "set_size": 1.0,
    }


def test_scores_are_balanced_over_classes():
    found = scores_of(["a"] * 9 + ["b"], ["a"] * 10)
    assert found["accuracy"] == pytest.approx(0.9)
    assert found["balanced_accuracy"] == pytest.approx(0.5)


def test_draws_are_balanced_and_differ_by_seed():
    rows = tuple((f"text {i}", "ab"[i % 2]) for i in range(100))
    task = Task("t", ("a", "b"), rows, rows, Prompt())
    first, again, other = draw(task, 20, 0), draw(task, 20, 0), draw(task, 20, 1)
    assert first == again != other
    assert first.labels.count("a") == first.labels.count("b") == 20
    assert len(set(first.texts)) == 40


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_look_at_training_rows_alone(name):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(20, 30)) * 5 + 1, rng.normal(size=(7, 30))
    found, of_test = TRANSFORMS[name](train, test)
    same, of_one = TRANSFORMS[name](train, test[:1])
    np.testing.assert_allclose(found, same)
    np.testing.assert_allclose(of_test[:1], of_one)
    assert np.isfinite(of_test).all()


def test_whitened_rows_have_nearly_equal_variance_in_all_directions():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(2000, 10)) @ rng.normal(size=(10, 10))
    found, _ = TRANSFORMS["whitened"](train, train[:1])
    values = np.linalg.eigvalsh(np.cov(found.T))
    before = np.linalg.eigvalsh(np.cov(((train - train.mean(0)) / train.std(0)).T))
    assert values[2] == pytest.approx(values[-1], rel=0.1)  # but for the smallest, which are shrunk to
    assert before[2] < 0.3 * before[-1]
