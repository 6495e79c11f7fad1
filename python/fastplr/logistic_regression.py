"""L2-penalised logistic regression for few rows and many features, with scikit-learn's interface."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastplr import _core
from fastplr.calibration import log_probabilities
from fastplr.errors import InputError, NotConverged
from fastplr.folds import make_folds
from fastplr.laplace import LaplaceApproximation
from fastplr.solver_inputs import (
    are_plain,
    check_labels,
    checked_bool,
    checked_C,
    checked_Cs,
    class_weights,
    float_types,
    input_errors,
    is_number,
    is_whole,
    plain,
)
from fastplr.threads import default_threads
from fastplr.user_warning import warn_user

__all__ = ["LogisticRegression", "PathResult"]

Floats = npt.NDArray[np.float64]
RowNumbers = npt.NDArray[np.int64]

_SCORINGS = ("neg_log_loss", "accuracy", "balanced_accuracy", "f1_macro")
_SELECTIONS = ("best", "1se")
_SOLVERS = ("auto", "gram", "primal")

_PENALTY_LOST = 1e15
"""C times the sum of the weights above which float64 cannot tell the penalty beside the loss."""


@dataclass(frozen=True, eq=False)
class PathResult:
    """Fits of the same rows for several penalties, in the order of ``Cs``.

    Attributes:
        Cs: Inverse penalties, ``(n_Cs,)``.
        coef: Coefficients, ``(n_Cs, 1, n_features)`` for two classes, else ``(n_Cs, n_classes, n_features)``.
        intercept: ``(n_Cs, 1)`` or ``(n_Cs, n_classes)``.
        objective: ``sum_i w_i log-loss_i + ||coef||^2 / (2 C)``, ``(n_Cs,)``.
        gap: Relative duality gap reached, ``(n_Cs,)``; see :class:`LogisticRegression`.
        n_iter: Newton iterations, ``(n_Cs,)``.
        converged: Whether the gap fell below the tolerance, ``(n_Cs,)``.
        classes: The labels, in the order of the rows of ``coef``.
    """

    Cs: Floats
    coef: Floats
    intercept: Floats
    objective: Floats
    gap: Floats
    n_iter: npt.NDArray[np.int64]
    converged: npt.NDArray[np.bool_]
    classes: npt.NDArray[Any]


def row_scores(logits: Floats, codes: npt.NDArray[np.int32], scoring: str) -> Floats:
    """Score of each row, larger is better: ``(..., n_rows)`` for logits ``(..., n_rows, 1 or n_classes)``.

    Args:
        logits: As :meth:`LogisticRegression.decision_function` gives them, with an axis for the single one of two
            classes.
        codes: Class numbers ``(n_rows,)``.
        scoring: ``"neg_log_loss"``, with probabilities of at least 2.2e-16 as in scikit-learn, or ``"accuracy"``.
    """
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    if scoring == "accuracy":
        return np.asarray(logits.argmax(axis=-1) == codes, dtype=np.float64)
    of_label = np.take_along_axis(logits, codes.reshape(-1, 1).astype(np.intp)[(None,) * (logits.ndim - 2)], axis=-1)
    log_loss = np.logaddexp.reduce(logits, axis=-1) - of_label[..., 0]
    return np.asarray(np.maximum(-log_loss, math.log(np.finfo(np.float64).eps)))


@dataclass(frozen=True)
class _TrainingData:
    features: npt.NDArray[Any]
    codes: npt.NDArray[np.int32]
    classes: npt.NDArray[Any]
    sample_weight: Floats
    weights: Floats  # sample weights times class weights


class LogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Penalised logistic regression by Newton's method, on the Gram matrix (few rows) or in primal form.

    Minimises ``sum_i w_i log-loss_i + ||coef||^2 / (2 C)``, scikit-learn's objective, with an unpenalised
    intercept; more than two classes make a symmetric softmax whose intercepts sum to zero. A fit stops when
    its duality gap, a proven bound on how far the objective is above its minimum, is at most ``tol`` times
    the objective; one more Newton step then squares the error (not of ten classes or more in primal form,
    where that step takes a third of the time). The Gram matrix of a single large fit is computed in single
    precision, the last steps and the certificate with scores of the features themselves.

    Args:
        C: Inverse strength of the penalty, > 0. ``math.inf`` means none: the certificate is then the norm of
            the gradient (relative to its size at ``coef = 0`` if no two rows cancelled), and data that a
            hyperplane separates, for which no optimum exists, end with ``converged_`` False and ``gap_``
            infinite. ``"auto"`` chooses among ``Cs`` by cross-validation.
        Cs: Penalties for ``"auto"`` and :meth:`path`: their values, or their number on a logarithmic grid
            from 1e-4 to 1e4.
        cv: Folds of the choice. A number makes stratified folds, shuffled with ``random_state``; where a
            class has fewer rows the number is reduced to that, with a warning. The row of a class that has
            only one is in the training part of every fold and is never scored, with a warning; where fewer
            than two classes have two rows nothing can be chosen, and C is 1.0, with a warning. ``"loo"``
            leaves out one row at a time, ``"alo"`` does so approximately, from one fit of all rows a penalty (Rad
            and Maleki, arXiv 1801.10243): as good to choose by, and faster than any folds where rows are few
            (neither for ``balanced_accuracy`` and ``f1_macro``). Also a scikit-learn splitter, or an iterable of
            pairs (training rows, scored rows).
        scoring: ``"neg_log_loss"``, ``"accuracy"``, ``"balanced_accuracy"`` or ``"f1_macro"``, with sample
            weights but without class weights.
        selection: ``"best"`` takes the C of best mean score (the smallest of equals), ``"1se"`` the smallest
            C whose mean score is within one standard error over the folds of that.
        tol: Relative duality gap to reach, > 0.
        max_iter: Most Newton iterations for one penalty, >= 1.
        class_weight: None, ``"balanced"`` (classes count alike; computed once from all rows, also for the
            folds), or a weight for each label; labels left out have weight 1.
        fit_intercept: Whether there is an intercept.
        solver: ``"gram"`` solves systems in the rows, ``"primal"`` in the features; ``"auto"`` takes the
            faster: gram up to 1.8 rows a feature.
        random_state: Seed of the folds.
        keep_training: Whether the fit keeps the training rows, for :meth:`predict_proba_stderr`.
        n_threads: Threads for the Gram matrix and the folds. Default: the cores that this process may use.

    Attributes:
        coef_: float64 ``(1, n_features)`` for two classes (of ``classes_[1]``), else ``(n_classes,
            n_features)``.
        intercept_: float64 ``(1,)`` or ``(n_classes,)``.
        classes_: The labels, sorted.
        C_: The C in use.
        lambda_: ``1 / C_``.
        Cs_: The candidates, ascending; only ``C`` where it was given.
        cv_scores_: Scores of held-out rows, float64 ``(n_folds, n_Cs)``; None where ``C`` was given or could
            not be chosen.
        n_iter_: Newton iterations of the final fit.
        gap_: Its relative duality gap.
        converged_: Whether that is at most ``tol``.
        n_features_in_, feature_names_in_: As in scikit-learn.

    Raises:
        InputError: For features, labels, weights or parameters that cannot be used; it is a ``ValueError``.

    Warns:
        NotConverged: The fit ended before its certificate held; the message says the gap.

    Example:
        >>> import numpy as np
        >>> from fastplr import LogisticRegression
        >>> X = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [4.0, 3.0, 0.0], [3.0, 5.0, 1.0]])
        >>> LogisticRegression(C=1.0).fit(X, ["low", "low", "high", "high"]).predict([[3.0, 4.0, 1.0]])
        array(['high'], dtype='<U4')
    """

    def __init__(
        self,
        C: float | Literal["auto"] = 1.0,
        *,
        Cs: int | Iterable[float] = 20,
        cv: Any = 10,
        scoring: Literal["neg_log_loss", "accuracy", "balanced_accuracy", "f1_macro"] = "neg_log_loss",
        selection: Literal["best", "1se"] = "best",
        tol: float = 1e-8,
        max_iter: int = 100,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        fit_intercept: bool = True,
        solver: Literal["auto", "gram", "primal"] = "auto",
        random_state: Any = None,
        keep_training: bool = False,
        n_threads: int | None = None,
    ) -> None:
        self.C = C
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.selection = selection
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.random_state = random_state
        self.keep_training = keep_training
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:
        """Fits the model.

        Args:
            X: Features, float32 or float64 ``(n_rows, n_features)`` in any memory layout, dense and finite. Other
                number types are converted, float16 to float32. Gram form makes no copy; primal form makes one, in
                float64.
            y: Labels ``(n_rows,)`` of any kind that scikit-learn accepts, at least two different ones.
            sample_weight: ``(n_rows,)``, finite and >= 0; a row of weight 0 counts as absent.

        Raises:
            InputError: See the class.
        """
        settings = self._checked_settings()
        data = self._training_data(X, y, sample_weight)
        C = checked_C(self.C)
        scores: Floats | None = None
        if C is None:
            Cs = checked_Cs(self.Cs)
            C, scores, fit = self._choose_C(data, Cs, settings)
        else:
            Cs = np.array([C])
            fit = self._fit_path(data, Cs, settings)[0]
        if not fit.converged:
            self._warn_not_converged(C, fit, data.weights)
        self.classes_ = data.classes
        self.coef_ = fit.coefficients
        self.intercept_ = fit.intercepts
        self.C_ = C
        self.lambda_ = 1.0 / C
        self.Cs_ = Cs
        self.cv_scores_ = scores
        self.n_iter_ = fit.n_iter
        self.gap_ = fit.gap
        self.converged_ = fit.converged
        self._laplace: LaplaceApproximation | None = None
        if self.keep_training and math.isfinite(C):
            rows = np.asarray(data.features, dtype=np.float64)
            self._laplace = LaplaceApproximation(
                rows,
                np.exp(log_probabilities(rows @ self.coef_.T + self.intercept_)),
                data.weights,
                1.0 / C,
                fit_intercept=bool(self.fit_intercept),
            )
        return self

    def path(self, X: Any, y: Any, Cs: int | Iterable[float] | None = None, sample_weight: Any = None) -> PathResult:
        """Fits every penalty, from the strongest to the weakest, each started at the one before.

        Leaves the estimator as it is, apart from ``n_features_in_`` and ``feature_names_in_``.

        Args:
            X, y, sample_weight: As in :meth:`fit`.
            Cs: As the parameter of the class, which is the default; values are kept in the order given.

        Raises:
            InputError: See the class.
        """
        settings = self._checked_settings()
        values = checked_Cs(self.Cs if Cs is None else Cs, keep_order=True)
        data = self._training_data(X, y, sample_weight)
        fits = self._fit_path(data, values, settings)
        worst = max((fit for fit in fits if not fit.converged), key=lambda fit: fit.gap, default=None)
        if worst is not None:
            self._warn_not_converged(float(values[fits.index(worst)]), worst, data.weights)
        return PathResult(
            Cs=values,
            coef=np.stack([fit.coefficients for fit in fits]),
            intercept=np.stack([fit.intercepts for fit in fits]),
            objective=np.array([fit.objective for fit in fits]),
            gap=np.array([fit.gap for fit in fits]),
            n_iter=np.array([fit.n_iter for fit in fits], dtype=np.int64),
            converged=np.array([fit.converged for fit in fits], dtype=np.bool_),
            classes=data.classes,
        )

    def decision_function(self, X: Any) -> Floats:
        """Logits: ``(n_rows,)`` of ``classes_[1]`` for two classes, else ``(n_rows, n_classes)``."""
        check_is_fitted(self)
        with input_errors():
            X = validate_data(self, X, reset=False, dtype=float_types(X))
        logits: Floats = np.asarray(X @ self.coef_.T + self.intercept_, dtype=np.float64)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_log_proba(self, X: Any) -> Floats:
        """Logarithms of the class probabilities, ``(n_rows, n_classes)``."""
        logits = self.decision_function(X)
        return log_probabilities(logits.reshape(len(logits), -1))

    def predict_proba(self, X: Any) -> Floats:
        """Class probabilities, ``(n_rows, n_classes)``."""
        return np.exp(self.predict_log_proba(X))

    def predict_proba_stderr(self, X: Any) -> Floats:
        """Standard errors of :meth:`predict_proba`, ``(n_rows, n_classes)``: how far other training rows would move it.

        By :class:`fastplr.laplace.LaplaceApproximation` and the delta method; the choice of C is taken as given.

        Raises:
            InputError: Fitted without ``keep_training``, or without a penalty.
        """
        check_is_fitted(self)
        if not self.keep_training:
            raise InputError("keep_training is False: standard errors need the training rows, so fit with True")
        if self._laplace is None:
            raise InputError(f"C is {self.C_}: standard errors need a penalty, and a fit with keep_training")
        probabilities = self.predict_proba(X)
        with input_errors():
            rows = validate_data(self, X, reset=False, dtype=np.float64)
        return self._laplace.standard_errors(rows, probabilities)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of each row, ``(n_rows,)``."""
        logits = self.decision_function(X)
        codes = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[codes]
        return labels

    def _checked_settings(self) -> dict[str, Any]:
        for name, known in (("scoring", _SCORINGS), ("selection", _SELECTIONS), ("solver", _SOLVERS)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} is {value!r}: expected one of {', '.join(map(repr, known))}")
        if not is_number(self.tol) or not 0 < self.tol < math.inf:
            raise InputError(f"tol is {self.tol!r}: expected a finite number > 0")
        if not is_whole(self.max_iter) or self.max_iter < 1:
            raise InputError(f"max_iter is {self.max_iter!r}: expected a whole number >= 1")
        if self.n_threads is not None and (not is_whole(self.n_threads) or self.n_threads < 1):
            raise InputError(f"n_threads is {self.n_threads!r}: expected a whole number >= 1, or None")
        checked_bool("keep_training", self.keep_training)
        return {
            "tol": float(self.tol),
            "max_iter": int(self.max_iter),
            "fit_intercept": checked_bool("fit_intercept", self.fit_intercept),
            "solver": self.solver,
            "n_threads": default_threads() if self.n_threads is None else int(self.n_threads),
        }

    def _training_data(self, X: Any, y: Any, sample_weight: Any) -> _TrainingData:
        if are_plain(X, y, sample_weight):
            # As validate_data would, which takes longer than the fit of few rows.
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
            classes, inverse = np.unique(y, return_inverse=True)
            weight: Floats = np.ones(len(X))
        else:
            with input_errors():
                X, y = validate_data(self, X, y, dtype=float_types(X))
                check_labels(y)
                check_classification_targets(y)
                classes, inverse = np.unique(y, return_inverse=True)
                weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if len(classes) < 2:
            raise InputError(f"y holds one class only, {plain(classes[0])!r}: at least two classes are needed")
        negative = np.flatnonzero(weight < 0)
        if len(negative):
            row = int(negative[0])
            raise InputError(f"sample_weight[{row}] is {weight[row]}: expected a finite number >= 0")
        if not weight.any():
            raise InputError("sample_weight is zero for all rows: expected a positive sum")
        with np.errstate(over="ignore"):
            total = weight.sum()
        if not math.isfinite(total):
            raise InputError(f"sample_weight sums to {total}, its largest is {weight.max():g}: expected a finite sum")
        codes: npt.NDArray[np.int32] = inverse.astype(np.int32).reshape(-1)
        weights: Floats = weight * class_weights(self.class_weight, classes, codes, weight)[codes]
        empty = np.flatnonzero(np.bincount(codes, weights=weights, minlength=len(classes)) <= 0)
        if len(empty):
            raise InputError(f"class {plain(classes[empty[0]])!r} has no row of positive weight: every class needs one")
        if not X.flags.aligned or any(stride % X.itemsize for stride in X.strides):
            X = X.copy()
        return _TrainingData(X, codes, classes, weight, weights)

    def _fit_path(self, data: _TrainingData, Cs: Floats, settings: dict[str, Any]) -> list[_core.LogisticFit]:
        return _core.fit_logistic_path(
            data.features,
            data.codes,
            len(data.classes),
            weights=data.weights,
            lambdas=1.0 / Cs,
            polish=True,
            **settings,
        )

    def _choose_C(
        self, data: _TrainingData, Cs: Floats, settings: dict[str, Any]
    ) -> tuple[float, Floats | None, _core.LogisticFit]:
        """The C of the best score, the scores ``(n_folds, n_Cs)``, the fit; without folds C is 1.0, scores are None."""
        one_by_one = isinstance(self.cv, str) and self.cv in ("loo", "alo")
        if one_by_one and self.scoring in ("balanced_accuracy", "f1_macro"):
            raise InputError(f"scoring={self.scoring!r} needs folds of several rows: not possible with cv={self.cv!r}")
        folds = make_folds(
            self.cv,
            data.codes,
            data.weights,
            n_classes=len(data.classes),
            features=data.features,
            random_state=self.random_state,
            words=("loo", "alo"),
        )
        if not folds:
            warn_user(
                "C='auto' needs two classes with two rows each to choose by cross-validation: C=1.0 is used",
                UserWarning,
            )
            return 1.0, None, self._fit_path(data, np.array([1.0]), settings)[0]
        if isinstance(self.cv, str) and self.cv == "alo":
            if np.isinf(Cs).any():
                raise InputError("Cs has infinity, which is no penalty: cv='alo' needs one")
            scored = np.concatenate([test for _, test in folds])
            scores, selected, n_unconverged = self._leave_one_out(data, Cs, scored, settings)
            n_fits = len(Cs)
            fit = self._fit_path(data, Cs[[selected]], settings)[0]
        else:
            fit, scores, selected, n_unconverged = _core.fit_cross_validated_logistic(
                data.features,
                data.codes,
                len(data.classes),
                weights=data.weights,
                lambdas=1.0 / Cs,
                folds=folds,
                score_weights=data.sample_weight,
                scoring=self.scoring,
                selection=self.selection,
                polish=True,
                **settings,
            )
            n_fits = len(folds) * len(Cs)
            if one_by_one and np.ptp(data.sample_weight[data.sample_weight > 0]) > 0:
                # A mean over folds of one row each would forget the weights of the rows.
                scored = np.concatenate([test for _, test in folds])
                selected = self._selected(scores, data.sample_weight[scored])
                fit = self._fit_path(data, Cs[[selected]], settings)[0]
        if n_unconverged:
            warn_user(
                f"{n_unconverged} of {n_fits} cross-validation fits did not reach a "
                f"relative duality gap of {self.tol:g}: increase max_iter or drop the largest Cs",
                NotConverged,
            )
        return float(Cs[selected]), scores, fit

    def _leave_one_out(
        self, data: _TrainingData, Cs: Floats, rows: RowNumbers, settings: dict[str, Any]
    ) -> tuple[Floats, int, int]:
        """Scores of `rows`, ``(n_rows, n_Cs)``, the position of the chosen penalty, and fits that did not converge."""
        logits, n_unconverged = _core.approximate_leave_one_out(
            data.features, data.codes, len(data.classes), weights=data.weights, lambdas=1.0 / Cs, **settings
        )
        scores = row_scores(logits[:, rows], data.codes[rows], self.scoring).T
        return scores, self._selected(scores, data.sample_weight[rows]), n_unconverged

    def _selected(self, scores: Floats, weights: Floats) -> int:
        """The position of the chosen penalty by the scores of single rows, ``(n_rows, n_Cs)``."""
        weights = weights / weights.max()
        weights = weights / weights.sum()
        means = weights @ scores
        best = int(means.argmax())
        threshold = means[best] - 1e-12 * abs(means[best])
        if self.selection == "1se":
            # That of a weighted mean of independent scores.
            threshold -= math.sqrt(float(np.square(weights * (scores[:, best] - means[best])).sum()))
        return int(np.flatnonzero(means >= threshold)[0])

    def _warn_not_converged(self, C: float, fit: _core.LogisticFit, weights: Floats) -> None:
        loss_to_penalty = C * float(weights.sum())
        if math.isinf(C) and math.isinf(fit.gap):
            reason = "the classes can be separated, so that without a penalty there is no optimum: use a finite C"
        elif math.isfinite(C) and loss_to_penalty > _PENALTY_LOST:
            reason = (
                f"C times the sum of the weights is {loss_to_penalty:.2g}, so large that the penalty is lost in "
                "rounding: use smaller weights or a smaller C"
            )
        else:
            measure = "gradient norm" if math.isinf(C) else "duality gap"
            reason = (
                f"the relative {measure} is {fit.gap:.2g} after {fit.n_iter} iterations, tol is "
                f"{self.tol:g}: increase max_iter (or tol, where rounding stops progress)"
            )
        warn_user(f"LogisticRegression with C={C:g} did not converge: {reason}", NotConverged)
