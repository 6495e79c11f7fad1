"""Labelled texts for tests of the classifier: the rows of the demonstration, some to fit on and some to predict."""

from __future__ import annotations

from typing import Any

from fastplr.demo import load_demo

#: Parameters of a classifier that has neither layer nor pooling to choose.
NO_CHOICE: dict[str, Any] = {"layer": "middle", "pooling": "mean"}


def train_and_test(n_classes: int = 2, n_train: int = 40, n_test: int = 12) -> tuple[list[str], list[str], list[str]]:
    """Training texts, their labels, and other texts; every class is among the labels, about equally often."""
    texts, labels = load_demo()
    wanted = sorted(set(labels))[:n_classes]
    rows = {label: [text for text, found in zip(texts, labels, strict=True) if found == label] for label in wanted}
    mixed = [(rows[label].pop(), label) for i in range(n_train + n_test) for label in [wanted[i % n_classes]]]
    train = mixed[:n_train]
    return [text for text, _ in train], [label for _, label in train], [text for text, _ in mixed[n_train:]]
