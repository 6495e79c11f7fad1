"""Which words or phrases of a corpus speak most for each class."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

__all__ = ["Effect", "Overview", "overview"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What a word or phrase says for a class, over the texts that hold it.

    Attributes:
        text: As it is written most often.
        value: What it adds to the logit of the class: the mean over texts of its mean in a text.
        low: Lower end of the 95 % interval of `value` for such texts (Student's t, texts as the sample).
        high: The upper end.
        count: How often it occurs.
        n_texts: In how many texts.
    """

    text: str
    value: float
    low: float
    high: float
    count: int
    n_texts: int


@dataclass(frozen=True)
class Overview:
    """The words or phrases of a corpus that speak most for each class.

    Attributes:
        effects: For each label all words or phrases that occur in enough texts, those with the highest `low` first: of
            these even the cautious reading of what they say for the class is high. The last speak most against it.
        n_texts: Different texts in the corpus.
        min_texts: Texts that a word had to occur in.
        method: How values came about, as of an Explanation.
        by: ``"word"`` or ``"phrase"``.
    """

    effects: Mapping[Any, tuple[Effect, ...]]
    n_texts: int
    min_texts: int
    method: str
    by: str

    def strongest(self, n: int = 10) -> dict[Any, tuple[Effect, ...]]:
        """For each label the `n` that speak most for it; those whose interval reaches zero are left out."""
        return {label: tuple(one for one in some[:n] if one.low > 0) for label, some in self.effects.items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "n_texts": self.n_texts,
            "min_texts": self.min_texts,
            "method": self.method,
            "by": self.by,
            "classes": [
                {
                    "label": label.item() if isinstance(label, np.generic) else label,
                    "effects": [dict(vars(one)) for one in some],
                }
                for label, some in self.effects.items()
            ],
        }

    def format(self, n: int = 10) -> str:
        """A text of several lines for people: the `n` strongest of each label."""
        lines = [self._title()]
        for label, some in self.strongest(n).items():
            lines.append(f"\nfor {label}:")
            width = max((len(one.text) for one in some), default=0)
            lines += [
                f"  {one.text:{width}}  {one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f}), {one.n_texts} texts"
                for one in some
            ]
            if not some:
                lines.append("  none whose interval is above zero")
        return "\n".join(lines) + "\n"

    def section(self, n: int = 10) -> str:
        """HTML for a page (:func:`fastplr.explanation_page.as_page`): a table for each label."""
        parts = []
        for label, some in self.strongest(n).items():
            rows = "".join(
                f"<tr><td dir='auto'>{escape(one.text)}</td><td>{one.value:+.2f}</td>"
                f"<td>{one.low:+.2f} to {one.high:+.2f}</td><td>{one.n_texts}</td></tr>"
                for one in some
            )
            head = "<tr><th></th><th>logit</th><th>95 %</th><th>texts</th></tr>"
            shown = f"<table>{head}{rows}</table>" if rows else "<p>None whose interval is above zero.</p>"
            parts.append(f"<section><h3>for {escape(str(label))}</h3>{shown}</section>")
        return f"<h2>{escape(self._title())}</h2><div class='overview'>{''.join(parts)}</div>"

    def _title(self) -> str:
        return f"{self.by.capitalize()}s that speak most for each class, in {self.n_texts} texts"

    def _repr_html_(self) -> str:
        return self.section()


def overview(
    texts: Sequence[str],
    found: Sequence[tuple[list[tuple[int, int]], Floats]],
    classes: list[Any],
    *,
    min_texts: int,
    method: str,
    by: str,
) -> Overview:
    """Word by word, from the spans (bytes) of each text and their values ``(n_spans, n_rows)``.

    Capitals do not tell words apart, nor does punctuation at the ends of a phrase. A text that is there several times
    counts once: copies would make intervals too narrow.
    """
    values: dict[str, list[Floats]] = {}
    counts: Counter[str] = Counter()
    written: dict[str, Counter[str]] = {}
    distinct = dict(zip(texts, found, strict=True))
    for text, one in distinct.items():
        encoded = text.encode()
        in_text: dict[str, list[Floats]] = {}
        for (start, end), value in zip(*one, strict=True):
            shown = encoded[start:end].decode()
            if by == "phrase":
                shown = _without_marks(shown) or shown
            key = unicodedata.normalize("NFKC", shown).casefold()
            counts[key] += 1
            written.setdefault(key, Counter())[shown] += 1
            in_text.setdefault(key, []).append(value)
        for key, some in in_text.items():
            values.setdefault(key, []).append(np.mean(some, axis=0))
    effects: dict[Any, list[Effect]] = {label: [] for label in classes}
    for key, of_texts in values.items():
        n = len(of_texts)
        if n < min_texts:
            continue
        rows = np.array(of_texts)
        if rows.shape[1] == 1:  # two classes: the logit of the second
            rows = np.concatenate([-rows, rows], axis=1)
        means = rows.mean(axis=0)
        half = stdtrit(n - 1, 0.975) * rows.std(axis=0, ddof=1) / np.sqrt(n)
        shown = written[key].most_common(1)[0][0]
        for label, mean, width in zip(classes, means.tolist(), half.tolist(), strict=True):
            effects[label].append(Effect(shown, mean, mean - width, mean + width, counts[key], n))
    ranked = {label: tuple(sorted(some, key=lambda one: (-one.low, one.text))) for label, some in effects.items()}
    return Overview(ranked, len(distinct), min_texts, method, by)


def _without_marks(text: str) -> str:
    """Without the punctuation at both ends."""
    inside = [k for k, one in enumerate(text) if unicodedata.category(one)[0] not in "PZ"]
    return text[inside[0] : inside[-1] + 1] if inside else ""
