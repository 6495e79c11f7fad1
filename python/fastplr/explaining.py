"""How a classifier's explanations are computed: checks, the engine, resampled classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastplr import _core, classifier_file
from fastplr.engine import release_others
from fastplr.errors import ContextMemoryError, InputError
from fastplr.explanation import METHODS, Explanation, byte_spans, explained_labels, explanations
from fastplr.inputs import as_texts
from fastplr.logistic_regression import LogisticRegression
from fastplr.overview import Overview, overview
from fastplr.progress import text_bar
from fastplr.solver_inputs import checked_bool, checked_int

if TYPE_CHECKING:
    from fastplr.classifier import PLRClassifier

__all__ = ["Explained", "checked_replacement", "explained", "wanted_spans", "with_engine"]

T = TypeVar("T")
Floats = npt.NDArray[np.float64]

#: What ``"auto"`` is.
DEFAULT_METHOD = "surrogate"
#: Variants of one text, as kLargestBudget of fastplr/explain.hpp: more would fill the memory.
MAX_BUDGET = 100_000
#: Classifiers fitted to resampled training rows, for intervals.
N_REFITS = 100
#: Texts whose values by all refits are held at once.
N_TEXTS_OF_REFITS = 256


@dataclass(frozen=True)
class Explained:
    """What the native core found in texts: for each the values of its pieces for every class.

    Attributes:
        classifier: The classifier.
        texts: The texts.
        found: Of each text.
        intervals: Of each text the ends of its values' intervals, ``(2, n_spans, n_rows)``; None without `stability`.
        method: How values came about.
        by: ``"word"`` or ``"phrase"``.
    """

    classifier: PLRClassifier
    texts: list[str]
    found: list[_core.TextExplanation]
    intervals: list[Floats] | None
    method: str
    by: str

    def explanations(self, number: int | None) -> list[Explanation]:
        """Of the label `number`, or as :func:`fastplr.explanation.explained_labels` says."""
        native = classifier_file.to_native(self.classifier)
        probabilities = _core.probabilities(native, np.array([one["logits"] for one in self.found]))
        return explanations(
            self.texts,
            self.found,
            method=self.method,
            classes=self.classifier.classes_.tolist(),
            labels=explained_labels(probabilities, number),
            predicted=probabilities.argmax(axis=1).tolist(),
            probabilities=probabilities,
            intervals=self.intervals,
        )

    def overview(self, min_texts: int = 3) -> Overview:
        """Of all texts."""
        return overview(
            self.texts,
            [(one["spans"], one["values"]) for one in self.found],
            self.classifier.classes_.tolist(),
            min_texts=min_texts,
            method=self.method,
            by=self.by,
        )


def explained(
    classifier: PLRClassifier,
    X: Any,
    *,
    method: Any = "auto",
    by: Any = "word",
    spans: Any = None,
    budget: Any = None,
    stability: Any = False,
    replacement: Any = "",
    random_state: Any = 0,
) -> Explained:
    """Computes everything; arguments as of :meth:`fastplr.PLRClassifier.explain`."""
    texts = as_texts(X)
    if not isinstance(method, str) or method not in ("auto", *METHODS):
        raise InputError(f"method is {method!r:.60}: expected 'auto', {', '.join(map(repr, METHODS))}")
    if budget is not None and method in ("additive", "occlusion"):
        raise InputError(f"budget is {budget!r:.60}, but {method!r} computes what it computes: expected None")
    settings: dict[str, Any] = {
        "method": method if method != "auto" else DEFAULT_METHOD,
        "spans": wanted_spans(texts, by, spans),
        "budget": None if budget is None else checked_int("budget", budget, 2, MAX_BUDGET),
        "seed": checked_int("random_state", random_state, 0),
        "replacement": checked_replacement(replacement),
    }
    refits = _refits(classifier, settings["seed"]) if checked_bool("stability", stability) else []
    native = classifier_file.to_native(classifier)
    data = _stacked(native, refits)
    # The values of a hundred refits are many: those of some texts at a time become intervals.
    n_at_once = len(texts) if not refits else N_TEXTS_OF_REFITS
    found: list[_core.TextExplanation] = []
    intervals: list[Floats] = []

    def run(engine: Any, *, truncate: bool, on_progress: Callable[[int, int], object]) -> None:
        found.clear()
        intervals.clear()
        spans = settings["spans"]
        for first in range(0, len(texts), n_at_once):
            end = first + n_at_once

            def count(n_done: int, _: int, first: int = first) -> None:
                on_progress(first + n_done, len(texts))

            some = _core.explain(
                engine, data, texts[first:end], **settings | {"spans": spans[first:end]}, truncate=truncate,
                on_progress=count,
            )  # fmt: skip
            if refits:
                intervals.extend(_interval(one["values"], len(native["coef"])) for one in some)
                some = [_of_rows(one, len(native["coef"])) for one in some]
            found.extend(some)

    with_engine(classifier, len(texts), "explaining", run)
    return Explained(classifier, texts, found, intervals if refits else None, settings["method"], by)


def _interval(values: Floats, n_rows: int) -> Floats:
    """5 and 95 % quantiles over the refits, whose rows follow those of the classifier: ``(2, n_spans, n_rows)``."""
    refits = values[:, n_rows:].reshape(len(values), -1, n_rows)
    return np.asarray(np.quantile(refits, [0.05, 0.95], axis=1))


def _of_rows(one: _core.TextExplanation, n_rows: int) -> _core.TextExplanation:
    """Without the refits."""
    errors = one["standard_errors"]
    return {
        **one,
        "values": one["values"][:, :n_rows].copy(),
        "standard_errors": None if errors is None else errors[:, :n_rows].copy(),
        "logits": one["logits"][:n_rows],
        "base": one["base"][:n_rows],
        "prompt": one["prompt"][:n_rows],
    }


def with_engine(classifier: PLRClassifier, n_texts: int, what: str, run: Callable[..., T]) -> T:
    """What `run` says, called with the engine, `truncate` and `on_progress`; a bar counts texts."""
    embedder = classifier.embedder_
    classifier_file.check_model(
        embedder.resolve(), classifier.model_identity_, classifier._allow_variant, classifier.model_name_
    )
    engine = embedder._native_engine([classifier.layer_])
    with text_bar(n_texts, what, embedder.progress) as bar:

        def count(n_done: int, _: int) -> None:
            bar.update(n_done - bar.n)

        settings: dict[str, Any] = {"truncate": embedder.on_long == "truncate", "on_progress": count}
        try:
            return run(engine, **settings)
        except ContextMemoryError:
            if not release_others(engine):
                raise
            return run(engine, **settings)


def checked_replacement(replacement: Any) -> str:
    """What stands for a span that is taken out. Raises InputError where that is no str that a text may hold."""
    if not isinstance(replacement, str):
        raise InputError(f"replacement is {replacement!r:.60}: expected a str")
    if "\0" in replacement or any("\ud800" <= one <= "\udfff" for one in replacement):
        raise InputError(f"replacement is {replacement!r:.60}: expected text without NUL and lone surrogates")
    return replacement


def wanted_spans(texts: list[str], by: str, spans: Any) -> list[list[tuple[int, int]]]:
    """Bytes of the pieces to look at: words, phrases or the user's own spans, for each text."""
    if spans is None:
        if not isinstance(by, str) or by not in ("word", "phrase"):
            raise InputError(f"by is {by!r:.60}: expected 'word' or 'phrase'")
        find = _core.words_of if by == "word" else _core.phrases_of
        return [find(text) for text in texts]
    if isinstance(spans, str) or not isinstance(spans, Sequence) or len(spans) != len(texts):
        size = f"of length {len(spans)}" if isinstance(spans, Sequence) else f"a {type(spans).__name__}"
        raise InputError(f"spans is {size}: expected a list of (start, end) for each of {len(texts)} texts")
    return [byte_spans(text, some, index) for index, (text, some) in enumerate(zip(texts, spans, strict=True))]


