"""Which words of a text have to go for the classifier to decide otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastplr import _core, classifier_file
from fastplr.explaining import MAX_BUDGET, checked_replacement, wanted_spans, with_engine
from fastplr.explanation import character_spans
from fastplr.inputs import as_texts
from fastplr.solver_inputs import checked_int

if TYPE_CHECKING:
    from fastplr.classifier import PLRClassifier

__all__ = ["Counterfactual", "find"]


@dataclass(frozen=True)
class Counterfactual:
    """The smallest set of words that was found without which a text gets another label.

    Attributes:
        text: The text.
        predicted: Its predicted label.
        confidence: Calibrated probability of `predicted`.
        removed: The words or phrases as (start, end) in characters, in order; empty where no such set was found.
        text_without: The text without them; None where none was found.
        becomes: The label predicted then; None where none was found.
        becomes_confidence: Calibrated probability of `becomes`; None where none was found.
        smallest: Whether every smaller set was tried.
        n_tried: Variants of the text that were computed.
        truncated: Whether the text was cut to fit the context.
    """

    text: str
    predicted: Any
    confidence: float
    removed: tuple[tuple[int, int], ...]
    text_without: str | None
    becomes: Any
    becomes_confidence: float | None
    smallest: bool
    n_tried: int
    truncated: bool = False

    @property
    def words(self) -> list[str]:
        """What is removed, as str."""
        return [self.text[start:end] for start, end in self.removed]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; with `words`."""
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in vars(self).items()}
        return plain | {"removed": [list(span) for span in self.removed], "words": self.words}


def find(
    classifier: PLRClassifier, X: Any, *, by: str, spans: Any, budget: int, replacement: str
) -> list[Counterfactual]:
    """As :meth:`fastplr.PLRClassifier.counterfactual`."""
    texts = as_texts(X)
    native = classifier_file.to_native(classifier)
    settings: dict[str, Any] = {
        "spans": wanted_spans(texts, by, spans),
        "budget": checked_int("budget", budget, 1, MAX_BUDGET),
        "replacement": checked_replacement(replacement),
    }
    found = with_engine(
        classifier,
        len(texts),
        "searching",
        lambda engine, **shared: _core.find_counterfactuals(engine, native, texts, **settings, **shared),
    )
    classes = classifier.classes_.tolist()
    result = []
    for text, one in zip(texts, found, strict=True):
        before = _core.probabilities(native, one["logits"][None])[0]
        label = int(before.argmax())
        places = character_spans(text, one["spans"])
        removed = tuple(places[k] for k in one["removed"])
        becomes, then = None, None
        if removed:
            after = _core.probabilities(native, one["logits_without"][None])[0]
            becomes, then = classes[int(after.argmax())], float(after.max())
        result.append(
            Counterfactual(
                text,
                classes[label],
                float(before[label]),
                removed,
                one["text_without"] if removed else None,
                becomes,
                then,
                one["smallest"],
                one["n_tried"],
                one["truncated"],
            )
        )
    return result
