"""A graph that does not name its layers: what cannot be reached is said, what can be is given."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from fastplr import UnsupportedArchitecture
from native_embedding import engine_of, native_embed
from tiny_models import bpe_vocabulary

ARCHITECTURE = "plamo2"  # the output has its usual name in its graph, the layers and the embeddings have not
TEXTS = ["The film isn't very good.", "a", "the company said that it rose"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PLaMo 2 of random weights: a block of the kind of Mamba, then one with attention."""
    path = tmp_path_factory.mktemp("unnamed") / "model.gguf"
    vocabulary = bpe_vocabulary()
    n_embd, n_ff, inner, state, n_heads, conv, dt = 64, 96, 128, 16, 4, 4, 64
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_name("tiny random model")
    writer.add_context_length(512)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(2)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count([n_heads, n_heads])
    writer.add_head_count_kv([0, n_heads])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(conv)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(n_heads)
    writer.add_ssm_group_count(0)
    vocabulary.add_to(writer)
    blocks: list[dict[str, tuple[int, ...]]] = [
        {
            "ssm_in.weight": (2 * inner, n_embd),
            "ssm_conv1d.weight": (inner, conv),
            "ssm_x.weight": (dt + 2 * state, inner),
            "ssm_dt.weight": (n_heads, dt),
            "ssm_dt.bias": (n_heads,),
            "ssm_a": (n_heads,),
            "ssm_d": (n_heads,),
            "ssm_out.weight": (n_embd, inner),
            "ssm_dt_norm": (dt,),
            "ssm_b_norm": (state,),
            "ssm_c_norm": (state,),
        },
        {
            "attn_qkv.weight": (3 * n_embd, n_embd),
            "attn_q_norm.weight": (n_heads, n_embd // n_heads),
            "attn_k_norm.weight": (n_heads, n_embd // n_heads),
            "attn_output.weight": (n_embd, n_embd),
        },
    ]
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(vocabulary), n_embd),
        "output_norm.weight": (n_embd,),
    }
    for i, block in enumerate(blocks):
        norms = dict.fromkeys(("attn_norm.weight", "ffn_norm.weight"), (n_embd,))
        norms |= dict.fromkeys(("post_attention_norm", "post_ffw_norm"), (n_embd,))
        ffn = {"ffn_up.weight": (2 * n_ff, n_embd), "ffn_down.weight": (n_embd, n_ff)}
        tensors |= {f"blk.{i}.{name}": dims for name, dims in (block | norms | ffn).items()}
    rng = np.random.default_rng(0)
    for name, dims in tensors.items():
        writer.add_tensor(name, (0.1 * rng.standard_normal(dims)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("layers", "unreachable"), [([0], 0), ([1], 1), ([-1, 1], 1), ([2], 2)])
def test_a_layer_without_a_name_is_an_error(path: Path, layers: list[int], unreachable: int) -> None:
    # The output is the state after the output norm, not that after the last block: 2 is not it.
    engine = engine_of(path)
    message = rf"layer {unreachable} of the architecture '{ARCHITECTURE}' cannot be reached"
    with pytest.raises(UnsupportedArchitecture, match=message):
        native_embed(engine, TEXTS, layers)
    assert np.isfinite(native_embed(engine, TEXTS, [-1])[0]).all()
