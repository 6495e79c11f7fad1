"""Prompting as a classifier: the answer that a language model finds most probable, without or with examples."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from fastplr import model_store
from fastplr.engine import Kernels
from fastplr.errors import AnswerWarning, InputError
from fastplr.inputs import as_labels, as_texts, check_collection, encode_labels, label_number
from fastplr.label_logits import LabelLogits
from fastplr.prompt import Prompt
from fastplr.solver_inputs import checked_int
from fastplr.user_warning import warn_user

__all__ = ["FewShotClassifier", "ZeroShotClassifier", "balanced_rows", "classes_of"]

Floats = npt.NDArray[np.float64]

#: Texts without content whose answers show what a prompt favours by itself (Zhao et al. 2021, arXiv 2102.09690,
#: section 5); the empty one of the paper is the prompt alone.
CONTENT_FREE = ("N/A", "[MASK]")


class _PromptedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What zero-shot and few-shot have in common: probabilities of the answers of one or more prompts."""

    model: Any
    prompt: Prompt | None
    calibration: Literal["contextual"] | None
    on_long: Literal["error", "truncate"]
    n_threads: int | None
    kernels: Kernels
    cache: bool | str | os.PathLike[str] | None
    progress: bool | None

    def _prompts(self) -> list[Prompt]:
        """The prompts to average over."""
        raise NotImplementedError

    def _label_logits(self, prompt: Prompt | None) -> LabelLogits:
        return LabelLogits(
            self.model, prompt=prompt, on_long=self.on_long, n_threads=self.n_threads, kernels=self.kernels,
            cache=self.cache, progress=self.progress,
        )  # fmt: skip

    def _order(self, labels: list[Any]) -> list[int]:
        """For each of ``classes_`` its column among `labels`."""
        return [label_number(label, labels) for label in self.classes_.tolist()]

    def predict_log_proba(self, X: Iterable[str]) -> Floats:
        """Logarithms of :meth:`predict_proba`."""
        if self.calibration not in (None, "contextual"):
            raise InputError(f"calibration is {self.calibration!r}: expected None or 'contextual'")
        texts = as_texts(X)
        of_prompts = []
        for prompt in self._prompts():
            answers = self._label_logits(prompt)
            logits = answers.transform(texts)[:, self._order(answers.labels)]
            if self.calibration == "contextual":
                logits = logits - self.log_of_no_content(prompt)
            of_prompts.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        return np.asarray(np.logaddexp.reduce(of_prompts, axis=0) - np.log(len(of_prompts)))

    def log_of_no_content(self, prompt: Prompt) -> Floats:
        """Logarithms of the labels' mean probabilities for texts without content: ``(n_classes,)`` as ``classes_``."""
        answers = self._label_logits(prompt)
        rows = [answers.transform(CONTENT_FREE)]
        if prompt.prefix.strip():  # the prompt as it is, without a text, read as one
            alone = Prompt("", prompt.suffix, cue=prompt.cue, answers=prompt.answers)
            rows.append(self._label_logits(alone).transform([prompt.prefix]))
        logits = np.concatenate(rows)[:, self._order(answers.labels)]
        # Of long answers the probabilities themselves may be too small for a float64.
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return np.asarray(np.logaddexp.reduce(log_p, axis=0) - np.log(len(log_p)))

    def predict_proba(self, X: Iterable[str]) -> Floats:
        """Probabilities of the labels, given that the model answers with one: float64 ``(n_texts, n_classes)``."""
        return np.asarray(np.exp(self.predict_log_proba(X)))

    def decision_function(self, X: Iterable[str]) -> Floats:
        """Of two classes the difference of their log-probabilities ``(n_texts,)``, of more these themselves."""
        found = self.predict_log_proba(X)
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable label of each text: ``(n_texts,)``."""
        best = self.predict_log_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def answer_mass(self, X: Iterable[str]) -> Floats:
        """Probability that the model answers with any of the labels rather than with something else: ``(n_texts,)``.

        Where it is small, :meth:`predict_proba` compares answers that the model would hardly give. Mean over prompts.
        """
        texts = as_texts(X)
        found = [np.exp(self._label_logits(prompt).log_probabilities(texts)).sum(axis=1) for prompt in self._prompts()]
        return np.asarray(np.mean(found, axis=0))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def classes_of(prompt: Prompt | None, given: object = None) -> npt.NDArray[Any]:
    """The labels of the prompt's answers, as an array like `given` where there is one, sorted where they can be."""
    labels = LabelLogits(prompt=prompt).labels
    return encode_labels(as_labels(labels, len(labels)), given)[0]


