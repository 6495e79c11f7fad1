"""The classifier of texts: prompt, embedding, standardisation and penalised logistic regression in one estimator."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Hashable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from fastplr import _core, classifier_file, model_store
from fastplr.embedder import Embedder, Layer
from fastplr.errors import InputError
from fastplr.inputs import as_labels, as_texts, encode_labels
from fastplr.logistic_regression import LogisticRegression
from fastplr.prompt import Prompt

__all__ = ["PLRClassifier", "classifier_file_info", "fit", "load", "predict"]

Floats = npt.NDArray[np.float64]
classifier_file_info = classifier_file.info


class PLRClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Penalised logistic regression on the hidden states of a language model, for texts.

    Args:
        model: A catalogue name (fetched on first use), the path of a GGUF file, or ``"hf:OWNER/REPO/FILE"``.
        prompt: A :class:`fastplr.Prompt`, a str (an instruction before the text) or None.
        layer: Which hidden states, as in :class:`fastplr.Embedder`; ``"auto"`` means ``"middle"``.
        pooling: How a text's tokens become one vector, as in :class:`fastplr.Embedder`; ``"auto"`` means ``"mean"``.
        C: Inverse strength of the penalty, > 0; infinite for none; ``"auto"`` chooses it by cross-validated log-loss.
        Cs: Penalties to choose from: their number or their values.
        cv: Folds of that choice: their number (stratified; fewer, with a warning, where a class has fewer rows), a
            scikit-learn splitter, or ``"loo"``.
        class_weight: None, ``"balanced"`` (rows weighted so that classes count alike) or a weight for each label.
        on_long: What to do with texts longer than the context: ``"error"``, or ``"truncate"`` with a warning.
        n_threads: Threads of computation. Default: the cores that this process may use.
        cache: Where to keep features on disk, as in :class:`fastplr.Embedder`. Default: nowhere.
        progress: Whether to show a progress bar on standard error. Default: only on a terminal.
        random_state: Seed of the folds.

    Attributes:
        classes_: The labels, in the order of the columns of :meth:`predict_proba`.
        layer_: The layer in use, a number.
        pooling_: The pooling in use.
        C_: The penalty in use.
        coef_: float64 ``(1, n_embd)`` for two classes, else ``(n_classes, n_embd)``, for standardised features.
        intercept_: float64 ``(1,)`` or ``(n_classes,)``.
        embedder_: The :class:`fastplr.Embedder` in use.
        report_: What was fitted, on what, and how well, as plain values.
        model_name_: The model as it was named; a path in full.
        model_identity_: sha256 of the source model and what was made from it.

    Example:
        >>> clf = PLRClassifier(prompt="Is the following review positive or negative? ")  # doctest: +SKIP
        >>> clf.fit(texts, labels).predict_proba(["Not bad at all."])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
        *,
        prompt: Prompt | str | None = None,
        layer: Layer | Literal["auto"] = "auto",
        pooling: str = "auto",
        C: float | Literal["auto"] = "auto",
        Cs: int | Iterable[float] = 20,
        cv: Any = 10,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        on_long: Literal["error", "truncate"] = "error",
        n_threads: int | None = None,
        cache: bool | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.layer = layer
        self.pooling = pooling
        self.C = C
        self.Cs = Cs
        self.cv = cv
        self.class_weight = class_weight
        self.on_long = on_long
        self.n_threads = n_threads
        self.cache = cache
        self.progress = progress
        self.random_state = random_state

    # -- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, X: Iterable[str], y: Iterable[Hashable], sample_weight: npt.ArrayLike | None = None) -> PLRClassifier:
        """Fit on texts `X` and their labels `y`.

        Args:
            X: One-dimensional collection of str.
            y: As many labels, of any hashable kind.
            sample_weight: ``(n_texts,)`` weights >= 0 of the rows; default: 1.

        Raises:
            InputError: Texts, labels, weights or parameters that cannot be used; fewer than two classes.
            ModelError, UnsupportedArchitecture, ContextMemoryError: As :meth:`fastplr.Embedder.embed`.

        Warns:
            NotConverged: The solver stopped before its certificate held.
            TruncationWarning: Texts were cut (``on_long="truncate"``).
            CacheWarning: The cache on disk cannot be used.
        """
        texts = as_texts(X)
        labels = as_labels(y, len(texts))
        classes, codes = encode_labels(labels, y)
        weights = self._checked_weights(sample_weight, len(texts))
        solver = self._solver(classes)
        self._check_every_class_counts(classes, codes, weights)
        embedder = self._embedder()

        started = time.perf_counter()
        layer, pooling = embedder.layer_number(embedder.layer), embedder.pooling
        features, n_tokens = embedder._embed_counted(texts, layer, pooling, None)
        embedded = time.perf_counter()
        # Only ratios of weights matter to means and deviations; sums of huge ones would overflow.
        shares = None if weights is None else weights / weights.max()
        scaler = StandardScaler().fit(features.astype(np.float64), sample_weight=shares)
        standardised = scaler.transform(features.astype(np.float64))
        solver.fit(standardised, codes, sample_weight=weights)
        solved = time.perf_counter()

        resolved = embedder.resolve()
        self.classes_ = classes
        self.embedder_ = embedder
        self.layer_, self.pooling_ = layer, pooling
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_, self.C_ = solver.coef_, solver.intercept_, float(solver.C_)
        self.model_identity_ = classifier_file.identity_of(resolved)
        self.model_name_ = classifier_file.named(embedder)
        self.report_: dict[str, Any] = {
            "n_texts": len(texts),
            "classes": [
                {"label": label, "count": int(count)}
                for label, count in zip(classes.tolist(), np.bincount(codes), strict=True)
            ],
            "model": {"name": resolved.name, **self.model_identity_},
            "layer": layer,
            "pooling": pooling,
            "C": self.C_,
            "lambda": 1.0 / self.C_,
            "cv": self._cross_validated(solver, standardised, codes, weights),
            "n_tokens": n_tokens,
            "embed_seconds": embedded - started,
            "solve_seconds": solved - embedded,
            "n_iter": int(np.max(solver.n_iter_)),
            "converged": bool(solver.converged_),
        }
        return self

    def _embedder(self) -> Embedder:
        return Embedder(
            self.model,
            layer="middle" if self.layer == "auto" else self.layer,
            pooling="mean" if self.pooling == "auto" else self.pooling,
            prompt=self.prompt,
            on_long=self.on_long,
            n_threads=self.n_threads,
            cache=self.cache,
            progress=self.progress,
        )

    def _solver(self, classes: npt.NDArray[Any]) -> LogisticRegression:
        class_weight: Any = self.class_weight
        if isinstance(class_weight, Mapping):
            names = classes.tolist()
            unknown = [label for label in class_weight if label not in names]
            if unknown:
                raise InputError(f"class_weight names the label {unknown[0]!r}: the labels are {names}")
            for label, weight in class_weight.items():
                number = isinstance(weight, Real) and not isinstance(weight, bool | np.bool_)
                if not number or not 0 <= weight < np.inf:
                    raise InputError(f"class_weight[{label!r}] is {weight!r}: expected a finite number >= 0")
            class_weight = {code: class_weight[name] for code, name in enumerate(names) if name in class_weight}
        return LogisticRegression(
            self.C,
            Cs=self.Cs,
            cv=self.cv,
            class_weight=class_weight,
            random_state=self.random_state,
            n_threads=self.n_threads,
        )

    @staticmethod
    def _checked_weights(sample_weight: npt.ArrayLike | None, n_texts: int) -> Floats | None:
        if sample_weight is None:
            return None
        try:
            weights = np.asarray(sample_weight, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"sample_weight is not numeric: {error}") from None
        if weights.shape != (n_texts,):
            raise InputError(f"sample_weight has the shape {weights.shape}: expected ({n_texts},)")
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if bad.size:
            raise InputError(f"sample_weight[{bad[0]}] is {weights[bad[0]]}: expected a finite number >= 0")
        if not np.isfinite(weights.sum()):
            raise InputError(f"sample_weight adds up to {weights.sum()}: expected a finite sum")
        if not weights.any():
            raise InputError("sample_weight is zero for every text: expected at least one positive weight")
        return weights

    def _check_every_class_counts(
        self, classes: npt.NDArray[Any], codes: npt.NDArray[np.int32], weights: Floats | None
    ) -> None:
        """The solver would say so too, but it does not know the labels."""
        factors = self.class_weight if isinstance(self.class_weight, Mapping) else {}
        for label, total in zip(classes.tolist(), np.bincount(codes, weights=weights), strict=True):
            if total * factors.get(label, 1.0) == 0:
                raise InputError(f"the label {label!r} has no text of positive weight: every label needs one")

    def _cross_validated(
        self, solver: LogisticRegression, standardised: Floats, codes: npt.NDArray[np.int32], weights: Floats | None
    ) -> dict[str, float | int] | None:
        """Log-loss and accuracy over the folds at the chosen penalty. Slightly hopeful: the folds chose the penalty."""
        if solver.cv_scores_ is None:
            return None
        chosen = int(np.flatnonzero(solver.Cs_ == solver.C_)[0])
        summary: dict[str, float | int] = {
            "n_folds": int(solver.cv_scores_.shape[0]),
            "neg_log_loss": float(np.mean(solver.cv_scores_[:, chosen])),
        }
        if isinstance(self.cv, Integral | str) or hasattr(self.cv, "split"):  # an iterable of splits is used up by now
            by_accuracy = clone(solver).set_params(Cs=[solver.C_], scoring="accuracy")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the first fit has said what there is to say of the folds
                by_accuracy.fit(standardised, codes, sample_weight=weights)
            summary["accuracy"] = float(np.mean(by_accuracy.cv_scores_))
        return summary

    # -- predicting --------------------------------------------------------------------------------------------------

    def _features(self, X: Iterable[str]) -> npt.NDArray[np.float32]:
        check_is_fitted(self)
        texts = as_texts(X)
        classifier_file.check_model(
            self.embedder_.resolve(), self.model_identity_, self._allow_variant, self.model_name_
        )
        return self.embedder_._embed_counted(texts, self.layer_, self.pooling_, None)[0]

    @property
    def _allow_variant(self) -> bool:
        return bool(getattr(self, "allow_variant_", False))

    def decision_function(self, X: Iterable[str]) -> Floats:
        """Logits: float64 ``(n_texts,)`` for two classes (of the second), else ``(n_texts, n_classes)``.

        Raises as :meth:`fastplr.Embedder.embed`; NotFittedError before :meth:`fit`.
        """
        features = self._features(X)
        logits = _core.decision_function(classifier_file.to_native(self), features)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Iterable[str]) -> Floats:
        """Probabilities in the order of `classes_`: float64 ``(n_texts, n_classes)``. Raises as above."""
        features = self._features(X)
        return _core.predict_proba(classifier_file.to_native(self), features)

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable label of each text: ``(n_texts,)``, of the kind given to :meth:`fit`. Raises as above."""
        most_probable = np.argmax(self.predict_proba(X), axis=1)
        labels: npt.NDArray[Any] = self.classes_[most_probable]
        return labels

    # -- keeping -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classifier to one file (GGUF; no pickle, nothing that can execute), atomically.

        The model is not in it: it is named by its sha256 and by what was made from it.

        Raises:
            InputError: Labels that a file cannot hold (other than str, int, bool, float).
            ClassifierFileError: The file cannot be written; what was there before is kept.
        """
        check_is_fitted(self)
        classifier_file.save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | os.PathLike[str] | None = None,
        allow_variant: bool = False,
    ) -> PLRClassifier:
        """Read a classifier that :meth:`save` wrote; the model is resolved now and loaded on first use.

        Args:
            path: The classifier file.
            model: Where the model is, if not where it was at fitting: a name, a path, or ``"hf:..."``. Where it is
                the source of the variant that the classifier was trained on, the variant is made from it.
            allow_variant: Accept another variant of the same source model, with a warning.

        Raises:
            ClassifierFileError: No classifier file, cut short, damaged, or from a newer version.
            ModelMismatch: The model is another one than the classifier was trained on.
            ModelError: The model cannot be found.
        """
        return classifier_file.load(cls, path, model=model, allow_variant=allow_variant)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def fit(
    texts: Iterable[str],
    labels: Iterable[Hashable],
    *,
    model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
    prompt: Prompt | str | None = None,
    sample_weight: npt.ArrayLike | None = None,
    **params: Any,
) -> PLRClassifier:
    """A :class:`PLRClassifier` fitted on `texts` and `labels`; `params` are its other parameters.

    Raises as :meth:`PLRClassifier.fit`; InputError for a parameter that it does not have.
    """
    try:
        classifier = PLRClassifier(model, prompt=prompt, **params)
    except TypeError:
        known = sorted(PLRClassifier._get_param_names())
        unknown = sorted(set(params) - set(known))
        raise InputError(f"unknown parameter {unknown[0]!r}: expected some of {', '.join(known)}") from None
    return classifier.fit(texts, labels, sample_weight=sample_weight)


def predict(classifier_or_path: PLRClassifier | str | os.PathLike[str], texts: Iterable[str]) -> npt.NDArray[Any]:
    """Labels of `texts` by a fitted classifier or by one in a file. Raises as PLRClassifier.load and predict."""
    if isinstance(classifier_or_path, PLRClassifier):
        return classifier_or_path.predict(texts)
    if isinstance(classifier_or_path, str | os.PathLike):
        return load(classifier_or_path).predict(texts)
    raise InputError(
        f"classifier is {classifier_or_path!r:.80} of type {type(classifier_or_path).__name__}: "
        "expected a PLRClassifier or the path of a classifier file"
    )


def load(
    path: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None, allow_variant: bool = False
) -> PLRClassifier:
    """As :meth:`PLRClassifier.load`."""
    return PLRClassifier.load(path, model=model, allow_variant=allow_variant)
