"""What a sweep is given, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastplr import _core
from harness.corpus import Corpus
from harness.models import MODELS
from sweeps.timing import Case, Label, Timing, time_cases

__all__ = ["Section", "Setting", "Table", "compared", "half_depth"]

N_ROUNDS = 3
QUICK_N_TEXTS = 17


@dataclass(frozen=True)
class Setting:
    """How to measure.

    Attributes:
        corpus: Texts and their tasks' prompts.
        model_path: The file of a key of harness.models.MODELS; raises RivalUnavailable.
        n_threads: Of every process.
        quick: A few texts, fewer cases and one round: does it all work?
        say: Told what happens.
    """

    corpus: Corpus
    model_path: Callable[[str], Path]
    n_threads: int
    quick: bool
    say: Callable[[str], None]

    @property
    def instruction(self) -> str:
        """A prompt to put before every text."""
        return self.corpus.groups("instruction")[0].prefix

    def texts(self, n_texts: int) -> tuple[str, ...]:
        """Some `n_texts` of the corpus, with the lengths of the whole."""
        return self.corpus.first(QUICK_N_TEXTS if self.quick else n_texts).groups("none")[0].texts

    def time(self, cases: Sequence[Case], n_rounds: int = N_ROUNDS) -> dict[Label, Timing]:
        """See time_cases."""
        rounds = 1 if self.quick else n_rounds
        return time_cases(cases, n_rounds=rounds, n_threads=self.n_threads, say=self.say)


@dataclass
class Table:
    """Of the document: `left` columns of words, the others numbers; `title` may be empty."""

    title: str
    head: list[str]
    rows: list[list[str]]
    left: int = 1


@dataclass
class Section:
    """The evidence for a constant.

    Attributes:
        title: Names what is tuned.
        text: What is measured, and how.
        tables, findings: What came out; each finding is a sentence made of what was measured.
        seconds: Wall and processor time of every round, by the case's label.
    """

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def keep(self, timings: Mapping[Label, Timing]) -> None:
        """Notes the single times, and what could not be measured."""
        for label, timing in timings.items():
            name = ", ".join(label)
            self.seconds[name] = {"wall": timing.wall, "cpu": timing.cpu}
            if timing.trouble is not None:
                self.findings.append(f"Not measured: {name}: {timing.trouble}.")


def half_depth(key: str, path: Path) -> int:
    """The layer to go to: the middle one, of encoders the last, which are as shallow and made for it."""
    n_layers = _core.read_model_info(str(path))["n_layers"]
    return n_layers if MODELS[key].encoder else n_layers // 2


def compared(what: str, timings: Mapping[str, Timing], chosen: str) -> list[str]:
    """A sentence on which of the timings is fastest, and by how much; none where the chosen one was not measured."""
    walls = {name: timing.wall for name, timing in timings.items() if timing.wall}
    if chosen not in walls:
        return []
    best = min(walls, key=lambda name: timings[name].median_wall)
    if best == chosen:
        return [f"{what}: {chosen}, which is the choice, is fastest."]
    more = timings[chosen].median_wall / timings[best].median_wall - 1
    overlap = ", though rounds of the two overlap" if min(walls[chosen]) <= max(walls[best]) else ""
    return [f"{what}: {best} is fastest; {chosen}, which is the choice, takes {more:.1%} more time{overlap}."]
