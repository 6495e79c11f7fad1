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

from .architectures import Decoder, n_rot
from .encoder_states import bert_states, t5_states
from .encoders import BERTS
from .operators import Array, Weights, attend, gelu, rotate, silu
from .shape import Shape
from .writing import TinyModel


def forward(tiny: TinyModel, token_ids: Sequence[int]) -> list[Array]:
    """States ``[n_tokens, n_embd]``: item k in 0..n_layer is the residual stream after k blocks (0: what
    enters the first block), and the last item, n_layer + 1 and also -1, is item n_layer after the output norm
    (where there is none, as in BERT, the same array again). Of a T5 these are its encoder's.

    Item 0 holds the token embeddings, with what the architecture does to them before the first block: gpt2
    adds positions, gemma multiplies by sqrt(n_embd), bert adds positions and token type 0 and applies a layer
    norm, as some of its descendants do.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    if tiny.architecture in BERTS:
        return bert_states(tiny, ids)
    if tiny.architecture == "mamba":
        return _mamba_states(tiny, ids)
    if tiny.architecture in ("t5", "t5encoder"):
        return t5_states(tiny, ids)
    return _decoder_states(tiny, ids)


def _decoder_states(tiny: TinyModel, ids: Array) -> list[Array]:
    decoder, shape = tiny.decoder, tiny.shape
    assert decoder is not None
    model = Weights(tiny.tensors)
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
        block = Weights(tiny.tensors, f"blk.{layer}.")
        x = _decoder_block(decoder, shape, block, layer, x, factors)
        states.append(x)
    return [*states, model.norm("output_norm", x, shape.norm_eps)]


def _decoder_block(
    decoder: Decoder, shape: Shape, block: Weights, layer: int, x: Array, factors: Array | float
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
    decoder: Decoder, shape: Shape, block: Weights, layer: int, x: Array, factors: Array | float
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


def _feed_forward(decoder: Decoder, block: Weights, x: Array) -> Array:
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


def _mamba_states(tiny: TinyModel, ids: Array) -> list[Array]:
    """Gu and Dao 2023, algorithm 2, as a plain recurrence over the tokens."""
    shape, model = tiny.shape, Weights(tiny.tensors)
    states = [model["token_embd.weight"][ids]]
    inner, d_state, rank, width = 2 * shape.n_embd, shape.d_state, shape.dt_rank, shape.d_conv
    for layer in range(shape.n_layer):
        block = Weights(tiny.tensors, f"blk.{layer}.")
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
