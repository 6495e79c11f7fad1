"""How good a fit is, by rows that it had not seen: an honest estimate, errors by class, doubtful labels, more rows."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

from fastplr.calibration import log_probabilities
from fastplr.fitting import Among, FitSettings, fit_features
from fastplr.folds import Folds, is_given, restricted
from fastplr.progress import count_bar
from fastplr.representation import TrainingRows, held_out_logits
from fastplr.solver_inputs import is_whole

__all__ = [
    "confusions",
    "disputed_rows",
    "estimate",
    "learning_curve",
    "nested_log_probabilities",
    "per_class",
    "shuffled_folds",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
RowNumbers = npt.NDArray[np.int64]

#: Folds of the honest estimate: in each the whole choice is made anew.
N_OUTER_FOLDS = 5
#: Folds within them where rows times classes are more than MANY: minutes otherwise.
N_FEW_FOLDS = 5
MANY = 10_000
N_RESAMPLES = 1000
#: A row is disputed where fits that had not seen it give its label at most this probability.
DISPUTED = 0.2
#: Shares of the rows that the learning curve is measured at, and how often.
SHARES = (0.25, 0.5, 0.75, 1.0)
N_REPEATS = 4
MORE_LABELS = 50


def shuffled_folds(codes: Codes, n_folds: int, seed: int) -> Folds:
    """Stratified folds, as many as the largest class has rows at the most; rows of a class with one are in no test
    part, and classes with fewer rows than folds are in some.
    """
    counts = np.bincount(codes)
    rows = np.flatnonzero(counts[codes] >= 2)
    splitter = StratifiedKFold(int(min(n_folds, counts.max())), shuffle=True, random_state=seed)
    everything = np.arange(len(codes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's, of classes with few rows
        tests = [rows[test] for _, test in splitter.split(rows, codes[rows])]
    return [(np.setdiff1d(everything, test), test) for test in tests]


def nested_log_probabilities(
    among: Among,
    rows: TrainingRows,
    settings: FitSettings,
    fallback: tuple[int, str],
    *,
    progress: bool | None = False,
) -> Floats:
    """Log-probabilities of every row by fits that had not seen it, the choice of layer, pooling, penalty and
    temperature included, ``(n_rows, n_classes)``; NaN where there is none.

    Nested cross-validation (Varma and Simon, BMC Bioinformatics 7:91 (2006)) with five outer folds: unlike the score of
    the best of many candidates it is not too good where the best was so by chance. Folds that the user gave are the
    outer ones, and what is left of the others is within each: rows that they keep together stay together.

    Args:
        among: Features of all `rows`.
        rows: What was learned from.
        settings: How, with `cv` a number, a word or pairs of row numbers; where rows times classes are more than
            10,000, five folds of our own at most within the outer ones.
        fallback: As in :func:`fastplr.fitting.fit_features`.
        progress: Whether to show a bar that counts outer folds, as in :func:`fastplr.progress.byte_bar`.
    """
    found = np.full((len(rows), rows.n_classes), np.nan)
    folds = outer_folds(rows, settings)
    with count_bar(len(folds), "estimate on new texts", "fold", progress) as bar:
        for train, test in folds:
            log_p = _log_probabilities_of(test, train, among, rows, settings, fallback)
            if log_p is not None:
                found[test] = log_p
            bar.update()
    return found


def _log_probabilities_of(
    test: RowNumbers,
    train: RowNumbers,
    among: Among,
    rows: TrainingRows,
    settings: FitSettings,
    fallback: tuple[int, str],
) -> Floats | None:
    """Of rows `test`, ``(n_test, n_classes)``, by a choice and a fit from rows `train`; None where these are one
    class.
    """
    inner = np.sort(train[rows.fit_weights[train] > 0])
    part = rows.take(inner)
    present = np.unique(part.codes)
    if len(present) < 2:
        return None
    codes = np.searchsorted(present, part.codes).astype(np.int32)
    part = TrainingRows(codes, len(present), part.fit_weights, part.score_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        own = replace(settings, cv=_inner_folds(settings.cv, inner, len(rows) * rows.n_classes))
        fit = fit_features(replace(among, features=among.features[inner]), part, own, fallback=fallback)
    i, j = fit.among.layers.index(fit.layer), among.poolings.index(fit.pooling)
    new = among.features[test, i, j].astype(np.float64)
    logits = (new - fit.mean) / fit.scale @ fit.solver.coef_.T + fit.solver.intercept_
    log_p = np.full((len(test), rows.n_classes), math.log(np.finfo(np.float64).eps))
    log_p[:, present] = log_probabilities(logits, fit.temperature)
    return log_p


def outer_folds(rows: TrainingRows, settings: FitSettings) -> Folds:
    """The user's folds where there are some, else five; rows of weight 0 are not scored."""
    if is_given(settings.cv):
        return [(train, test[rows.fit_weights[test] > 0]) for train, test in settings.cv]
    positive = np.flatnonzero(rows.fit_weights > 0)
    seed = settings.random_state if is_whole(settings.random_state) else 0
    return [
        (positive[train], positive[test]) for train, test in shuffled_folds(rows.codes[positive], N_OUTER_FOLDS, seed)
    ]


