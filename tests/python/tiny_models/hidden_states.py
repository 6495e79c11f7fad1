"""Hidden states of tiny models in plain NumPy, float64, written from the definitions of the architectures.

Nothing here is shared with llama.cpp: it is the independent source that the embedder's layers are checked
against. One sequence at a time, positions from 0, no cache, no batching.

How close llama.cpp comes on a CPU, largest absolute difference over all layers of these models (states reach
5 to 20): 1e-5 with F32 weights, an F32 key-value cache and flash attention off; 2e-2 with llama.cpp's
defaults, because the cache is F16 and flash attention computes in F16 whatever the cache is; 4e-3 more for
architectures with GELU, because ggml looks GELU up in a table of half-precision values; 0.5 with Q8_0 or Q4_0
weights, because the activations are then rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from .architectures import Decoder, Shape, n_rot
from .writing import TinyModel

Array = np.ndarray


def forward(tiny: TinyModel, token_ids: Sequence[int]) -> list[Array]:
    """States ``[n_tokens, n_embd]``: item k in 0..n_layer is the residual stream after k blocks (0: what
    enters the first block), and the last item, n_layer + 1 and also -1, is item n_layer after the output norm
    (BERT has none: the same array again). Of a T5 these are its encoder's.

    Item 0 holds the token embeddings, with what the architecture does to them before the first block: gpt2
    adds positions, gemma multiplies by sqrt(n_embd), bert adds positions and token type 0 and applies a layer
    norm.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    if tiny.architecture == "bert":
        return _bert_states(tiny, ids)
    if tiny.architecture == "mamba":
        return _mamba_states(tiny, ids)
    if tiny.architecture in ("t5", "t5encoder"):
        return _t5_states(tiny, ids)
    return _decoder_states(tiny, ids)


def rms_norm(x: Array, gain: Array, eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019)."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def layer_norm(x: Array, gain: Array, bias: Array, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * gain + bias (Ba et al. 2016)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + eps) * gain + bias


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def gelu(x: Array) -> Array:
    """The tanh form (Hendrycks and Gimpel 2016), which llama.cpp uses for every architecture here."""
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


class _Weights:
    """Tensors of one block, or of the model, by their short names."""

    def __init__(self, tiny: TinyModel, prefix: str = "") -> None:
        self._tensors = tiny.tensors
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


def _decoder_states(tiny: TinyModel, ids: Array) -> list[Array]:
    decoder, shape = tiny.decoder, tiny.shape
    assert decoder is not None
    model = _Weights(tiny)
    x = model["token_embd.weight"][ids]
    if decoder.scaled_embeddings:
        x = x * np.sqrt(shape.n_embd)
    if decoder.learned_positions:
        x = x + model["position_embd.weight"][: len(ids)]
    factors: Array | float = 1.0
    if shape.n_ctx_original:
        factors = model[f"rope_factors_{'long' if len(ids) > shape.n_ctx_original else 'short'}.weight"]
    states = [x]
    for layer in range(shape.n_layer):
        block = _Weights(tiny, f"blk.{layer}.")
        x = _decoder_block(decoder, shape, block, layer, x, factors)
        states.append(x)
    return [*states, model.norm("output_norm", x, shape.norm_eps)]


def _decoder_block(
    decoder: Decoder, shape: Shape, block: _Weights, layer: int, x: Array, factors: Array | float
) -> Array:
    eps = shape.norm_eps
    normed = block.norm("attn_norm", x, eps) if decoder.pre_norm else x
    attention = _self_attention(decoder, shape, block, layer, normed, factors)
    if decoder.post_norm:
        attention = block.norm("post_attention_norm", attention, eps)
    if decoder.residual == "shared":
        return x + attention + _feed_forward(decoder, block, normed)
    middle = x + attention
    source = x if decoder.residual == "parallel" else middle
    fed = _feed_forward(decoder, block, block.norm("ffn_norm", source, eps) if decoder.pre_norm else source)
    if decoder.post_norm:
        fed = block.norm("post_ffw_norm", fed, eps)
    return middle + fed


def _self_attention(
    decoder: Decoder, shape: Shape, block: _Weights, layer: int, x: Array, factors: Array | float
) -> Array:
    n, head = len(x), shape.n_embd_head
    positions = np.arange(n)
    if decoder.fused_qkv:
        ends = np.cumsum([shape.n_embd, shape.n_embd_kv])
        q, k, v = np.split(block.linear("attn_qkv", x), ends, axis=1)
    else:
        q, k, v = (block.linear(f"attn_{part}", x) for part in "qkv")
    if decoder.qk_norm == "full":
        q, k = block.norm("attn_q_norm", q, shape.norm_eps), block.norm("attn_k_norm", k, shape.norm_eps)
    q, k, v = q.reshape(n, -1, head), k.reshape(n, -1, head), v.reshape(n, -1, head)
    if decoder.qk_norm == "head":
        q, k = block.norm("attn_q_norm", q, shape.norm_eps), block.norm("attn_k_norm", k, shape.norm_eps)
    windowed = bool(decoder.window_every) and (layer + 1) % decoder.window_every != 0
    if decoder.rope and not (decoder.no_rope_every and (layer + 1) % decoder.no_rope_every == 0):
        base = shape.rope_freq_base_window if windowed else shape.rope_freq_base
        n_rotated = n_rot(decoder, shape)
        turn = partial(rotate, layout=decoder.rope, freq_base=base, n_rotated=n_rotated, factors=factors)
        q, k = turn(q, positions), turn(k, positions)
    distance = positions[:, None] - positions[None, :]
    visible = (distance >= 0) & (distance < (decoder.n_window if windowed else n))
    return block.linear("attn_output", attend(q, k, v, visible))