def _refits(classifier: PLRClassifier, random_state: int) -> list[tuple[Floats, Floats]]:
    """Coefficients and intercepts of classifiers fitted to resampled training rows, at the same penalty.

    Each class is resampled on its own (the stratified bootstrap), so that no class runs empty.
    """
    kept = classifier._kept_training("stability")
    if not np.isfinite(classifier.C_):
        raise InputError("C is infinite: stability needs a penalty; fit with a finite C")
    rng = np.random.default_rng(random_state)
    codes, weights = kept["codes"], kept["weights"]
    standardised = (kept["features"] - classifier.mean_) / classifier.scale_
    rows_of = [np.flatnonzero((codes == code) & (weights > 0)) for code in range(len(classifier.classes_))]
    solver = LogisticRegression(C=classifier.C_, tol=1e-4)
    refits = []
    for _ in range(N_REFITS):
        drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in rows_of])
        counts = np.bincount(drawn, minlength=len(codes)) * weights
        some = np.flatnonzero(counts)
        solver.fit(standardised[some], codes[some], sample_weight=counts[some])
        refits.append((solver.coef_.copy(), solver.intercept_.copy()))
    return refits


def _stacked(native: dict[str, Any], refits: Sequence[tuple[Floats, Floats]]) -> dict[str, Any]:
    """The classifier with the rows of the refits below its own: their logits and shares come out of the same pass."""
    if not refits:
        return native
    coef = np.concatenate([native["coef"], *(coef for coef, _ in refits)])
    return native | {
        "coef": coef,
        "intercept": np.concatenate([native["intercept"], *(intercept for _, intercept in refits)]),
        "labels": [str(row) for row in range(len(coef))],
        "label_kinds": ["int"] * len(coef),
        "log_prior_ratio": np.zeros(0),
    }
