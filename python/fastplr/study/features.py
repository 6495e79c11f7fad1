"""One pass of a model over a task: all that its methods need of each text."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.embedder import Embedder
from fastplr.label_logits import LabelLogits
from fastplr.prompt import Prompt
from fastplr.representation import candidate_layers

__all__ = ["MAX_LAYER", "POOLINGS", "Pass", "one_pass"]

#: What PLR-E chooses among, as PLRClassifier does: share of the depth, and poolings.
MAX_LAYER = 0.75
POOLINGS = ("mean", "mean_all")


@dataclass(frozen=True, eq=False)
class Pass:
    """What one full-depth pass over texts gives.

    Attributes:
        features: float32 ``(n_texts, n_layers, n_poolings, n_embd)`` of `layers` and :data:`POOLINGS`.
        layers: Candidate layers.
        final: float32 ``(n_texts, n_embd)``: after the output norm, mean over all tokens.
        label_logits: float64 ``(n_texts, n_labels)``, in the order of the prompt's answers; no columns without them.
        n_tokens: Of all texts, prompt included.
        n_cut: Texts that were longer than the context.
        seconds: Of the pass.
    """

    features: npt.NDArray[np.float32]
    layers: list[int]
    final: npt.NDArray[np.float32]
    label_logits: npt.NDArray[np.float64]
    n_tokens: int
    n_cut: int
    seconds: float


def one_pass(
    model: str | os.PathLike[str],
    texts: Sequence[str],
    prompt: Prompt,
    *,
    with_answers: bool,
    n_threads: int | None,
    cache: Any = None,
    progress: bool | None = None,
) -> Pass:
    """Embed `texts` once, at full depth, with everything on the way; texts that are too long are cut."""
    settings: dict[str, Any] = {"on_long": "truncate", "n_threads": n_threads, "cache": cache, "progress": progress}
    answers = LabelLogits(model, prompt=prompt, **settings)
    asked = Prompt(prompt.prefix, prompt.suffix + prompt.cue)
    embedder = answers.embedder() if with_answers else Embedder(model, prompt=asked, **settings)
    layers = candidate_layers(embedder.n_layers, MAX_LAYER)
    started = time.perf_counter()
    run, _ = embedder._run([*layers, -1], [*POOLINGS, "last"])
    found = np.empty((len(texts), *run.row_shape), dtype=np.float32)
    run.fill(list(texts), found)
    logits = np.empty((len(texts), 0))
    if with_answers:
        logits = answers.of_states(texts, np.ascontiguousarray(found[:, -1, -1]))
    seconds = time.perf_counter() - started
    final = found[:, -1, POOLINGS.index("mean_all")]
    return Pass(
        np.ascontiguousarray(found[:, :-1, :-1]),
        layers,
        np.ascontiguousarray(final),
        logits,
        run.n_tokens,
        run.n_cut,
        seconds,
    )
