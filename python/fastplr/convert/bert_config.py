"""``config.json`` of a BERT encoder: what it must say, and what llama.cpp's BERT can compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr.convert.config_values import require_count, require_number
from fastplr.convert.folder_files import read_json_object
from fastplr.errors import ModelError, UnsupportedArchitecture

__all__ = ["BertConfig", "read_bert_config"]

#: llama.cpp computes the tanh form for all of them; the largest difference to the exact one is 5e-4.
GELU_NAMES = ("gelu", "gelu_new", "gelu_python", "gelu_fast", "gelu_pytorch_tanh")

# What transformers assumes where an old config.json says nothing.
DEFAULTS = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
# What llama.cpp's graph has no other form of.
FIXED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}


@dataclass(frozen=True)
class BertConfig:
    """Hyper-parameters of a BERT encoder, under llama.cpp's names.

    Attributes:
        n_vocab: Rows of the token embeddings.
        n_embd: Width of the hidden states.
        n_layer: Number of blocks.
        n_head: Attention heads of a block.
        n_ff: Width inside the feed-forward part.
        n_ctx: Positions that there are embeddings for: the longest input in tokens.
        n_token_types: Rows of the token type embeddings.
        norm_eps: What the layer norms add to the variance.
    """

    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_ff: int
    n_ctx: int
    n_token_types: int
    norm_eps: float


def read_bert_config(folder: Path) -> BertConfig:
    """The hyper-parameters in the ``config.json`` of `folder`.

    Raises:
        UnsupportedArchitecture: It describes a form of BERT that llama.cpp does not compute.
        ModelError: There is none, or a value is missing or makes no sense.
    """
    path = folder / "config.json"
    stated = read_json_object(path)
    config: dict[str, Any] = DEFAULTS | {key: value for key, value in stated.items() if value is not None}
    _require_computable(config, folder)

    def count(key: str) -> int:
        return require_count(config, key, path)

    found = BertConfig(
        n_vocab=count("vocab_size"),
        n_embd=count("hidden_size"),
        n_layer=count("num_hidden_layers"),
        n_head=count("num_attention_heads"),
        n_ff=count("intermediate_size"),
        n_ctx=count("max_position_embeddings"),
        n_token_types=count("type_vocab_size"),
        norm_eps=require_number(config, "layer_norm_eps", path, above=1e-37, below=1),  # a float32 in the file
    )
    if found.n_embd % found.n_head != 0:
        raise ModelError(
            f"{str(path)!r} has num_attention_heads = {found.n_head}, "
            f"which does not divide hidden_size = {found.n_embd}"
        )
    return found


def _require_computable(config: dict[str, Any], folder: Path) -> None:
    for key, expected in FIXED.items():
        if config[key] != expected:
            raise UnsupportedArchitecture(
                f"{str(folder)!r} holds a BERT with {key} = {config[key]!r:.200}; llama.cpp computes {expected!r} only"
            )
    if config["hidden_act"] not in GELU_NAMES:
        raise UnsupportedArchitecture(
            f"{str(folder)!r} holds a BERT with hidden_act = {config['hidden_act']!r:.200}; "
            f"llama.cpp computes {GELU_NAMES[0]!r} only"
        )
