"""Who is compared: our classifier, chosen or fixed, and what people would use otherwise."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

import fastplr
from accuracy.draws import Draw, Task
from accuracy.scores import calibration_error, coverage, scores_of
from accuracy.transforms import TRANSFORMED, TRANSFORMS, Transform
from fastplr import representation
from fastplr.calibration import log_prior_ratio, log_probabilities
from fastplr.fitting import Among, FitSettings, fit_features
from fastplr.representation import TrainingRows, candidate_layers

__all__ = ["Contender", "contenders", "embed_all"]

MODEL = "smollm2-135m"
ENCODER = "minilm-l6-v2"
COVERAGE = 0.9


@dataclass(frozen=True)
class Contender:
    """Learns from a draw, and is scored on the whole test file."""

    name: str
    run: Callable[[Task, Draw, int], dict[str, Any]]


def contenders(cache: str, n_threads: int) -> list[Contender]:
    """All of them; features are taken from, and kept in, the folder `cache`."""
    found = [Contender("auto", lambda *of: _ours(*of, cache, n_threads))]
    found.append(Contender("auto, speed", lambda *of: _ours(*of, cache, n_threads, speed=True)))
    found.append(Contender("auto, folds alone", lambda *of: _folds_alone(*of, cache, n_threads)))
    for layer, pooling in fixed_representations():
        settings = {"layer": layer, "pooling": pooling}
        found.append(Contender(f"layer {layer}, {pooling}", lambda *of, s=settings: _ours(*of, cache, n_threads, **s)))
    for name, transform in TRANSFORMS.items():
        settings = {"name": name, "transform": transform}
        found.append(Contender(name, lambda *of, s=settings: _transformed(*of, cache, n_threads, **s)))
    found.append(Contender("TF-IDF", _tfidf))
    found.append(Contender("MiniLM", lambda *of: _minilm(*of, cache, n_threads)))
    return found


def fixed_representations() -> list[tuple[int, str]]:
    """What ``auto`` chooses among, then the last layer and the final states."""
    n_layers = fastplr.Embedder(MODEL).n_layers
    among = [(layer, pooling) for layer in candidate_layers(n_layers, 0.75) for pooling in ("mean", "mean_all")]
    return [*among, (n_layers, "mean"), (n_layers, "mean_all"), (-1, "mean_all")]


def embed_all(task: Task, cache: str, n_threads: int) -> None:
    """Keep the features of every row of `task` that a contender may ask for."""
    texts = [text for text, _ in (*task.train, *task.test)]
    layers = sorted({layer for layer, _ in fixed_representations()} - {-1})
    ours = fastplr.Embedder(MODEL, prompt=task.prompt, on_long="truncate", n_threads=n_threads, cache=cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastplr.TruncationWarning)
        ours.embed(texts, layers=[*layers, -1], pooling=["mean", "mean_all"])
        _encoder(cache, n_threads).embed(texts)


def _ours(task: Task, drawn: Draw, seed: int, cache: str, n_threads: int, **settings: Any) -> dict[str, Any]:
    model = fastplr.PLRClassifier(
        MODEL, prompt=task.prompt, on_long="truncate", n_threads=n_threads, cache=cache, random_state=seed,
        progress=False, **settings,
    )  # fmt: skip
    texts, labels = [text for text, _ in task.test], [label for _, label in task.test]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastplr.TruncationWarning)
        model.fit(drawn.texts, drawn.labels)
        probabilities = model.predict_proba(texts)
        logits = model.decision_function(texts).reshape(len(texts), -1)
        classes = model.classes_.tolist()
        found: dict[str, Any] = scores_of(labels, [classes[k] for k in probabilities.argmax(axis=1)])
        codes = np.array([classes.index(label) for label in labels])
        shares = np.bincount(codes, minlength=len(classes)) / len(codes)
        found["calibration_error"] = calibration_error(probabilities, codes, 1.0 / shares[codes])
        if "layer" not in settings:
            # class_prior and calibrate change nothing but this last step.
            ratio = log_prior_ratio(shares, classes, np.full(len(classes), 1.0 / len(classes)))
            told = np.exp(log_probabilities(logits, model.temperature_, ratio))
            found["calibration_error_prior"] = calibration_error(told, codes)
            raw = np.exp(log_probabilities(logits))
            found["calibration_error_raw"] = calibration_error(raw, codes, 1.0 / shares[codes])
            found |= coverage(model.predict_set(texts, coverage=COVERAGE), labels)
            found["unfamiliar"] = float((model.familiarity(texts) < 0.05).mean())
    report = model.report_
    return found | {key: report[key] for key in ("layer", "pooling", "C", "temperature", "solve_seconds")}


def _folds_alone(task: Task, drawn: Draw, seed: int, cache: str, n_threads: int) -> dict[str, Any]:
    """Without screening: the best of all layers and poolings, not of four, by folds."""
    with mock.patch.object(representation, "N_CONFIRMED", 1000):
        return _ours(task, drawn, seed, cache, n_threads)


def _transformed(
    task: Task, drawn: Draw, seed: int, cache: str, n_threads: int, name: str, transform: Transform
) -> dict[str, Any]:
    """One layer and pooling through a transform, then as everywhere: C by ten folds, all rows fitted."""
    layer, pooling = TRANSFORMED
    embedder = fastplr.Embedder(
        MODEL, prompt=task.prompt, layer=layer, pooling=pooling, on_long="truncate", n_threads=n_threads, cache=cache,
        progress=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastplr.TruncationWarning)
        train, test = (embedder.embed(texts) for texts in (drawn.texts, [text for text, _ in task.test]))
    started = time.perf_counter()
    train, test = transform(train.astype(np.float64), test.astype(np.float64))
    classes, codes = np.unique(drawn.labels, return_inverse=True)
    weights = np.ones(len(codes))
    rows = TrainingRows(codes.astype(np.int32), len(classes), weights, weights)
    among = Among(np.arange(len(codes)), train[:, None, None], [layer], [pooling], ())
    settings = FitSettings("auto", 20, 10, seed, speed=False, calibrate=True, n_threads=n_threads)
    fit = fit_features(among, rows, settings, fallback=TRANSFORMED)
    seconds = time.perf_counter() - started
    logits = fit.solver.decision_function((test - fit.mean) / fit.scale).reshape(len(test), -1)
    said = log_probabilities(logits).argmax(axis=1)
    found: dict[str, Any] = scores_of([label for _, label in task.test], classes[said].tolist())
    return found | {"layer": layer, "pooling": pooling, "C": float(fit.solver.C_), "solve_seconds": seconds}


def _regression(labels: list[str], seed: int) -> LogisticRegressionCV:
    n_folds = min(10, min(Counter(labels).values()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return LogisticRegressionCV(
        Cs=20, cv=folds, scoring="neg_log_loss", max_iter=5000, l1_ratios=(0.0,), use_legacy_attributes=False
    )


def _tfidf(task: Task, drawn: Draw, seed: int) -> dict[str, Any]:
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), _regression(drawn.labels, seed))
    return _rival(model, drawn.texts, [text for text, _ in task.test], task, drawn)


def _encoder(cache: str, n_threads: int) -> fastplr.Embedder:
    return fastplr.Embedder(
        ENCODER, layer=-1, pooling="mean_all", on_long="truncate", n_threads=n_threads, cache=cache, progress=False
    )


def _minilm(task: Task, drawn: Draw, seed: int, cache: str, n_threads: int) -> dict[str, Any]:
    """Its sentence embeddings, of length 1 as sentence-transformers gives them (docs/benchmarks.md: cosine 1.00000)."""
    embedder = _encoder(cache, n_threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastplr.TruncationWarning)
        train, test = (embedder.embed(texts) for texts in (drawn.texts, [text for text, _ in task.test]))
    train, test = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, test))
    return _rival(_regression(drawn.labels, seed), train, test, task, drawn)


def _rival(model: Any, train: Any, test: Any, task: Task, drawn: Draw) -> dict[str, Any]:
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train, drawn.labels)
    seconds = time.perf_counter() - started
    labels = [label for _, label in task.test]
    probabilities = model.predict_proba(test)
    classes = list(model.classes_)
    codes = np.array([classes.index(label) for label in labels])
    shares = np.bincount(codes, minlength=len(classes)) / len(codes)
    return scores_of(labels, [classes[k] for k in probabilities.argmax(axis=1)]) | {
        "calibration_error": calibration_error(probabilities, codes, 1.0 / shares[codes]),
        "solve_seconds": seconds,
    }
