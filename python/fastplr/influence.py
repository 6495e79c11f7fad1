"""Which training rows a text is like, and which of them its decision hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastplr import _core, classifier_file
from fastplr.calibration import log_probabilities
from fastplr.errors import InputError
from fastplr.laplace import MAX_ORDER, LaplaceApproximation

if TYPE_CHECKING:
    from fastplr.classifier import PLRClassifier

__all__ = ["TrainingRow", "influences", "nearest"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainingRow:
    """A row that a classifier was fitted on, as seen from a text.

    Attributes:
        row: Its position among the texts that were given to ``fit``, from 0.
        label: Its label there.
        similarity: Cosine of the two texts' standardised features, -1 to 1; of training rows 0 on average.
        influence: The text's logit of the label that is looked at, less what it would be by a fit without this row.
            None where it was not asked for.
    """

    row: int
    label: Any
    similarity: float
    influence: float | None = None


def nearest(classifier: PLRClassifier, features: npt.NDArray[np.float32], n: int) -> list[list[TrainingRow]]:
    """As :meth:`fastplr.PLRClassifier.nearest`, of embedded texts."""
    training = _Training(classifier, "nearest training rows")
    similarities = training.similarities(features)
    return [
        [training.row(k, of_text[k]) for k in np.argsort(-of_text, kind="stable")[:n].tolist()]
        for of_text in similarities
    ]


def influences(
    classifier: PLRClassifier, features: npt.NDArray[np.float32], numbers: Sequence[int], n: int
) -> list[list[TrainingRow]]:
    """As :meth:`fastplr.PLRClassifier.influence`, of embedded texts and the numbers of the labels looked at."""
    training = _Training(classifier, "influence")
    similarities = training.similarities(features)
    changes = training.logit_changes(features)
    found = []
    for of_text, change, number in zip(similarities, changes, numbers, strict=True):
        own = change[:, number]
        strongest = np.argsort(-np.abs(own), kind="stable")[:n].tolist()
        found.append([training.row(k, of_text[k], own[k]) for k in strongest])
    return found


class _Training:
    """The training rows that a classifier keeps and that count."""

    def __init__(self, classifier: PLRClassifier, what: str) -> None:
        kept = classifier._kept_training(what)
        if classifier.training_rows_ is None:
            raise InputError(f"the file is of an older version, which did not keep row numbers: {what} needs a new fit")
        counts = np.flatnonzero(kept["weights"] > 0)
        self._classifier = classifier
        self._rows = classifier.training_rows_[counts]
        self._features = kept["features"][counts]
        self._codes = kept["codes"][counts]
        # Where only a sample is kept, each stands for as many.
        self._weights = kept["weights"][counts]
        self._share = len(kept["codes"]) / classifier.report_["n_texts"]
        self._labels = classifier.classes_.tolist()

    def row(self, k: int, similarity: float, influence: float | None = None) -> TrainingRow:
        return TrainingRow(
            int(self._rows[k]),
            self._labels[self._codes[k]],
            float(similarity),
            None if influence is None else float(influence),
        )

    def similarities(self, features: npt.NDArray[np.float32]) -> Floats:
        """``(n_texts, n_rows)``."""
        units = []
        for some in (features, self._features):
            rows = self._standardised(some)
            units.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
        return np.asarray(units[0] @ units[1].T)

    def logit_changes(self, features: npt.NDArray[np.float32]) -> Floats:
        """Logits by the fit less those without each row: ``(n_texts, n_rows, n_classes)``."""
        classifier = self._classifier
        if not np.isfinite(classifier.C_):
            raise InputError("C is infinite: influence needs a penalty; fit with a finite C")
        order = len(self._rows) * (len(self._labels) - 1)
        if order > MAX_ORDER:
            raise InputError(
                f"influence of {len(self._rows)} training rows in {len(self._labels)} classes needs a matrix of order "
                f"{order}: expected at most {MAX_ORDER}, so fewer rows or classes; nearest() has no such bound"
            )
        logits = _core.decision_function(classifier_file.to_native(classifier), self._features)
        laplace = LaplaceApproximation(
            self._standardised(self._features),
            np.exp(log_probabilities(logits, 1.0)),
            self._weights / self._share,
            1.0 / classifier.C_,
            fit_intercept=True,
        )
        changes = laplace.leave_one_out_changes(self._standardised(features), self._codes)
        # A row's own weight is not that of all it stands for.
        changes = changes * self._share @ laplace.contrasts.T
        return np.stack([-changes[..., 1], changes[..., 1]], axis=-1) if len(self._labels) == 2 else changes

    def _standardised(self, features: npt.NDArray[np.float32]) -> Floats:
        return np.asarray((features.astype(np.float64) - self._classifier.mean_) / self._classifier.scale_)
