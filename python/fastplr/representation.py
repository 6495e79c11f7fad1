"""The choice of layer, pooling and penalty, from the training rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastplr import _core
from fastplr.folds import Folds
from fastplr.logistic_regression import row_scores
from fastplr.ridge import screen_by_ridge
from fastplr.threads import one_blas_thread

__all__ = ["Candidate", "Choice", "TrainingRows", "candidate_layers", "choose", "held_out_logits", "standardised"]

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

#: Relative duality gap of the fits that are only compared: log-losses differ by far more between candidates.
TOLERANCE = 1e-4
#: Layers that are compared: with more of them, chance has more to choose from.
N_LAYERS = 6
#: Candidates that survive the screening (docs/accuracy.md: folds for all are no better).
N_CONFIRMED = 4
#: Neighbours on each side of a penalty that the folds try, too.
REACH = 2
#: And where rows times classes - 1 are more than this many.
N_CONFIRMED_OF_LARGE = 2
LARGE = 1000


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows to learn from.

    Attributes:
        codes: Class numbers ``(n_rows,)``.
        n_classes: Number of classes.
        fit_weights: Weights in the fit, class weights included, ``(n_rows,)``.
        score_weights: Weights of the rows alone, in standardising and in scores, ``(n_rows,)``; 0 where the other is.
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
        confirmed: Whether by folds; else by leave-one-out.
        Cs: The penalties that were tried, ascending.
        curve: Mean log-loss of held-out rows at each of them.
    """

    layer: int
    pooling: str
    C: float
    log_loss: float
    standard_error: float
    confirmed: bool
    Cs: tuple[float, ...]
    curve: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As str, int, float, bool and list."""
        return {**vars(self), "Cs": list(self.Cs), "curve": list(self.curve)}


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and what it was chosen among.

    Attributes:
        layer, pooling, C: The choice.
        logits: Held-out logits of every row at the choice, ``(n_rows, n_outputs)``; NaN for a row that no fold scores.
        candidates: All layers and poolings, best first; the first is the choice.
    """

    layer: int
    pooling: str
    C: float
    logits: Floats
    candidates: tuple[Candidate, ...]


