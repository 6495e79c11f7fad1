"""PLR-L: penalised logistic regression on how strongly a language model would answer with each label."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from fastplr import model_store
from fastplr.engine import Kernels
from fastplr.errors import ModelMismatch
from fastplr.inputs import as_labels, as_texts, encode_labels
from fastplr.label_logits import LabelLogits
from fastplr.logistic_regression import LogisticRegression
from fastplr.prompt import Prompt

__all__ = ["LabelLogitsClassifier"]

Floats = npt.NDArray[np.float64]


class LabelLogitsClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Penalised logistic regression on the logits of the answers (PLR-L of Buckmann & Hill 2024, arXiv 2408.03414).

    As many features as the prompt has answers, standardised: it corrects what a model favours in general, and needs
    few rows.

    Args:
        model, prompt: As in :class:`fastplr.LabelLogits`.
        C, Cs, cv, class_weight: As in :class:`fastplr.LogisticRegression`.
        on_long, n_threads, kernels, cache, progress: As in :class:`fastplr.Embedder`.
        random_state: Seed of the folds.

    Attributes:
        classes_: The labels of the rows, in the order of the columns of :meth:`predict_proba`.
        label_logits_: The :class:`fastplr.LabelLogits` in use.
        model_sha256_: sha256 of the model file that it was fitted with; another one is refused.
        mean_, scale_: What standardises its features, float64 ``(n_labels,)``.
        regression_: The fitted :class:`fastplr.LogisticRegression`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
        *,
        prompt: Prompt | None = None,
        C: float | Literal["auto"] = "auto",
        Cs: int | Iterable[float] = 20,
        cv: Any = 10,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        on_long: Literal["error", "truncate"] = "error",
        n_threads: int | None = None,
        kernels: Kernels = True,
        cache: bool | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.C = C
        self.Cs = Cs
        self.cv = cv
        self.class_weight = class_weight
        self.on_long = on_long
        self.n_threads = n_threads
        self.kernels = kernels
        self.cache = cache
        self.progress = progress
        self.random_state = random_state

    def fit(
        self, X: Iterable[str], y: Iterable[Hashable], sample_weight: npt.ArrayLike | None = None
    ) -> LabelLogitsClassifier:
        """Fit on texts `X` and their labels `y`.

        Raises:
            InputError, UnsupportedArchitecture: As :class:`fastplr.LabelLogits`.
        """
        texts = as_texts(X)
        labels = as_labels(y, len(texts))
        classes, codes = encode_labels(labels, y)
        self.label_logits_ = LabelLogits(
            self.model, prompt=self.prompt, on_long=self.on_long, n_threads=self.n_threads, kernels=self.kernels,
            cache=self.cache, progress=self.progress,
        )  # fmt: skip
        self.model_sha256_ = self.label_logits_.embedder().resolve().file_sha256
        features = self.label_logits_.transform(texts)
        self.mean_, self.scale_ = features.mean(axis=0), _scale(features)
        weights = self.class_weight
        if isinstance(weights, Mapping):
            places = {label: code for code, label in enumerate(classes.tolist())}
            weights = {places.get(label, label): weight for label, weight in weights.items()}
        self.regression_ = LogisticRegression(
            C=self.C, Cs=self.Cs, cv=self.cv, class_weight=weights, random_state=self.random_state,
            n_threads=self.n_threads,
        ).fit((features - self.mean_) / self.scale_, codes, sample_weight)  # fmt: skip
        self.classes_ = classes
        return self

    def _features(self, X: Iterable[str]) -> Floats:
        check_is_fitted(self)
        found = self.label_logits_.embedder().resolve()
        if found.file_sha256 != self.model_sha256_:
            raise ModelMismatch(
                f"the classifier belongs to another model: it was fitted with a file of the sha256"
                f" {self.model_sha256_[:12]}...; {found.name!r} is {found.file_sha256[:12]}... now"
            )
        return np.asarray((self.label_logits_.transform(X) - self.mean_) / self.scale_)

    def decision_function(self, X: Iterable[str]) -> Floats:
        """Logits, ``(n_texts,)`` of two classes, else ``(n_texts, n_classes)``.

        Raises:
            ModelMismatch: The model file is another one than at :meth:`fit`; as do the other methods that predict.
        """
        return np.asarray(self.regression_.decision_function(self._features(X)))

    def predict_proba(self, X: Iterable[str]) -> Floats:
        """Probabilities, float64 ``(n_texts, n_classes)``."""
        return np.asarray(self.regression_.predict_proba(self._features(X)))

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable label of each text, ``(n_texts,)``."""
        return np.asarray(self.classes_[self.regression_.predict(self._features(X))])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _scale(features: Floats) -> Floats:
    """Standard deviations; 1 where a column is constant."""
    deviations = features.std(axis=0)
    return np.asarray(np.where(deviations > 0, deviations, 1.0))
