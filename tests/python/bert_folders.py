"""Tiny random BERT encoders as Hugging Face model folders, and their hidden states from the folder's own tensors.

The states are written from the paper (Devlin et al. 2018) with the names that transformers gives the parameters; no
name, no file and no tokeniser of fastplr or llama.cpp takes part in them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erf

from tiny_models.operators import attend, layer_norm
from tiny_models.vocabulary import SPACE, Vocabulary, wordpiece_vocabulary

N_EMBD, N_LAYER, N_HEAD, N_FF, N_CTX = 64, 3, 4, 96, 128
EPS = 1e-12
DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "BF16": "<u2"}


@dataclass
class BertFolder:
    """A model folder: its path, the tensors as they stand in it (float64), the words of its vocabulary by id."""

    path: Path
    tensors: dict[str, np.ndarray] = field(repr=False)
    words: list[str] = field(repr=False)

    def states(self, ids: Sequence[int]) -> np.ndarray:
        """Hidden states after the last block: ``[n_tokens, n_embd]``."""
        return bert_states(self.tensors, ids, n_head=N_HEAD, n_layer=N_LAYER, eps=EPS)

    @property
    def vocabulary(self) -> Vocabulary:
        """The same vocabulary with a reference tokeniser."""
        return wordpiece_vocabulary()

    def change_json(self, name: str, **changes: Any) -> None:
        """Sets values in a JSON file of the folder; None removes one."""
        path = self.path / name
        settings = json.loads(path.read_text("utf-8")) if path.exists() else {}
        settings |= changes
        path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}), "utf-8")


def write_bert_folder(
    path: Path,
    *,
    seed: int = 0,
    dtype: str = "F32",
    tokenizer: str = "tokenizer.json",
    lowercase: bool = True,
    prefix: str = "",
    extra: Mapping[str, tuple[int, ...]] | None = None,
    n_shards: int = 1,
) -> BertFolder:
    """Writes a folder of random weights.

    Args:
        path: The new folder.
        seed: The same seed gives the same bytes.
        dtype: ``F32``, ``F16`` or ``BF16``.
        tokenizer: ``tokenizer.json`` or ``vocab.txt``.
        lowercase: What the tokeniser's settings say.
        prefix: In front of the encoder's names, as ``bert.`` in a model with a head.
        extra: Shapes of further tensors.
        n_shards: More than one: an index and so many files.
    """
    (path / "1_Pooling").mkdir(parents=True)
    words = plain_words()
    _write_json(path / "config.json", bert_settings(len(words)))
    _write_json(
        path / "1_Pooling" / "config.json", {"word_embedding_dimension": N_EMBD, "pooling_mode_cls_token": True}
    )
    _write_json(path / "tokenizer_config.json", {"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"})
    if tokenizer == "vocab.txt":
        (path / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    else:
        _write_json(path / "tokenizer.json", fast_tokenizer(words, lowercase=lowercase))
    shapes = {prefix + name: shape for name, shape in bert_shapes(len(words)).items()} | dict(extra or {})
    stored = {name: encode(draw(name.removeprefix(prefix), shape, seed), dtype) for name, shape in shapes.items()}
    if n_shards == 1:
        write_safetensors(path / "model.safetensors", stored, dtype)
    else:
        weight_map = {}
        for shard in range(n_shards):
            name = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
            part = {key: stored[key] for key in list(stored)[shard::n_shards]}
            write_safetensors(path / name, part, dtype)
            weight_map |= dict.fromkeys(part, name)
        _write_json(path / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    tensors = {name.removeprefix(prefix): decode(values, dtype) for name, values in stored.items()}
    return BertFolder(path, tensors, words)


def plain_words() -> list[str]:
    """The tiny models' WordPiece vocabulary as BERT writes it: a continuation has ``##``, the start of a word none."""
    tokens = wordpiece_vocabulary().tokens
    return [token if token.startswith("[") else token[1:] if token[0] == SPACE else "##" + token for token in tokens]


