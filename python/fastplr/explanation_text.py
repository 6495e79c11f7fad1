"""Explanations on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastplr.explanation_page import full_colours, strength

if TYPE_CHECKING:
    from rich.text import Text

    from fastplr.explanation import Explanation

__all__ = ["as_lines", "print_explanations"]

# Okabe and Ito's blue and vermilion, which nearly everybody tells apart; bold is for the label, italic against it.
FOR, AGAINST = (0, 114, 178), (213, 94, 0)


def as_lines(one: Explanation, full: float | None = None, truth: Any = None) -> Text:
    """One explanation as rich text: a line of facts, then the text with its spans in colour."""
    from rich.text import Text

    full = strength([one]) if full is None else full
    line = Text()
    line.append(_harmless(f"{one.label} {one.probability:.1%}, logit {one.logit:+.2f}"), style="bold")
    if str(one.label) != str(one.predicted):
        line.append(_harmless(f"; predicted {one.predicted}"))
    if truth is not None and str(truth) != str(one.predicted):
        line.append(_harmless(f"; label {truth}"), style="underline")
    line.append("\n")
    last = 0
    for span in one.spans:
        line.append(_harmless(one.text[last : span.start]))
        line.append(_harmless(span.text), style=_style(span.value / full, span.stable))
        last = span.end
    line.append(_harmless(one.text[last:]))
    return line


# What a terminal would obey, but for the end of a line and tabs.
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def _harmless(text: str) -> str:
    """Without characters that would move the cursor, change colours or set the window's title."""
    return text.translate(_CONTROLS)


def _style(share: float, stable: bool) -> str:
    if abs(share) < 0.02:
        return ""
    if not stable:
        return "dim"
    tone = FOR if share > 0 else AGAINST
    strong = min(abs(share), 1.0)
    # Dark letters on a light tint: readable on terminals of either kind.
    red, green, blue = (round(255 - (255 - part) * (0.2 + 0.6 * strong)) for part in tone)
    return f"{'bold' if share > 0 else 'italic'} black on rgb({red},{green},{blue})"


def print_explanations(
    explanations: Sequence[Explanation],
    truth: Sequence[Any] | None = None,
    notes: Sequence[Sequence[str]] | None = None,
) -> None:
    """On standard output, with colours where it is a terminal; `notes` are lines below each."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for number, (one, full) in enumerate(zip(explanations, full_colours(explanations), strict=True)):
        console.print(as_lines(one, full, None if truth is None else truth[number]))
        if not console.is_terminal:
            ranked = sorted(one.spans, key=lambda span: -abs(span.value))[:10]
            console.print(
                "  " + _harmless(", ".join(f"“{span.text}” {span.value:+.2f}" for span in ranked)), markup=False
            )
        for line in notes[number] if notes is not None else ():
            console.print("  " + _harmless(line), markup=False)
        console.print()
