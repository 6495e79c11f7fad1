"""Tiny random decoders as Hugging Face model folders, and tokenisers for them, without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bert_folders import draw, encode, write_safetensors
from tiny_models import bpe_vocabulary

N_EMBD, N_LAYER, N_HEAD, N_HEAD_KV, N_FF, N_CTX = 64, 2, 4, 2, 96, 128

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_WORDS = QWEN2_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def split_by(pattern: str) -> dict[str, Any]:
    """A pre-tokeniser by an expression, as Llama 3 and Qwen2 have it."""
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    }


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
#: Pre-tokenisers by llama.cpp's names: what tokenizer.json has, and whether words are looked for before the merges.
PRE_TOKENIZERS: dict[str, tuple[dict[str, Any], bool]] = {
    "gpt-2": (BYTE_LEVEL, False),
    "smollm": (
        {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
        False,
    ),
    "qwen2": (split_by(QWEN2_WORDS), False),
    "llama-bpe": (split_by(LLAMA3_WORDS), True),
    "smaug-bpe": (split_by(LLAMA3_WORDS), False),
}


@dataclass
class DecoderFolder:
    """A model folder: its path, and the tensors as they stand in it."""

    path: Path
    tensors: dict[str, np.ndarray] = field(repr=False)

    def change_json(self, name: str, **changes: Any) -> None:
        """Sets values in a JSON file of the folder."""
        path = self.path / name
        settings = json.loads(path.read_text("utf-8")) if path.exists() else {}
        path.write_text(json.dumps(settings | changes), "utf-8")

    def change_tensors(self, changes: Mapping[str, np.ndarray | None]) -> None:
        """Sets tensors; None takes one out."""
        self.tensors = {name: t for name, t in (self.tensors | dict(changes)).items() if t is not None}
        write_safetensors(self.path / "model.safetensors", self.tensors, "F32")


def write_decoder_folder(path: Path, *, tied: bool = False, extra_rows: int = 3, **settings: Any) -> DecoderFolder:
    """Writes a Llama of random weights.

    Args:
        path: The new folder.
        tied: Whether the token embeddings are the output matrix.
        extra_rows: Rows of the embeddings without a token.
        settings: Changes to the config.json.
    """
    path.mkdir(parents=True)
    tokenizer = byte_level_tokenizer()
    n_vocab = len(tokenizer["model"]["vocab"]) + extra_rows
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": n_vocab,
        "hidden_size": N_EMBD,
        "num_hidden_layers": N_LAYER,
        "num_attention_heads": N_HEAD,
        "num_key_value_heads": N_HEAD_KV,
        "intermediate_size": N_FF,
        "max_position_embeddings": N_CTX,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    for name, value in (("config.json", config | settings), ("tokenizer.json", tokenizer)):
        (path / name).write_text(json.dumps(value), "utf-8")
    shapes = decoder_shapes(n_vocab) | ({} if tied else {"lm_head.weight": (n_vocab, N_EMBD)})
    folder = DecoderFolder(path, {})
    folder.change_tensors({name: encode(draw(name, shape, 0), "F32") for name, shape in shapes.items()})
    return folder


def decoder_shapes(n_vocab: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of transformers' LlamaForCausalLM, a matrix as ``[outputs, inputs]``, without the head."""
    n_kv = N_HEAD_KV * N_EMBD // N_HEAD
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (n_vocab, N_EMBD),
        "model.norm.weight": (N_EMBD,),
    }
    block = {
        "self_attn.q_proj": (N_EMBD, N_EMBD),
        "self_attn.k_proj": (n_kv, N_EMBD),
        "self_attn.v_proj": (n_kv, N_EMBD),
        "self_attn.o_proj": (N_EMBD, N_EMBD),
        "mlp.gate_proj": (N_FF, N_EMBD),
        "mlp.up_proj": (N_FF, N_EMBD),
        "mlp.down_proj": (N_EMBD, N_FF),
        "input_layernorm": (N_EMBD,),
        "post_attention_layernorm": (N_EMBD,),
    }
    for layer in range(N_LAYER):
        shapes |= {f"model.layers.{layer}.{part}.weight": shape for part, shape in block.items()}
    return shapes


def byte_level_tokenizer(pre: str = "smollm") -> dict[str, Any]:
    """A tokenizer.json with the tiny models' byte-level BPE vocabulary."""
    vocabulary = bpe_vocabulary()
    assert vocabulary.merges is not None
    pre_tokenizer, ignore_merges = PRE_TOKENIZERS[pre]
    special = sorted(set(vocabulary.special.values()))
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": vocabulary.tokens[i], "special": True, "normalized": False, "lstrip": False,
             "rstrip": False, "single_word": False}
            for i in special
        ],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": {token: i for i, token in enumerate(vocabulary.tokens)},
            "merges": [list(pair) for pair in vocabulary.merges],
        },
    }  # fmt: skip
