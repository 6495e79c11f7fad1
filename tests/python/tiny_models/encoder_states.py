"""Hidden states of tiny encoders in plain NumPy: BERT with its descendants, and the encoder of T5."""

from __future__ import annotations

from functools import partial

import numpy as np

from .encoders import Encoder, has_experts, is_windowed
from .operators import Array, Weights, attend, gelu, layer_norm, rms_norm, rotate, silu
from .shape import Shape
from .writing import TinyModel


def bert_states(tiny: TinyModel, ids: Array) -> list[Array]:
    """Every token reads every other, or those in its window; token type 0."""
    encoder, shape, model = tiny.encoder, tiny.shape, Weights(tiny.tensors)
    assert encoder is not None
    norm = partial(_norm, encoder, shape.norm_eps)
    x = model["token_embd.weight"][ids]
    if encoder.token_types:
        x = x + model["token_types.weight"][0]
    if encoder.positions == "learned":
        x = x + model["position_embd.weight"][: len(ids)]
    if encoder.embedding_norm:
        x = norm(model, "token_embd_norm", x)
    states = [x]
    for layer in range(shape.n_layer):
        x, block = states[-1], Weights(tiny.tensors, f"blk.{layer}.")
        if encoder.pre_norm:
            normed = norm(block, "attn_norm", x) if layer > 0 or encoder.first_attention_norm else x
            x = x + _self_attention(encoder, shape, block, layer, normed)
            x = x + _feed_forward(encoder, block, layer, norm(block, "ffn_norm", x))
        else:
            x = norm(block, "attn_output_norm", x + _self_attention(encoder, shape, block, layer, x))
            x = norm(block, "layer_output_norm", x + _feed_forward(encoder, block, layer, x))
        states.append(x)
    return [*states, norm(model, encoder.output_norm, x) if encoder.output_norm else x]


def _norm(encoder: Encoder, eps: float, weights: Weights, name: str, x: Array) -> Array:
    gain = weights[f"{name}.weight"]
    if encoder.norm == "rms":
        return rms_norm(x, gain, eps)
    return layer_norm(x, gain, weights[f"{name}.bias"] if encoder.norm == "layer" else 0.0, eps)


def _self_attention(encoder: Encoder, shape: Shape, block: Weights, layer: int, x: Array) -> Array:
    n, head = len(x), shape.n_embd_head
    if encoder.qkv == "split":
        q, k, v = (block.linear(f"attn_{part}", x).reshape(n, -1, head) for part in "qkv")
    elif encoder.qkv == "fused":
        q, k, v = (part.reshape(n, -1, head) for part in np.split(block.linear("attn_qkv", x), 3, axis=1))
    else:
        q, k, v = np.split(block.linear("attn_qkv", x).reshape(n, shape.n_head, 3 * head), 3, axis=2)
    positions = np.arange(n)
    distance = np.abs(positions[:, None] - positions[None, :])
    windowed = is_windowed(encoder, layer)
    bias: Array | float = 0.0
    if encoder.positions in ("pairs", "halves"):
        base = shape.rope_freq_base_window if windowed else shape.rope_freq_base
        turn = partial(rotate, layout=encoder.positions, freq_base=base, n_rotated=head)
        q, k = turn(q, positions), turn(k, positions)
    elif encoder.positions == "alibi":
        bias = -alibi_slopes(shape.n_head)[:, None, None] * distance
    visible = distance <= (encoder.n_window // 2 if windowed else n)
    return block.linear("attn_output", attend(q, k, v, visible, bias=bias))


def alibi_slopes(n_head: int) -> Array:
    """How fast each head's scores fall with the distance (Press et al. 2022): a geometric series from 2^(-8/n) to 2^-8
    for n heads, a power of two. For another number the series of the next lower power, then every other slope of the
    series that has twice as many.
    """
    power = 2 ** int(np.log2(n_head))

    def series(n: int) -> Array:
        return 2.0 ** (-8 / n * np.arange(1, n + 1))

    return np.concatenate([series(power), series(2 * power)[::2][: n_head - power]])


def _feed_forward(encoder: Encoder, block: Weights, layer: int, x: Array) -> Array:
    if has_experts(encoder, layer):
        return _mixture(encoder, block, x)
    up = block.linear("ffn_up", x)
    if encoder.ffn == "gelu":
        hidden = gelu(up)
    elif encoder.ffn == "silu_gated":
        hidden = silu(block.linear("ffn_gate", x)) * up
    else:
        gate, up = np.split(up, 2, axis=1)
        hidden = (gelu if encoder.ffn == "gelu_fused" else silu)(gate) * up
    return block.linear("ffn_down", hidden)


def _mixture(encoder: Encoder, block: Weights, x: Array) -> Array:
    """The likeliest experts, weighted by their share of the softmax over all of them."""
    scores = np.exp(block.linear("ffn_gate_inp", x))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    likeliest = np.argsort(-probabilities, axis=1)[:, : encoder.n_experts_used]
    out = np.zeros_like(x)
    for token, experts in enumerate(likeliest):
        for expert in experts:
            hidden = gelu(block["ffn_up_exps.weight"][expert] @ x[token])
            out[token] += probabilities[token, expert] * (block["ffn_down_exps.weight"][expert] @ hidden)
    return out


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


def t5_states(tiny: TinyModel, ids: Array) -> list[Array]:
    """The encoder: norms before each part, scores not scaled, one relative attention bias for all blocks."""
    shape, model, n = tiny.shape, Weights(tiny.tensors), len(ids)
    positions = np.arange(n)
    buckets = relative_bucket(positions[None, :] - positions[:, None], shape.n_rel_buckets)
    states = [model["token_embd.weight"][ids]]
    for layer in range(shape.n_layer):
        x, block = states[-1], Weights(tiny.tensors, f"enc.blk.{layer}.")
        own = block if "attn_rel_b" in block else Weights(tiny.tensors, "enc.blk.0.")
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
