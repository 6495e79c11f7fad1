"""Lines for people below an explanation: the fewest words that decide, and the training rows behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastplr.counterfactual import Counterfactual
    from fastplr.influence import TrainingRow

__all__ = ["of_counterfactual", "of_training_rows"]

N_CHARACTERS = 80


def of_counterfactual(one: Counterfactual) -> str:
    """What becomes of the label without the fewest words."""
    if not one.removed:
        return f"No words were found without which it is another label than {one.predicted} ({one.n_tried} tried)."
    words = ", ".join(f"“{word}”" for word in one.words)
    how = "" if one.smallest else " (fewer words may do)"
    return f"Without {words}: {one.becomes}, {one.becomes_confidence:.1%}{how}."


def of_training_rows(label: Any, rows: Sequence[TrainingRow], texts: Sequence[str] | None = None) -> list[str]:
    """Training rows by their influence on the logit of `label`; `texts` are those of the fit."""
    lines = []
    for one in rows:
        side = "for" if (one.influence or 0.0) > 0 else "against"
        text = "" if texts is None else f": {_shortened(texts[one.row])}"
        lines.append(f"Training text {one.row + 1} ({one.label}) speaks {side} {label}, {one.influence:+.3f}{text}")
    return lines


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= N_CHARACTERS else text[: N_CHARACTERS - 1] + "…"
