"""The classifier of texts: prompt, embedding, standardisation and penalised logistic regression in one estimator."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from fastplr import _core, classifier_file, influence, model_store
from fastplr.calibration import class_shares, log_prior_ratio, log_probabilities
from fastplr.conformal import label_sets, p_values
from fastplr.counterfactual import Counterfactual, find
from fastplr.embedder import Embedder, Layer
from fastplr.engine import Kernels
from fastplr.errors import InputError
from fastplr.explaining import explained
from fastplr.explanation import Explanation, explained_labels
from fastplr.familiarity import Familiarity
from fastplr.fitting import Fit, FitSettings, fit_rows, settings_read, stratified_sample
from fastplr.influence import TrainingRow
from fastplr.inputs import as_labels, as_texts, encode_labels, label_number
from fastplr.overview import Overview
from fastplr.prompt import Prompt
from fastplr.report import LaterValues, Report
from fastplr.representation import TrainingRows, candidate_layers
from fastplr.solver_inputs import checked_bool, checked_int, is_number
from fastplr.threads import default_threads
from fastplr.training_rows import training_rows

__all__ = ["PLRClassifier", "classifier_file_info", "fit", "load", "predict"]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
classifier_file_info = classifier_file.info

#: Training rows that are kept; where there are more, a stratified sample of them.
MAX_ROWS_KEPT = 2000


class PLRClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Penalised logistic regression on the hidden states of a language model, for texts.

    Args:
        model: A catalogue name (fetched on first use), the path of a GGUF file, or ``"hf:OWNER/REPO/FILE"``.
        prompt: A :class:`fastplr.Prompt`, a str (an instruction before the text) or None.
        layer: Which hidden states, as in :class:`fastplr.Embedder`; ``"auto"`` chooses among up to six layers, from a
            quarter of the model's depth to `max_layer` of it.
        pooling: How a text's tokens become one vector, as in :class:`fastplr.Embedder`; ``"auto"`` chooses between
            ``"mean"`` and ``"mean_all"``.
        C: Inverse strength of the penalty, > 0; infinite for none; ``"auto"`` chooses it.
        Cs: Penalties to choose from: their number or their values.
        cv: Folds of these choices, which are made together by log-loss: their number (stratified; fewer, with a
            warning, where a class has fewer rows), a scikit-learn splitter, or ``"loo"``.
        class_weight: None, ``"balanced"`` (rows weighted so that classes count alike) or a weight for each label.
        class_prior: Shares of the classes where predictions will be made, as a mapping from labels or in the order of
            ``classes_``, for probabilities that are right there. Default: those of the training rows.
        calibrate: Whether probabilities are corrected by a temperature that is fitted to held-out rows.
        speed: Prefer the shallowest layer whose log-loss is within one standard error of the best.
        max_layer: Share of the model's depth that ``layer="auto"`` may reach, 0 to 1.
        keep_training: Whether features and held-out logits of the training rows (2,000 at most) are kept, in files
            too: for :meth:`predict_set`, :meth:`familiarity`, :meth:`nearest`, :meth:`influence` and the `stability` of
            :meth:`explain`. Numbers, but they tell something of the texts.
        on_long: What to do with texts longer than the context: ``"error"``, or ``"truncate"`` with a warning.
        n_threads: Threads of computation. Default: the cores that this process may use.
        kernels: Whether fastplr's own kernels compute, as in :class:`fastplr.Embedder`.
        cache: Where to keep features on disk, as in :class:`fastplr.Embedder`. Default: nowhere.
        progress: Whether to show progress bars on standard error, of embedding and of what ``report_`` computes.
            Default: only on a terminal.
        random_state: Seed of the folds.

    Attributes:
        classes_: The labels, in the order of the columns of :meth:`predict_proba`.
        layer_: The layer in use, a number.
        pooling_: The pooling in use.
        C_: The penalty in use.
        temperature_: What logits are divided by for probabilities.
        log_prior_ratio_: What is then added to them: float64 ``(n_classes,)``, empty without `class_prior`.
        coef_: float64 ``(1, n_embd)`` for two classes, else ``(n_classes, n_embd)``, for standardised features.
        intercept_: float64 ``(1,)`` or ``(n_classes,)``.
        embedder_: The :class:`fastplr.Embedder` in use.
        report_: What was fitted, on what, and how well: a :class:`fastplr.report.Report`.
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
        class_prior: Mapping[Any, float] | Sequence[float] | None = None,
        calibrate: bool = True,
        speed: bool = False,
        max_layer: float = 0.75,
        keep_training: bool = True,
        on_long: Literal["error", "truncate"] = "error",
        n_threads: int | None = None,
        kernels: Kernels = True,
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
        self.class_prior = class_prior
        self.calibrate = calibrate
        self.speed = speed
        self.max_layer = max_layer
        self.keep_training = keep_training
        self.on_long = on_long
        self.n_threads = n_threads
        self.kernels = kernels
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
        rows = training_rows(classes.tolist(), codes, sample_weight, self.class_weight)
        shares = class_shares(codes, rows.fit_weights, len(classes))
        prior_ratio = np.zeros(0)
        if self.class_prior is not None:
            prior_ratio = log_prior_ratio(self.class_prior, classes.tolist(), shares)
        settings = settings_read(self._fit_settings(), rows)
        embedder = self._embedder()
        layers, poolings, fallback = self._representations(embedder)
        n_tokens = 0

        def embed(some: npt.NDArray[np.int64] | None, layers: Sequence[int], poolings: Sequence[str]) -> Features:
            nonlocal n_tokens
            wanted = texts if some is None else [texts[row] for row in some]
            features, n_computed = embedder._embed_counted(wanted, list(layers), list(poolings), None)
            n_tokens += n_computed
            return features

        started = time.perf_counter()
        found = fit_rows(embed, rows, settings, layers=layers, poolings=poolings, fallback=fallback)
        elapsed = time.perf_counter() - started

        resolved = embedder.resolve()
        self.classes_ = classes
        embedder.set_params(layer=found.layer, pooling=found.pooling)
        self.embedder_ = embedder
        self.layer_, self.pooling_ = found.layer, found.pooling
        self.mean_, self.scale_ = found.mean, found.scale
        solver = found.solver
        self.coef_, self.intercept_, self.C_ = solver.coef_, solver.intercept_, float(solver.C_)
        self.temperature_, self.log_prior_ratio_ = found.temperature, prior_ratio
        self.training_, self.training_rows_ = self._kept(found, rows)
        self._familiarity: Familiarity | None = None
        self.model_identity_ = classifier_file.identity_of(resolved)
        self.model_name_ = classifier_file.named(embedder)
        known = {
            "n_texts": len(texts),
            "classes": [
                {"label": label, "count": int(count)}
                for label, count in zip(classes.tolist(), np.bincount(codes), strict=True)
            ],
            "model": {"name": resolved.name, **self.model_identity_},
            "layer": found.layer,
            "n_layers": embedder.n_layers,
            "pooling": found.pooling,
            "C": self.C_,
            "lambda": 1.0 / self.C_,
            "temperature": found.temperature,
            "n_folds": found.n_folds,
            "candidates": [one.to_dict() for one in found.among.candidates],
            "n_tokens": n_tokens,
            "embed_seconds": elapsed - found.solve_seconds,
            "solve_seconds": found.solve_seconds,
            "n_iter": int(np.max(solver.n_iter_)),
            "converged": bool(solver.converged_),
        }
        later = LaterValues(found, rows, settings, classes.tolist(), fallback, prior_ratio, self.progress)
        self.report_ = Report(known, later.parts())
        return self

    def _representations(self, embedder: Embedder) -> tuple[list[int], list[str], tuple[int, str]]:
        """The layers and poolings to choose among, and those to take where there can be no choice."""
        share = self.max_layer
        if not is_number(share) or not 0 < share <= 1:
            raise InputError(f"max_layer is {share!r}: expected a share of the depth, more than 0 and at most 1")
        middle = embedder.layer_number("middle")
        if self.layer == "auto":
            layers = candidate_layers(embedder.n_layers, float(share))
        else:
            layers = [embedder.layer_number(self.layer)]
        # Every token of an encoder sees the whole string: both poolings are one.
        both = ["mean"] if embedder.model_info.is_encoder else ["mean", "mean_all"]
        poolings = [embedder.pooling] if self.pooling != "auto" else both
        return layers, poolings, (min(layers, key=lambda layer: abs(layer - middle)), poolings[0])

    def _kept(
        self, found: Fit, rows: TrainingRows
    ) -> tuple[dict[str, npt.NDArray[Any]] | None, npt.NDArray[np.int64] | None]:
        """What is kept of the training rows, and which rows these are."""
        if not self.keep_training:
            return None, None
        kept: dict[str, npt.NDArray[Any]] = {
            "features": found.features,
            "codes": rows.codes,
            "weights": rows.fit_weights,
            "held_out_logits": found.held_out_logits,
        }
        some = stratified_sample(rows, MAX_ROWS_KEPT)
        if some is None:
            return kept, np.arange(len(rows))
        return {name: np.ascontiguousarray(values[some]) for name, values in kept.items()}, some

    def _embedder(self) -> Embedder:
        return Embedder(
            self.model,
            layer="middle" if self.layer == "auto" else self.layer,
            pooling="mean" if self.pooling == "auto" else self.pooling,
            prompt=self.prompt,
            on_long=self.on_long,
            n_threads=self.n_threads,
            kernels=self.kernels,
            cache=self.cache,
            progress=self.progress,
        )

    def _fit_settings(self) -> FitSettings:
        checked_bool("keep_training", self.keep_training)
        return FitSettings(
            self.C,
            self.Cs,
            self.cv,
            self.random_state,
            speed=checked_bool("speed", self.speed),
            calibrate=checked_bool("calibrate", self.calibrate),
            n_threads=default_threads() if self.n_threads is None else self.n_threads,
        )

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
        return self._probabilities(self._features(X))

    def _probabilities(self, features: Features) -> Floats:
        return _core.predict_proba(classifier_file.to_native(self), features)

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable label of each text: ``(n_texts,)``, of the kind given to :meth:`fit`. Raises as above."""
        most_probable = np.argmax(self.predict_proba(X), axis=1)
        labels: npt.NDArray[Any] = self.classes_[most_probable]
        return labels

    def predict_set(self, X: Iterable[str], *, coverage: float = 0.9) -> list[list[Any]]:
        """For each text the labels that cannot be ruled out: of each class, a share of about `coverage` of its texts
        has it in the set, on average over training rows like these, whatever the shares of the classes.

        Conformal prediction, class by class, with the held-out rows of the cross-validation
        (:mod:`fastplr.conformal`). A set may be empty, with a low coverage it often is. A class with fewer
        than ``coverage / (1 - coverage)`` held-out rows (9 for 0.9) is in every set.

        Args:
            X: Texts.
            coverage: Share, more than 0 and less than 1.

        Returns:
            Labels, the most probable first, for each text.

        Raises:
            InputError: `coverage` is out of range, or the classifier was fitted without `keep_training` or from rows
                that allow no folds; and as :meth:`predict`.
        """
        if not is_number(coverage) or not 0 < coverage < 1:
            raise InputError(f"coverage is {coverage!r}: expected a number more than 0 and less than 1")
        features = self._features(X)
        kept = self._kept_training("a prediction set")
        scored = np.flatnonzero(~np.isnan(kept["held_out_logits"][:, 0]) & (kept["weights"] > 0))
        if not len(scored):
            raise InputError("the training rows allowed no folds: a prediction set needs held-out rows")
        logits = _core.decision_function(classifier_file.to_native(self), features)
        log_p, held_out = (
            log_probabilities(some, self.temperature_) for some in (logits, kept["held_out_logits"][scored])
        )
        inside = label_sets(p_values(log_p, held_out, kept["codes"][scored]), float(coverage))
        order = np.argsort(-log_p, axis=1, kind="stable")
        labels = self.classes_.tolist()
        return [[labels[k] for k in ranks if row[k]] for ranks, row in zip(order, inside, strict=True)]

    def familiarity(self, X: Iterable[str]) -> Floats:
        """How much each text is like the training texts: float64 ``(n_texts,)``, 0 to 1.

        The share of the training texts that are at least as far from the others as this one is
        (:mod:`fastplr.familiarity`). Of texts drawn as the training texts were, one in twenty is below 0.05; of texts
        of another kind far more are, and their probabilities are not to be relied on.

        Raises:
            InputError: The classifier was fitted without `keep_training`; and as :meth:`predict`.
        """
        self._kept_training("familiarity")
        return self._familiarities(self._features(X))

    def _familiarities(self, features: Features) -> Floats:
        kept = self._kept_training("familiarity")
        if self._familiarity is None:
            self._familiarity = Familiarity(kept["features"][kept["weights"] > 0], self.mean_, self.scale_)
        return self._familiarity.p_values(features)

    def explain(
        self,
        X: Iterable[str],
        *,
        method: Literal["auto", "additive", "occlusion", "surrogate", "shapley"] = "auto",
        label: Any = None,
        by: Literal["word", "phrase"] = "word",
        spans: Sequence[Sequence[tuple[int, int]]] | None = None,
        budget: int | None = None,
        stability: bool = False,
        replacement: str = "",
        random_state: int = 0,
    ) -> list[Explanation]:
        """What each word or phrase of each text says for the decision, in logits (docs/explanations.md).

        Args:
            X: Texts.
            method: ``"additive"``: the mean over tokens makes the logit a sum over words; one pass of the model.
                ``"occlusion"``: by how much the logit falls when a word is taken out. ``"surrogate"``: the slopes of
                a linear model of what taking several words out does, fitted near the text. ``"shapley"``: Shapley
                values of the words. Both are exact where all subsets fit the budget, else estimated with standard
                errors. ``"auto"`` is ``"surrogate"``.
            label: The label whose logit is explained. Default: the second of two, else the predicted one.
            by: ``"word"`` or ``"phrase"``.
            spans: For each text its own pieces instead, as (start, end) in characters, ascending, without overlap.
            budget: Variants of a text that ``"surrogate"`` and ``"shapley"`` may compute, the text included, 2
                to 100,000. Default: two for three words, 16 at least and 64 at most; 64 for ``"shapley"``.
            stability: Whether each value gets an interval: its 5 and 95 % quantiles over classifiers fitted to
                resampled training rows.
            replacement: What stands for a word that is taken out. Default: nothing.
            random_state: Seed of the samples, >= 0.

        Returns:
            One :class:`fastplr.Explanation` a text.

        Raises:
            InputError: Arguments out of range; ``"additive"`` with the pooling ``"last"``; `stability` of a classifier
                that was fitted without `keep_training`; and as :meth:`predict`.
        """
        check_is_fitted(self)
        number = None if label is None else label_number(label, self.classes_.tolist())
        return explained(
            self, X, method=method, by=by, spans=spans, budget=budget, stability=stability, replacement=replacement,
            random_state=random_state,
        ).explanations(number)  # fmt: skip

    def overview(
        self,
        X: Iterable[str],
        *,
        method: Literal["auto", "additive", "occlusion", "surrogate", "shapley"] = "auto",
        by: Literal["word", "phrase"] = "word",
        min_texts: int = 3,
        budget: int | None = None,
        replacement: str = "",
        random_state: int = 0,
    ) -> Overview:
        """The words or phrases of a corpus that speak most for each class, with counts and intervals.

        Args:
            X: The corpus.
            method, by, budget, replacement, random_state: As in :meth:`explain`. ``"additive"`` is by far the fastest.
            min_texts: Texts that a word has to occur in, at least 2.

        Raises:
            InputError: As :meth:`explain`.
        """
        check_is_fitted(self)
        min_texts = checked_int("min_texts", min_texts, 2)
        return explained(
            self, X, method=method, by=by, budget=budget, replacement=replacement, random_state=random_state
        ).overview(min_texts)

    def counterfactual(
        self,
        X: Iterable[str],
        *,
        by: Literal["word", "phrase"] = "word",
        spans: Sequence[Sequence[tuple[int, int]]] | None = None,
        budget: int = 200,
        replacement: str = "",
    ) -> list[Counterfactual]:
        """The fewest words that have to be taken out of each text for it to get another label.

        Some text is always left: all words are taken out only where `spans` leave some. Every single word is tried;
        then sets of more, in the order in which a linear model of what was tried so far expects most of them, while
        the budget lasts. Where there are few enough sets all of them are tried, and ``smallest`` is True
        (docs/explanations.md).

        Args:
            X: Texts.
            by: ``"word"`` or ``"phrase"``.
            spans: Pieces of the texts instead, as in :meth:`explain`.
            budget: Variants of a text that may be computed, 1 to 100,000.
            replacement: What stands for a word that is taken out. Default: nothing.

        Raises:
            InputError: Arguments out of range; and as :meth:`predict`.
        """
        check_is_fitted(self)
        return find(self, X, by=by, spans=spans, budget=budget, replacement=replacement)

    def nearest(self, X: Iterable[str], n: int = 5) -> list[list[TrainingRow]]:
        """The training rows that are most like each text, by the cosine of standardised features.

        Args:
            X: Texts.
            n: How many, at least 1.

        Returns:
            For each text rows with their similarity, the most similar first.

        Raises:
            InputError: The classifier was fitted without `keep_training`; and as :meth:`predict`.
        """
        check_is_fitted(self)
        self._kept_training("nearest training rows")
        return influence.nearest(self, self._features(X), checked_int("n", n, 1))

    def influence(self, X: Iterable[str], *, n: int = 10, label: Any = None) -> list[list[TrainingRow]]:
        """The training rows on which the decision about each text hangs most.

        A row's influence is the logit of `label` less what it would be by a fit without the row: one Newton step, in
        closed form from the Gram matrix (:meth:`fastplr.laplace.LaplaceApproximation.leave_one_out_changes`), at the
        same layer, pooling, penalty and standardisation.

        Args:
            X: Texts.
            n: How many rows, at least 1.
            label: The label whose logit is looked at. Default: the second of two, else the predicted one.

        Returns:
            For each text rows with their influence, the largest in size first.

        Raises:
            InputError: The classifier was fitted without `keep_training` or without a penalty; kept rows times
                classes - 1 are more than 8,192; an unknown label; and as :meth:`predict`.
        """
        check_is_fitted(self)
        self._kept_training("influence")
        n = checked_int("n", n, 1)
        labels = self.classes_.tolist()
        number = None if label is None else label_number(label, labels)
        features = self._features(X)
        numbers = explained_labels(self._probabilities(features), number)
        return influence.influences(self, features, numbers, n)

    def _kept_training(self, what: str) -> dict[str, npt.NDArray[Any]]:
        kept: dict[str, npt.NDArray[Any]] | None = self.training_
        if kept is None:
            raise InputError(f"keep_training is False: {what} needs the training rows, so fit with True")
        return kept

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

        It has the parameters that it was fitted with: what was ``"auto"`` is so again, and a clone of it, or another
        fit, chooses anew. `cache`, `kernels`, `n_threads`, `progress`, and a splitter or an iterator as `cv` or `Cs`,
        are not in the file: they have their defaults.

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
