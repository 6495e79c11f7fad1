"""The parts that models are made of, in plain NumPy, float64, from their definitions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Array = np.ndarray


def rms_norm(x: Array, gain: Array, eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019)."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def layer_norm(x: Array, gain: Array, bias: Array | float, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * gain + bias (Ba et al. 2016)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + eps) * gain + bias


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def gelu(x: Array) -> Array:
    """The tanh form (Hendrycks and Gimpel 2016), which llama.cpp uses for every architecture here.

    BERT and its descendants are published with the exact form, which moves their states by up to 2e-3.
    """
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rotate(
    x: Array, positions: Array, *, layout: str, freq_base: float, n_rotated: int, factors: Array | float = 1.0
) -> Array:
    """Rotary position embedding (Su et al. 2021, eq. 34) of ``x[n_tokens, n_heads, n_embd_head]``.

    Pair i of the first ``n_rotated`` values turns by position * freq_base^(-2i / n_rotated) / factors[i] (Ding et al.
    2024, eq. 3); the rest stays.
    """
    half = n_rotated // 2
    angle = positions[:, None, None] * freq_base ** (-2 * np.arange(half) / n_rotated) / factors
    cos, sin = np.cos(angle), np.sin(angle)
    if layout == "pairs":
        first, second = slice(0, n_rotated, 2), slice(1, n_rotated, 2)
    else:
        first, second = slice(0, half), slice(half, n_rotated)
    out = x.copy()
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


def attend(
    q: Array, k: Array, v: Array, visible: Array, *, scale: float | None = None, bias: Array | float = 0.0
) -> Array:
    """Softmax attention (Vaswani et al. 2017); query head h reads key head h // (n_head / n_head_kv).

    ``q[n, n_head, d]``; ``k``, ``v[n, n_head_kv, d]``; ``visible[n, n]``: the row's token may read the
    column's; ``scale`` of the scores, 1 / sqrt(d) unless given; ``bias[n_head, n, n]`` is added to them.
    Returns ``[n, n_head * d]``.
    """
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    scores = np.einsum("qhd,khd->hqk", q, k) * scale + bias
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", weights, v).reshape(len(q), -1)


class Weights:
    """Tensors of one block, or of the model, by their short names."""

    def __init__(self, tensors: Mapping[str, Array], prefix: str = "") -> None:
        self._tensors = tensors
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        return f"{self._prefix}{name}.weight" in self._tensors

    def __getitem__(self, name: str) -> Array:
        return self._tensors[self._prefix + name]

    def linear(self, name: str, x: Array) -> Array:
        y = x @ self[f"{name}.weight"].T
        bias = self._tensors.get(f"{self._prefix}{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name: str, x: Array, eps: float) -> Array:
        bias = self._tensors.get(f"{self._prefix}{name}.bias")
        gain = self[f"{name}.weight"]
        return rms_norm(x, gain, eps) if bias is None else layer_norm(x, gain, bias, eps)
