"""The choice of layer, pooling and penalty, from the training rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastplr import _core
from fastplr.folds import Folds
from fastplr.logistic_regression import row_scores

__all__ = ["Candidate", "Choice", "TrainingRows", "candidate_layers", "choose", "held_out_logits", "standardised"]

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

#: Relative duality gap of the fits that are only compared: log-losses differ by far more between candidates.
TOLERANCE = 1e-4
#: Candidates that survive the screening by approximate leave-one-out (docs/choice.md has the measurement).
N_CONFIRMED = 4
#: Every so many penalties are tried in the screening.
SCREENED_STEP = 2
#: Order of the matrix that approximate leave-one-out inverts, above which fewer rows are screened.
MAX_SCREENED_ORDER = 1000


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows to learn from.

    Attributes:
        codes: Class numbers ``(n_rows,)``.
        n_classes: Number of classes.
        fit_weights: Weights in the fit, class weights included, ``(n_rows,)``.
        score_weights: Weights in the log-loss, ``(n_rows,)``.
    """

    codes: npt.NDArray[np.int32]
    n_classes: int
    fit_weights: Floats
    score_weights: Floats

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_outputs(self) -> int:
        """Logits of a row: one for two classes."""
        return 1 if self.n_classes == 2 else self.n_classes

    def take(self, rows: npt.NDArray[Any]) -> TrainingRows:
        """Some of them."""
        return TrainingRows(self.codes[rows], self.n_classes, self.fit_weights[rows], self.score_weights[rows])


