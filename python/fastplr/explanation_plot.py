"""An explanation as a picture: a bar for each word or phrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np

from fastplr.errors import InputError
from fastplr.explanation_text import AGAINST, FOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastplr.explanation import Explanation, Span

__all__ = ["draw"]

#: Columns of a label; a Chinese character has two.
MOST_COLUMNS = 36
#: What joins characters to one emoji or keeps letters apart, and is not printable by itself.
_JOINERS = "\u200c\u200d"
#: In place of a character that no font has.
_BOX = "□"


def draw(explanation: Explanation, ax: Axes | None = None, *, n_spans: int = 20) -> Axes:
    """A horizontal bar for each span, in reading order from the top; ``draw(...).figure.savefig("why.svg")``.

    Bars are blue for the label, orange and hatched against it, pale where the sign is not stable. Whiskers are the
    interval of ``stability=True``, else the standard error, where there is one.

    Args:
        explanation: What to draw.
        ax: Where; None: a figure of its own, which no window shows.
        n_spans: How many spans at most: those with the largest values.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import rcParams
        from matplotlib.figure import Figure  # without pyplot: no window, no global state
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastplr[plot]'") from error

    if n_spans < 1:
        raise InputError(f"n_spans is {n_spans!r}: expected an int of at least 1")
    every = explanation.spans
    strongest = sorted(range(len(every)), key=lambda k: -abs(every[k].value))[:n_spans]
    spans = [every[k] for k in sorted(strongest)]
    if ax is None:
        figure = Figure(figsize=(8, 1.5 + 0.28 * max(len(spans), 2)))
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
        ax = figure.add_subplot()

    notes = [f"logit of {_shown(explanation.label)}", *_whiskers(ax, spans)]
    for row, span in enumerate(spans):
        _bar(ax, row, span)
    ax.axvline(0, color=rcParams["axes.edgecolor"], linewidth=1)
    ax.set_ylim(max(len(spans), 1) - 0.4, -0.6)
    if not any(span.value or span.stderr or span.low or span.high for span in spans):
        ax.set_xlim(-1, 1)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)

    title = f"predicted {_shown(explanation.predicted)} {explanation.confidence:.1%}"
    if str(explanation.label) != str(explanation.predicted):
        title += f", explained: {_shown(explanation.label)} {explanation.probability:.1%}"
    if len(spans) < len(every):
        title += f"\n{len(spans)} strongest of {len(every)}"
    if not spans:
        title += "\nno words"
    _write(ax, title, "\n".join(notes), [_shown(span.text) for span in spans])
    return ax


def _bar(ax: Axes, row: int, span: Span) -> None:
    tone = tuple(part / 255 for part in (FOR if span.value > 0 else AGAINST))
    ax.barh(
        row, span.value, 0.7, color=[(*tone, 0.6 if span.stable else 0.1)], edgecolor=tone, linewidth=1,
        linestyle="-" if span.stable else ":", hatch="" if span.value > 0 else "////", zorder=2,
    )  # fmt: skip


def _whiskers(ax: Axes, spans: Sequence[Span]) -> list[str]:
    """Draws them, and says what they are."""
    from matplotlib import rcParams

    rows, low, high = [], [], []
    notes = set()
    for row, span in enumerate(spans):
        if span.low is not None and span.high is not None:
            ends = span.low, span.high
            notes.add("whiskers: 5 to 95 % over resampled training texts; pale: these have both signs")
        elif span.stderr is not None:
            ends = span.value - span.stderr, span.value + span.stderr
            notes.add("whiskers: ± standard error of the sampling")
        else:
            continue
        rows.append(row)
        low.append(ends[0])
        high.append(ends[1])
    # Not errorbar(): an interval over other classifiers need not hold the value.
    ax.hlines(rows, low, high, color=rcParams["axes.edgecolor"], linewidth=1, zorder=3)
    return sorted(notes)


def _write(ax: Axes, title: str, xlabel: str, labels: Sequence[str]) -> None:
    families, missing = _families({_BOX, *title, *xlabel, *"".join(labels)} - {"\n"})
    replaced = str.maketrans({character: "" if character in _JOINERS else _BOX for character in missing})
    # Texts may hold dollar signs and anything else that TeX would read.
    plain: dict[str, Any] = {"parse_math": False, "usetex": False, "fontfamily": families}
    ax.set_title(title.translate(replaced), loc="left", fontsize="medium", **plain)
    ax.set_xlabel(xlabel.translate(replaced), loc="left", fontsize="small", **plain)
    ax.set_yticks(range(len(labels)), [label.translate(replaced) for label in labels], **plain)


def _shown(text: object) -> str:
    """On one line, without characters that draw nothing or change the order of others, shortened."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in line[: MOST_COLUMNS + 1])
    columns = np.cumsum([2 if east_asian_width(c) in "WF" else 1 for c in line])
    return line if not line or columns[-1] <= MOST_COLUMNS else line[: np.searchsorted(columns, MOST_COLUMNS)] + "…"


def _families(characters: set[str]) -> tuple[list[str], set[str]]:
    """Fonts that have the characters together, matplotlib's own first, and the characters that none has.

    matplotlib looks nowhere but in the fonts that it is given, and warns of each glyph that they lack.
    """
    from matplotlib import font_manager, rcParams

    def without(family: list[str] | None, wanted: set[str]) -> set[str]:
        path = font_manager.findfont(font_manager.FontProperties(family=family))
        font = font_manager.get_font(path)
        return {character for character in wanted if not font.get_char_index(ord(character))}

    families = list(rcParams["font.family"])
    missing = without(None, characters)
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: ("Sans" not in entry.name, entry.name)):
        if not missing:
            break
        # Not in italics, and none of those that draw a box for everything or have an order of their own.
        if (entry.style, entry.weight, entry.stretch) != ("normal", 400, "normal"):
            continue
        if entry.name in families or entry.name.startswith(("Last Resort", "cm", "STIX")):
            continue
        try:
            left = without([entry.name], missing)
        except (OSError, RuntimeError):  # a font that was deleted since, or that cannot be read
            continue
        if left != missing:
            families.append(entry.name)
            missing = left
    return families, missing