def bert_settings(n_vocab: int) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": n_vocab,
        "hidden_size": N_EMBD,
        "num_hidden_layers": N_LAYER,
        "num_attention_heads": N_HEAD,
        "intermediate_size": N_FF,
        "max_position_embeddings": N_CTX,
        "type_vocab_size": 2,
        "layer_norm_eps": EPS,
        "hidden_act": "gelu",
        "transformers_version": "4.8.2",
    }


def fast_tokenizer(words: Sequence[str], *, lowercase: bool = True) -> dict[str, Any]:
    specials = [word for word in words if word.startswith("[") and len(word) > 1]
    return {
        "version": "1.0",
        "truncation": {"max_length": 128, "strategy": "LongestFirst", "stride": 0},
        "added_tokens": [
            {"id": words.index(word), "special": True, "content": word, "normalized": False} for word in specials
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(words)},
        },
    }


def bert_shapes(n_vocab: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of transformers' BertModel, a matrix as ``[outputs, inputs]``."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (n_vocab, N_EMBD),
        "embeddings.position_embeddings.weight": (N_CTX, N_EMBD),
        "embeddings.token_type_embeddings.weight": (2, N_EMBD),
        "embeddings.LayerNorm.weight": (N_EMBD,),
        "embeddings.LayerNorm.bias": (N_EMBD,),
    }
    linear = {f"attention.self.{part}": (N_EMBD, N_EMBD) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (N_EMBD, N_EMBD)}
    linear |= {"intermediate.dense": (N_FF, N_EMBD), "output.dense": (N_EMBD, N_FF)}
    for layer in range(N_LAYER):
        for part, shape in linear.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{part}.bias"] = shape[:1]
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{layer}.{part}.weight"] = (N_EMBD,)
            shapes[f"encoder.layer.{layer}.{part}.bias"] = (N_EMBD,)
    return shapes


def draw(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Weights that keep the states of the size of 1 and every part worth its test."""
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    if name.endswith((".bias", ".beta")):
        return 0.1 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise
    if "embeddings" in name:
        return 0.5 * noise
    return (1.5 if "query" in name or "key" in name else 1.0) / np.sqrt(shape[1]) * noise


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values as they are stored; BF16 is the upper half of a float32, cut off here."""
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    return values.astype(DTYPES[dtype])


def decode(stored: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        stored = (stored.astype("<u4") << 16).view("<f4")
    return stored.astype(np.float64)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """The format as its specification has it: header length, JSON header, the tensors one after the other."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in tensors.items():
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(v.tobytes() for v in tensors.values()))


def read_f32_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The F32 tensors of a file, read without checks."""
    data = path.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    return {
        name: np.frombuffer(data, "<f4", int(np.prod(entry["shape"])), 8 + n_header + entry["data_offsets"][0])
        .reshape(entry["shape"])
        .astype(np.float64)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def bert_states(
    tensors: Mapping[str, np.ndarray], ids: Sequence[int], *, n_head: int, n_layer: int, eps: float
) -> np.ndarray:
    """Hidden states ``[n_tokens, n_embd]`` after the last block, in float64, with the exact GELU of transformers."""
    n = len(ids)

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)

    x = (
        tensors["embeddings.word_embeddings.weight"][list(ids)]
        + tensors["embeddings.position_embeddings.weight"][:n]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm("embeddings.LayerNorm", x)
    for layer in range(n_layer):
        block = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{block}.attention.self.{part}", x).reshape(n, n_head, -1) for part in ("query", "key", "value")
        )
        attention = linear(f"{block}.attention.output.dense", attend(q, k, v, np.ones((n, n), dtype=bool)))
        x = norm(f"{block}.attention.output.LayerNorm", x + attention)
        inner = linear(f"{block}.intermediate.dense", x)
        inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2)))
        x = norm(f"{block}.output.LayerNorm", x + linear(f"{block}.output.dense", inner))
    return x


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), "utf-8")