def _inner_folds(cv: Any, inner: RowNumbers, size: int) -> Any:
    if is_given(cv):
        return restricted(cv, inner) or N_FEW_FOLDS
    if size > MANY and (not is_whole(cv) or cv > N_FEW_FOLDS):
        return N_FEW_FOLDS
    return cv


def estimate(log_p: Floats, codes: Codes, weights: Floats) -> dict[str, Any]:
    """Scores of held-out rows, each with the 2.5 and 97.5 % quantiles of 1,000 resamples of the rows of each class.

    Args:
        log_p: Log-probabilities ``(n_rows, n_classes)`` by fits that had not seen the rows.
        codes: Their classes ``(n_rows,)``.
        weights: ``(n_rows,)``.
    """
    n_classes = log_p.shape[1]
    predicted = log_p.argmax(axis=1)
    losses = -log_p[np.arange(len(codes)), codes]

    def scores(rows: npt.NDArray[Any]) -> list[float]:
        own, said, w = codes[rows], predicted[rows], weights[rows]
        right = np.bincount(own, weights=w * (own == said), minlength=n_classes)
        totals = np.bincount(own, weights=w, minlength=n_classes)
        either = totals + np.bincount(said, weights=w, minlength=n_classes)
        there, named = totals > 0, either > 0
        return [
            float((right[there] / totals[there]).mean()),
            float((2 * right[named] / either[named]).mean()),
            float(right.sum() / totals.sum()),
            float(np.average(losses[rows], weights=w)),
        ]

    rng = np.random.default_rng(0)
    by_class = [np.flatnonzero(codes == k) for k in range(n_classes)]
    resampled = np.array(
        [
            scores(np.concatenate([rng.choice(rows, len(rows)) for rows in by_class if len(rows)]))
            for _ in range(N_RESAMPLES)
        ]
    )
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    names = ("balanced_accuracy", "macro_f1", "accuracy", "log_loss")
    values = scores(np.arange(len(codes)))
    return {name: {"value": values[i], "low": float(low[i]), "high": float(high[i])} for i, name in enumerate(names)}


def per_class(predicted: Codes, codes: Codes, labels: list[Any], weights: Floats | None = None) -> list[dict[str, Any]]:
    """Precision and recall of each class with 95 % intervals (Wilson, JASA 22 (1927) 209), F1 and number of rows.

    Rows of unlike weight count in the intervals as ``(sum w)^2 / sum w^2`` rows (Kish).
    """
    weights = np.ones(len(codes)) if weights is None else weights
    found = []
    for k, label in enumerate(labels):
        own, said = codes == k, predicted == k
        total = weights[own].sum() + weights[said].sum()
        found.append(
            {
                "label": label,
                "n_rows": int(own.sum()),
                "precision": _share(own[said], weights[said]),
                "recall": _share(said[own], weights[own]),
                "f1": float(2 * weights[own & said].sum() / total) if total > 0 else 0.0,
            }
        )
    return found


def _share(right: npt.NDArray[np.bool_], weights: Floats) -> dict[str, float | None]:
    if not weights.any():
        return {"value": None, "low": 0.0, "high": 1.0}
    z = 1.959964
    p = float(weights[right].sum() / weights.sum())
    n = float(weights.sum() ** 2 / np.square(weights).sum())
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"value": p, "low": max(0.0, float(centre - half)), "high": min(1.0, float(centre + half))}


def confusions(predicted: Codes, codes: Codes, labels: list[Any]) -> list[dict[str, Any]]:
    """Pairs of true and predicted label that are not the same, the most frequent first."""
    pairs, counts = np.unique(np.column_stack([codes, predicted]), axis=0, return_counts=True)
    wrong = [(int(n), int(a), int(b)) for (a, b), n in zip(pairs, counts, strict=True) if a != b]
    return [
        {"true": labels[a], "predicted": labels[b], "n_rows": n}
        for n, a, b in sorted(wrong, key=lambda one: (-one[0], one[1], one[2]))
    ]


