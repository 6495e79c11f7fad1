"""Rotary positions as a ``config.json`` describes them, and as llama.cpp is told of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastplr.convert.config_values import require_count, require_number
from fastplr.convert.gguf_file import Metadata
from fastplr.errors import ModelError, UnsupportedArchitecture

__all__ = ["Rope", "read_rope"]

DEFAULT_BASE = 10_000.0
# What llama.cpp assumes of YaRN, and transformers where nothing is said.
YARN_DEFAULTS = {"beta_fast": 32, "beta_slow": 1, "truncate": True, "mscale": None, "mscale_all_dim": None}


@dataclass(frozen=True)
class Rope:
    """How positions rotate queries and keys.

    Attributes:
        base: The base of the wavelengths (theta).
        scaling: GGUF's values below ``rope.scaling``, by the rest of the key; none where nothing is scaled.
        factors: What each frequency is divided by, where they differ (Llama 3); empty where there are none.
    """

    base: float
    scaling: Metadata = field(default_factory=dict)
    factors: tuple[float, ...] = ()


def read_rope(config: Mapping[str, Any], path: Path, *, head_dim: int, takes_factors: bool) -> Rope:
    """The rotary positions of `config`: ``rope_theta`` and ``rope_scaling``, or ``rope_parameters``.

    Args:
        config: What the config.json says; absent keys and nulls mean what they mean to transformers.
        path: The config.json, for messages.
        head_dim: Width of an attention head, all of which is rotated.
        takes_factors: Whether llama.cpp's graph of this architecture has a factor for every frequency.

    Raises:
        UnsupportedArchitecture: They are of a kind that llama.cpp does not compute, or not for this architecture.
        ModelError: A value makes no sense.
    """
    stated = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(stated, dict):
        raise ModelError(f"{str(path)!r} has the rope_scaling {stated!r:.200}; expected an object")
    top = {key: config[key] for key in ("rope_theta", "partial_rotary_factor") if config.get(key) is not None}
    rope = {"rope_theta": DEFAULT_BASE} | top | {key: value for key, value in stated.items() if value is not None}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if any(isinstance(value, dict) for value in rope.values()) or rope.get("partial_rotary_factor", 1) != 1:
        raise UnsupportedArchitecture(
            f"{str(path)!r} has the rope parameters {rope!r:.300}; fastplr converts one kind for all layers and "
            "the whole of every head (partial_rotary_factor 1)"
        )
    base = require_number(rope, "rope_theta", path, above=1)
    n_ctx = config.get("original_max_position_embeddings") or config.get("max_position_embeddings")
    scaled = {"original_max_position_embeddings": n_ctx} | rope
    match kind:
        case "default":
            return Rope(base)
        case "linear":
            return Rope(base, {"type": "linear", "factor": require_number(rope, "factor", path, above=1e-6)})
        case "yarn":
            return Rope(base, _yarn(scaled, path))
        case "llama3" if takes_factors:
            return Rope(base, factors=_llama3_factors(scaled, path, base, head_dim))
    possible = "default, linear, yarn" + (", llama3" if takes_factors else "")
    raise UnsupportedArchitecture(
        f"{str(path)!r} has the rope scaling {kind!r:.200}; llama.cpp computes {possible} for this architecture"
    )


def _yarn(rope: Mapping[str, Any], path: Path) -> Metadata:
    factor = require_number(rope, "factor", path, above=1e-6)
    for key, expected in YARN_DEFAULTS.items():
        if rope.get(key, expected) != expected:
            raise UnsupportedArchitecture(
                f"{str(path)!r} has YaRN with {key} = {rope[key]!r:.200}; fastplr converts {expected!r} only"
            )
    usual = 0.1 * math.log(max(factor, 1.0)) + 1
    if "attention_factor" in rope and not math.isclose(
        require_number(rope, "attention_factor", path, above=0), usual, rel_tol=1e-4
    ):
        raise UnsupportedArchitecture(
            f"{str(path)!r} has YaRN with attention_factor = {rope['attention_factor']!r:.200}; "
            f"fastplr converts 0.1 ln(factor) + 1 = {usual:g} only"
        )
    n_ctx = require_count(rope, "original_max_position_embeddings", path)
    return {"type": "yarn", "factor": factor, "original_context_length": n_ctx}


def _llama3_factors(rope: Mapping[str, Any], path: Path, base: float, head_dim: int) -> tuple[float, ...]:
    """Long waves are stretched by the factor, short ones not, those between in part; the bounds are of the context."""
    factor = require_number(rope, "factor", path, above=1e-6)
    low = require_number(rope, "low_freq_factor", path, above=0)
    high = require_number(rope, "high_freq_factor", path, above=low)
    n_ctx = require_count(rope, "original_max_position_embeddings", path)
    factors = []
    for i in range(head_dim // 2):
        turns = n_ctx / (2 * math.pi * base ** (2 * i / head_dim))  # in the original context
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - kept) / factor + kept))
    return tuple(factors)
