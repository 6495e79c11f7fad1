"""Writes tiny random GGUF models and keeps, beside each file, the weights that a reader of the file gets."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from .architectures import (
    DECODERS,
    RECURRENT,
    UNUSABLE,
    Decoder,
    decoder_tensors,
    mamba_tensors,
    n_rot,
    t5_tensors,
)
from .encoders import BERTS, Encoder, encoder_tensors
from .shape import Shape
from .vocabulary import Vocabulary, bpe_vocabulary, spm_vocabulary, unigram_vocabulary, wordpiece_vocabulary

TENSOR_TYPES = {
    "F32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "Q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "Q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}


@dataclass(frozen=True)
class TinyModel:
    """A model file and all that the forward pass in NumPy needs.

    ``tensors`` are float64 and already dequantised: what the file says, not what was drawn.
    """

    path: Path
    architecture: str
    tensor_type: str
    shape: Shape
    vocabulary: Vocabulary = field(repr=False)  # Hypothesis prints the arguments of a failed test
    decoder: Decoder | None
    tensors: dict[str, np.ndarray] = field(repr=False)
    encoder: Encoder | None = None

    @property
    def n_layer(self) -> int:
        return self.shape.n_layer

    @property
    def n_embd(self) -> int:
        return self.shape.n_embd

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ``text``, special tokens as the model adds them."""
        return self.vocabulary.tokenize(text)


def write_tiny_llama(
    path: str | Path,
    *,
    seed: int = 0,
    n_embd: int = 64,
    n_layer: int = 4,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ff: int = 96,
    n_ctx: int = 512,
    tensor_type: str = "F32",
    architecture: str = "llama",
    tokenizer: str | None = None,
    add_bos: bool | None = None,
    without_bytes: bytes = b"",
    tied: bool | None = None,
    n_ctx_original: int = 0,
    n_unused: int = 0,
) -> TinyModel:
    """Writes a decoder of random weights, llama unless told otherwise.

    Args:
        path: file to write; replaced if it exists.
        seed: the same seed gives the same bytes.
        n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx: llama.cpp's hyper-parameters; ``n_embd / n_head``
        even.
        tensor_type: ``F32``, ``F16``, ``Q8_0`` or ``Q4_0``, for all matrices; norms and biases stay F32.
        architecture: a key of ``DECODERS``. One of ``UNUSABLE`` is a llama in all but name.
        tokenizer: ``bpe`` (byte-level, no leading space) or ``spm`` (leading space, byte fallback).
        add_bos: whether the file asks for BOS at position 0. Default: no for ``bpe``, yes for ``spm``.
        without_bytes: bytes that no token of a ``bpe`` vocabulary stands for.
        tied: whether the output head is the embedding matrix. Default: what the architecture does.
        n_ctx_original: gives a ``phi3`` two sets of rotary factors (longrope), the long one for texts of more tokens.
        n_unused: tokens that no text has, at the end of the vocabulary, to make it large.
    """
    decoder = DECODERS["llama" if architecture in UNUSABLE else architecture]
    decoder = replace(decoder, tied=decoder.tied if tied is None else tied)
    make = {"bpe": bpe_vocabulary, "spm": spm_vocabulary}[tokenizer or decoder.tokenizer]
    vocabulary = make() if add_bos is None else make(add_bos=add_bos)
    if without_bytes:
        vocabulary = vocabulary.without_bytes(without_bytes)
    vocabulary = vocabulary.with_unused(n_unused)
    shape = Shape(
        *(len(vocabulary), n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx),
        n_ctx_original=n_ctx_original,
    )
    writer = _start(path, architecture, tensor_type, shape, vocabulary)
    _add_attention_keys(writer, shape)
    writer.add_head_count_kv(n_head_kv)
    if n_ctx_original:
        writer.add_rope_scaling_orig_ctx_len(n_ctx_original)
    if decoder.norm == "rms":
        writer.add_layer_norm_rms_eps(shape.norm_eps)
    else:
        writer.add_layer_norm_eps(shape.norm_eps)
    if decoder.rope:
        writer.add_rope_dimension_count(n_rot(decoder, shape))
        writer.add_rope_freq_base(shape.rope_freq_base)
    if decoder.residual != "sequential":
        writer.add_parallel_residual(True)
    if decoder.window_every:
        writer.add_sliding_window(decoder.n_window)
        writer.add_uint32(f"{architecture}.attention.sliding_window_pattern", decoder.window_every)
        writer.add_rope_freq_base_swa(shape.rope_freq_base_window)
    tensors = _finish(writer, decoder_tensors(decoder, shape), seed, tensor_type)
    return TinyModel(Path(path), architecture, tensor_type, shape, vocabulary, decoder, tensors)


