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
        label_logits: float64 ``(n_texts, n_labels)``, in the order of the prompt's answers.
        n_tokens: Of all texts, prompt included.
        seconds: Of the pass.
    """

    features: npt.NDArray[np.float32]
    layers: list[int]
    final: npt.NDArray[np.float32]
    label_logits: npt.NDArray[np.float64]
    n_tokens: int
    seconds: float


def one_pass(
    model: str | os.PathLike[str],
    texts: Sequence[str],
    prompt: Prompt,
    *,
    n_threads: int | None,
    cache: Any = None,
    progress: bool | None = None,
) -> Pass:
    """Embed `texts` once, at full depth, with everything on the way; texts that are too long are cut.

    Encoders have no answers: their `label_logits` have no columns.
    """
    answers = LabelLogits(model, prompt=prompt, on_long="truncate", n_threads=n_threads, cache=cache, progress=progress)
    embedder: Embedder = answers.embedder()
    layers = candidate_layers(embedder.n_layers, MAX_LAYER)
    poolings = [*POOLINGS, "last"]
    started = time.perf_counter()
    found, n_tokens = embedder._embed_counted(list(texts), [*layers, -1], poolings, None)
    logits = np.empty((len(texts), 0))
    if not embedder.model_info.is_encoder:
        logits = answers.of_states(texts, np.ascontiguousarray(found[:, -1, -1]))
    seconds = time.perf_counter() - started
    return Pass(
        np.ascontiguousarray(found[:, :-1, :-1]),
        layers,
        np.ascontiguousarray(found[:, -1, POOLINGS.index("mean_all")]),
        logits,
        n_tokens,
        seconds,
    )
