"""Fit on some of the demonstration messages, predict the others, and say how it went."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split

from fastplr.demo.data import INSTRUCTION, load_demo
from fastplr.errors import InputError

_N_WRONG_SHOWN = 3


def run_demo(
    *,
    model: str | os.PathLike[str] | None = None,
    n_per_class: int = 40,
    random_state: int = 0,
    n_threads: int | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Fits on `n_per_class` messages a class and predicts the rest.

    Args:
        model: As in :func:`fastplr.fit`. Default: the default model.
        n_per_class: Training rows a class, 10 to 60 of the 70 there are.
        random_state: Seed of the draw of training rows.
        n_threads: As in :func:`fastplr.fit`.
        progress: As in :func:`fastplr.fit`.

    Returns:
        A dictionary that JSON can hold:

        - ``n_train``, ``n_test``, ``classes``;
        - ``accuracy``, ``balanced_accuracy`` (mean of the classes' recalls) on the test rows, and
          ``majority_accuracy``, that of always giving the most frequent label;
        - ``confusion``: rows are true labels, columns predicted ones, in the order of ``classes``;
        - ``examples``: a right prediction of each class (the one of median probability), then the wrong ones that
          were given the highest probability, each with ``text``, ``label``, ``predicted``, ``probabilities``;
        - ``predict_seconds``, the time of predicting the test rows;
        - ``report``, the fit's own report with its estimate.

    Raises:
        InputError: `n_per_class` is out of range.
        ModelError: The model cannot be had or loaded.
    """
    import fastplr  # not above: the package imports what it offers, and this module may be part of that

    texts, labels = load_demo()
    if not 10 <= n_per_class <= 60:
        raise InputError(f"n_per_class is {n_per_class}; expected 10 to 60 of the 70 rows a class")
    train, test = train_test_split(
        np.arange(len(texts)), train_size=3 * n_per_class, stratify=labels, random_state=random_state
    )
    options: dict[str, Any] = {} if model is None else {"model": model}
    classifier = fastplr.fit(
        [texts[i] for i in train],
        [labels[i] for i in train],
        prompt=fastplr.Prompt(instruction=INSTRUCTION),
        n_threads=n_threads,
        progress=progress,
        **options,
    )
    start = time.perf_counter()
    probabilities = classifier.predict_proba([texts[i] for i in test])
    predict_seconds = time.perf_counter() - start
    classifier.report_["estimate"]  # computes it

    classes = [str(label) for label in classifier.classes_]
    truth = [labels[i] for i in test]
    predicted = [classes[k] for k in probabilities.argmax(axis=1)]
    counts = [truth.count(label) for label in classes]
    return {
        "n_train": len(train),
        "n_test": len(test),
        "classes": classes,
        "accuracy": float(accuracy_score(truth, predicted)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, predicted)),
        "majority_accuracy": max(counts) / len(truth),
        "confusion": confusion_matrix(truth, predicted, labels=classes).tolist(),
        "examples": [
            {
                "text": texts[test[row]],
                "label": truth[row],
                "predicted": predicted[row],
                "probabilities": dict(zip(classes, map(float, probabilities[row]), strict=True)),
            }
            for row in _example_rows(classes, truth, predicted, probabilities.max(axis=1))
        ],
        "predict_seconds": predict_seconds,
        "report": classifier.report_.known(),
    }


def _example_rows(
    classes: list[str], truth: list[str], predicted: list[str], confidence: np.ndarray[Any, np.dtype[Any]]
) -> list[int]:
    by_confidence = [int(row) for row in np.argsort(confidence, kind="stable")]
    rows: list[int] = []
    for label in classes:
        right = [row for row in by_confidence if predicted[row] == truth[row] == label]
        rows += right[len(right) // 2 : len(right) // 2 + 1]
    wrong = [row for row in reversed(by_confidence) if predicted[row] != truth[row]]
    return rows + wrong[:_N_WRONG_SHOWN]


def format_demo(result: dict[str, Any]) -> str:
    """What :func:`run_demo` returned, for a terminal."""
    report, classes = result["report"], result["classes"]
    expected = report["estimate"]["balanced_accuracy"]
    width = max(map(len, classes))
    lines = [
        f"{result['n_train'] + result['n_test']} messages to a bank, to be routed to {len(classes)} desks: "
        f"{result['n_train']} to learn from, {result['n_test']} held out",
        f"model {report['model']['name']}, layer {report['layer']}, {report['pooling']} pooling, C {report['C']:.3g}",
        "",
        f"what to expect on new messages, estimated from these {result['n_train']} alone: balanced accuracy "
        f"{expected['value']:.2f} ({expected['low']:.2f} to {expected['high']:.2f})",
        f"accuracy on the held-out messages: {result['accuracy']:.3f} (balanced "
        f"{result['balanced_accuracy']:.3f}; always the same desk {result['majority_accuracy']:.3f})",
        "",
        f"{'true label':<{width + 4}}" + "".join(f"  -> {label}" for label in classes),
    ]
    for label, counts in zip(classes, result["confusion"], strict=True):
        cells = "".join(f"{count:>{len(name) + 5}}" for name, count in zip(classes, counts, strict=True))
        lines.append(f"{label:<{width + 4}}{cells}")
    lines += ["", "some predictions, with the probability of the label given:"]
    for example in result["examples"]:
        right = example["predicted"] == example["label"]
        verdict = "right" if right else "WRONG"
        was = "" if right else f"   (it was: {example['label']})"
        probability = example["probabilities"][example["predicted"]]
        lines += [
            f"  {verdict}  {example['predicted']:<{width}}  {probability:.2f}{was}",
            f"         {example['text']}",
        ]
    lines += [
        "",
        f"time: embedding {result['n_train']} texts {report['embed_seconds']:.1f} s "
        f"({report['n_tokens']:,} tokens), solving {report['solve_seconds']:.2f} s, "
        f"predicting {result['n_test']} texts {result['predict_seconds']:.1f} s",
    ]
    return "\n".join(lines)
