"""What a report says of a fit, on draws whose truth is known, and against scikit-learn's scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from fastplr.assessment import (
    confusions,
    disputed_rows,
    estimate,
    learning_curve,
    nested_log_probabilities,
    outer_folds,
    per_class,
    shuffled_folds,
)
from fastplr.fitting import Among, FitSettings, fit_features
from fastplr.representation import TrainingRows

SETTINGS = FitSettings("auto", 9, 5, 0, speed=False, calibrate=True, n_threads=1)


def rows_of(codes, weights=None):
    weights = np.ones(len(codes)) if weights is None else weights
    return TrainingRows(codes.astype(np.int32), int(codes.max()) + 1, weights, weights)


def among_of(features):
    layers = list(range(features.shape[1]))
    return Among(np.arange(len(features)), features.astype(np.float32), layers, ["mean", "mean_all"], ())


def nested(features, rows, settings=SETTINGS):
    return nested_log_probabilities(among_of(features), rows, settings, (0, "mean"))


def drawn(n_per_class, n_features=30, distance=0.5, seed=0, n_layers=4):
    """Two classes; layers and poolings differ by chance alone."""
    rng = np.random.default_rng(seed)
    codes = np.tile([0, 1], n_per_class)
    features = rng.normal(size=(2 * n_per_class, n_layers, 2, n_features))
    features[..., :5] += distance * (2 * codes - 1)[:, None, None, None]
    return features, codes.astype(np.int32)


def test_labels_that_mean_nothing_are_guessed_as_often_as_chance_has_it():
    """The score of the best of 24 candidates is too good by far on the same rows: the estimate is not."""
    right, chosen = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(60, 12, 2, 20))
        codes = rng.permutation(np.tile([0, 1], 30)).astype(np.int32)
        rows = rows_of(codes)
        right.append(balanced_accuracy_score(codes, nested(features, rows).argmax(axis=1)))
        logits = fit_features(among_of(features), rows, SETTINGS, fallback=(0, "mean")).held_out_logits
        chosen.append(balanced_accuracy_score(codes, logits[:, 0] > 0))
    error = 0.5 / np.sqrt(60 * 12)
    assert np.mean(right) == pytest.approx(0.5, abs=3 * error)
    assert np.mean(chosen) > 0.5 + 6 * error


def test_the_estimate_is_what_new_rows_show():
    estimates, truths = [], []
    new, new_codes = drawn(1000, seed=99)
    for seed in range(8):
        features, codes = drawn(50, seed=seed)
        rows = rows_of(codes)
        estimates.append(balanced_accuracy_score(codes, nested(features, rows).argmax(axis=1)))
        fit = fit_features(among_of(features), rows, SETTINGS, fallback=(0, "mean"))
        own = new[:, fit.layer, fit.among.poolings.index(fit.pooling)]
        said = fit.solver.predict((own - fit.mean) / fit.scale)
        truths.append(balanced_accuracy_score(new_codes, said))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), abs=0.03)


def test_rows_of_no_weight_and_single_rows_are_not_scored():
    features, codes = drawn(15)
    codes[0] = 2
    weights = np.ones(30)
    weights[5:8] = 0.0
    log_p = nested(features, rows_of(codes, weights))
    assert np.isnan(log_p[[0, 5, 6, 7]]).all()
    others = np.delete(log_p, [0, 5, 6, 7], axis=0)
    np.testing.assert_allclose(np.exp(others).sum(axis=1), 1.0)


def test_rows_that_the_users_folds_keep_together_stay_together():
    """Three near copies of each text with a label by chance: folds that part them find every label again."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 3)
    features = np.repeat(rng.normal(size=(40, 2, 2, 30)), 3, axis=0) + 0.01 * rng.normal(size=(120, 2, 2, 30))
    codes = rng.integers(0, 2, 40)[group].astype(np.int32)
    folds = [(np.flatnonzero(group % 5 != k), np.flatnonzero(group % 5 == k)) for k in range(5)]
    rows = rows_of(codes)
    parted = nested(features, rows).argmax(axis=1)
    kept = nested(features, rows, replace(SETTINGS, cv=folds)).argmax(axis=1)
    assert (parted == codes).mean() > 0.9
    assert (kept == codes).mean() == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(40))


def test_one_split_of_the_users_is_the_only_outer_fold():
    features, codes = drawn(15)
    splits = [(np.arange(20), np.arange(20, 30))]
    found = nested(features, rows_of(codes), replace(SETTINGS, cv=splits))
    assert np.isfinite(found[20:]).all()
    assert np.isnan(found[:20]).all()


def test_a_rare_class_does_not_make_the_folds_few():
    features, codes = drawn(40)
    codes[:2] = 2
    log_p = nested(features, rows_of(codes))
    assert np.isfinite(log_p).all()
    assert len(outer_folds(rows_of(codes), SETTINGS)) == 5