def _feed_forward(decoder: Decoder, block: _Weights, x: Array) -> Array:
    up = block.linear("ffn_up", x)
    if decoder.ffn == "gelu":
        hidden = gelu(up)
    elif decoder.ffn == "silu_fused":
        gate, up = np.split(up, 2, axis=1)
        hidden = silu(gate) * up
    else:
        activation = silu if decoder.ffn == "silu_gated" else gelu
        hidden = activation(block.linear("ffn_gate", x)) * up
    return block.linear("ffn_down", hidden)


def _bert_states(tiny: TinyModel, ids: Array) -> list[Array]:
    """Devlin et al. 2018: norms after the residual sums, every token reads every other."""
    shape, model, n = tiny.shape, _Weights(tiny), len(ids)
    x = model["token_embd.weight"][ids] + model["position_embd.weight"][:n] + model["token_types.weight"][0]
    states = [model.norm("token_embd_norm", x, shape.norm_eps)]
    for layer in range(shape.n_layer):
        x, block = states[-1], _Weights(tiny, f"blk.{layer}.")
        q, k, v = (block.linear(f"attn_{part}", x).reshape(n, -1, shape.n_embd_head) for part in "qkv")
        attention = block.linear("attn_output", attend(q, k, v, np.ones((n, n), dtype=bool)))
        x = block.norm("attn_output_norm", x + attention, shape.norm_eps)
        fed = block.linear("ffn_down", gelu(block.linear("ffn_up", x)))
        states.append(block.norm("layer_output_norm", x + fed, shape.norm_eps))
    return [*states, states[-1]]


def relative_bucket(distance: Array, n_buckets: int, max_distance: int = 128) -> Array:
    """Buckets of ``distance`` (key's position less query's), as T5's bidirectional attention has them (Raffel et
    al. 2020, section 2.1): half of them for keys that come later; of each half the first half for one distance
    each, the others for distances on a logarithmic scale up to ``max_distance``, the last one for all beyond.
    """
    half = n_buckets // 2
    exact = half // 2
    n = np.abs(distance)
    scaled = np.log(np.maximum(n, 1) / exact) / np.log(max_distance / exact) * (half - exact)
    far = np.minimum(exact + np.floor(scaled + 1e-9).astype(np.int64), half - 1)  # log(8) / log(16) is 3/4
    return np.where(n < exact, n, far) + half * (distance > 0)


def _t5_states(tiny: TinyModel, ids: Array) -> list[Array]:
    """The encoder: norms before each part, scores not scaled, one relative attention bias for all blocks."""
    shape, model, n = tiny.shape, _Weights(tiny), len(ids)
    positions = np.arange(n)
    buckets = relative_bucket(positions[None, :] - positions[:, None], shape.n_rel_buckets)
    states = [model["token_embd.weight"][ids]]
    for layer in range(shape.n_layer):
        x, block = states[-1], _Weights(tiny, f"enc.blk.{layer}.")
        own = block if "attn_rel_b" in block else _Weights(tiny, "enc.blk.0.")
        bias = np.moveaxis(own["attn_rel_b.weight"][buckets], 2, 0)
        normed = block.norm("attn_norm", x, shape.norm_eps)
        q, k, v = (block.linear(f"attn_{part}", normed).reshape(n, shape.n_head, -1) for part in "qkv")
        everything = np.ones((n, n), dtype=bool)
        x = x + block.linear("attn_o", attend(q, k, v, everything, scale=1.0, bias=bias))
        normed = block.norm("ffn_norm", x, shape.norm_eps)
        hidden = block.linear("ffn_up", normed)
        hidden = gelu(block.linear("ffn_gate", normed)) * hidden if shape.gated else np.maximum(hidden, 0)
        states.append(x + block.linear("ffn_down", hidden))
    return [*states, model.norm("enc.output_norm", states[-1], shape.norm_eps)]


def _mamba_states(tiny: TinyModel, ids: Array) -> list[Array]:
    """Gu and Dao 2023, algorithm 2, as a plain recurrence over the tokens."""
    shape, model = tiny.shape, _Weights(tiny)
    states = [model["token_embd.weight"][ids]]
    inner, d_state, rank, width = 2 * shape.n_embd, shape.d_state, shape.dt_rank, shape.d_conv
    for layer in range(shape.n_layer):
        block = _Weights(tiny, f"blk.{layer}.")
        normed = block.norm("attn_norm", states[-1], shape.norm_eps)
        x, gate = np.split(block.linear("ssm_in", normed), 2, axis=1)
        padded = np.vstack([np.zeros((width - 1, inner)), x])
        kernel = block["ssm_conv1d.weight"]
        x = sum(padded[i : i + len(ids)] * kernel[:, i] for i in range(width)) + block["ssm_conv1d.bias"]
        x = silu(x)
        dt, b, c = np.split(block.linear("ssm_x", x), [rank, rank + d_state], axis=1)
        dt = np.logaddexp(0, block.linear("ssm_dt", dt))
        memory, outputs = np.zeros((inner, d_state)), []
        for t in range(len(ids)):
            memory = memory * np.exp(dt[t][:, None] * block["ssm_a"]) + np.outer(dt[t] * x[t], b[t])
            outputs.append(memory @ c[t] + block["ssm_d"] * x[t])
        states.append(states[-1] + block.linear("ssm_out", np.array(outputs) * silu(gate)))
    return [*states, model.norm("output_norm", states[-1], shape.norm_eps)]
