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
#: Classifiers fitted to resampled training rows, for intervals.
N_REFITS = 100


@dataclass(frozen=True)
class Explained:
    """What the native core found in texts: for each the values of its pieces for every class.

    Attributes:
        classifier: The classifier.
        texts: The texts.
        found: Of each text; rows of the classifier first, then as many of each of `n_refits` refits.
        method: How values came about.
        by: ``"word"`` or ``"phrase"``.
        n_refits: How many refits there are.
    """

    classifier: PLRClassifier
    texts: list[str]
    found: list[_core.TextExplanation]
    method: str
    by: str
    n_refits: int

    def explanations(self, number: int | None) -> list[Explanation]:
        """Of the label `number`, or as :func:`fastplr.explanation.explained_labels` says."""
        native = classifier_file.to_native(self.classifier)
        n_rows = len(native["coef"])
        probabilities = _core.probabilities(native, np.array([one["logits"][:n_rows] for one in self.found]))
        return explanations(
            self.texts,
            self.found,
            method=self.method,
            classes=self.classifier.classes_.tolist(),
            labels=explained_labels(probabilities, number),
            predicted=probabilities.argmax(axis=1).tolist(),
            probabilities=probabilities,
            n_refits=self.n_refits,
        )

    def overview(self, min_texts: int = 3) -> Overview:
        """Of all texts."""
        n_rows = len(self.classifier.coef_)
        return overview(
            self.texts,
            [(one["spans"], one["values"][:, :n_rows]) for one in self.found],
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
    if method not in ("auto", *METHODS):
        raise InputError(f"method is {method!r}: expected 'auto', {', '.join(map(repr, METHODS))}")
    settings: dict[str, Any] = {
        "method": method if method != "auto" else DEFAULT_METHOD,
        "spans": wanted_spans(texts, by, spans),
        "budget": None if budget is None else checked_int("budget", budget, 2),
        "seed": checked_int("random_state", random_state, 0),
        "replacement": checked_replacement(replacement),
    }
    refits = _refits(classifier, settings["seed"]) if checked_bool("stability", stability) else []
    data = _stacked(classifier_file.to_native(classifier), refits)
    found = with_engine(
        classifier,
        len(texts),
        "explaining",
        lambda engine, **shared: _core.explain(engine, data, texts, **settings, **shared),
    )
    return Explained(classifier, texts, found, settings["method"], by, len(refits))


def with_engine(classifier: PLRClassifier, n_texts: int, what: str, run: Callable[..., list[T]]) -> list[T]:
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
    """What stands for a span that is taken out. Raises InputError where that is no str."""
    if not isinstance(replacement, str):
        raise InputError(f"replacement is {replacement!r:.60}: expected a str")
    return replacement


def wanted_spans(texts: list[str], by: str, spans: Any) -> list[list[tuple[int, int]]]:
    """Bytes of the pieces to look at: words, phrases or the user's own spans, for each text."""
    if spans is None:
        if by not in ("word", "phrase"):
            raise InputError(f"by is {by!r}: expected 'word' or 'phrase'")
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
