"""The demonstration data are what their README says, and the demonstration reports what it did."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from importlib import resources
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline

from fastplr.demo import INSTRUCTION, format_demo, load_demo, run_demo
from fastplr.errors import InputError
from tiny_models import TinyModel


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_classes_and_lengths() -> None:
    texts, labels = load_demo()
    assert Counter(labels) == {"complaint": 70, "fraud": 70, "service": 70}
    n_words = [len(text.split()) for text in texts]
    assert 5 <= min(n_words) < 7
    assert 35 < max(n_words) <= 40
    assert all(text == text.strip() for text in texts)


def test_the_file_is_plain_rfc_4180() -> None:
    data = resources.files("fastplr.demo").joinpath("bank_messages.csv").read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in data
    rows = list(csv.reader(data.decode("utf-8").splitlines(), strict=True))
    assert rows[0] == ["text", "label"]
    assert [tuple(row) for row in rows[1:]] == list(zip(*load_demo(), strict=True))


def test_the_licence_travels_with_the_file() -> None:
    readme = resources.files("fastplr.demo").joinpath("README.md").read_text("utf-8")
    assert "CC0 1.0" in readme
    assert "written for demonstration" in " ".join(readme.split())


def test_no_two_messages_are_alike() -> None:
    texts, _ = load_demo()
    assert len({" ".join(words(text)) for text in texts}) == len(texts)
    for first, second in itertools.combinations(map(set, map(words, texts)), 2):
        assert len(first & second) / len(first | second) < 0.4


def test_labels_are_not_given_away_by_single_words() -> None:
    # With the demonstration's 40 rows a class, weighted words and word pairs must beat guessing, 0.33, or
    # the labels would be noise, and be far from enough, or there would be nothing to demonstrate.
    texts, labels = load_demo()
    bag_of_words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
    draws = StratifiedShuffleSplit(10, train_size=120, random_state=0)
    accuracy = cross_val_score(bag_of_words, np.array(texts), np.array(labels), cv=draws).mean()
    assert 0.45 < accuracy < 0.70


def check_consistent(result: dict[str, Any]) -> None:
    confusion = np.array(result["confusion"])
    assert result["classes"] == ["complaint", "fraud", "service"]
    assert result["n_train"] == result["report"]["n_texts"] == 120
    assert confusion.sum(axis=1).tolist() == [30, 30, 30]  # the split is stratified
    assert result["n_test"] == 90
    assert result["accuracy"] == pytest.approx(np.trace(confusion) / 90)
    assert result["balanced_accuracy"] == pytest.approx((np.diag(confusion) / 30).mean())
    assert result["majority_accuracy"] == pytest.approx(1 / 3)
    truth = dict(zip(*load_demo(), strict=True))
    for example in result["examples"]:
        assert truth[example["text"]] == example["label"]
        assert sum(example["probabilities"].values()) == pytest.approx(1)
        assert max(example["probabilities"], key=example["probabilities"].__getitem__) == example["predicted"]
    shown = format_demo(result)
    assert f"{result['accuracy']:.3f}" in shown
    assert all(example["text"] in shown for example in result["examples"])


def test_demo_with_a_tiny_random_model(tiny_llama: TinyModel) -> None:
    result = run_demo(model=tiny_llama.path, n_threads=1, progress=False)
    check_consistent(result)
    assert result["report"]["layer"] == tiny_llama.n_layer // 2
    with pytest.raises(InputError, match="n_per_class is 61; expected 10 to 60"):
        run_demo(model=tiny_llama.path, n_per_class=61)


@pytest.mark.model
def test_demo_with_the_default_model_beats_words_by_far() -> None:
    result = run_demo(progress=False)
    check_consistent(result)
    assert result["accuracy"] >= 0.70
    assert {example["predicted"] == example["label"] for example in result["examples"]} == {True, False}
    assert INSTRUCTION.endswith("Message: ")
