"""What a run leaves behind, as plain values that go to JSON and back."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Results", "RowResult"]


@dataclass
class RowResult:
    """What was measured in a row.

    Attributes:
        id, model, title, form, corpus, float32: As in the plan (`model` and `title` as the document names them).
        n_texts, n_tokens: Size of the corpus in this form, in tokens of the model (whole strings, nothing shared).
        seconds: Time of each round.
        load_seconds: From the imported package to the features of a first text.
        peak_bytes: The most memory up to the end of the first round, less what the process had after its imports.
        cosine_mean, cosine_min: Of the features with the float32 reference.
        versions: Version by package.
        trouble: Why there are no figures, if there are none.
        installed: False where the trouble is that the rival is not here.
    """

    id: str
    model: str
    title: str
    form: str
    corpus: str
    float32: bool
    n_texts: int = 0
    n_tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    load_seconds: float | None = None
    peak_bytes: int | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    trouble: str | None = None
    installed: bool = True

    @property
    def median_seconds(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seconds)


@dataclass
class Profile:
    """Where the time of one run goes.

    Attributes:
        title: What ran.
        ms_per_text: Of the run, until all cores were done.
        shares: By kind of work its share of the cores' time and the functions that take most of it; largest first.
    """

    title: str
    ms_per_text: float
    shares: dict[str, tuple[float, list[str]]]


@dataclass
class Results:
    """A whole run.

    Attributes:
        rows: One a row of the plan that was asked for.
        machine: As machine.describe_machine gives it.
        date: Of the start, in ISO form.
        n_threads: Threads of every rival.
        cores: Cores on which all of them ran.
        fastplr: Version, and commit of llama.cpp.
        minutes: Duration of the run.
        lengths: Tokens of each text by (tokenizer, form), as "weights/form".
        quick: Whether it was only a check that everything works.
        profiles: Of ggml's kernels and of fastplr's; empty where there is none.
        profile_note: What the profiles are of, or why there is none.
        peak_gops: GOP/s of the instruction that multiplies bytes, on all the threads, where it was measured.
        amended: What was measured in a later run, if anything (see harness/amend.py).
    """

    rows: list[RowResult]
    machine: dict[str, str]
    date: str
    n_threads: int
    cores: list[int]
    fastplr: dict[str, str]
    minutes: float = 0.0
    lengths: dict[str, list[int]] = field(default_factory=dict)
    quick: bool = False
    profiles: list[Profile] = field(default_factory=list)
    profile_note: str = ""
    peak_gops: float | None = None
    amended: str = ""

    def row(self, row_id: str) -> RowResult | None:
        """The row of this name, if it was measured."""
        return next((row for row in self.rows if row.id == row_id and row.seconds), None)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """The inverse of `save`."""
        values = json.loads(path.read_text("utf-8"))
        values["rows"] = [RowResult(**row) for row in values["rows"]]
        values["profiles"] = [Profile(**profile) for profile in values["profiles"]]
        return cls(**values)
