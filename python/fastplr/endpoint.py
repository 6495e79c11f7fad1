"""A large language model behind an OpenAI-compatible endpoint as a classifier, without or with examples."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from fastplr.endpoint_requests import ApiKey, Messages, Reply, Tally, Target, ask_all, checked_url
from fastplr.errors import EndpointError, InputError
from fastplr.inputs import as_labels, as_texts, label_number
from fastplr.progress import text_bar
from fastplr.prompt import Prompt
from fastplr.reply_matching import label_of_reply
from fastplr.solver_inputs import checked_int, is_number
from fastplr.zero_shot import balanced_rows, classes_of

__all__ = ["EndpointClassifier", "EndpointUsage"]

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class EndpointUsage:
    """What questions to an endpoint took so far.

    Attributes:
        requests: HTTP requests that were sent, retries among them.
        retries: Those that were further tries.
        prompt_tokens: Tokens read, as the endpoint counts them.
        completion_tokens: Tokens written, as the endpoint counts them.
        uncounted: Replies that came without such a count.
        cost: In the currency of the prices; None without prices, and where replies were not counted.
    """

    requests: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    cost: float | None


class EndpointClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The label that a language model behind an OpenAI-compatible endpoint answers with. Needs ``fastplr[endpoint]``.

    **Texts leave this machine**: each is sent to `base_url`, and nowhere else. All other parts of fastplr send none.

    The model is asked ``prefix + text + suffix + cue`` as a user. A reply counts where it names exactly one answer, or
    one label, of the prompt, in whatever words (:func:`fastplr.reply_matching.label_of_reply`). Each distinct text is
    asked once, and replies are kept in the object: after an error or Ctrl-C, :meth:`predict` asks what is missing.
    There is no ``predict_proba``: endpoints tell at most the probabilities of some first tokens, not those of labels.

    Args:
        model: Name of the model at the endpoint.
        prompt: A :class:`fastplr.Prompt` with `answers`.
        base_url: Address of the endpoint, up to and without ``/chat/completions``; default: the environment variable
            OPENAI_BASE_URL, or else OpenAI's own.
        api_key: Default: the environment variable OPENAI_API_KEY; any word where the endpoint asks for none. It is in
            no repr, message or pickle.
        system: What the model is told first; default: to answer with one of the answers and nothing else. ``""`` for
            nothing.
        k: Number of examples, drawn from the rows of :meth:`fit`, each class as often as the others as far as its rows
            go; they stand before each text as earlier questions and answers. 0 needs no :meth:`fit`.
        temperature: Of sampling; None does not send it.
        max_tokens: Most tokens of a reply; None does not send it. Models that reason first need hundreds.
        extra_body: Further fields of each request, such as ``{"max_completion_tokens": 500}``.
        timeout: Seconds without a sign of the endpoint after which a request is given up.
        max_retries: Number of further tries of a request after status 408, 409, 429 or 5xx, a lost connection or a
            timeout, with the waiting times of the package ``openai``, which obeys Retry-After.
        n_concurrent: Requests under way at once.
        price_per_million: Prices of a million tokens read and of a million written, for the cost in ``usage_``.
        on_unknown: Where a reply names no answer, or several: ``"error"``, or ``"none"``: the label is None.
        progress: Show a bar: None on a terminal only, True, False.
        random_state: Seed of the examples.

    Attributes:
        classes_: The labels of the prompt's answers.
        examples_: With `k`, the examples, pairs of a text and its label.
        replies_: The reply to each text that was asked with these parameters.
        usage_: An :class:`EndpointUsage` over the life of this object; a clone begins anew.

    Raises:
        InputError: A parameter or text that cannot be used, no key.
        EndpointError: See :meth:`predict`.

    Example:
        >>> prompt = Prompt(cue=" Positive or negative?", answers={"+": "positive", "-": "negative"})
        >>> asked = EndpointClassifier("some-model", prompt=prompt, base_url="http://localhost:8080/v1", api_key="none")
        >>> asked.predict(["Not bad at all."])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str = "",
        *,
        prompt: Prompt | None = None,
        base_url: str | None = None,
        api_key: str | ApiKey | None = None,
        system: str | None = None,
        k: int = 0,
        temperature: float | None = 0,
        max_tokens: int | None = 16,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        max_retries: int = 5,
        n_concurrent: int = 4,
        price_per_million: tuple[float, float] | None = None,
        on_unknown: Literal["error", "none"] = "error",
        progress: bool | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.base_url = base_url
        self.api_key = api_key
        self.system = system
        self.k = k
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.extra_body = extra_body
        self.timeout = timeout
        self.max_retries = max_retries
        self.n_concurrent = n_concurrent
        self.price_per_million = price_per_million
        self.on_unknown = on_unknown
        self.progress = progress
        self.random_state = random_state
        self._tally = Tally()
        self._replies: dict[str, dict[str, Reply]] = {}  # by what is asked beside the text

    # -- what is asked -----------------------------------------------------------------------------------------------

    @property
    def api_key(self) -> ApiKey | None:
        """The key as given, in a wrapper that does not show it."""
        return self._api_key

    @api_key.setter
    def api_key(self, value: str | ApiKey | None) -> None:
        if not isinstance(value, str | ApiKey | None):
            raise InputError(f"api_key is of type {type(value).__name__}: expected a str or None")
        self._api_key = ApiKey(value) if isinstance(value, str) else value

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels of the prompt's answers, sorted where they can be."""
        try:
            return classes_of(self.prompt)
        except InputError as error:
            raise AttributeError(f"classes_ cannot be told: {error}") from error  # hasattr() asks for this one

    def fit(self, X: Iterable[str] | None = None, y: Iterable[Hashable] | None = None) -> EndpointClassifier:
        """Draw `k` examples from texts `X` and their labels `y`; without `k`, nothing is learnt. Sends nothing.

        Raises:
            InputError: A label without an answer, fewer rows than `k`, a parameter that cannot be used.
        """
        self._checked_answers()
        k = checked_int("k", self.k, 0)
        if k and (X is None or y is None):
            raise InputError(f"k is {k}, but there are no labelled texts to draw examples from: expected X and y")
        texts = [] if X is None else as_texts(X)
        labels = [] if y is None else as_labels(y, len(texts))
        classes = classes_of(self.prompt).tolist()
        for label in labels:
            label_number(label, classes)
        if k > len(texts):
            raise InputError(f"k is {k}, but there are {len(texts)} rows to draw examples from: expected fewer")
        seed = None if self.random_state is None else checked_int("random_state", self.random_state, 0)
        drawn = balanced_rows(labels, k, np.random.default_rng(seed)) if k else []
        self.examples_ = [(texts[row], labels[row]) for row in drawn]
        return self

    def messages(self, text: str) -> list[dict[str, str]]:
        """What is sent to the model about `text`: messages with ``role`` and ``content``."""
        answers = self._checked_answers()
        check_is_fitted(self)
        system = self.system
        if system is None:
            system = f"Answer with exactly one of these and nothing else: {', '.join(answers.values())}."
        if not _is_text(system):
            raise InputError(
                f"system is {system!r:.60} of type {type(system).__name__}: expected valid Unicode or None"
            )
        said: Messages = [{"role": "system", "content": system}] if system else []
        for example, label in self.examples_ if self.k else []:
            said += [
                {"role": "user", "content": self._question(example)},
                {"role": "assistant", "content": answers[label]},
            ]
        return [*said, {"role": "user", "content": self._question(text)}]

    def _question(self, text: str) -> str:
        assert self.prompt is not None
        return self.prompt.render(text) + self.prompt.cue

    def _checked_answers(self) -> dict[Any, str]:
        """The answers without white space around them. Raises InputError where there are none, or two are equal."""
        _ = classes_of(self.prompt)  # a prompt, with answers
        assert self.prompt is not None
        assert self.prompt.answers is not None
        answers = {label: answer.strip() for label, answer in self.prompt.answers.items()}
        label_of: dict[str, Any] = {}
        for label, answer in answers.items():
            if label_of.setdefault(answer, label) is not label:
                raise InputError(
                    f"prompt has the answer {answer!r} for both {label_of[answer]!r} and {label!r}: expected answers"
                    " that can be told apart"
                )
        return answers

    def _target(self) -> Target:
        if not _is_text(self.model) or not self.model.strip():
            raise InputError(f"model is {self.model!r:.80}: expected the name of a model at the endpoint")
        timeout, temperature = self.timeout, self.temperature
        if not is_number(timeout) or not 0 < timeout < math.inf:
            raise InputError(f"timeout is {timeout!r:.80}: expected a number of seconds > 0")
        if temperature is not None and (not is_number(temperature) or not 0 <= temperature < math.inf):
            raise InputError(f"temperature is {temperature!r:.80}: expected a number of at least 0, or None")
        options: dict[str, Any] = {}
        if temperature is not None:
            options["temperature"] = float(temperature)
        if self.max_tokens is not None:
            options["max_tokens"] = checked_int("max_tokens", self.max_tokens, 1)
        if self.extra_body is not None:
            options["extra_body"] = _checked_body(self.extra_body)
        return Target(
            base_url=checked_url(self._base_url()),
            model=self.model,
            options=options,
            timeout=float(timeout),
            max_retries=checked_int("max_retries", self.max_retries, 0, 1000),
            n_concurrent=checked_int("n_concurrent", self.n_concurrent, 1, 1000),
        )

    def _base_url(self) -> object:
        return self.base_url if self.base_url is not None else os.environ.get("OPENAI_BASE_URL") or OPENAI_URL

    def _given_key(self) -> ApiKey:
        return self.api_key or ApiKey(os.environ.get("OPENAI_API_KEY", ""))

    def _key(self) -> ApiKey:
        key = self._given_key()
        if not key.reveal():
            raise InputError(
                "no API key: expected api_key, which no pickle keeps, or the environment variable OPENAI_API_KEY (any"
                " word where the endpoint asks for none)"
            )
        return key.checked()

    # -- replies -----------------------------------------------------------------------------------------------------

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The label that the model answers with, for each text: ``(n_texts,)``.

        With ``on_unknown="none"`` of dtype object. Texts whose replies are in ``replies_`` are not sent again.

        Raises:
            EndpointError: The endpoint cannot be reached, times out, refuses the key, the model or texts, answers with
                what is no chat completion, or with no label. What was answered before is kept.
            InputError: As :meth:`fastplr.Embedder.embed`, and a parameter that cannot be used.
        """
        if self.on_unknown not in ("error", "none"):
            raise InputError(f"on_unknown is {self.on_unknown!r:.80}: expected 'error' or 'none'")
        self._prices()
        texts = as_texts(X)
        kept = self._ask(texts)
        answers = self._checked_answers()
        labels, wanted = list(answers), list(answers.values())
        names = [str(label) for label in labels]
        number_of = {text: label_of_reply(kept[text].text, wanted, names) for text in dict.fromkeys(texts)}
        unknown = [row for row, text in enumerate(texts) if number_of[text] is None]
        if unknown and self.on_unknown == "error":
            raise self._unknown(texts, unknown, kept, wanted)
        classes = classes_of(self.prompt)
        place = [classes.tolist().index(label) for label in labels]
        if self.on_unknown == "error":
            return np.asarray(classes[[place[number_of[text] or 0] for text in texts]])
        found = np.empty(len(texts), dtype=object)
        for row, text in enumerate(texts):
            number = number_of[text]
            found[row] = None if number is None else labels[number]
        return found

    def score(self, X: Iterable[str], y: Iterable[Hashable], sample_weight: npt.ArrayLike | None = None) -> float:
        """Share of the texts whose label is right; a label of None is wrong."""
        texts = as_texts(X)
        right = [
            found == label for found, label in zip(self.predict(texts).tolist(), as_labels(y, len(texts)), strict=True)
        ]
        return float(np.average(right, weights=None if sample_weight is None else np.asarray(sample_weight)))

    def _ask(self, texts: list[str]) -> dict[str, Reply]:
        target = self._target()
        messages = {text: self.messages(text) for text in dict.fromkeys(texts)}
        kept = self._replies.setdefault(self._asked_as(target), {})
        missing = [(text, said) for text, said in messages.items() if text not in kept]
        if not missing:
            return kept
        key = self._key()
        with text_bar(len(missing), f"asking {self.model}", self.progress) as bar:
            try:
                ask_all(target, key, missing, kept, self._tally, lambda n_done: bar.update(n_done - bar.n))
            except EndpointError as error:
                n_kept = sum(text in kept for text in messages)
                if not n_kept:
                    raise
                so_far = f"{n_kept} of {len(messages)} texts are answered and kept"
                raise EndpointError(f"{error}; {so_far}: predict again asks for the others") from None
        return kept

    def _asked_as(self, target: Target) -> str:
        """All that a reply depends on beside the text."""
        return json.dumps([target.base_url, target.model, target.options, self.messages("\n")], sort_keys=True)

    def _unknown(self, texts: list[str], rows: list[int], kept: dict[str, Reply], wanted: list[str]) -> EndpointError:
        row = rows[0]
        first = kept[texts[row]]
        shown = self._given_key().hidden_in(first.text)
        listed = ", ".join(map(repr, wanted))
        cut = f", cut at its end (max_tokens={self.max_tokens})" if first.is_cut else ""
        return EndpointError(
            f"{len(rows)} of {len(texts)} replies name none or several of the answers {listed:.200}: the"
            f" first, to texts[{row}], is {shown!r:.200}{cut}; all are in replies_, on_unknown='none' gives such"
            " texts the label None"
        )

    @property
    def replies_(self) -> dict[str, str]:
        """The reply to each text that was asked with these parameters, in the order in which they came."""
        return {text: reply.text for text, reply in self._replies.get(self._asked_as(self._target()), {}).items()}

    @property
    def usage_(self) -> EndpointUsage:
        """What the questions of this object took so far."""
        tally, prices, cost = self._tally, self._prices(), None
        if prices is not None and not tally.uncounted:
            cost = (tally.prompt_tokens * prices[0] + tally.completion_tokens * prices[1]) / 1e6
        return EndpointUsage(
            tally.requests, tally.retries, tally.prompt_tokens, tally.completion_tokens, tally.uncounted, cost
        )

    def _prices(self) -> tuple[float, float] | None:
        prices = self.price_per_million
        if prices is None:
            return None
        if (
            not isinstance(prices, tuple | list)
            or len(prices) != 2
            or not all(is_number(price) and 0 <= price < math.inf for price in prices)
        ):
            raise InputError(
                f"price_per_million is {prices!r:.80}: expected two prices of at least 0, of a million tokens read and"
                " of a million written"
            )
        return float(prices[0]), float(prices[1])

    # -- scikit-learn ------------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return self.k == 0 or bool(getattr(self, "examples_", None))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = self.k != 0
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _checked_body(extra_body: object) -> dict[str, Any]:
    """`extra_body` as a dict. Raises InputError where it is no mapping, cannot be JSON, or has a field of our own."""
    if not isinstance(extra_body, Mapping):
        raise InputError(f"extra_body is {extra_body!r:.80}: expected a mapping of fields of a request")
    for name in ("model", "messages", "stream", "n"):
        if name in extra_body:
            raise InputError(f"extra_body has the field {name!r}: expected none that this classifier sets itself")
    try:
        return dict(json.loads(json.dumps(dict(extra_body), allow_nan=False, ensure_ascii=False).encode()))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"extra_body is {extra_body!r:.80}, which cannot be written as JSON ({error})") from None
