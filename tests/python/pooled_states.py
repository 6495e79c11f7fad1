"""What an embedding must be, from the definitions: pooled rows of the NumPy forward pass of a tiny model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiny_models import ENCODERS, TinyModel, forward


def layer_states(tiny: TinyModel, ids: Sequence[int], layer: int) -> np.ndarray:
    """``[n_tokens, n_embd]``: the token embeddings as stored for layer 0, the residual stream after k blocks for k,
    the state after the output norm for -1.
    """
    return tiny.tensors["token_embd.weight"][list(ids)] if layer == 0 else forward(tiny, ids)[layer]


def text_tokens(tiny: TinyModel, text: str, prefix: str = "", suffix: str = "") -> list[int]:
    """Positions, in the tokens of prefix + text + suffix, of those that overlap at least one byte of the text.

    A token's bytes are those of its piece in the vocabulary; special tokens have none, and a SentencePiece vocabulary
    puts one space in front that is nobody's.
    """
    vocabulary = tiny.vocabulary
    ids = tiny.tokenize(prefix + text + suffix)
    start = len(prefix.encode()) + (1 if vocabulary.kind == "llama" else 0)
    end = start + len(text.encode())
    overlapping = []
    position = 0
    for index, token in enumerate(ids):
        piece = b"" if token in vocabulary.special.values() else vocabulary.pieces[token]
        if position < end and position + len(piece) > start and piece:
            overlapping.append(index)
        position += len(piece)
    assert position == len((prefix + text + suffix).encode()) + (1 if vocabulary.kind == "llama" else 0)
    return overlapping


def mean_positions(tiny: TinyModel, text: str, prefix: str = "", suffix: str = "") -> list[int]:
    """The positions that pooling ``mean`` takes: of the text, without position 0 unless it is the only one; encoders
    take all.
    """
    if tiny.architecture in ENCODERS:
        return list(range(len(tiny.tokenize(prefix + text + suffix))))
    positions = text_tokens(tiny, text, prefix, suffix)
    return [p for p in positions if p > 0] or positions


def pool(states: np.ndarray, pooling: str, positions: Sequence[int]) -> np.ndarray:
    """``states[n_tokens, n_embd]`` as one vector; `positions` are those of ``mean``."""
    if pooling == "mean":
        return states[list(positions)].mean(axis=0)
    return states.mean(axis=0) if pooling == "mean_all" else states[-1]


def expected_embedding(
    tiny: TinyModel, text: str, *, layer: int, pooling: str, prefix: str = "", suffix: str = ""
) -> np.ndarray:
    """The embedding of `text` by definition, float64 ``[n_embd]``."""
    states = layer_states(tiny, tiny.tokenize(prefix + text + suffix), layer)
    return pool(states, pooling, mean_positions(tiny, text, prefix, suffix))
