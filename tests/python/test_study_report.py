"""What the results of a study add up to, and how it is shown: scores, means, crossings, tables; no model runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from fastplr.study import as_html, as_markdown
from fastplr.study.document import tables
from fastplr.study.scores import calibration_error, scores_of
from fastplr.study.summary import crossings, groups, mean_of, of_group


def test_labels_are_escaped_in_the_page() -> None:
    names = {"task": "<b>", "model": "<script>", "bits": "4", "wording": "paper", "method": "zero-shot"}
    cell = {**names, "n_per_class": 0, "seed": 0, "n_test": 1}
    scores = dict.fromkeys(("balanced_accuracy", "macro_f1", "accuracy", "log_loss", "calibration_error"), 0.5)
    page = as_html([{**cell, **scores}], "a < b", ["1 < 2"])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "| <b> |" in as_markdown([{**cell, **scores}], "title", [])


def test_draws_that_share_most_rows_get_no_interval() -> None:
    row = {"task": "a", "model": "m", "bits": "4", "wording": "paper", "method": "plr-e", "n_per_class": 5, "n_test": 9}
    rows = [{**row, "seed": seed, "accuracy": 0.5 + seed / 10, "share_of_pool": 0.5} for seed in range(3)]
    assert mean_of(rows, "accuracy").half_width > 0
    overlapping = [{**one, "share_of_pool": 0.6} for one in rows]
    assert np.isnan(mean_of(overlapping, "accuracy").half_width)
    assert str(mean_of(overlapping, "accuracy")) == "0.600"
    assert np.isnan(mean_of(rows[:2], "accuracy").half_width)  # of two draws Student's factor is 12.7


def test_scores_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 3))
    codes = rng.integers(0, 3, 200)
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    found = scores_of(log_p, codes)
    predicted = log_p.argmax(axis=1)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(codes, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(codes, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(codes, np.exp(log_p)))


def test_calibration_error_of_what_is_known() -> None:
    rng = np.random.default_rng(0)
    p = np.concatenate([np.full((2000, 1), 0.7), np.full((2000, 1), 0.3)], axis=1)
    right = (rng.random(2000) < 0.7).astype(int)
    # Equal confidences are one bin: what is left is the error of one mean.
    assert calibration_error(p, 1 - right) == pytest.approx(abs(right.mean() - 0.7))
    assert calibration_error(p, np.ones(2000, dtype=int)) == pytest.approx(0.7 - 0.0)
    assert calibration_error(p, np.zeros(2000, dtype=int)) == pytest.approx(0.3)


def test_chance_makes_a_calibration_error_and_how_much_is_told() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1.0, 1.0, 1.0], 300)
    found = []
    for _ in range(40):
        codes = (rng.random((300, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
        scores = scores_of(np.log(p), codes)
        found.append((scores["calibration_error"], scores["calibration_error_by_chance"]))
    errors, expected = np.array(found).T
    assert errors.mean() > 0.04  # of probabilities that are right
    assert errors.mean() == pytest.approx(expected.mean(), abs=0.01)


def test_means_and_crossings() -> None:
    rows = [
        {"task": task, "model": "m", "bits": "4", "wording": "paper", "method": "plr-e", "n_per_class": 5, "seed": seed,
         "n_test": 10, "accuracy": value}
        for task, values in (("a", (0.5, 0.7, 0.6)), ("b", (0.7, 0.7, 0.7))) for seed, value in enumerate(values)
    ]  # fmt: skip
    mean = mean_of(rows, "accuracy")
    assert mean.value == pytest.approx(0.65)
    # Means of the draws are 0.6, 0.7 and 0.65; Student's t for two degrees of freedom is 4.3027.
    assert mean.half_width == pytest.approx(4.3027 * np.std([0.6, 0.7, 0.65], ddof=1) / np.sqrt(3), rel=1e-4)
    assert mean_of(rows, "accuracy", {"a", "c"}) is None
    assert mean_of(rows, "accuracy", {"b"}).half_width == pytest.approx(0)
    (group,) = groups(rows)
    assert of_group(rows, group) == rows
    assert crossings([(5, -0.1), (10, 0.1), (20, -0.1), (50, 0.0), (75, 0.2)], 0.0) == 50
    assert crossings([(5, 0.1), (10, 0.1)], 0.0) == 5
    assert crossings([(5, 0.1), (10, -0.1)], 0.0) is None


def test_rows_until_a_method_passes_are_told_with_the_range_over_draws() -> None:
    def row(method: str, n: int, seed: int, value: float, bits: str = "4") -> dict[str, Any]:
        return {"task": "a", "model": "m", "bits": bits, "wording": "paper", "method": method, "n_per_class": n,
                "seed": seed, "n_test": 10, "balanced_accuracy": value}  # fmt: skip

    curves = {0: (0.5, 0.7, 0.8), 1: (0.6, 0.55, 0.7), 2: (0.7, 0.7, 0.9)}
    rows = [
        row("plr-e", n, seed, value, bits)
        for bits in ("16", "4")
        for seed, curve in curves.items()
        for n, value in zip((5, 10, 20), curve, strict=True)
    ]
    rows += [row("zero-shot", 0, 0, 0.62, bits) for bits in ("16", "4")]
    rows += [{**row("tf-idf", n, seed, 0.69), "model": "", "bits": "", "wording": ""}
             for seed in curves for n in (5, 10, 20)]  # fmt: skip
    found = tables(rows)
    # Of zero-shot: means are 0.6, 0.65, 0.8; single draws pass at 10, 20 and 5. Of TF-IDF: 20; 10, 20, 5.
    [crossing] = [lines for title, _, _, lines in found if title.startswith("Rows until") and title.endswith(" 4 bits")]
    assert crossing == [
        ["a", "10 (≤ 5 to 20)", "20 (≤ 5 to 20)"],
        ["mean of tasks", "10 (≤ 5 to 20)", "20 (≤ 5 to 20)"],
    ]
    [compared] = [lines for title, _, _, lines in found if title.startswith("Models")]
    assert [line[1] for line in compared] == ["4", "16"]
    assert not any("always the same label" in line for _, _, _, lines in found for line in lines)
    for one in rows:
        one["n_labels"] = 3
    assert [line for _, _, _, lines in tables(rows) for line in lines if line[0] == "always the same label"] == [
        ["always the same label", "0.333", "", ""]
    ]