class ZeroShotClassifier(_PromptedClassifier):
    """The label whose answer the model finds most probable next. Learns nothing from rows.

    Args:
        model: As in :class:`fastplr.Embedder`; a causal model.
        prompt: A :class:`fastplr.Prompt` with `answers` and a `suffix` or `cue`; see :class:`fastplr.LabelLogits`.
        calibration: None, or ``"contextual"``: probabilities are divided by the mean of those for texts without
            content ("N/A", "[MASK]", none), as what the prompt favours by itself (Zhao et al. 2021, arXiv 2102.09690).
        on_long, n_threads, kernels, cache, progress: As in :class:`fastplr.Embedder`.

    Attributes:
        classes_: The labels of the prompt's answers.

    Raises:
        InputError: A prompt without answers, or without words that ask for one; see :class:`fastplr.LabelLogits`.

    Example:
        >>> prompt = Prompt(cue=" Positive or negative? Answer:", answers={"+": "positive", "-": "negative"})
        >>> ZeroShotClassifier(prompt=prompt).predict(["Not bad at all."])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
        *,
        prompt: Prompt | None = None,
        calibration: Literal["contextual"] | None = None,
        on_long: Literal["error", "truncate"] = "error",
        n_threads: int | None = None,
        kernels: Kernels = True,
        cache: bool | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.calibration = calibration
        self.on_long = on_long
        self.n_threads = n_threads
        self.kernels = kernels
        self.cache = cache
        self.progress = progress

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels of the prompt's answers, sorted where they can be."""
        try:
            return classes_of(self.prompt)
        except InputError as error:
            raise AttributeError(f"classes_ cannot be told: {error}") from error  # hasattr() asks for this one

    def fit(self, X: object = None, y: Iterable[Hashable] | None = None) -> ZeroShotClassifier:
        """Nothing is learnt. Raises InputError where a label of `y` has no answer."""
        classes = classes_of(self.prompt).tolist()
        given = [] if y is None else list(check_collection(y, "labels"))
        for label in as_labels(given, len(given)):
            label_number(label, classes)
        return self

    def _prompts(self) -> list[Prompt]:
        prompt = self.prompt
        assert LabelLogits(prompt=prompt).labels  # raises InputError where there are none
        assert prompt is not None
        return [prompt]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class FewShotClassifier(_PromptedClassifier):
    """As :class:`ZeroShotClassifier`, with labelled examples before the text (in-context learning).

    The examples stand before every text, rendered as ``prefix + text + suffix + cue + answer``: they are computed once
    and shared by all texts.

    Args:
        model, prompt, calibration: As in :class:`ZeroShotClassifier`.
        k: Number of examples, drawn from the rows of :meth:`fit`, each class as often as the others as far as its rows
            go.
        permutations: Number of orders of the examples over which probabilities are averaged.
        separator: What stands between examples.
        on_full: Where the examples and the longest text of :meth:`fit` do not fit the context: ``"drop"`` the last
            examples, with an :class:`fastplr.AnswerWarning` that counts them, or ``"error"``.
        random_state: Seed of examples and orders, an int of at least 0; None draws others each time.
        on_long, n_threads, kernels, cache, progress: As in :class:`fastplr.Embedder`.

    Attributes:
        classes_: The labels.
        examples_: The examples, pairs of a text and its label, in the first order.
        prompts_: The prompt of each order, whose prefix begins with the examples.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
        *,
        prompt: Prompt | None = None,
        k: int = 8,
        permutations: int = 1,
        calibration: Literal["contextual"] | None = None,
        separator: str = "\n\n",
        on_full: Literal["drop", "error"] = "drop",
        on_long: Literal["error", "truncate"] = "error",
        n_threads: int | None = None,
        kernels: Kernels = True,
        cache: bool | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.k = k
        self.permutations = permutations
        self.calibration = calibration
        self.separator = separator
        self.on_full = on_full
        self.on_long = on_long
        self.n_threads = n_threads
        self.kernels = kernels
        self.cache = cache
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: Iterable[str], y: Iterable[Hashable]) -> FewShotClassifier:
        """Draw the examples from texts `X` and their labels `y`.

        Raises:
            InputError: A label without an answer, fewer rows than `k`, no room for an example.
        """
        texts = as_texts(X)
        labels = as_labels(y, len(texts))
        classes, _ = encode_labels(labels, y)
        with_answer = classes_of(self.prompt).tolist()
        for label in classes.tolist():
            label_number(label, with_answer)
        k, n_orders = checked_int("k", self.k, 1), checked_int("permutations", self.permutations, 1)
        if k > len(texts):
            raise InputError(f"k is {k}, but there are {len(texts)} rows to draw examples from: expected fewer")
        if self.on_full not in ("drop", "error"):
            raise InputError(f"on_full is {self.on_full!r}: expected 'drop' or 'error'")
        if not isinstance(self.separator, str):
            raise InputError(f"separator is {self.separator!r:.60}: expected a str")
        seed = None if self.random_state is None else checked_int("random_state", self.random_state, 0)
        rng = np.random.default_rng(seed)
        rows = balanced_rows(labels, k, rng)
        drawn = self._that_fit([(texts[row], labels[row]) for row in rows], texts)
        self.classes_ = classes_of(self.prompt, y)
        self.examples_ = drawn
        orders = [list(range(len(drawn))), *(rng.permutation(len(drawn)).tolist() for _ in range(n_orders - 1))]
        self.prompts_ = [self._prompt_with([drawn[row] for row in order]) for order in orders]
        return self

    def _prompt_with(self, examples: list[tuple[str, Any]]) -> Prompt:
        prompt = self.prompt
        assert prompt is not None
        assert prompt.answers is not None
        answers = LabelLogits(prompt=prompt)
        said = dict(zip(answers.labels, answers.answers, strict=True))
        asked = (prompt.suffix + prompt.cue).rstrip(" \t")
        shown = [f"{prompt.prefix}{text}{asked}{said[label]}{self.separator}" for text, label in examples]
        return Prompt("".join(shown) + prompt.prefix, prompt.suffix, cue=prompt.cue, answers=prompt.answers)

    def _that_fit(self, examples: list[tuple[str, Any]], texts: list[str]) -> list[tuple[str, Any]]:
        answers = self._label_logits(self.prompt)
        embedder = answers.embedder()
        engine = embedder._native_engine([-1])
        n_ctx = embedder._engine_settings()["n_ctx"] or embedder.model_info.n_ctx_train
        longest = max(texts, key=engine.count_tokens)
        n_room = n_ctx - max(map(len, answers.answer_tokens)) + 1
        kept = len(examples)
        while True:
            prompt = self._prompt_with(examples[:kept])
            n_tokens = engine.count_tokens(longest, prefix=prompt.prefix, suffix=prompt.suffix + prompt.cue)
            if n_tokens <= n_room or kept == 0:
                break
            kept -= 1
        n_dropped = len(examples) - kept
        if n_dropped == 0:
            return examples
        room = f"the context holds {n_ctx} tokens, of which the longest text with its prompt takes its share"
        if self.on_full == "error" or kept == 0:
            raise InputError(f"{len(examples)} examples do not fit: {room}; {kept} would fit (k, or shorter texts)")
        warn_user(f"{n_dropped} of {len(examples)} examples were dropped: {room}", AnswerWarning)
        return examples[:kept]

    def _prompts(self) -> list[Prompt]:
        check_is_fitted(self)
        return self.prompts_


def balanced_rows(labels: list[Hashable], k: int, rng: np.random.Generator) -> list[int]:
    """`k` row numbers in random order, from each class in turn as far as its rows go."""
    of_class: dict[Hashable, list[int]] = {}
    for row in rng.permutation(len(labels)).tolist():
        of_class.setdefault(labels[row], []).append(row)
    drawn: list[int] = []
    while len(drawn) < k:
        for rows in of_class.values():
            if rows and len(drawn) < k:
                drawn.append(rows.pop())
    return [int(row) for row in rng.permutation(drawn)]
