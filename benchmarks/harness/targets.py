"""The ratios that were to be reached, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.results import Results, RowResult

__all__ = ["TARGETS", "Reached", "Target"]

LIBLLAMA = "smollm2-q4_0/libllama"
HALF = "smollm2-q4_0/fastplr-half"
INT8 = ("smollm2-q4_0/transformers-int8/none", "smollm2-q4_0/openvino-int8/none")
MINILM_INT8 = tuple(f"minilm-f32/{name}/none" for name in ("transformers-int8", "openvino-int8", "onnxruntime-int8"))


@dataclass(frozen=True)
class Reached:
    """A ratio, and over the rounds the least and the most; `rival` is the row that it was held against."""

    ratio: float
    low: float
    high: float
    rival: RowResult
    met: bool


@dataclass(frozen=True)
class Target:
    """A row of ours against a rival's: speed (times as many texts a second) or memory (share of the peak).

    Attributes:
        what: In words.
        ours: Id of our row.
        rivals: Ids of the rows that it is held against; the fastest counts. Empty: every other float32 row of the model
            and form.
        bound: What is to be reached: at least for speed, at most for memory.
        memory: Whether it is about memory.
        prototype: What a naive prototype reached.
    """

    what: str
    ours: str
    rivals: tuple[str, ...]
    bound: float
    memory: bool = False
    prototype: float | None = None

    @property
    def sign(self) -> str:
        """Of the bound."""
        return "≤" if self.memory else "≥"

    def reached(self, results: Results) -> Reached | None:
        """None where one of the rows was not measured."""
        ours = results.row(self.ours)
        rivals = [row for row in map(results.row, self.rivals) if row is not None] or self._float32_rivals(results)
        if ours is None or not rivals:
            return None
        rival = min(rivals, key=lambda row: row.median_seconds)
        if self.memory:
            if not ours.peak_bytes or not rival.peak_bytes:
                return None
            ratio = ours.peak_bytes / rival.peak_bytes
            return Reached(ratio, ratio, ratio, rival, ratio <= self.bound)
        ratio = rival.median_seconds / ours.median_seconds
        by_round = [theirs / own for theirs, own in zip(rival.seconds, ours.seconds, strict=False)]
        return Reached(ratio, min(by_round), max(by_round), rival, ratio >= self.bound)

    def _float32_rivals(self, results: Results) -> Sequence[RowResult]:
        if self.rivals:
            return []
        ours = results.row(self.ours)
        return [
            row
            for row in results.rows
            if ours
            and row.seconds
            and row.float32
            and (row.model, row.form, row.corpus) == (ours.model, ours.form, ours.corpus)
            and row is not ours
        ]


TARGETS = [
    *(
        Target(
            f"{name}, full depth, no prompt, against libllama's own embedding of the same file",
            f"{key}/fastplr-full/none",
            (f"{key}/libllama/none",),
            bound,
        )
        for name, key, bound in (
            ("Q4_0", "smollm2-q4_0", 4.0),
            ("Q8_0", "smollm2-q8_0", 4.0),
            ("Q4_1, as shipped", "smollm2-q4_1", 8.0),
        )
    ),
    Target("Q4_0, full depth, against the fastest rival in int8", "smollm2-q4_0/fastplr-full/none", INT8, 1.3),
    Target("Q4_0, half depth, against the fastest rival in int8 at full depth", f"{HALF}/none", INT8, 2.5),
    Target("MiniLM Q8_0 against the fastest rival in int8", "minilm-q8_0/fastplr-final/none", MINILM_INT8, 1.0),
    Target("Q4_0, half depth, no prompt", f"{HALF}/none", (f"{LIBLLAMA}/none",), 3.8, prototype=3.8),
    Target(
        "Q4_0, half depth, an instruction before the text (shared), against libllama on the same prompted text: "
        "one instruction, 300 texts",
        f"{HALF}/one-instruction",
        (f"{LIBLLAMA}/one-instruction",),
        20.0,
    ),
    Target(
        "The same, 17 instructions, 17 or 18 texts each",
        f"{HALF}/instruction",
        (f"{LIBLLAMA}/instruction",),
        7.0,
    ),
    Target(
        "Q4_0, half depth, the paper's prefix and suffix, all tokens pooled: one prompt, 300 texts",
        f"{HALF}-all/one-paper",
        (f"{LIBLLAMA}/one-paper",),
        4.3,
    ),
    Target(
        "The same, 17 prompts, 17 or 18 texts each",
        f"{HALF}-all/paper",
        (f"{LIBLLAMA}/paper",),
        4.3,
    ),
    Target("MiniLM F32 against the fastest float32 rival", "minilm-f32/fastplr-final/none", (), 0.95),
    Target(
        "Peak memory, SmolLM2 Q4_0, half depth, batches of 512, against libllama's own",
        f"{HALF}-512/none/memory",
        (f"{LIBLLAMA}-512-512/none/memory",),
        0.6,
        memory=True,
    ),
    Target(
        "Peak memory, Gemma 3 270M, half depth, batches of 512, against libllama's own",
        "gemma3/fastplr-half-512/none/memory",
        ("gemma3/libllama-512-512/none/memory",),
        0.6,
        memory=True,
    ),
]