@dataclass(frozen=True)
class Candidate:
    """A representation, and how well it did.

    Attributes:
        layer, pooling: As in :class:`fastplr.Embedder`.
        C: The penalty at which it did best.
        log_loss: Mean log-loss of held-out rows there.
        standard_error: Of that mean, over rows.
        confirmed: Whether by folds; else by approximate leave-one-out.
    """

    layer: int
    pooling: str
    C: float
    log_loss: float
    standard_error: float
    confirmed: bool


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and what it was chosen among.

    Attributes:
        layer, pooling, C: The choice.
        logits: Held-out logits of every row at the choice, ``(n_rows, n_outputs)``; NaN for a row that no fold scores.
        Cs: The penalties, ascending.
        log_loss: Mean held-out log-loss at each of them, ``(n_Cs,)``, for the chosen layer and pooling.
        standard_error: Of these means, over rows.
        candidates: All layers and poolings, best first.
    """

    layer: int
    pooling: str
    C: float
    logits: Floats
    Cs: Floats
    log_loss: Floats
    standard_error: Floats
    candidates: tuple[Candidate, ...]


def candidate_layers(n_layers: int, max_layer: float) -> list[int]:
    """The layers worth comparing of a model of `n_layers`: up to eight, evenly spaced, from a quarter of its depth on.

    Args:
        n_layers: Number of blocks.
        max_layer: Share of the depth that they may reach.
    """
    deepest = max(1, round(max_layer * n_layers))
    first = min(deepest, max(1, round(n_layers / 4)))
    return sorted({int(layer) for layer in np.linspace(first, deepest, 8).round()})


def standardised(features: npt.NDArray[Any], weights: Floats) -> tuple[Floats, Floats, Floats]:
    """`features` with mean 0 and deviation 1 over the rows, and the means and deviations (1 where they are 0).

    Args:
        features: ``(n_rows, n_features)``, any float type.
        weights: ``(n_rows,)``, with a positive sum.
    """
    rows = np.asarray(features, dtype=np.float64)
    shares = weights / weights.max()  # sums of huge weights would overflow
    shares = shares / shares.sum()
    mean = shares @ rows
    centred = rows - mean
    scale = np.sqrt(shares @ np.square(centred))
    # As scikit-learn's StandardScaler: what is within rounding of constant is constant.
    scale[scale <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(mean), 1.0)] = 1.0
    return centred / scale, mean, scale


def held_out_logits(
    features: npt.NDArray[Any], rows: TrainingRows, Cs: Floats, folds: Folds, *, n_threads: int
) -> Floats:
    """Logits of every row by fits that have not seen it, ``(n_Cs, n_rows, n_outputs)``; NaN where no fold scores it.

    Means and deviations are those of the rows that a fold trains on. A class that a fold does not train on gets a
    logit that makes its probability 2e-16.

    Args:
        features: ``(n_rows, n_features)``, not standardised.
        rows: What they are.
        Cs: Penalties.
        folds: As :func:`fastplr.folds.make_folds` gives them; of a row that several score, the last counts.
        n_threads: Threads.
    """
    found = np.full((len(Cs), len(rows), rows.n_outputs), np.nan)

    def compute(fold: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> None:
        train, test = fold
        train = train[rows.fit_weights[train] > 0]
        x, mean, scale = standardised(features[train], rows.fit_weights[train])
        present, codes = np.unique(rows.codes[train], return_inverse=True)
        new = (np.asarray(features[test], dtype=np.float64) - mean) / scale
        if len(present) == 1:
            logits = np.zeros((len(Cs), len(test), 1))
        else:
            fits = _core.fit_logistic_path(
                x, codes.astype(np.int32), len(present), weights=rows.fit_weights[train], lambdas=1.0 / Cs,
                tol=TOLERANCE, max_iter=100, fit_intercept=True, solver="auto", n_threads=1, polish=False,
            )  # fmt: skip
            logits = np.stack([new @ fit.coefficients.T + fit.intercepts for fit in fits])
        found[:, test] = _of_all_classes(logits, present, rows)

    _map(compute, folds, n_threads)
    return found


def _of_all_classes(logits: Floats, present: npt.NDArray[Any], rows: TrainingRows) -> Floats:
    if len(present) == rows.n_classes:
        return logits
    if len(present) == 2:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    absent = logits.min(axis=-1, keepdims=True) + np.log(np.finfo(np.float64).eps)
    full = np.repeat(absent, rows.n_classes, axis=-1)
    full[..., present] = logits
    return full[..., 1:] - full[..., :1] if rows.n_classes == 2 else full


def choose(
    features: npt.NDArray[np.float32],
    rows: TrainingRows,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
    Cs: Floats,
    folds: Folds,
    speed: bool,
    n_threads: int,
) -> Choice:
    """The layer, pooling and penalty of least held-out log-loss.

    Every layer and pooling is screened by approximate leave-one-out at some of the penalties; the best four are compared
    by the folds at all of them.

    Args:
        features: ``(n_rows, n_layers, n_poolings, n_embd)``.
        rows: What they are.
        layers, poolings: Of the second and third axis.
        Cs: Penalties, ascending, none infinite.
        folds: As :func:`fastplr.folds.make_folds` gives them, not empty.
        speed: Take the shallowest layer whose screened log-loss is within one standard error of the best.
        n_threads: Threads.
    """
    places = [(i, j) for i in range(len(layers)) for j in range(len(poolings))]
    screened: list[Candidate] = []
    if len(places) > 1:
        scored = np.unique(np.concatenate([test for _, test in folds]))
        sample = _sample(rows)
        scored = np.flatnonzero(np.isin(sample, scored))
        some = rows.take(sample)

        def screen(place: tuple[int, int]) -> Candidate:
            losses = _leave_one_out_losses(features[sample, place[0], place[1]], some, Cs[::SCREENED_STEP], scored)
            name = (layers[place[0]], poolings[place[1]])
            return _candidate(name, Cs[::SCREENED_STEP], losses, some.score_weights[scored], confirmed=False)

        screened = _map(screen, places, n_threads)
        order = sorted(range(len(places)), key=lambda at: screened[at].log_loss)
        if speed:
            bound = screened[order[0]].log_loss + screened[order[0]].standard_error
            shallowest = min(layers[places[at][0]] for at in order if screened[at].log_loss <= bound)
            order = [at for at in order if layers[places[at][0]] == shallowest][:1]
        places = [places[at] for at in order[:N_CONFIRMED]]

    best: Choice | None = None
    confirmed: list[Candidate] = []
    for i, j in places:
        logits = held_out_logits(features[:, i, j], rows, Cs, folds, n_threads=n_threads)
        scored = np.flatnonzero(~np.isnan(logits[0, :, 0]))
        losses = -row_scores(logits[:, scored], rows.codes[scored], "neg_log_loss")
        weights = rows.score_weights[scored]
        candidate = _candidate((layers[i], poolings[j]), Cs, losses, weights, confirmed=True)
        confirmed.append(candidate)
        if best is None or candidate.log_loss < best.log_loss.min():
            mean, error = _mean_and_error(losses, weights)
            at = int(np.flatnonzero(candidate.C == Cs)[0])
            best = Choice(layers[i], poolings[j], candidate.C, logits[at], Cs, mean, error, ())
    assert best is not None
    known = {(candidate.layer, candidate.pooling) for candidate in confirmed}
    rest = [candidate for candidate in screened if (candidate.layer, candidate.pooling) not in known]
    candidates = [*sorted(confirmed, key=lambda c: c.log_loss), *sorted(rest, key=lambda c: c.log_loss)]
    return replace(best, candidates=tuple(candidates))


def _leave_one_out_losses(
    features: npt.NDArray[Any], rows: TrainingRows, Cs: Floats, scored: npt.NDArray[Any]
) -> Floats:
    x, _, _ = standardised(features, rows.fit_weights)
    logits, _ = _core.approximate_leave_one_out(
        x, rows.codes, rows.n_classes, weights=rows.fit_weights, lambdas=1.0 / Cs,
        tol=TOLERANCE, max_iter=100, fit_intercept=True, solver="auto", n_threads=1,
    )  # fmt: skip
    return -row_scores(logits[:, scored], rows.codes[scored], "neg_log_loss")


def _sample(rows: TrainingRows) -> npt.NDArray[np.int64]:
    """Rows to screen by: all, or of each class as many in proportion as keep the matrix to be inverted small."""
    most = max(2 * rows.n_classes, MAX_SCREENED_ORDER // max(1, rows.n_classes - 1))
    if len(rows) <= most:
        return np.arange(len(rows))
    taken = []
    for k in range(rows.n_classes):
        own = np.flatnonzero(rows.codes == k)
        n = max(2, round(len(own) * most / len(rows)))
        taken.append(own[np.linspace(0, len(own) - 1, min(n, len(own))).round().astype(np.int64)])
    return np.sort(np.concatenate(taken))


def _mean_and_error(losses: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted means of rows of the last axis and their standard errors, as of independent rows."""
    shares = weights / weights.sum()
    mean = losses @ shares
    error = np.sqrt(np.square(shares * (losses - mean[..., None])).sum(axis=-1))
    return mean, error


def _candidate(
    name: tuple[int, str], Cs: Floats, losses: Floats, weights: Floats, *, confirmed: bool
) -> Candidate:
    mean, error = _mean_and_error(losses, weights)
    at = int(np.flatnonzero(mean <= mean.min() + 1e-12 * abs(mean.min()))[0])
    return Candidate(*name, float(Cs[at]), float(mean[at]), float(error[at]), confirmed)


def _map(function: Callable[[Any], T], items: Iterable[Any], n_threads: int) -> list[T]:
    """In the order of `items`; the native core lets go of Python's lock."""
    if n_threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, items))
