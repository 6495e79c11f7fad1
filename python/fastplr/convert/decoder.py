"""A Llama- or Qwen-style decoder as llama.cpp names it: metadata and tensors of ``llama``, ``qwen2``, ``qwen3``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from fastplr.convert.byte_level_bpe import ByteLevelVocabulary
from fastplr.convert.decoder_config import DecoderConfig
from fastplr.convert.gguf_file import Metadata, Tensor
from fastplr.convert.weights import Weights
from fastplr.errors import ModelError

__all__ = ["DECODER_CONVERSION", "decoder_metadata", "decoder_tensors"]

#: What turned the folder into metadata and tensors. A number is added when the same folder would give others.
DECODER_CONVERSION = "decoder 1"

#: Modules of a block in transformers and llama.cpp's names for them.
BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
QWEN3_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}

#: What must be known of a checkpoint's tensors; others are heads. Old ones hold frequencies that follow from theta.
OF_THE_DECODER = re.compile(r"(?!.*\.rotary_emb\.inv_freq$)(layers|embed_tokens|norm)\..*")

#: Roles of special tokens as llama.cpp's keys call them; "seperator" is how the format spells it.
ROLE_KEYS = {"unk": "unknown", "sep": "seperator", "pad": "padding"}


def decoder_metadata(config: DecoderConfig, vocabulary: ByteLevelVocabulary) -> Metadata:
    """Hyper-parameters and vocabulary of a decoder, under the keys of GGUF."""
    hyperparameters: Metadata = {
        "vocab_size": config.n_vocab,
        "context_length": config.n_ctx,
        "embedding_length": config.n_embd,
        "block_count": config.n_layer,
        "feed_forward_length": config.n_ff,
        "attention.head_count": config.n_head,
        "attention.head_count_kv": config.n_head_kv,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope.base,
    }
    hyperparameters |= {f"rope.scaling.{key}": value for key, value in config.rope.scaling.items()}
    return {
        **{f"{config.architecture}.{key}": value for key, value in hyperparameters.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": vocabulary.pre,
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": vocabulary.types,
        "tokenizer.ggml.merges": vocabulary.merges,
        "tokenizer.ggml.add_bos_token": vocabulary.add_bos,
        "tokenizer.ggml.add_eos_token": vocabulary.add_eos,
        "tokenizer.ggml.add_space_prefix": False,
        **{
            f"tokenizer.ggml.{ROLE_KEYS.get(role, role)}_token_id": token_id
            for role, token_id in vocabulary.special.items()
        },
    }


def decoder_tensors(config: DecoderConfig, weights: Weights) -> list[Tensor]:
    """The tensors of the decoder that `config` describes, each with where it comes from.

    Raises:
        ModelError: A tensor is missing, has another shape than the config says, or is of a block too many.
    """
    names = set(weights.names())
    prefix = "model." if "model.embed_tokens.weight" in names else ""
    has_head = not config.is_tied and (config.needs_head or "lm_head.weight" in names)
    head = [Tensor("output.weight", (config.n_vocab, config.n_embd), "lm_head.weight")] if has_head else []
    tensors = []
    for tensor in itertools.chain(head, _of_the_model(config, prefix)):  # which ends at the first that is missing
        if tensor.source is not None:
            weights.require(tensor.source, tensor.shape)
        tensors.append(tensor)
    for name in sorted(names - {tensor.source for tensor in tensors}):
        if name.startswith(prefix) and OF_THE_DECODER.fullmatch(name.removeprefix(prefix)):
            raise ModelError(
                f"tensor {name!r} in {weights.where()} is of no part that the config.json describes "
                f"({config.n_layer} blocks)"
            )
    return tensors


def _of_the_model(config: DecoderConfig, prefix: str) -> Iterator[Tensor]:
    """All but the head."""
    n_embd, n_q, n_kv = config.n_embd, config.n_head * config.head_dim, config.n_head_kv * config.head_dim
    shapes = {
        "attn_q": (n_q, n_embd),
        "attn_k": (n_kv, n_embd),
        "attn_v": (n_kv, n_embd),
        "attn_output": (n_embd, n_q),
        "ffn_gate": (config.n_ff, n_embd),
        "ffn_up": (config.n_ff, n_embd),
        "ffn_down": (n_embd, config.n_ff),
        "attn_q_norm": (config.head_dim,),
        "attn_k_norm": (config.head_dim,),
    }
    # Of llama.cpp's graphs only Llama's rotates pairs of neighbours; Qwen's rotate halves, as transformers does.
    n_rows_of_head = config.head_dim if config.architecture == "llama" else 0
    yield Tensor("token_embd.weight", (config.n_vocab, n_embd), f"{prefix}embed_tokens.weight")
    yield Tensor("output_norm.weight", (n_embd,), f"{prefix}norm.weight")
    if config.rope.factors:
        yield Tensor("rope_freqs.weight", (len(config.rope.factors),), None, config.rope.factors)
    modules = BLOCK | (QWEN3_NORMS if config.architecture == "qwen3" else {})
    for layer in range(config.n_layer):
        for module, name in modules.items():
            shape = shapes.get(name, (n_embd,))
            interleaved = n_rows_of_head if name in ("attn_q", "attn_k") else 0
            target, source = f"blk.{layer}.{name}", f"{prefix}layers.{layer}.{module}"
            yield Tensor(f"{target}.weight", shape, f"{source}.weight", n_rows_of_head=interleaved)
            if name in config.biases:
                yield Tensor(f"{target}.bias", shape[:1], f"{source}.bias", n_rows_of_head=interleaved)
