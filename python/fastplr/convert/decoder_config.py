"""``config.json`` of a decoder: what it must say, and what llama.cpp's graphs can compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr.convert.architectures import DECODER_CLASSES, class_names
from fastplr.convert.config_values import require_count, require_flag, require_number
from fastplr.convert.folder_files import read_json_object
from fastplr.convert.rope import Rope, read_rope
from fastplr.errors import ModelError, UnsupportedArchitecture

__all__ = ["DecoderConfig", "read_decoder_config"]

#: llama.cpp computes Mistral as Llama.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

# What transformers assumes where a config.json says nothing. Numbers of heads that it leaves out are those of the
# queries here; where transformers assumes others, the shapes of the tensors say so.
DEFAULTS = {"hidden_act": "silu", "rms_norm_eps": 1e-6}
QWEN3_HEAD_DIM = 128  # of others it is what the width of the states leaves for each head
MAX_HEAD_DIM = 1 << 16
MISTRAL_WINDOW = 4096  # where sliding_window is not there; null means none


@dataclass(frozen=True)
class DecoderConfig:
    """Hyper-parameters of a decoder, under llama.cpp's names.

    Attributes:
        architecture: llama.cpp's name.
        n_vocab: Rows of the token embeddings.
        n_embd: Width of the hidden states.
        n_layer: Number of blocks.
        n_head: Attention heads of a block.
        n_head_kv: Heads of keys and values, each shared by as many of the queries.
        head_dim: Width of a head.
        n_ff: Width inside the feed-forward part.
        n_ctx: The longest input in tokens.
        norm_eps: What the norms add to the mean square.
        rope: How positions rotate queries and keys.
        biases: llama.cpp's names of the matrices of a block that have a bias.
        needs_head: Whether there must be an output matrix of its own.
        is_tied: Whether the token embeddings are the output matrix.
    """

    architecture: str
    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_ff: int
    n_ctx: int
    norm_eps: float
    rope: Rope
    biases: frozenset[str]
    needs_head: bool
    is_tied: bool


def read_decoder_config(folder: Path) -> DecoderConfig:
    """The hyper-parameters in the ``config.json`` of `folder`.

    Raises:
        UnsupportedArchitecture: It describes a form that llama.cpp does not compute.
        ModelError: There is none, or a value is missing or makes no sense.
    """
    path = folder / "config.json"
    stated = read_json_object(path)
    names = class_names(stated, folder)
    kind = DECODER_CLASSES[names[0]] if names else stated["model_type"]
    given = {key: value for key, value in stated.items() if value is not None}
    config: dict[str, Any] = DEFAULTS | given

    def count(key: str, default: int | None = None) -> int:
        return default if default is not None and key not in config else require_count(config, key, path)

    n_embd, n_head, n_ctx = count("hidden_size"), count("num_attention_heads"), count("max_position_embeddings")
    head_dim = count("head_dim", QWEN3_HEAD_DIM if kind == "qwen3" else max(n_embd // n_head, 1))
    n_head_kv = count("num_key_value_heads", n_head)
    if n_head % n_head_kv != 0:
        raise ModelError(
            f"{str(path)!r} has num_key_value_heads = {n_head_kv}, which does not divide num_attention_heads = {n_head}"
        )
    if (
        head_dim % 2 != 0
        or head_dim > MAX_HEAD_DIM
        or ("head_dim" not in config and kind != "qwen3" and n_embd % n_head != 0)
    ):
        raise ModelError(
            f"{str(path)!r} has hidden_size = {n_embd}, num_attention_heads = {n_head}, "
            f"head_dim = {config.get('head_dim')}; expected heads of an even width up to {MAX_HEAD_DIM}"
        )
    if kind == "qwen2" and n_head * head_dim != n_embd:
        raise UnsupportedArchitecture(
            f"{str(path)!r} has {n_head} heads of width {head_dim} and hidden_size = {n_embd}; llama.cpp computes "
            "Qwen2 only where heads times their width is hidden_size"
        )
    if "quantization_config" in config:
        raise UnsupportedArchitecture(
            f"{str(path)!r} has the quantization_config {config['quantization_config']!r:.200}; "
            "fastplr converts weights in F32, F16 and BF16"
        )
    if config["hidden_act"] not in ("silu", "swish"):
        raise UnsupportedArchitecture(
            f"{str(path)!r} has hidden_act = {config['hidden_act']!r:.200}; llama.cpp computes 'silu' only"
        )
    n_layer = count("num_hidden_layers")
    _require_whole_attention(stated, kind, path, n_layer, n_ctx)
    return DecoderConfig(
        architecture=ARCHITECTURES[kind],
        n_vocab=count("vocab_size"),
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
        n_head_kv=n_head_kv,
        head_dim=head_dim,
        n_ff=count("intermediate_size"),
        n_ctx=n_ctx,
        norm_eps=require_number(config, "rms_norm_eps", path, above=1e-37, below=1),  # a float32 in the file
        rope=read_rope(config, path, head_dim=head_dim, takes_factors=ARCHITECTURES[kind] == "llama"),
        biases=_biases(config, kind, path),
        needs_head=any(name.endswith("ForCausalLM") for name in names),
        is_tied=require_flag(config, "tie_word_embeddings", path),
    )


def _biases(config: dict[str, Any], kind: str, path: Path) -> frozenset[str]:
    """Of Qwen2's queries, keys and values always; what the others say of it is for Llama only."""
    if kind == "qwen2":
        return frozenset(("attn_q", "attn_k", "attn_v"))
    if kind == "mistral":
        return frozenset()
    attention = require_flag(config, "attention_bias", path)
    if kind == "qwen3":
        if attention:
            raise UnsupportedArchitecture(
                f"{str(path)!r} has attention_bias = True; llama.cpp computes Qwen3 without biases only"
            )
        return frozenset()
    feed_forward = ("ffn_gate", "ffn_up", "ffn_down") if require_flag(config, "mlp_bias", path) else ()
    return frozenset((*(("attn_q", "attn_k", "attn_v", "attn_output") if attention else ()), *feed_forward))


def _require_whole_attention(stated: dict[str, Any], kind: str, path: Path, n_layer: int, n_ctx: int) -> None:
    """Every token reads all before it: a sliding window is not converted, unless no text is longer than it."""
    layers = stated.get("layer_types")
    window = None
    if kind == "mistral":
        window = stated.get("sliding_window", MISTRAL_WINDOW)
    elif kind in ("qwen2", "qwen3") and layers is None and require_flag(stated, "use_sliding_window", path):
        first = stated.get("max_window_layers", 28)
        window = stated.get("sliding_window", 4096) if not (type(first) is int and first >= n_layer) else None
    if window is not None and not (type(window) is int and window >= n_ctx):
        raise UnsupportedArchitecture(
            f"{str(path)!r} has sliding_window = {window!r:.200} (the default where it says nothing) and a context of "
            f"{n_ctx} tokens; fastplr converts models without a sliding window"
        )
    if layers is not None and not (isinstance(layers, list) and all(layer == "full_attention" for layer in layers)):
        raise UnsupportedArchitecture(
            f"{str(path)!r} has layer_types = {layers!r:.200}; fastplr converts 'full_attention' in every layer only"
        )