def candidate_layers(n_layers: int, max_layer: float) -> list[int]:
    """The layers worth comparing of a model of `n_layers`: up to six, evenly spaced, from a quarter of its depth on.

    Args:
        n_layers: Number of blocks.
        max_layer: Share of the depth that they may reach.
    """
    deepest = max(1, round(max_layer * n_layers))
    first = min(deepest, max(1, round(n_layers / 4)))
    return sorted({int(layer) for layer in np.linspace(first, deepest, N_LAYERS).round()})


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
        x, mean, scale = standardised(features[train], rows.score_weights[train])
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

    Every layer and pooling is screened by exact leave-one-out of ridge regression on the classes' indicators; the best
    four (two of large problems) are compared by the folds, at the penalties around the ridge's and on to the best.

    Args:
        features: ``(n_rows, n_layers, n_poolings, n_embd)``.
        rows: What they are.
        layers, poolings: Of the second and third axis.
        Cs: Penalties, ascending.
        folds: As :func:`fastplr.folds.make_folds` gives them, not empty.
        speed: Take the shallowest layer whose screened log-loss is within one standard error of the best.
        n_threads: Threads.
    """
    is_large = len(rows) * (rows.n_classes - 1) > LARGE
    places = [(i, j) for i in range(len(layers)) for j in range(len(poolings))]
    screened: list[Candidate] = []
    begins = [0] * len(places)
    if len(places) > 1 or len(Cs) > 1:
        screened = _screen(features, rows, layers, poolings, Cs, folds, n_threads)
        begins = [int(np.searchsorted(Cs, candidate.C)) for candidate in screened]
    order = sorted(range(len(places)), key=lambda at: screened[at].log_loss if screened else 0.0)
    if speed and screened:
        bound = screened[order[0]].log_loss + screened[order[0]].standard_error
        shallowest = min(screened[at].layer for at in order if screened[at].log_loss <= bound)
        order = [at for at in order if screened[at].layer == shallowest][:1]
    found = []
    for at in order[: N_CONFIRMED_OF_LARGE if is_large else N_CONFIRMED]:
        i, j = places[at]
        curve = _fold_curve(features[:, i, j], rows, Cs, folds, begins[at], n_threads)
        found.append((curve, _candidate((layers[i], poolings[j]), curve.Cs, curve.losses, curve.weights, True)))
    found.sort(key=lambda pair: pair[1].log_loss)
    curve, best = found[0]
    confirmed = [candidate for _, candidate in found]
    known = {(candidate.layer, candidate.pooling) for candidate in confirmed}
    rest = [candidate for candidate in screened if (candidate.layer, candidate.pooling) not in known]
    logits = curve.logits[int(np.flatnonzero(curve.Cs == best.C)[0])]
    rest.sort(key=lambda candidate: candidate.log_loss)
    return Choice(best.layer, best.pooling, best.C, logits, (*confirmed, *rest))


def _screen(
    features: npt.NDArray[np.float32],
    rows: TrainingRows,
    layers: Sequence[int],
    poolings: Sequence[str],
    Cs: Floats,
    folds: Folds,
    n_threads: int,
) -> list[Candidate]:
    """Of every layer and pooling, by leave-one-out of ridge regression, in the order of the axes."""
    positive = np.flatnonzero(rows.fit_weights > 0)
    some = rows.take(positive)
    scored = np.flatnonzero(np.isin(positive, np.concatenate([test for _, test in folds])))

    def screen(place: tuple[int, int]) -> Candidate:
        x, _, _ = standardised(features[positive, place[0], place[1]], some.score_weights)
        C, losses = screen_by_ridge(x, some.codes, some.n_classes, some.fit_weights)
        nearest = Cs[[int(np.abs(np.log(Cs) - np.log(C)).argmin())]]
        name = (layers[place[0]], poolings[place[1]])
        return _candidate(name, nearest, losses[None, scored], some.score_weights[scored], False)

    return _map(screen, [(i, j) for i in range(len(layers)) for j in range(len(poolings))], n_threads)


@dataclass(frozen=True, eq=False)
class _Curve:
    """Held-out logits ``(n_Cs, n_rows, n_outputs)`` at neighbouring penalties; losses and weights of scored rows."""

    Cs: Floats
    logits: Floats
    losses: Floats
    weights: Floats


def _fold_curve(
    features: npt.NDArray[Any], rows: TrainingRows, Cs: Floats, folds: Folds, begin: int, n_threads: int
) -> _Curve:
    """Around the penalty at `begin`, and on from there to where the log-loss is least."""
    low, high = max(0, begin - REACH), min(len(Cs), begin + REACH + 1)
    logits = held_out_logits(features, rows, Cs[low:high], folds, n_threads=n_threads)
    scored = np.flatnonzero(~np.isnan(logits[0, :, 0]))
    weights = rows.score_weights[scored]
    while True:
        losses = -row_scores(logits[:, scored], rows.codes[scored], "neg_log_loss")
        best = low + int(_mean_and_error(losses, weights)[0].argmin())
        if best == low > 0:
            more = slice(max(0, low - REACH), low)
            low = more.start
            logits = np.concatenate([held_out_logits(features, rows, Cs[more], folds, n_threads=n_threads), logits])
        elif best == high - 1 and high < len(Cs):
            more = slice(high, min(len(Cs), high + REACH))
            high = more.stop
            logits = np.concatenate([logits, held_out_logits(features, rows, Cs[more], folds, n_threads=n_threads)])
        else:
            return _Curve(Cs[low:high], logits, losses, weights)


def _mean_and_error(losses: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted means of rows of the last axis and their standard errors, as of independent rows."""
    shares = weights / weights.sum()
    mean = losses @ shares
    error = np.sqrt(np.square(shares * (losses - mean[..., None])).sum(axis=-1))
    return mean, error


def _candidate(name: tuple[int, str], Cs: Floats, losses: Floats, weights: Floats, confirmed: bool) -> Candidate:
    mean, error = _mean_and_error(losses, weights)
    at = int(np.flatnonzero(mean <= mean.min() + 1e-12 * abs(mean.min()))[0])
    curve = tuple(mean.tolist())
    return Candidate(*name, float(Cs[at]), curve[at], float(error[at]), confirmed, tuple(Cs.tolist()), curve)


def _map(function: Callable[[Any], T], items: Iterable[Any], n_threads: int) -> list[T]:
    """In the order of `items`; the native core and NumPy let go of Python's lock."""
    with one_blas_thread():
        if n_threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(function, items))
