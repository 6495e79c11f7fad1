"""A BERT encoder as llama.cpp names it: metadata and tensors of the architecture ``bert``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fastplr.convert.bert_config import BertConfig, read_bert_config
from fastplr.convert.folder_files import has_file, read_json_object
from fastplr.convert.gguf_file import Metadata, Tensor
from fastplr.convert.weights import Weights
from fastplr.convert.wordpiece import WordPieceVocabulary, read_wordpiece
from fastplr.errors import ModelError

__all__ = ["BERT_CONVERSION", "bert_metadata", "bert_tensors"]

#: What turned the folder into metadata and tensors. A number is added when the same folder would give others.
BERT_CONVERSION = "bert 1"

#: Modules of transformers' BertModel and llama.cpp's names for them.
EMBEDDINGS = {
    "word_embeddings": "token_embd",
    "token_type_embeddings": "token_types",
    "position_embeddings": "position_embd",
    "LayerNorm": "token_embd_norm",
}
BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
#: Names that checkpoints from before 2019 have for the same parameters of a norm.
OLD_NAMES = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

#: What a checkpoint holds besides the encoder: heads, and position_ids, which is 0, 1, 2, ...
NOT_OF_THE_ENCODER = re.compile(r"(embeddings\.position_ids|embeddings\.token_type_ids|(?!encoder\.|embeddings\.).*)")

#: sentence-transformers' poolings and llama.cpp's numbers for them (LLAMA_POOLING_TYPE_*).
POOLINGS = {"pooling_mode_mean_tokens": 1, "pooling_mode_cls_token": 2, "pooling_mode_lasttoken": 3}


def bert_metadata(folder: Path) -> Metadata:
    """Hyper-parameters, pooling and vocabulary of the BERT encoder in `folder`, under the keys of GGUF.

    Raises:
        UnsupportedArchitecture, ModelError: As :func:`read_bert_config` and :func:`read_wordpiece`.
    """
    config = read_bert_config(folder)
    metadata: Metadata = {
        "bert.vocab_size": config.n_vocab,
        "bert.context_length": config.n_ctx,
        "bert.embedding_length": config.n_embd,
        "bert.block_count": config.n_layer,
        "bert.feed_forward_length": config.n_ff,
        "bert.attention.head_count": config.n_head,
        "bert.attention.layer_norm_epsilon": config.norm_eps,
        "bert.attention.causal": False,
    }
    pooling = _pooling_type(folder)
    if pooling is not None:
        metadata["bert.pooling_type"] = pooling
    return metadata | _vocabulary_metadata(read_wordpiece(folder, config.n_vocab), config)


def _vocabulary_metadata(vocabulary: WordPieceVocabulary, config: BertConfig) -> Metadata:
    # "seperator" is how the format spells it.
    keys = {"cls": "bos", "sep": "seperator", "unk": "unknown", "pad": "padding", "mask": "mask"}
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": vocabulary.types,
        "tokenizer.ggml.token_type_count": config.n_token_types,
        "tokenizer.ggml.normalizer.lowercase": vocabulary.lowercase,
        "tokenizer.ggml.normalizer.strip_accents": vocabulary.strip_accents,
        **{f"tokenizer.ggml.{keys[role]}_token_id": token_id for role, token_id in vocabulary.special.items()},
    }


def _pooling_type(folder: Path) -> int | None:
    """The pooling that sentence-transformers was told of, if llama.cpp has it. Our own embedder does not ask."""
    path = folder / "1_Pooling" / "config.json"
    if not has_file(path):
        return None
    settings = read_json_object(path)
    chosen = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    return POOLINGS.get(chosen[0]) if len(chosen) == 1 else None


def bert_tensors(metadata: Metadata, weights: Weights) -> list[Tensor]:
    """The tensors of the encoder that `metadata` describes, in llama.cpp's order, each with where it comes from.

    Raises:
        ModelError: A tensor is missing, has another shape than the metadata says, or is of a block too many.
    """
    names = set(weights.names())
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in names else ""
    tensors = []
    for module, name, shape in _expected(metadata):
        source = prefix + module
        old = next((source.removesuffix(new) + old for new, old in OLD_NAMES.items() if source.endswith(new)), source)
        source = old if source not in names and old in names else source
        weights.require(source, shape)
        tensors.append(Tensor(name, shape, source))
    for name in sorted(names - {tensor.source for tensor in tensors}):
        if name.startswith(prefix) and not NOT_OF_THE_ENCODER.fullmatch(name.removeprefix(prefix)):
            raise ModelError(
                f"tensor {name!r} in {weights.where()} is of no part that the config.json describes "
                f"({metadata['bert.block_count']} blocks)"
            )
    return tensors


def _expected(metadata: Metadata) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name in transformers, name in llama.cpp and shape of every tensor of the encoder."""

    def size(key: str) -> int:
        value = metadata[key]
        assert isinstance(value, int)
        return value

    n_embd, n_ff = size("bert.embedding_length"), size("bert.feed_forward_length")
    rows = {
        "token_embd": size("bert.vocab_size"),
        "token_types": size("tokenizer.ggml.token_type_count"),
        "position_embd": size("bert.context_length"),
        "ffn_up": n_ff,
    }
    modules = [(f"embeddings.{module}", name) for module, name in EMBEDDINGS.items()]
    for layer in range(size("bert.block_count")):
        modules += [(f"encoder.layer.{layer}.{module}", f"blk.{layer}.{name}") for module, name in BLOCK.items()]
    for module, name in modules:
        part = name.rpartition(".")[2]
        if part.endswith("_norm"):
            yield f"{module}.weight", f"{name}.weight", (n_embd,)
            yield f"{module}.bias", f"{name}.bias", (n_embd,)
            continue
        n_rows = rows.get(part, n_embd)
        yield f"{module}.weight", f"{name}.weight", (n_rows, n_ff if part == "ffn_down" else n_embd)
        if name.startswith("blk."):
            yield f"{module}.bias", f"{name}.bias", (n_rows,)
