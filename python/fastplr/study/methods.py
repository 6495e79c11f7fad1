"""The methods of a study: from what a pass gives, or from texts, to log-probabilities of test rows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.calibration import log_probabilities
from fastplr.errors import InputError
from fastplr.fitting import FitSettings, fit_rows, settings_read
from fastplr.prompt import Prompt
from fastplr.study.features import POOLINGS, Pass
from fastplr.study.tasks import Row
from fastplr.training_rows import training_rows
from fastplr.zero_shot import FewShotClassifier, ZeroShotClassifier

__all__ = ["METHODS", "few_shot", "plr_e", "plr_e_final", "plr_l", "tf_idf", "zero_shot", "zero_shot_calibrated"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Found = tuple[Floats, dict[str, Any]]  # log-probabilities (n_test, n_classes), and what else there is to say

#: Folds of the choice and the calibration: half of PLRClassifier's default, since a study fits thousands of times.
N_FOLDS = 5

#: Names of the methods, and what they are.
METHODS = {
    "plr-e": "penalised logistic regression on hidden states, layer and pooling chosen by the training rows",
    "plr-e final": "the same on the state after the output norm, mean over all tokens",
    "plr-l": "penalised logistic regression on the logits of the answers, calibrated as plr-e",
    "zero-shot": "the answer that the model finds most probable",
    "zero-shot calibrated": "the same, calibrated by texts without content (Zhao et al. 2021)",
    "few-shot": "zero-shot with labelled examples before the text",
    "endpoint": "the answer of a model behind an endpoint",
    "tf-idf": "penalised logistic regression on TF-IDF of words and pairs of words, not calibrated; no language model",
}


def _fitted(
    features: npt.NDArray[np.float32], codes: Codes, test: npt.NDArray[np.float32], *, n_classes: int, seed: int,
    n_threads: int, layers: Sequence[int], poolings: Sequence[str],
) -> Found:  # fmt: skip
    """As PLRClassifier fits and predicts with ``cv=5``, of features that are known.

    Args:
        features: ``(n_rows, n_layers, n_poolings, n_features)``.
        codes: ``(n_rows,)``.
        test: ``(n_test, n_layers, n_poolings, n_features)``.
        n_classes, seed, n_threads, layers, poolings: As they are called.
    """
    rows = training_rows(list(range(n_classes)), codes, None, None)
    settings = settings_read(
        FitSettings("auto", 20, N_FOLDS, seed, speed=False, calibrate=True, n_threads=n_threads), rows
    )
    layers, poolings = list(layers), list(poolings)

    def embed(some: Any, wanted: Sequence[int], words: Sequence[str]) -> npt.NDArray[np.float32]:
        own = features if some is None else features[some]
        return np.ascontiguousarray(
            own[:, [layers.index(one) for one in wanted]][:, :, [poolings.index(one) for one in words]]
        )

    fallback = (layers[len(layers) // 2], poolings[0])
    started = time.perf_counter()
    found = fit_rows(embed, rows, settings, layers=layers, poolings=poolings, fallback=fallback)
    own = test[:, layers.index(found.layer), poolings.index(found.pooling)]
    logits = ((own - found.mean) / found.scale) @ found.solver.coef_.T + found.solver.intercept_
    about = {
        "solve_seconds": time.perf_counter() - started,
        "layer": found.layer,
        "pooling": found.pooling,
        "C": float(found.solver.C_),
    }
    return log_probabilities(logits, found.temperature), about


def plr_e(
    made: Pass, train: list[int], test: list[int], codes: Codes, *, n_classes: int, seed: int, n_threads: int
) -> Found:
    """PLR-E; `train` and `test` number the texts of the pass, `codes` are the classes of all of them."""
    return _fitted(
        made.features[train], codes[train], made.features[test], n_classes=n_classes, seed=seed, n_threads=n_threads,
        layers=made.layers, poolings=POOLINGS,
    )  # fmt: skip


def plr_e_final(
    made: Pass, train: list[int], test: list[int], codes: Codes, *, n_classes: int, seed: int, n_threads: int
) -> Found:
    """PLR-E of the final state."""
    features = made.final[:, None, None]
    return _fitted(
        features[train], codes[train], features[test], n_classes=n_classes, seed=seed, n_threads=n_threads,
        layers=[-1], poolings=["mean_all"],
    )  # fmt: skip


def plr_l(
    made: Pass, train: list[int], test: list[int], codes: Codes, *, n_classes: int, seed: int, n_threads: int
) -> Found:
    """PLR-L."""
    features = made.label_logits.astype(np.float32)[:, None, None]
    return _fitted(
        features[train], codes[train], features[test], n_classes=n_classes, seed=seed, n_threads=n_threads,
        layers=[-1], poolings=["last"],
    )  # fmt: skip


def zero_shot(made: Pass, test: list[int]) -> Found:
    """Zero-shot; columns in the order of the prompt's answers."""
    return log_probabilities(made.label_logits[test]), {}


def zero_shot_calibrated(made: Pass, test: list[int], no_content: Floats) -> Found:
    """Contextually calibrated, by what :func:`log_of_no_content` gives."""
    return log_probabilities(made.label_logits[test] - no_content), {}


def log_of_no_content(
    model: str | os.PathLike[str], prompt: Prompt, labels: Sequence[str], n_threads: int | None
) -> Floats:
    """Logarithms of the mean probabilities of `labels` for texts without content: float64 ``(n_labels,)``."""
    classifier = ZeroShotClassifier(model, prompt=prompt, n_threads=n_threads, progress=False)
    classes = classifier.classes_.tolist()
    found: Floats = classifier.log_of_no_content(prompt)
    return found[[classes.index(label) for label in labels]]


def few_shot(
    model: str | os.PathLike[str], prompt: Prompt, train: Sequence[Row], test: Sequence[Row], labels: Sequence[str], *,
    k: int, seed: int, n_threads: int | None, progress: bool | None,
) -> Found:  # fmt: skip
    """Few-shot with `k` examples drawn from `train`."""
    classifier = FewShotClassifier(
        model, prompt=prompt, k=k, random_state=seed, on_long="truncate", n_threads=n_threads, progress=progress
    )
    classifier.fit([text for text, _ in train], [label for _, label in train])
    started = time.perf_counter()
    log_p = classifier.predict_log_proba([text for text, _ in test])
    classes = classifier.classes_.tolist()
    about = {"n_examples": len(classifier.examples_), "embed_seconds": time.perf_counter() - started}
    return log_p[:, [classes.index(label) for label in labels]], about


def tf_idf(train: Sequence[Row], test: Sequence[Row], labels: Sequence[str], *, seed: int, n_threads: int) -> Found:
    """TF-IDF of words and pairs of words, and fastplr's regression with a chosen penalty.

    Raises:
        InputError: No training row has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    from fastplr.logistic_regression import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    codes = np.array([labels.index(label) for _, label in train])
    try:
        features = vectorizer.fit_transform([text for text, _ in train]).toarray()
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        raise InputError(f"TF-IDF finds no word of two letters in {len(train)} training rows") from error
    solver = LogisticRegression("auto", cv=N_FOLDS, random_state=seed, n_threads=n_threads).fit(features, codes)
    found = solver.predict_proba(vectorizer.transform([text for text, _ in test]).toarray())
    return np.log(np.maximum(found, np.finfo(np.float64).tiny)), {"C": float(solver.C_)}
