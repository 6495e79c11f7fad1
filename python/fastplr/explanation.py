"""What each word or phrase of a text says for a classifier's decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastplr import _core
from fastplr.errors import InputError
from fastplr.explanation_page import as_fragment, as_page
from fastplr.explanation_plot import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "METHODS",
    "Explanation",
    "Span",
    "byte_spans",
    "character_spans",
    "explained_labels",
    "explanations",
    "phrases_of",
    "words_of",
]

METHODS = ("additive", "occlusion", "surrogate", "shapley")


@dataclass(frozen=True)
class Span:
    """A piece of a text and what it says.

    Attributes:
        start: Its first character, as a position in the str.
        end: One past its last.
        text: ``whole_text[start:end]``.
        value: What it adds to the logit of the explained label.
        stderr: Standard error of `value` for the method's own sampling; None where nothing was sampled.
        low: With ``stability=True`` the 5 % quantile of `value` over classifiers fitted to resampled training rows.
        high: The 95 % quantile.
    """

    start: int
    end: int
    text: str
    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def stable(self) -> bool:
        """Whether the sign is that of `value` over the whole interval; True where there is none."""
        return self.low is None or self.high is None or min(self.low * self.value, self.high * self.value) > 0


@dataclass(frozen=True)
class Explanation:
    """Why a classifier decides as it does on one text.

    Attributes:
        text: The text.
        label: The label whose logit is explained.
        method: ``"additive"``, ``"occlusion"``, ``"surrogate"`` or ``"shapley"``.
        spans: The words or phrases, in order.
        base_value: What is not the spans'. Of additive values intercept, prompt, special tokens and text between spans;
            of surrogate ones `logit` less their sum; of Shapley values the logit of what is left without any span. In
            all three ``base_value + sum(span.value)`` is `logit`. Of occlusion as of Shapley values, but its
            values do not add up.
        prompt_value: The part of `base_value` that belongs to the prompt and to special tokens; 0 where the method does
            not tell.
        logit: Of `label` for the text as it is (two classes: the second's; of the first it is the negative).
        predicted: The label that the classifier predicts.
        probability: Calibrated probability of `label`.
        confidence: Calibrated probability of `predicted`.
        truncated: Whether the text was cut to fit the context. What was cut has the additive value 0; by the other
            methods it counts where taking words out brings it into the context.
    """

    text: str
    label: Any
    method: str
    spans: tuple[Span, ...]
    base_value: float
    prompt_value: float
    logit: float
    predicted: Any
    probability: float
    confidence: float
    truncated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        label, predicted = (one.item() if isinstance(one, np.generic) else one for one in (self.label, self.predicted))
        return {
            "text": self.text,
            "label": label,
            "predicted": predicted,
            "probability": self.probability,
            "confidence": self.confidence,
            "method": self.method,
            "logit": self.logit,
            "base_value": self.base_value,
            "prompt_value": self.prompt_value,
            "truncated": self.truncated,
            "spans": [
                {
                    name: value
                    for name, value in (
                        ("start", span.start),
                        ("end", span.end),
                        ("text", span.text),
                        ("value", span.value),
                        ("stderr", span.stderr),
                        ("low", span.low),
                        ("high", span.high),
                    )
                    if value is not None
                }
                for span in self.spans
            ],
        }

    def to_html(self) -> str:
        """A page of its own, in one file; :func:`fastplr.explanation_page.as_page` makes one of many."""
        return as_page([self])

    def plot(self, ax: Axes | None = None) -> Axes:
        """A bar for each of the 20 strongest spans; ``plot().figure.savefig("why.svg")``.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return draw(self, ax)

    def _repr_html_(self) -> str:
        return as_fragment(self)


def explained_labels(probabilities: np.ndarray[Any, np.dtype[np.float64]], number: int | None) -> list[int]:
    """Numbers of the labels to explain: `number`, or by default the second of two, else each text's most probable."""
    n_texts, n_classes = probabilities.shape
    if number is None and n_classes == 2:
        number = 1
    return [number] * n_texts if number is not None else [int(one) for one in probabilities.argmax(axis=1)]


class _Offsets:
    """Positions of characters in a str to positions of bytes in its UTF-8, and back."""

    def __init__(self, text: str) -> None:
        if text.isascii():
            self.of_character: Any = range(len(text) + 1)
        else:
            sizes = np.fromiter((len(character.encode()) for character in text), np.int64, len(text))
            self.of_character = np.concatenate([[0], np.cumsum(sizes)])

    def byte(self, position: int) -> int:
        return int(self.of_character[position])

    def character(self, position: int) -> int:
        if isinstance(self.of_character, range):
            return position
        return int(np.searchsorted(self.of_character, position))


def byte_spans(text: str, spans: Sequence[Sequence[int]], index: int) -> list[tuple[int, int]]:
    """Bytes of spans of characters that a user gave.

    Raises:
        InputError: No list; a span that is no pair of ints, is empty, leaves the text, or overlaps the one before it.
    """
    if not isinstance(spans, Sequence | np.ndarray) or isinstance(spans, str | bytes):
        raise InputError(f"spans[{index}] is {spans!r:.60}: expected a list of (start, end)")
    offsets = _Offsets(text)
    found: list[tuple[int, int]] = []
    last = 0
    for number, span in enumerate(spans):
        what = f"spans[{index}][{number}] is {span!r:.60}"
        try:
            start, end = span
            whole = all(isinstance(part, int | np.integer) and not isinstance(part, bool) for part in (start, end))
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise InputError(f"{what}: expected a pair of ints, (start, end)")
        if not 0 <= start < end <= len(text):
            raise InputError(f"{what}: expected 0 <= start < end <= {len(text)}, the length of the text")
        if start < last:
            raise InputError(f"{what}: it begins before the span before it ends; expected ascending ones, no overlap")
        last = int(end)
        found.append((offsets.byte(int(start)), offsets.byte(int(end))))
    return found


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise InputError(f"text is {text!r:.60}: expected a str")
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise InputError(f"text is {text!r:.60}: expected a str without lone surrogates")
    return text


def words_of(text: str) -> list[tuple[int, int]]:
    """The words of a text as (start, end) in characters: every character but white space is in exactly one.

    After Unicode's word boundaries (UAX #29), with hyphens joining; a Chinese character is a word, as is a run of
    hiragana or katakana, an emoji with all that belongs to it, and punctuation (docs/explanations.md).
    """
    return character_spans(text, _core.words_of(_checked(text)))


def phrases_of(text: str) -> list[tuple[int, int]]:
    """The phrases of a text as (start, end) in characters: words up to a punctuation mark, at most five.

    Longer ones are cut into parts of nearly equal size, before short words rather than long ones
    (docs/explanations.md).
    """
    return character_spans(text, _core.phrases_of(_checked(text)))


def character_spans(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of bytes of a text in UTF-8 as spans of characters."""
    offsets = _Offsets(text)
    return [(offsets.character(start), offsets.character(end)) for start, end in spans]


def explanations(
    texts: Sequence[str],
    found: Sequence[_core.TextExplanation],
    *,
    method: str,
    classes: list[Any],
    labels: Sequence[int],
    predicted: Sequence[int],
    probabilities: np.ndarray[Any, np.dtype[np.float64]],
    intervals: Sequence[np.ndarray[Any, np.dtype[np.float64]]] | None = None,
) -> list[Explanation]:
    """What the native core found, as explanations of a label each.

    Args:
        texts: The texts.
        found: Of each text.
        method: The method.
        classes: All labels.
        labels: Of each text the number of the label to explain.
        predicted: Of each text the number of the predicted label.
        probabilities: ``(n_texts, n_classes)``.
        intervals: Of each text the ends of its values' intervals, ``(2, n_spans, n_rows)``.
    """
    result = []
    for number, (text, one, label, winner, shares) in enumerate(
        zip(texts, found, labels, predicted, probabilities, strict=True)
    ):
        # Two classes have one row, the logit of the second.
        n_rows = 1 if len(classes) == 2 else len(classes)
        row, sign = (0, 1.0 if label == 1 else -1.0) if n_rows == 1 else (label, 1.0)
        values = sign * one["values"][:, row]
        errors = None if one["standard_errors"] is None else one["standard_errors"][:, row]
        low: Any = [None] * len(values)
        high: Any = low
        if intervals is not None:
            low, high = np.sort(sign * intervals[number][:, :, row], axis=0)
        offsets = _Offsets(text)
        spans = []
        for k, (start, end) in enumerate(one["spans"]):
            first, last = offsets.character(start), offsets.character(end)
            spans.append(
                Span(
                    first,
                    last,
                    text[first:last],
                    float(values[k]) + 0.0,
                    None if errors is None else float(errors[k]),
                    None if low[k] is None else float(low[k]),
                    None if high[k] is None else float(high[k]),
                )
            )
        result.append(
            Explanation(
                text,
                classes[label],
                method,
                tuple(spans),
                sign * float(one["base"][row]),
                sign * float(one["prompt"][row]) + 0.0,
                sign * float(one["logits"][row]),
                classes[winner],
                float(shares[label]),
                float(shares[winner]),
                one["truncated"],
            )
        )
    return result
