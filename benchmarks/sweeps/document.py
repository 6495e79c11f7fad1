"""docs/tuning.md out of what was measured: no number in it comes from anywhere else but the sources' own constants."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.document import table
from sweeps.section import Section

__all__ = ["Results", "render"]

HOW = """Every time is a median over rounds that were interleaved, in an order drawn anew for each, after a warm-up.
Every setting of an engine has a process of its own, which computes while the others wait, and time is that of its own
call, from strings to features. CPU is the time of the processors, over all threads, waiting included as long as a
thread does not sleep; least to most are those of single rounds. Texts are drawn from the labelled tasks by a fixed
seed, lengths in the proportions of the tasks."""


@dataclass
class Results:
    """A whole run.

    Attributes:
        sections: Evidence, a constant or two each.
        facts: Machine, date, versions, and the like, by name.
        quick: Whether it was only a check that everything works.
    """

    sections: list[Section] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    quick: bool = False

    def save(self, path: Path) -> None:
        """Write as JSON, with every single time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")


def render(results: Results) -> str:
    """The document, in Markdown."""
    quick = "**A quick check that everything works, with few texts and one round: its figures mean nothing.**\n\n"
    head = (
        "# Tuning\n\n"
        "What the tuned constants of the engine are worth. Written by `python benchmarks/tuning.py`; not edited.\n"
        "Times depend on the machine: compare within a table, whose lines of a model were measured side by side.\n\n"
        + (quick if results.quick else "")
        + table(["", ""], results.facts.items(), left=2)
        + "\n\n"
        + _filled(HOW)
    )
    return "\n\n".join([head, *(_section(section) for section in results.sections)]) + "\n"


def _section(section: Section) -> str:
    parts = [f"## {section.title}", _filled(section.text)]
    for measured in section.tables:
        if measured.title:
            parts.append(f"### {measured.title}")
        parts.append(table(measured.head, measured.rows, left=measured.left))
    if section.findings:
        parts.append(_bullets(section.findings))
    return "\n\n".join(parts)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(_filled(line, "- ", "  ") for line in lines)


def _filled(text: str, first: str = "", later: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()), 120, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )
