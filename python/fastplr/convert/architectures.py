"""Which classes of transformers fastplr converts, and which one a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastplr.errors import ModelError, UnsupportedArchitecture

__all__ = ["BERT_CLASSES", "DECODER_CLASSES", "Family", "class_names", "model_family"]

Family = Literal["bert", "decoder"]

BERT_CLASSES = (
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
)

#: Classes of decoders and the model_type that each has.
DECODER_CLASSES = {
    "LlamaForCausalLM": "llama",
    "LlamaModel": "llama",
    "MistralForCausalLM": "mistral",
    "MistralModel": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2Model": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3Model": "qwen3",
}


def class_names(config: dict[str, Any], folder: Path) -> list[str]:
    """The classes that `config` names, mostly one, in old files none. Raises ModelError."""
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"the config.json in {str(folder)!r} has architectures = {names!r:.200}")
    return names


def model_family(config: dict[str, Any], folder: Path) -> Family:
    """The kind of model that `config`, of the config.json in `folder`, describes.

    Raises:
        UnsupportedArchitecture: It is none that is converted.
        ModelError: `config` makes no sense.
    """
    names, model_type = class_names(config, folder), config.get("model_type")
    known: dict[str, str] = dict.fromkeys(BERT_CLASSES, "bert") | DECODER_CLASSES
    # The class decides: models with code of their own call their type "bert" as well.
    for kind in sorted(set(known.values())):
        is_kind = all(known.get(name) == kind for name in names) if names else model_type == kind
        if is_kind and model_type in (kind, None):
            return "bert" if kind == "bert" else "decoder"
    called = ", ".join(names) or "a model"
    raise UnsupportedArchitecture(
        f"{str(folder)!r} holds {called} (model_type {model_type!r:.200}); fastplr converts BERT encoders "
        f"({', '.join(BERT_CLASSES)}) and decoders ({', '.join(DECODER_CLASSES)}). "
        "For others there is llama.cpp's convert_hf_to_gguf.py"
    )
