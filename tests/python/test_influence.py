"""Nearest training rows and the influence of single ones, against fits that did not see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastplr
from fastplr import InputError, LogisticRegression, PLRClassifier
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel

TEXTS = ["My card hasn't arrived yet!", "exchange rate", "where is my money?"]


def fitted(tiny: TinyModel, n_classes: int, **settings: Any) -> tuple[PLRClassifier, list[str], list[Any]]:
    texts, labels, _ = train_and_test(n_classes)
    return fastplr.fit(texts, labels, model=tiny.path, progress=False, **NO_CHOICE, **settings), texts, list(labels)


# One Newton step: the weaker the penalty the less it is the whole way.
@pytest.mark.parametrize(
    ("n_classes", "C", "tolerance"), [(2, 0.002, 0.01), (2, 0.05, 0.1), (3, 0.002, 0.03), (3, 0.01, 0.15)]
)
def test_influence_is_what_a_fit_without_the_row_changes(
    tiny_llama: TinyModel, n_classes: int, C: float, tolerance: float
) -> None:
    classifier, texts, labels = fitted(tiny_llama, n_classes, C=C)
    standardise = lambda features: (features.astype(float) - classifier.mean_) / classifier.scale_  # noqa: E731
    X, new = (standardise(classifier.embedder_.embed(some)) for some in (texts, TEXTS))
    codes = np.searchsorted(classifier.classes_, labels)
    whole = LogisticRegression(C=C, tol=1e-12).fit(X, codes).decision_function(new)
    found = classifier.influence(TEXTS, n=len(texts), label=classifier.classes_[1])
    estimates, changes = [], []
    for row in range(0, len(texts), 3):
        rest = np.arange(len(texts)) != row
        left = LogisticRegression(C=C, tol=1e-12).fit(X[rest], codes[rest]).decision_function(new)
        changes.append((whole - left).reshape(len(TEXTS), -1)[:, 0 if n_classes == 2 else 1])
        estimates.append([next(one.influence for one in of_text if one.row == row) for of_text in found])
    error = np.linalg.norm(np.subtract(estimates, changes)) / np.linalg.norm(changes)
    assert error < tolerance


def test_influence_of_the_two_labels_of_two_are_opposite(tiny_llama: TinyModel) -> None:
    classifier, _, labels = fitted(tiny_llama, 2, C=0.01)
    of_first, of_second, default = (classifier.influence(TEXTS, label=label) for label in (*classifier.classes_, None))
    assert default == of_second
    assert [[-one.influence for one in some] for some in of_first] == [
        [one.influence for one in some] for some in of_second
    ]
    for some in default:
        sizes = [abs(one.influence) for one in some]
        assert len(sizes) == 10
        assert sizes == sorted(sizes, reverse=True)
        assert all(one.label == labels[one.row] for one in some)


def test_rows_that_do_not_count_have_no_influence(tiny_llama: TinyModel) -> None:
    texts, labels, _ = train_and_test(2)
    weights = np.ones(len(texts))
    weights[[0, 7]] = 0.0
    classifier = fastplr.fit(
        texts, labels, model=tiny_llama.path, progress=False, C=0.01, sample_weight=weights, **NO_CHOICE
    )
    for some in (classifier.influence(TEXTS, n=len(texts)), classifier.nearest(TEXTS, n=len(texts))):
        assert {one.row for one in some[0]} == set(range(len(texts))) - {0, 7}


def test_nearest_rows(tiny_llama: TinyModel, tmp_path: Path) -> None:
    classifier, texts, labels = fitted(tiny_llama, 3, C=0.01)
    X, new = ((classifier.embedder_.embed(some) - classifier.mean_) / classifier.scale_ for some in (texts, TEXTS))
    cosines = new @ X.T / np.outer(np.linalg.norm(new, axis=1), np.linalg.norm(X, axis=1))
    classifier.save(tmp_path / "kept.plr")
    for model in (classifier, fastplr.load(tmp_path / "kept.plr")):
        for found, expected in zip(model.nearest(TEXTS, n=4), cosines, strict=True):
            assert [one.row for one in found] == np.argsort(-expected)[:4].tolist()
            assert [one.similarity for one in found] == pytest.approx(sorted(expected, reverse=True)[:4], abs=1e-5)
            assert [one.label for one in found] == [labels[one.row] for one in found]
            assert all(one.influence is None for one in found)
    [same] = classifier.nearest(texts[:1], n=1)
    assert (same[0].row, same[0].similarity) == (0, pytest.approx(1.0))


def test_of_a_sample_rows_keep_their_numbers(
    tiny_llama: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastplr.classifier.MAX_ROWS_KEPT", 20)
    classifier, texts, labels = fitted(tiny_llama, 2, C=0.01)
    classifier.save(tmp_path / "kept.plr")
    for model in (classifier, fastplr.load(tmp_path / "kept.plr")):
        [found] = model.influence(TEXTS[:1], n=1000)
        assert len(found) == 20
        assert len({one.row for one in found}) == 20
        assert all(one.label == labels[one.row] for one in found)
        row = found[0].row
        [[own]] = model.nearest([texts[row]], n=1)
        assert own.row == row
    # It stands for the whole: about what the influences by all rows are.
    whole = {one.row: one.influence for one in fitted(tiny_llama, 2, C=0.01)[0].influence(TEXTS[:1], n=1000)[0]}
    of_sample = np.array([one.influence for one in found])
    assert np.corrcoef(of_sample, [whole[one.row] for one in found])[0, 1] > 0.9
    assert 0.5 < np.abs(of_sample).sum() / np.abs([whole[one.row] for one in found]).sum() < 2


def test_more_rows_and_classes_than_fit(tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastplr.influence.MAX_ORDER", 79)
    classifier, texts, _ = fitted(tiny_llama, 3, C=0.01)
    assert len(texts) == 40
    with pytest.raises(InputError, match=r"influence of 40 training rows in 3 classes .* order 80: .* nearest\(\)"):
        classifier.influence(TEXTS)
    assert len(classifier.nearest(TEXTS)) == 3


def test_bad_input(tiny_llama: TinyModel) -> None:
    classifier, *_ = fitted(tiny_llama, 2, C=0.01)
    with pytest.raises(InputError, match="n is 0"):
        classifier.nearest(TEXTS, n=0)
    with pytest.raises(InputError, match=r"n is 2\.5"):
        classifier.influence(TEXTS, n=2.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="label is 'no such'"):
        classifier.influence(TEXTS, label="no such")
    with pytest.raises(InputError, match=r"texts\[0\] is empty"):
        classifier.influence([""])
    without, *_ = fitted(tiny_llama, 2, C=0.01, keep_training=False)
    for ask in (without.nearest, without.influence):
        with pytest.raises(InputError, match=r"keep_training is False.* fit with True"):
            ask(TEXTS)
    unpenalised, *_ = fitted(tiny_llama, 2, C=0.01)
    unpenalised.C_ = np.inf
    with pytest.raises(InputError, match="fit with a finite C"):
        unpenalised.influence(TEXTS)
