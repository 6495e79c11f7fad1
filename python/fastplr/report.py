"""What a fit found out: plain values by name, some of them computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastplr import report_page
from fastplr.assessment import (
    confusions,
    disputed_rows,
    estimate,
    learning_curve,
    nested_log_probabilities,
    outer_folds,
    per_class,
)
from fastplr.calibration import log_probabilities
from fastplr.errors import InputError
from fastplr.fitting import Fit, FitSettings
from fastplr.folds import is_given, restricted
from fastplr.representation import TrainingRows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LaterValues", "Report"]

Floats = npt.NDArray[np.float64]
Later = tuple[tuple[str, ...], Callable[[], Mapping[str, Any]]]

_HELD_OUT = ("estimate", "per_class", "confusions", "disputed")
_CURVE = "learning_curve"
# With fewer rows of every class the parts of which a learning curve is made are all of one size.
FEWEST_FOR_CURVE = 3


class Report(Mapping[str, Any]):
    """What a fit found out, as str, int, float, list and dict.

    Known at once: ``n_texts``, ``classes`` (label and count), ``model``, ``layer``, ``n_layers``, ``pooling``, ``C``,
    ``lambda``, ``temperature``, ``n_folds``, ``candidates`` (layers and poolings with their held-out log-loss over the
    penalties, best first), ``n_tokens``, ``embed_seconds``, ``solve_seconds``, ``n_iter``, ``converged``. Computed when
    first asked for:

    - ``estimate``: scores to expect on new texts, with 95 % intervals, by nested cross-validation; classes have the
      shares of `class_prior` in them;
    - ``per_class``: precision and recall with 95 % intervals, and F1, of each class, by the same held-out predictions;
    - ``confusions``: which labels are taken for which, the most frequent first;
    - ``disputed``: rows whose label the model disputes (row number from 0, label, its probability, what is predicted);
    - ``learning_curve``: balanced accuracy by the number of rows, and what 50 more labels would bring.

    Of more than 2,000 texts these look at 2,000 where the layer or the pooling was chosen. A file holds what was
    computed before it was saved. Until all of it is computed, by :meth:`compute` for instance, the report keeps the
    features of these texts at every layer and pooling compared in memory: 4 bytes times texts, layers, poolings and
    the model's width (55 MB for 2,000 texts and the default model).

    Args:
        known: Values.
        later: Names, and the function that computes their values.
    """

    def __init__(self, known: Mapping[str, Any], later: Sequence[Later] = ()) -> None:
        self._known = dict(known)
        self._later = list(later)

    def __getitem__(self, name: str) -> Any:
        if name in (*_HELD_OUT, _CURVE) and name not in self:
            raise KeyError(f"{name!r}, which was not computed: of so few texts, or not before saving or pickling")
        for one in self._later:
            if name in one[0]:
                self._known.update(one[1]())
                self._later.remove(one)
                break
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._known, *(name for names, _ in self._later for name in names)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return any(name == one for one in self)

    def __repr__(self) -> str:
        missing = [name for names, _ in self._later for name in names]
        return f"Report({self._known!r}, not computed so far: {', '.join(missing) or 'nothing'})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_known": self._known, "_later": []}

    def known(self) -> dict[str, Any]:
        """What was computed so far."""
        return dict(self._known)

    def compute(self) -> dict[str, Any]:
        """Everything, computed where it was not; the features it was computed from are let go."""
        return dict(self)

    def format(self) -> str:
        """A text of several lines for people. Computes what was not."""
        return report_page.as_text(self.compute())

    def to_html(self, texts: Sequence[str] | None = None) -> str:
        """A page for people, in one file without scripts; with the pictures where matplotlib is installed.

        Args:
            texts: The training texts, in their order, to be shown beside disputed labels.

        Raises:
            InputError: There are fewer or more of them than training rows.
        """
        n_texts = self["n_texts"]
        if texts is not None and len(texts) != n_texts:
            raise InputError(f"there are {len(texts)} texts: expected the {n_texts} training texts")
        return report_page.as_html(self.compute(), texts)

    def plot(self) -> Figure:
        """The held-out log-loss over penalties and layers, and the learning curve.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return report_page.picture(self.compute())

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True)
class LaterValues:
    """What a report computes on demand.

    Attributes:
        fit: The fit.
        rows: All training rows.
        settings: As they were for the fit.
        labels: Of the classes.
        fallback: As in :func:`fastplr.fitting.fit_features`.
        prior_ratio: As :func:`fastplr.calibration.log_prior_ratio` gives it, or empty.
        progress: Whether to show bars on standard error; None: only on a terminal.
    """

    fit: Fit
    rows: TrainingRows
    settings: FitSettings
    labels: list[Any]
    fallback: tuple[int, str]
    prior_ratio: Floats
    progress: bool | None

    def parts(self) -> list[Later]:
        """Names of values, and what computes them."""
        if not self.fit.among.candidates:
            return []  # no fold was possible
        parts: list[Later] = [(_HELD_OUT, self._held_out)]
        if np.bincount(self._some.codes[self._some.fit_weights > 0]).max() >= FEWEST_FOR_CURVE:
            parts.append(((_CURVE,), self._learning_curve))
        return parts

    @property
    def _some(self) -> TrainingRows:
        """The rows among which layer and pooling were chosen."""
        return self.rows.take(self.fit.among.rows)

    def _held_out(self) -> dict[str, Any]:
        settings, rows, among = self.settings, self._some, self.fit.among
        if len(rows) < len(self.rows) and is_given(settings.cv):
            settings = replace(settings, cv=restricted(settings.cv, among.rows))
        ratio = self.prior_ratio if len(self.prior_ratio) else np.zeros(rows.n_classes)
        log_p = nested_log_probabilities(among, rows, settings, self.fallback, progress=self.progress)
        scored = np.flatnonzero(~np.isnan(log_p[:, 0]))
        log_p, codes = log_p[scored], rows.codes[scored]
        # As where predictions are made: classes have the shares of class_prior there.
        told = log_probabilities(log_p, 1.0, ratio)
        weights = rows.score_weights[scored] / rows.score_weights.max() * np.exp(ratio - ratio.max())[codes]
        predicted = told.argmax(axis=1).astype(np.int32)
        found = (
            {**estimate(told, codes, weights), "n_folds": len(outer_folds(rows, settings)), "n_rows": len(rows)},
            per_class(predicted, codes, self.labels, weights),
            confusions(predicted, codes, self.labels),
            disputed_rows(log_p, codes, among.rows[scored], self.labels),
        )
        return dict(zip(_HELD_OUT, found, strict=True))

    def _learning_curve(self) -> dict[str, Any]:
        found = learning_curve(
            self.fit.features[self.fit.among.rows], self._some, self.fit.solver.C_, n_rows=len(self.rows), seed=0,
            n_threads=self.settings.n_threads, progress=self.progress,
        )  # fmt: skip
        return {_CURVE: found}