def disputed_rows(log_p: Floats, codes: Codes, rows: npt.NDArray[Any], labels: list[Any]) -> list[dict[str, Any]]:
    """Rows to whose label fits that had not seen them give a probability of at most 0.2, the least first."""
    own = np.exp(log_p[np.arange(len(codes)), codes])
    return [
        {
            "row": int(rows[i]),
            "label": labels[codes[i]],
            "probability": float(own[i]),
            "predicted": labels[int(log_p[i].argmax())],
        }
        for i in np.argsort(own, kind="stable")
        if own[i] <= DISPUTED
    ]


def learning_curve(
    features: npt.NDArray[Any],
    rows: TrainingRows,
    C: float,
    *,
    n_rows: int,
    seed: int,
    n_threads: int,
    progress: bool | None = False,
) -> dict[str, Any]:
    """Balanced accuracy of held-out rows by the number of rows trained on, and what 50 more labels would bring.

    Measured at a quarter, half, three quarters and all of what five folds leave, four times, with the layer, pooling
    and penalty that all rows chose: a little too good, so it is the gain that counts. The error is taken for
    a + b / sqrt(n) with b >= 0 (an inverse power law: Figueroa et al., BMC Medical Informatics and Decision Making 12:8
    (2012)); the interval is of the spread of the repetitions.

    Args:
        features: Of the rows, ``(n_rows, n_features)``.
        rows: What they are.
        C: The penalty.
        n_rows: How many rows there are in all.
        seed: Of folds and parts.
        n_threads: Threads.
        progress: Whether to show a bar that counts fits, as in :func:`fastplr.progress.byte_bar`.
    """
    positive = np.flatnonzero(rows.fit_weights > 0)
    features, rows = features[positive], rows.take(positive)
    rng = np.random.default_rng(seed)
    sizes: list[list[float]] = [[] for _ in SHARES]
    errors: list[list[float]] = [[] for _ in SHARES]
    repeats = [shuffled_folds(rows.codes, N_OUTER_FOLDS, seed + repeat) for repeat in range(N_REPEATS)]
    with count_bar(len(SHARES) * sum(map(len, repeats)), "learning curve", "fit", progress) as bar:
        for folds, (at, share) in itertools.product(repeats, enumerate(SHARES)):
            smaller = [(_share_of_each(train, rows.codes, share, rng), test) for train, test in folds]
            logits = held_out_logits(features, rows, np.array([C]), smaller, n_threads=n_threads)[0]
            scored = np.flatnonzero(~np.isnan(logits[:, 0]))
            predicted = log_probabilities(logits[scored]).argmax(axis=1)
            own = rows.codes[scored]
            recalls = [(predicted[own == k] == k).mean() for k in np.unique(own)]
            sizes[at].append(float(np.mean([len(train) for train, _ in smaller])))
            errors[at].append(1.0 - float(np.mean(recalls)))
            bar.update(len(folds))
    n = np.array([np.mean(one) for one in sizes])
    points = [
        {
            "n_rows": float(n[at]),
            "balanced_accuracy": 1.0 - float(np.mean(errors[at])),
            "deviation": _deviation(errors[at]),
        }
        for at in range(len(SHARES))
    ]
    projected = [_projection(n, [one[repeat] for one in errors], n_rows) for repeat in range(N_REPEATS)]
    now, more = np.mean(projected, axis=0)
    gain = np.array([before - after for before, after in projected])
    half = 2.0 * gain.std(ddof=1) / np.sqrt(N_REPEATS)
    return {
        "points": points,
        "n_more": MORE_LABELS,
        "now": 1.0 - float(now),
        "with_more": 1.0 - float(more),
        "gain": {
            "value": float(gain.mean()),
            "low": max(0.0, float(gain.mean() - half)),
            "high": float(gain.mean() + half),
        },
    }


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1))


def _projection(n: Floats, errors: list[float], n_rows: int) -> tuple[float, float]:
    """Errors with all rows and with 50 more, from the last one on along the slope of errors over 1 / sqrt(n); residuals
    count by their number of rows, since with few rows errors bend away from such a line.
    """
    x = 1.0 / np.sqrt(n)
    apart = x - np.average(x, weights=n**2)
    slope = max(0.0, float(n**2 * apart @ errors) / float(n**2 * apart @ apart))
    now, later = (errors[-1] + slope * (1.0 / np.sqrt(total) - x[-1]) for total in (n_rows, n_rows + MORE_LABELS))
    return max(0.0, float(now)), max(0.0, float(later))


def _share_of_each(
    train: npt.NDArray[np.int64], codes: Codes, share: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    if share == 1.0:
        return train
    taken = []
    for k in np.unique(codes[train]):
        own = train[codes[train] == k]
        taken.append(rng.choice(own, max(1, round(share * len(own))), replace=False))
    return np.sort(np.concatenate(taken))