def test_scores_are_scikit_learns_and_their_intervals_hold_them():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 90).astype(np.int32)
    weights = rng.uniform(0.5, 2, 90)
    logits = rng.normal(size=(90, 3)) + np.eye(3)[codes]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = estimate(np.log(p), codes, weights)
    said = p.argmax(axis=1)
    expected = {
        "balanced_accuracy": balanced_accuracy_score(codes, said, sample_weight=weights),
        "macro_f1": f1_score(codes, said, average="macro", sample_weight=weights),
        "accuracy": np.average(codes == said, weights=weights),
        "log_loss": log_loss(codes, p, sample_weight=weights),
    }
    assert {name: score["value"] for name, score in found.items()} == pytest.approx(expected)
    for score in found.values():
        assert score["low"] < score["value"] < score["high"]


def test_an_interval_holds_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        codes = np.repeat([0, 1], 50).astype(np.int32)
        right = rng.uniform(size=100) < np.where(codes == 0, 0.9, 0.7)
        p = np.where(right == (codes == 1), 0.8, 0.2)
        score = estimate(np.log(np.column_stack([1 - p, p])), codes, np.ones(100))["balanced_accuracy"]
        inside += score["low"] <= 0.8 <= score["high"]
    assert 0.88 <= inside / 100 <= 0.99


def test_scores_of_classes_are_scikit_learns_with_intervals_of_wilson():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 60).astype(np.int32)
    said = np.where(rng.uniform(size=60) < 0.6, codes, rng.integers(0, 2, 60)).astype(np.int32)
    precision, recall, f1, n_rows = precision_recall_fscore_support(codes, said, zero_division=0.0)
    for k, one in enumerate(per_class(said, codes, ["a", "b", "c"])):
        assert (one["label"], one["n_rows"], one["f1"]) == ("abc"[k], n_rows[k], pytest.approx(f1[k]))
        assert (one["precision"]["value"], one["recall"]["value"]) == pytest.approx((precision[k], recall[k]))
        right, n = int(((said == k) & (codes == k)).sum()), int(n_rows[k])
        theirs = binomtest(right, n).proportion_ci(method="wilson")
        assert (one["recall"]["low"], one["recall"]["high"]) == pytest.approx((theirs.low, theirs.high))


def test_a_class_that_is_never_predicted_has_no_precision():
    nothing = per_class(np.zeros(4, np.int32), np.array([0, 0, 0, 1], np.int32), ["a", "b"])[1]
    assert nothing["precision"] == {"value": None, "low": 0.0, "high": 1.0}
    assert nothing["f1"] == 0.0


def test_confusions_are_counted():
    codes = np.array([0, 0, 0, 1, 1, 2], np.int32)
    said = np.array([1, 1, 0, 0, 1, 2], np.int32)
    assert confusions(said, codes, ["a", "b", "c"]) == [
        {"true": "a", "predicted": "b", "n_rows": 2},
        {"true": "b", "predicted": "a", "n_rows": 1},
    ]


def test_a_label_that_was_swapped_is_disputed():
    features, codes = drawn(40, distance=1.0, n_layers=1)
    truth = codes.copy()
    codes[[3, 10]] = 1 - codes[[3, 10]]
    log_p = nested(features, rows_of(codes))
    found = disputed_rows(log_p, codes, np.arange(80), ["no", "yes"])
    assert {3, 10} <= {one["row"] for one in found}
    assert len(found) < 10
    worst = next(one for one in found if one["row"] == 3)
    assert (worst["label"], worst["predicted"]) == (["no", "yes"][codes[3]], ["no", "yes"][truth[3]])
    assert [one["probability"] for one in found] == sorted(one["probability"] for one in found)


def test_more_labels_bring_about_what_they_are_said_to():
    gains, now, later = [], [], []
    new, new_codes = drawn(1000, distance=0.3, seed=77, n_layers=1)
    for seed in range(10):
        features, codes = drawn(75, distance=0.3, seed=seed, n_layers=1)
        scores = []
        for n in (100, 150):
            model = LogisticRegression(C=0.01).fit(features[:n, 0, 0], codes[:n])
            scores.append(balanced_accuracy_score(new_codes, model.predict(new[:, 0, 0])))
        now.append(scores[0])
        later.append(scores[1])
        found = learning_curve(features[:100, 0, 0], rows_of(codes[:100]), 0.01, n_rows=100, seed=seed, n_threads=1)
        gains.append(found["gain"]["value"])
        assert found["gain"]["low"] <= found["gain"]["value"] <= found["gain"]["high"]
        assert [round(point["n_rows"]) for point in found["points"]] == [20, 40, 60, 80]
    assert np.mean(gains) == pytest.approx(np.mean(later) - np.mean(now), abs=0.02)
    assert np.mean(gains) > 0.0


def test_folds_leave_single_rows_in_training():
    codes = np.array([0, 0, 0, 1, 1, 1, 2], dtype=np.int32)
    folds = shuffled_folds(codes, 5, 0)
    assert len(folds) == 3
    assert sorted(np.concatenate([test for _, test in folds])) == [0, 1, 2, 3, 4, 5]
    assert all(6 in train for train, _ in folds)