def write_tiny_bert(
    path: str | Path,
    *,
    architecture: str = "bert",
    seed: int = 0,
    n_embd: int = 64,
    n_layer: int = 3,
    n_head: int = 4,
    n_ff: int = 96,
    n_ctx: int = 512,
    tensor_type: str = "F32",
    pooling: str = "mean",
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    **differences: Any,
) -> TinyModel:
    """Writes an encoder of random weights, BERT unless told otherwise.

    Args:
        path: file to write; replaced if it exists.
        architecture: a key of ``BERTS``.
        seed: the same seed gives the same bytes.
        n_embd, n_layer, n_head, n_ff, n_ctx: llama.cpp's hyper-parameters.
        tensor_type: ``F32``, ``F16``, ``Q8_0`` or ``Q4_0``, for all matrices; norms and biases stay F32.
        pooling: what the file says of it, ``mean`` or ``none``.
        change: called before the tensors are written, to write other metadata.
        differences: fields of ``Encoder`` that are not what the architecture has in ``BERTS``.
    """
    encoder = replace(BERTS[architecture], **differences)
    vocabulary = wordpiece_vocabulary() if encoder.tokenizer == "wordpiece" else bpe_vocabulary(add_bos=True)
    n_head_kv = n_head // 2 if encoder.grouped_heads else n_head
    shape = Shape(len(vocabulary), n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx, norm_eps=1e-12)
    writer = _start(path, architecture, tensor_type, shape, vocabulary)
    _add_attention_keys(writer, shape)
    writer.add_head_count_kv(n_head_kv)
    if encoder.norm == "rms":
        writer.add_layer_norm_rms_eps(shape.norm_eps)
    else:
        writer.add_layer_norm_eps(shape.norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type({"none": gguf.PoolingType.NONE, "mean": gguf.PoolingType.MEAN}[pooling])
    if encoder.positions in ("pairs", "halves"):
        writer.add_rope_freq_base(shape.rope_freq_base)
    if encoder.window_every:
        writer.add_sliding_window(encoder.n_window)
        writer.add_sliding_window_pattern(encoder.window_every)
        writer.add_rope_freq_base_swa(shape.rope_freq_base_window)
    if encoder.n_experts:
        writer.add_expert_count(encoder.n_experts)
        writer.add_expert_used_count(encoder.n_experts_used)
        writer.add_moe_every_n_layers(2)
    change(writer)
    tensors = _finish(writer, encoder_tensors(encoder, shape), seed, tensor_type)
    return TinyModel(Path(path), architecture, tensor_type, shape, vocabulary, None, tensors, encoder)


def write_tiny_t5(
    path: str | Path,
    *,
    architecture: str = "t5",
    seed: int = 0,
    n_embd: int = 64,
    n_layer: int = 3,
    n_layer_decoder: int = 2,
    n_head: int = 3,
    key_length: int = 32,
    n_ff: int = 96,
    n_ctx: int = 512,
    n_rel_buckets: int = 32,
    gated: bool = True,
    bias_in_every_block: bool = False,
    tensor_type: str = "F32",
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    leave_out: tuple[str, ...] = (),
) -> TinyModel:
    """Writes a T5 of random weights with a unigram vocabulary, with the keys that llama.cpp's converter writes.

    Args:
        path: file to write; replaced if it exists.
        architecture: ``t5`` (encoder and decoder) or ``t5encoder``.
        seed: the same seed gives the same bytes.
        n_embd, n_layer, n_head, key_length, n_ff, n_ctx, n_rel_buckets: of the encoder and the decoder;
            ``n_head * key_length`` is another width than ``n_embd``, as in Flan-T5 small.
        n_layer_decoder: blocks of the decoder.
        gated: Flan-T5's gated GELU and untied head, or T5's ReLU and tied embeddings.
        bias_in_every_block: a relative attention bias for each block of the encoder, as in umT5.
        tensor_type: for all matrices; norms and relative attention biases stay F32.
        change: called before the tensors are written, to write other metadata.
        leave_out: names of tensors that are not written.
    """
    vocabulary = unigram_vocabulary()
    shape = Shape(
        *(len(vocabulary), n_embd, n_layer, n_head, n_head, n_ff, n_ctx),
        norm_eps=1e-6,
        key_length=key_length,
        gated=gated,
        n_rel_buckets=n_rel_buckets,
        n_layer_decoder=n_layer_decoder if architecture == "t5" else 0,
    )
    writer = _start(path, architecture, tensor_type, shape, vocabulary)
    _add_attention_keys(writer, shape)
    writer.add_key_length(key_length)
    writer.add_value_length(key_length)
    writer.add_layer_norm_eps(shape.norm_eps)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_relative_attn_buckets_count(n_rel_buckets)
    if architecture == "t5":
        writer.add_decoder_block_count(n_layer_decoder)
        writer.add_decoder_start_token_id(vocabulary.special["pad"])
    change(writer)
    tensors = t5_tensors(shape, tied=not gated)
    if bias_in_every_block:
        tensors |= {f"enc.blk.{i}.attn_rel_b.weight": (n_rel_buckets, n_head) for i in range(n_layer)}
    stored = {name: dims for name, dims in tensors.items() if name not in leave_out}
    return TinyModel(
        Path(path), architecture, tensor_type, shape, vocabulary, None, _finish(writer, stored, seed, tensor_type)
    )


def write_tiny_mamba(
    path: str | Path,
    *,
    seed: int = 0,
    n_embd: int = 64,
    n_layer: int = 3,
    n_ctx: int = 512,
    tensor_type: str = "F32",
) -> TinyModel:
    """Writes a Mamba model (recurrent: no attention, no key-value cache) of random weights."""
    vocabulary = bpe_vocabulary()
    shape = Shape(len(vocabulary), n_embd, n_layer, 0, 0, 0, n_ctx)
    writer = _start(path, "mamba", tensor_type, shape, vocabulary)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(shape.d_conv)
    writer.add_ssm_inner_size(2 * n_embd)
    writer.add_ssm_state_size(shape.d_state)
    writer.add_ssm_time_step_rank(shape.dt_rank)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    tensors = _finish(writer, mamba_tensors(shape), seed, tensor_type)
    return TinyModel(Path(path), "mamba", tensor_type, shape, vocabulary, None, tensors)


def write_tiny(
    architecture: str, path: str | Path, *, seed: int = 0, tensor_type: str = "F32", **shape: int
) -> TinyModel:
    """Writes a tiny model of any name in ``ARCHITECTURES`` or ``UNUSABLE``, in its usual settings.

    Args:
        architecture: Its name in llama.cpp.
        path: Where to.
        seed: Of the weights.
        tensor_type: As of the others.
        shape: Widths and numbers as its own function has them; not of a recurrent one.
    """
    if architecture in BERTS:
        return write_tiny_bert(path, architecture=architecture, seed=seed, tensor_type=tensor_type, **shape)
    if architecture in ("t5", "t5encoder"):
        return write_tiny_t5(path, architecture=architecture, seed=seed, tensor_type=tensor_type, **shape)
    if architecture in RECURRENT:
        return write_tiny_mamba(path, seed=seed, tensor_type=tensor_type)
    return write_tiny_llama(path, seed=seed, tensor_type=tensor_type, architecture=architecture, **shape)


def _start(
    path: str | Path, architecture: str, tensor_type: str, shape: Shape, vocabulary: Vocabulary
) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    # llama.cpp reads meaning into names: one that contains "phi3" asks for tokens of the real Phi-3.
    writer.add_name("tiny random model")
    writer.add_file_type(TENSOR_TYPES[tensor_type][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_vocab_size(shape.n_vocab)
    vocabulary.add_to(writer)
    return writer


def _add_attention_keys(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)


def _finish(
    writer: gguf.GGUFWriter, dims_by_name: dict[str, tuple[int, ...]], seed: int, tensor_type: str
) -> dict[str, np.ndarray]:
    """Draws and writes every tensor; returns them in float64 as a reader of the file sees them."""
    tensors = {}
    for name, dims in dims_by_name.items():
        values = _draw(name, dims, seed)
        stored_type = TENSOR_TYPES[tensor_type if _is_quantised(name, dims) else "F32"][0]
        stored = gguf.quants.quantize(values, stored_type)
        writer.add_tensor(name, stored, raw_dtype=stored_type)
        tensors[name] = gguf.quants.dequantize(stored, stored_type).astype(np.float64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def _is_quantised(name: str, dims: tuple[int, ...]) -> bool:
    """Matrices that multiply activations, and the embeddings; llama.cpp wants the small tables in F32."""
    keep = ("position_embd", "token_types", "attn_rel_b", "ssm_conv1d", "ssm_a", "ssm_x", "ssm_dt")
    return len(dims) == 2 and not any(part in name for part in keep)


def _draw(name: str, dims: tuple[int, ...], seed: int) -> np.ndarray:
    """Weights that keep every state of the size of 1 and every part of a block worth its test.

    Each tensor has its own stream, from the seed and its name: adding a tensor does not change the others.
    """
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(dims).astype(np.float32)
    if name.endswith("ssm_a"):
        return -np.exp(0.5 * noise)  # A = -exp(A_log): the state decays
    if name.endswith(".bias") or name.endswith("ssm_d"):
        return np.float32(0.1) * noise
    if "rope_factors_long" in name:
        return 4 + noise**2
    if len(dims) == 1:
        return 1 + np.float32(0.1) * noise  # gain of a norm
    if "embd" in name or "token_types" in name:
        return np.float32(0.5) * noise
    if "attn_rel_b" in name:
        return noise
    # Queries and keys are drawn larger so that attention is far from uniform, but not in T5, which does not scale
    # their products down.
    t5 = name.startswith(("enc.", "dec."))
    gain = (0.6 if t5 else 1.5) if "attn_q" in name or "attn_k" in name else 1.0
    return np.float32(gain / np.sqrt(dims[-1])) * noise
