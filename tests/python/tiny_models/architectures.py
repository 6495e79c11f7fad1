"""What tells the decoder architectures apart, as data: one table, read by the writer and by the NumPy forward
pass.

Every entry follows the published model, in the layout that llama.cpp's GGUF files use; the forward pass
written from it is held against llama.cpp in the tests of the embedder.
"""

from __future__ import annotations

from dataclasses import dataclass

from .encoders import BERTS
from .shape import Shape


@dataclass(frozen=True)
class Decoder:
    """One block: ``x + attention(norm(x))``, then ``x + ffn(norm(x))``, with these differences.

    - ``norm``: ``rms`` (Zhang and Sennrich 2019) or ``layer`` (with a bias).
    - ``rope``: ``None``, ``pairs`` (neighbouring values rotate together) or ``halves`` (value i with value i
      + n_rot / 2); ``rotary_fraction`` of each head is rotated; in every ``no_rope_every``-th layer nothing
      is.
    - ``ffn``: ``silu_gated``, ``gelu_gated``, ``gelu``, or ``silu_fused`` (gate and up in one matrix).
    - ``residual``: ``sequential``; ``parallel``: attention and feed-forward both read x, each through its own
      norm; ``shared``: both read the same normed x.
    - ``qk_norm``: RMS norm of queries and keys per ``head`` or over the ``full`` width.
    - ``window_every``: 0, or every layer but each ``window_every``-th sees the last ``n_window`` positions
      only.
    """

    norm: str = "rms"
    rope: str | None = "pairs"
    rotary_fraction: float = 1.0
    no_rope_every: int = 0
    fused_qkv: bool = False
    qkv_bias: bool = False
    attention_bias: bool = False
    ffn: str = "silu_gated"
    ffn_bias: bool = False
    residual: str = "sequential"
    pre_norm: bool = True
    post_norm: bool = False
    qk_norm: str | None = None
    learned_positions: bool = False
    scaled_embeddings: bool = False
    window_every: int = 0
    n_window: int = 0
    tied: bool = True
    output_bias: bool = False
    tokenizer: str = "bpe"


DECODERS = {
    "llama": Decoder(),
    "mistral3": Decoder(tokenizer="spm"),
    "smollm3": Decoder(no_rope_every=4),
    "qwen2": Decoder(rope="halves", qkv_bias=True),
    "qwen3": Decoder(rope="halves", qk_norm="head"),
    "gemma": Decoder(rope="halves", ffn="gelu_gated", scaled_embeddings=True, tokenizer="spm"),
    "gemma3": Decoder(
        rope="halves",
        ffn="gelu_gated",
        qk_norm="head",
        post_norm=True,
        scaled_embeddings=True,
        window_every=2,
        n_window=8,
        tokenizer="spm",
    ),
    "olmo2": Decoder(rope="halves", qk_norm="full", pre_norm=False, post_norm=True, tied=False),
    "phi3": Decoder(rope="halves", fused_qkv=True, ffn="silu_fused", tokenizer="spm"),
    "phi2": Decoder(
        norm="layer",
        rope="halves",
        rotary_fraction=0.5,
        qkv_bias=True,
        attention_bias=True,
        ffn="gelu",
        ffn_bias=True,
        residual="shared",
        tied=False,
        output_bias=True,
    ),
    "gpt2": Decoder(
        norm="layer",
        rope=None,
        fused_qkv=True,
        qkv_bias=True,
        attention_bias=True,
        ffn="gelu",
        ffn_bias=True,
        learned_positions=True,
    ),
    "gptneox": Decoder(
        norm="layer",
        rope="halves",
        rotary_fraction=0.25,
        fused_qkv=True,
        qkv_bias=True,
        attention_bias=True,
        ffn="gelu",
        ffn_bias=True,
        residual="parallel",
        tied=False,
    ),
    "falcon": Decoder(norm="layer", rope="halves", fused_qkv=True, ffn="gelu", residual="shared"),
    "starcoder2": Decoder(norm="layer", rope="halves", qkv_bias=True, attention_bias=True, ffn="gelu", ffn_bias=True),
    "stablelm": Decoder(norm="layer", rope="halves", rotary_fraction=0.25, tied=False),
}

# Models that no embedding can be read from: a name that llama.cpp does not know, and the vision part of a
# multimodal model.
UNUSABLE = ("foo", "clip")
ENCODERS = (*BERTS, "t5", "t5encoder")
RECURRENT = ("mamba",)
ARCHITECTURES = (*DECODERS, *ENCODERS, *RECURRENT)


def n_rot(decoder: Decoder, shape: Shape) -> int:
    """How many values of each head are rotated."""
    return int(shape.n_embd_head * decoder.rotary_fraction)


