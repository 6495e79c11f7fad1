"""``config.json`` of a BERT encoder: what it must say, and what llama.cpp's BERT can compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr.convert.folder_files import read_json_object
from fastplr.errors import ModelError, UnsupportedArchitecture

__all__ = ["BertConfig", "read_bert_config"]

CONVERTIBLE = (
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
)

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
        UnsupportedArchitecture: It describes another network than a BERT encoder, or a form of BERT that llama.cpp
            does not compute.
        ModelError: There is none, or a value is missing or makes no sense.
    """
    path = folder / "config.json"
    stated = read_json_object(path)
    config: dict[str, Any] = DEFAULTS | {key: value for key, value in stated.items() if value is not None}
    _require_bert(config, folder)

    def count(key: str) -> int:
        value = config.get(key)
        if type(value) is not int or not 0 < value < 2**31:
            raise ModelError(f"{str(path)!r} has {key} = {value!r:.200}; expected a whole number above 0")
        return value

    eps = config["layer_norm_eps"]
    if type(eps) not in (int, float) or not 1e-37 < eps < 1:  # a float32 in the file
        raise ModelError(f"{str(path)!r} has layer_norm_eps = {eps!r:.200}; expected a number between 1e-37 and 1")
    found = BertConfig(
        n_vocab=count("vocab_size"),
        n_embd=count("hidden_size"),
        n_layer=count("num_hidden_layers"),
        n_head=count("num_attention_heads"),
        n_ff=count("intermediate_size"),
        n_ctx=count("max_position_embeddings"),
        n_token_types=count("type_vocab_size"),
        norm_eps=float(eps),
    )
    if found.n_embd % found.n_head != 0:
        raise ModelError(
            f"{str(path)!r} has num_attention_heads = {found.n_head}, "
            f"which does not divide hidden_size = {found.n_embd}"
        )
    return found


def _require_bert(config: dict[str, Any], folder: Path) -> None:
    architectures = config.get("architectures") or []
    model_type = config.get("model_type")
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise ModelError(f"the config.json in {str(folder)!r} has architectures = {architectures!r:.200}")
    # The class decides: models with code of their own call their type "bert" as well.
    is_bert = all(name in CONVERTIBLE for name in architectures) if architectures else model_type == "bert"
    if not is_bert or model_type not in ("bert", None):
        called = ", ".join(architectures) or "a model"
        raise UnsupportedArchitecture(
            f"{str(folder)!r} holds {called} (model_type {model_type!r:.200}); fastplr converts BERT encoders "
            f"({', '.join(CONVERTIBLE)}). For others there is llama.cpp's convert_hf_to_gguf.py"
        )
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
