"""What tells BERT and its descendants apart, as data: one table, read by the writer and by the NumPy forward pass.

Every entry follows the published model; the tensors are laid out as llama.cpp's converter lays them out, which for
fused matrices is as they were published.
"""

from __future__ import annotations

from dataclasses import dataclass

from .shape import Shape


@dataclass(frozen=True)
class Encoder:
    """One block: attention over all tokens, then a feed-forward network, each with a residual sum; the differences:

    - ``norm``: ``layer`` (with a bias), ``layer_unbiased``, or ``rms``.
    - ``pre_norm``: norms before each part and after the last block, instead of after each residual sum.
    - ``first_attention_norm``: whether the first block has a norm before its attention.
    - ``positions``: ``learned``; ``pairs`` or ``halves`` (rotary, as in ``Decoder``); ``alibi``: scores fall with the
      distance.
    - ``qkv``: ``split``; ``fused``: one matrix, all queries first, then keys, then values; ``by_head``: one matrix, of
      each head its queries, keys and values.
    - ``ffn``: ``gelu``, ``gelu_fused`` or ``silu_fused`` (gate, then up, in one matrix), ``silu_gated``.
    - ``output_norm``: name of the norm after the last block.
    - ``window_every``: 0, or only every ``window_every``-th layer, the first to begin with, sees all tokens; the others
      see ``n_window // 2`` to each side.
    - ``n_experts``: 0, or every second block has that many networks, of which the router takes the ``n_experts_used``
      likeliest, each weighted by its probability.
    """

    norm: str = "layer"
    pre_norm: bool = False
    first_attention_norm: bool = True
    token_types: bool = True
    embedding_norm: bool = True
    output_norm: str | None = None
    positions: str = "learned"
    qkv: str = "split"
    grouped_heads: bool = False
    attention_bias: bool = True
    ffn: str = "gelu"
    ffn_up_bias: bool = True
    ffn_down_bias: bool = True
    window_every: int = 0
    n_window: int = 0
    n_experts: int = 0
    n_experts_used: int = 0
    tokenizer: str = "wordpiece"


# A block of the kind of Llama's: norms first, no biases, no token types.
_MODERN = {
    "pre_norm": True,
    "token_types": False,
    "embedding_norm": False,
    "attention_bias": False,
    "ffn_up_bias": False,
    "ffn_down_bias": False,
}

BERTS = {
    # Devlin et al. 2018
    "bert": Encoder(),
    # Warner et al. 2024
    "modern-bert": Encoder(
        **_MODERN | {"embedding_norm": True},
        norm="layer_unbiased",
        first_attention_norm=False,
        output_norm="output_norm",
        positions="halves",
        qkv="fused",
        ffn="gelu_fused",
        window_every=2,
        n_window=8,
        tokenizer="bpe",
    ),
    # Le Breton et al. 2025
    "neo-bert": Encoder(
        **_MODERN,
        norm="rms",
        output_norm="enc.output_norm",
        positions="pairs",
        qkv="by_head",
        ffn="silu_fused",
    ),
    # Boizard et al. 2025
    "eurobert": Encoder(
        **_MODERN,
        norm="rms",
        output_norm="output_norm",
        positions="halves",
        grouped_heads=True,
        ffn="silu_gated",
        tokenizer="bpe",
    ),
    # Nussbaum et al. 2024
    "nomic-bert": Encoder(
        positions="halves",
        qkv="fused",
        attention_bias=False,
        ffn="silu_gated",
        ffn_up_bias=False,
        ffn_down_bias=False,
    ),
    # Nussbaum and Duderstadt 2025, but for a bias after each mixture of experts, which llama.cpp's converter leaves out
    "nomic-bert-moe": Encoder(positions="halves", qkv="fused", n_experts=4, n_experts_used=2),
    # Guenther et al. 2023
    "jina-bert-v2": Encoder(positions="alibi", ffn="gelu_fused", ffn_up_bias=False),
    # Sturua et al. 2024
    "jina-bert-v3": Encoder(positions="halves", qkv="fused"),
}


def has_experts(encoder: Encoder, layer: int) -> bool:
    """Whether block ``layer`` has several feed-forward networks."""
    return encoder.n_experts > 0 and layer % 2 == 1


def is_windowed(encoder: Encoder, layer: int) -> bool:
    """Whether the tokens of block ``layer`` see their neighbours only."""
    return encoder.window_every > 0 and layer % encoder.window_every != 0


def encoder_tensors(encoder: Encoder, shape: Shape) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes, as ``decoder_tensors`` gives them."""
    e, kv, ff = shape.n_embd, shape.n_embd_kv, shape.n_ff
    tensors: dict[str, tuple[int, ...]] = {}

    def add(name: str, *dims: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = dims
        if bias:
            tensors[f"{name}.bias"] = dims[:1]

    def add_norm(name: str) -> None:
        add(name, e, bias=encoder.norm == "layer")

    add("token_embd", shape.n_vocab, e)
    if encoder.token_types:
        add("token_types", 2, e)
    if encoder.positions == "learned":
        add("position_embd", shape.n_ctx, e)
    if encoder.embedding_norm:
        add_norm("token_embd_norm")
    for layer in range(shape.n_layer):
        block = f"blk.{layer}."
        before, after = ("attn_norm", "ffn_norm") if encoder.pre_norm else ("attn_output_norm", "layer_output_norm")
        if layer > 0 or encoder.first_attention_norm:
            add_norm(block + before)
        add_norm(block + after)
        if encoder.qkv == "split":
            for part, rows in (("q", e), ("k", kv), ("v", kv)):
                add(f"{block}attn_{part}", rows, e, bias=encoder.attention_bias)
        else:
            add(block + "attn_qkv", e + 2 * kv, e, bias=encoder.attention_bias)
        add(block + "attn_output", e, e, bias=encoder.attention_bias)
        if has_experts(encoder, layer):
            add(block + "ffn_gate_inp", encoder.n_experts, e)
            add(block + "ffn_up_exps", encoder.n_experts, ff, e)
            add(block + "ffn_down_exps", encoder.n_experts, e, ff)
            continue
        if encoder.ffn == "silu_gated":
            add(block + "ffn_gate", ff, e)
        add(block + "ffn_up", 2 * ff if encoder.ffn.endswith("fused") else ff, e, bias=encoder.ffn_up_bias)
        add(block + "ffn_down", e, ff, bias=encoder.ffn_down_bias)
    if encoder.output_norm:
        add_norm(encoder.output_norm)
    return tensors