def decoder_tensors(decoder: Decoder, shape: Shape) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes ``(rows, columns)``; a matrix maps columns to rows."""
    e, kv, ff = shape.n_embd, shape.n_embd_kv, shape.n_ff
    tensors: dict[str, tuple[int, ...]] = {}

    def add(name: str, *dims: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = dims
        if bias:
            tensors[f"{name}.bias"] = dims[:1]

    def add_norm(name: str) -> None:
        add(name, e, bias=decoder.norm == "layer")

    add("token_embd", shape.n_vocab, e)
    if decoder.learned_positions:
        add("position_embd", shape.n_ctx, e)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}."
        if decoder.pre_norm:
            add_norm(block + "attn_norm")
            if decoder.residual != "shared":
                add_norm(block + "ffn_norm")
        if decoder.fused_qkv:
            add(block + "attn_qkv", e + 2 * kv, e, bias=decoder.qkv_bias)
        else:
            for part, rows in (("q", e), ("k", kv), ("v", kv)):
                add(f"{block}attn_{part}", rows, e, bias=decoder.qkv_bias)
        if decoder.qk_norm:
            add(block + "attn_q_norm", shape.n_embd_head if decoder.qk_norm == "head" else e)
            add(block + "attn_k_norm", shape.n_embd_head if decoder.qk_norm == "head" else kv)
        add(block + "attn_output", e, e, bias=decoder.attention_bias)
        if decoder.ffn.endswith("gated"):
            add(block + "ffn_gate", ff, e)
        add(block + "ffn_up", 2 * ff if decoder.ffn == "silu_fused" else ff, e, bias=decoder.ffn_bias)
        add(block + "ffn_down", e, ff, bias=decoder.ffn_bias)
        if decoder.post_norm:
            add_norm(block + "post_attention_norm")
            add_norm(block + "post_ffw_norm")
    add_norm("output_norm")
    if shape.n_ctx_original:
        add("rope_factors_long", n_rot(decoder, shape) // 2)
        add("rope_factors_short", n_rot(decoder, shape) // 2)
    if not decoder.tied:
        add("output", shape.n_vocab, e, bias=decoder.output_bias)
    return tensors


def t5_tensors(shape: Shape, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """T5 (Raffel et al. 2020): no biases; the first block of either half has the relative attention bias of all.

    Without decoder blocks it is the encoder alone (``t5encoder``); with them the decoder is there in full,
    and an output head unless it is ``tied`` to the embeddings (T5; Flan-T5 unties it).
    """
    e, ff, inner = shape.n_embd, shape.n_ff, shape.n_embd_kv
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.n_vocab, e)}

    def add_attention(block: str) -> None:
        tensors[f"{block}_norm.weight"] = (e,)
        tensors.update({f"{block}_{part}.weight": (inner, e) for part in ("q", "k", "v")})
        tensors[f"{block}_o.weight"] = (e, inner)

    for half, n_layer in (("enc", shape.n_layer), ("dec", shape.n_layer_decoder)):
        if n_layer == 0:
            continue
        tensors[f"{half}.blk.0.attn_rel_b.weight"] = (shape.n_rel_buckets, shape.n_head)
        for layer in range(n_layer):
            block = f"{half}.blk.{layer}."
            add_attention(block + "attn")
            if half == "dec":
                add_attention(block + "cross_attn")
            tensors[block + "ffn_norm.weight"] = (e,)
            if shape.gated:
                tensors[block + "ffn_gate.weight"] = (ff, e)
            tensors |= {block + "ffn_up.weight": (ff, e), block + "ffn_down.weight": (e, ff)}
        tensors[f"{half}.output_norm.weight"] = (e,)
    if shape.n_layer_decoder and not tied:
        tensors["output.weight"] = (shape.n_vocab, e)
    return tensors


def mamba_tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Mamba 1 (Gu and Dao 2023) with expansion factor 2."""
    e, inner, state, rank = shape.n_embd, 2 * shape.n_embd, shape.d_state, shape.dt_rank
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.n_vocab, e)}
    for layer in range(shape.n_layer):
        block = f"blk.{layer}."
        tensors |= {
            block + "attn_norm.weight": (e,),
            block + "ssm_in.weight": (2 * inner, e),
            block + "ssm_conv1d.weight": (inner, shape.d_conv),
            block + "ssm_conv1d.bias": (inner,),
            block + "ssm_x.weight": (rank + 2 * state, inner),
            block + "ssm_dt.weight": (inner, rank),
            block + "ssm_dt.bias": (inner,),
            block + "ssm_a": (inner, state),
            block + "ssm_d": (inner,),
            block + "ssm_out.weight": (e, inner),
        }
    return tensors | {"output_norm.weight": (e,)}
