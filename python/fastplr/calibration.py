"""From logits to probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from fastplr.errors import InputError
from fastplr.solver_inputs import is_number

__all__ = ["class_shares", "fit_temperature", "log_prior_ratio", "log_probabilities"]

Floats = npt.NDArray[np.float64]

#: Standard deviation of log(temperature) that is expected beforehand, around 0: what the few rows of a class say
#: against it has to be more than chance.
PRIOR_DEVIATION = 0.5
#: Temperatures beyond are not looked at: e^3 is 20.
MOST_LOG_TEMPERATURE = 3.0


def log_probabilities(logits: Floats, temperature: float = 1.0, prior_ratio: Floats | None = None) -> Floats:
    """Logarithms of class probabilities ``(n_rows, n_classes)``: of softmax(logits / temperature + prior_ratio).

    Args:
        logits: ``(n_rows, n_classes)``, or ``(n_rows, 1)`` of the second of two classes.
        temperature: > 0.
        prior_ratio: ``(n_classes,)``, as :func:`log_prior_ratio` gives it.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    # Differences to the largest: a quotient of huge logits would overflow.
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature + (0.0 if prior_ratio is None else prior_ratio)
    return np.asarray(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))


def fit_temperature(logits: Floats, codes: npt.NDArray[np.int32], weights: Floats) -> float:
    """The temperature under which held-out `logits` have the least log-loss (Guo et al., arXiv 1706.04599).

    One number cannot overfit much, but with some tens of rows it can: a normal prior on its logarithm (mean 0, standard
    deviation 0.5) holds it near 1.

    Args:
        logits: ``(n_rows, 1 or n_classes)`` of rows by fits that had not seen them.
        codes: Their classes ``(n_rows,)``.
        weights: ``(n_rows,)``, >= 0, with a positive sum.

    Returns:
        The temperature, between e^-3 and e^3.
    """

    # The weights of n rows add up to n, whatever their unit: the prior is worth so many rows.
    shares = weights / weights.max()
    shares = shares * (np.count_nonzero(weights) / shares.sum())

    def objective(log_temperature: float) -> float:
        log_p = log_probabilities(logits, float(np.exp(log_temperature)))
        loss = -(shares * log_p[np.arange(len(codes)), codes]).sum()
        return float(loss + 0.5 * (log_temperature / PRIOR_DEVIATION) ** 2)

    found = minimize_scalar(
        objective, bounds=(-MOST_LOG_TEMPERATURE, MOST_LOG_TEMPERATURE), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))


def class_shares(codes: npt.NDArray[np.int32], weights: Floats, n_classes: int) -> Floats:
    """Share of the weight that each class has among the training rows, ``(n_classes,)``."""
    totals = np.bincount(codes, weights=weights, minlength=n_classes)
    return np.asarray(totals / totals.sum())


def log_prior_ratio(class_prior: Any, labels: Sequence[Hashable], shares: Floats) -> Floats:
    """What to add to logits so that probabilities are right where classes have other shares than in training.

    By Bayes' rule p(class | text) is proportional to p(text | class) p(class): only the second factor changes
    (Saerens, Latinne and Decaestecker, Neural Computation 14 (2002), equation 2.4).

    Args:
        class_prior: Shares where predictions are made: a number > 0 for each of `labels`, as a mapping or in their
            order. They are divided by their sum.
        labels: The classes.
        shares: Their shares in training, ``(n_classes,)``.

    Raises:
        InputError: Not that.
    """
    names = list(labels)
    if isinstance(class_prior, Mapping):
        strange = [label for label in class_prior if label not in names]
        missing = [label for label in names if label not in class_prior]
        if strange or missing:
            wrong = f"names the label {strange[0]!r}" if strange else f"has no share for the label {missing[0]!r}"
            raise InputError(f"class_prior {wrong}: the labels are {names}")
        given = [class_prior[label] for label in names]
    elif isinstance(class_prior, Sequence | np.ndarray) and not isinstance(class_prior, str | bytes):
        given = list(class_prior)
        if len(given) != len(names):
            raise InputError(f"class_prior has {len(given)} shares: expected one for each of the labels {names}")
    else:
        raise InputError(f"class_prior is {class_prior!r:.80}: expected a share for each of the labels {names}")
    for label, share in zip(names, given, strict=True):
        if not is_number(share) or not 0 < share < np.inf:
            raise InputError(f"class_prior of the label {label!r} is {share!r}: expected a number > 0")
    prior = np.array(given, dtype=np.float64)
    return np.asarray(np.log(prior / prior.sum()) - np.log(shares))
