"""Decoder folders made by hand: what the file holds of them, and those that cannot be converted (no transformers)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import fastplr
from bert_folders import write_safetensors
from decoder_folders import LLAMA3_WORDS, PRE_TOKENIZERS, DecoderFolder, split_by, write_decoder_folder
from fastplr.convert import convert_folder
from fastplr.convert.gguf_file import Tensor, write_gguf
from fastplr.convert.weights import Weights
from fastplr.errors import ModelError, UnsupportedArchitecture
from tiny_models import bpe_vocabulary

TEXTS = ["The film is very good.", "THE BANK said (again!) 13.1 %", "Caf\u00e9 \u65e5\u672c \U0001f600", "a"]


@pytest.fixture
def folder(tmp_path: Path) -> DecoderFolder:
    return write_decoder_folder(tmp_path / "llama")


def refused(folder: DecoderFolder, says: str, error: type[ModelError] = ModelError) -> None:
    with pytest.raises(error, match=says):
        convert_folder(folder.path, folder.path.parent / "out.gguf")
    assert {path.name for path in folder.path.parent.iterdir()} == {"llama"}


def interleaved(values: np.ndarray, head_dim: int) -> np.ndarray:
    """Row 2 i of a head is its row i, row 2 i + 1 is row i + half, as llama.cpp's rotation of pairs wants it."""
    rows = [
        head + (row // 2 if row % 2 == 0 else head_dim // 2 + row // 2)
        for head in range(0, len(values), head_dim)
        for row in range(head_dim)
    ]
    return values[rows]


# --- what the file holds


def test_tensors_are_those_of_the_folder(folder: DecoderFolder, tmp_path: Path) -> None:
    converted = convert_folder(folder.path, tmp_path / "tiny.gguf")
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(converted.path).tensors}
    source = folder.tensors
    assert len(stored) == len(source)
    for name in ("attn_q", "attn_k"):
        expected = interleaved(source[f"model.layers.1.self_attn.{name[-1]}_proj.weight"], 16)
        np.testing.assert_array_equal(stored[f"blk.1.{name}.weight"], expected)
    np.testing.assert_array_equal(stored["blk.1.attn_v.weight"], source["model.layers.1.self_attn.v_proj.weight"])
    np.testing.assert_array_equal(stored["output.weight"], source["lm_head.weight"])
    embedder = fastplr.Embedder(converted.path, layer=0, pooling="mean_all")
    vocabulary = bpe_vocabulary()
    expected = [source["model.embed_tokens.weight"][vocabulary.tokenize(text)].mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(embedder.embed(TEXTS), expected, atol=1e-5)
    assert np.isfinite(fastplr.Embedder(converted.path, layer=-1).embed(TEXTS)).all()


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3"])
def test_qwen_keeps_the_order_of_rows(folder: DecoderFolder, tmp_path: Path, kind: str) -> None:
    folder.change_json("config.json", architectures=[f"{kind}ForCausalLM"], model_type=kind.lower(), head_dim=16)
    more = {f"model.layers.{i}.self_attn.{part}_proj.bias": np.ones(n, "<f4")
            for i in range(2) for part, n in (("q", 64), ("k", 32), ("v", 32))}  # fmt: skip
    if kind == "Qwen3":
        more = {f"model.layers.{i}.self_attn.{part}_norm.weight": np.ones(16, "<f4")
                for i in range(2) for part in ("q", "k")}  # fmt: skip
    folder.change_tensors(more)
    assert convert_folder(folder.path, tmp_path / "tiny.gguf").architecture == kind.lower()
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "tiny.gguf").tensors}
    np.testing.assert_array_equal(
        stored["blk.0.attn_q.weight"], folder.tensors["model.layers.0.self_attn.q_proj.weight"]
    )
    assert np.isfinite(fastplr.Embedder(tmp_path / "tiny.gguf", layer=-1).embed(TEXTS)).all()


def test_rows_are_interleaved_across_pieces(tmp_path: Path) -> None:
    values = np.arange(16 * 96 * 1000, dtype="<f4").reshape(16 * 96, 1000)  # more than is read at once
    write_safetensors(tmp_path / "model.safetensors", {"q": values}, "F32")
    tensors = [Tensor("blk.0.attn_q.weight", values.shape, "q", n_rows_of_head=96)]
    write_gguf(tmp_path / "q.gguf", "llama", {}, tensors, Weights(tmp_path), largest=1e9, progress=False)
    (stored,) = gguf.GGUFReader(tmp_path / "q.gguf").tensors
    np.testing.assert_array_equal(stored.data, interleaved(values, 96))


def test_tied_embeddings_have_no_output_matrix(tmp_path: Path) -> None:
    tied = write_decoder_folder(tmp_path / "tied", tied=True)
    tied.change_tensors({"lm_head.weight": tied.tensors["model.embed_tokens.weight"],
                         "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, "<f4")})  # fmt: skip
    converted = convert_folder(tied.path, tmp_path / "tied.gguf")
    assert "output.weight" not in {tensor.name for tensor in gguf.GGUFReader(converted.path).tensors}
    assert converted.left_out == ("lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")


def test_a_model_without_head_needs_none(folder: DecoderFolder, tmp_path: Path) -> None:
    folder.change_json("config.json", architectures=["LlamaModel"])
    bare = {name.removeprefix("model."): values for name, values in folder.tensors.items() if name != "lm_head.weight"}
    with_head = convert_folder(folder.path, tmp_path / "a.gguf")
    folder.change_tensors(dict.fromkeys(folder.tensors) | bare)
    converted = convert_folder(folder.path, tmp_path / "b.gguf")
    found = (fastplr.Embedder(x.path, layer=-1).embed(TEXTS).tobytes() for x in (with_head, converted))
    assert len(set(found)) == 1


def test_identity_changes_with_all_that_changes_the_features(folder: DecoderFolder, tmp_path: Path) -> None:
    def identity(**changes: Any) -> str:
        folder.change_json("config.json", **changes)
        return convert_folder(folder.path, tmp_path / "x.gguf", overwrite=True).source_sha256

    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}  # fmt: skip
    found = [identity(), identity(rope_theta=5e5), identity(rope_scaling=scaling),
             identity(rope_scaling=scaling | {"factor": 4.0}), identity(rms_norm_eps=1e-6)]  # fmt: skip
    assert len(set(found)) == 5
    assert identity(transformers_version="9.0") == found[-1]


# --- config.json


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'; llama.cpp computes 'silu' only"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config .*gptq.*F32, F16 and BF16"),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "exaone"}, "LlamaForCausalLM.*'exaone'.*Qwen3Model"),
        ({"architectures": ["LlamaForCausalLM", "BertModel"]}, "LlamaForCausalLM, BertModel"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope scaling 'dynamic'; .*default, linear, yarn"),
        ({"rope_parameters": {"type": "longrope"}}, "rope scaling 'longrope'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "one kind for all layers"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16}}, "YaRN with beta_fast = 16"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1.0}}, "attention_factor = 1.0"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "truncate": False}}, "truncate = False"),
        ({"model_type": "mistral", "architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192},
         r"sliding_window = 4096 \(the default"),
        ({"model_type": "mistral", "architectures": ["MistralModel"], "sliding_window": 100}, "sliding_window = 100"),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True,
          "max_window_layers": 1, "sliding_window": 64}, "sliding_window = 64 .*128 tokens"),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"], "layer_types": ["sliding_attention"] * 2},
         "layer_types = .*'full_attention' in every layer"),
        ({"model_type": "qwen2", "architectures": ["Qwen2Model"], "head_dim": 32}, "4 heads of width 32"),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"], "attention_bias": True}, "attention_bias = True"),
        ({"model_type": "qwen2", "architectures": None, "rope_scaling": {"type": "llama3", "factor": 8.0}},
         "rope scaling 'llama3'; llama.cpp computes default, linear, yarn for"),
    ],
)  # fmt: skip
def test_forms_that_llama_cpp_does_not_compute(folder: DecoderFolder, changes: dict[str, Any], says: str) -> None:
    folder.change_json("config.json", **changes)
    refused(folder, says, UnsupportedArchitecture)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": None}, "hidden_size = None; expected a whole number above 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers = -1"),
        ({"num_hidden_layers": 2**31 - 1}, "no tensor 'model.layers.2.input_layernorm.weight'"),
        ({"num_hidden_layers": 1}, r"layers.1.*no part that the config.json describes \(1 blocks\)"),
        ({"vocab_size": 2**31 - 1}, r"lm_head.weight'.*expected \[2147483647, 64\]"),
        ({"num_attention_heads": 3}, "does not divide num_attention_heads = 3"),
        ({"num_attention_heads": 6}, "expected heads of an even width"),
        ({"head_dim": 15}, "head_dim = 15; expected heads of an even width"),
        ({"head_dim": 32}, r"q_proj.weight'.*shape \[64, 64\]; expected \[128, 64\]"),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"], "tie_word_embeddings": True},
         r"q_proj.weight'.*expected \[512, 64\]"),
        ({"num_key_value_heads": None}, r"k_proj.weight'.*shape \[32, 64\]; expected \[64, 64\]"),
        ({"attention_bias": True}, r"no tensor 'model.layers.0.self_attn.q_proj.bias'"),
        ({"attention_bias": "yes"}, "attention_bias = 'yes'; expected true or false"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings = 1; expected true or false"),
        ({"rms_norm_eps": 0}, "rms_norm_eps = 0"),
        ({"rope_theta": -1}, "rope_theta = -1; expected a number above 1"),
        ({"rope_theta": 10**400}, "rope_theta = 1000"),
        ({"rope_scaling": [1]}, r"rope_scaling \[1\]; expected an object"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor = None; expected a number above"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4, "high_freq_factor": 4}},
         "high_freq_factor = 4; expected a number above 4"),
        ({"bos_token_id": -5}, "make no sense to the package gguf: .*bos: -5"),
    ],
)  # fmt: skip
def test_config_that_makes_no_sense(folder: DecoderFolder, changes: dict[str, Any], says: str) -> None:
    folder.change_json("config.json", **changes)
    refused(folder, says)


# --- weights


def test_missing_and_misshapen_tensors_are_named(folder: DecoderFolder) -> None:
    whole = dict(folder.tensors)
    folder.change_tensors({"lm_head.weight": None})
    refused(folder, r"no tensor 'lm_head.weight' in .*expected one of shape \[\d+, 64\]")
    folder.change_tensors({"lm_head.weight": whole["lm_head.weight"][:-1]})
    refused(folder, "'lm_head.weight'.*has the shape")
    folder.change_tensors(whole | {"model.layers.0.mlp.up_proj.weight": np.zeros((96, 32), "<f4")})
    refused(folder, r"up_proj.weight'.*shape \[96, 32\]; expected \[96, 64\]")
    folder.change_tensors(whole | {"model.layers.0.self_attn.q_proj.bias": np.zeros(64, "<f4")})
    refused(folder, "q_proj.bias'.*is of no part that the config.json describes")
    folder.change_tensors({name: None for name in whole if name != "lm_head.weight"})
    refused(folder, "no tensor 'embed_tokens.weight'|no tensor 'norm.weight'")
    (folder.path / "model.safetensors").unlink()
    refused(folder, "no model.safetensors")


# --- tokeniser


def tokenizer_json(path: Sequence[str | int], value: object) -> Callable[[DecoderFolder], None]:
    """Sets what lies at `path` in the tokenizer.json."""

    def change(folder: DecoderFolder) -> None:
        file = folder.path / "tokenizer.json"
        tokenizer = json.loads(file.read_text("utf-8"))
        inner: Any = tokenizer
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        file.write_text(json.dumps(tokenizer), "utf-8")

    return change


def template(*parts: str, token_id: int = 0) -> dict[str, Any]:
    single = [{"Sequence": {"id": "A"}} if part == "$A" else {"SpecialToken": {"id": part}} for part in parts]
    return {"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [token_id], "tokens": ["<s>"]}}}  # fmt: skip


SPACE_IN_FRONT = PRE_TOKENIZERS["gpt-2"][0] | {"add_prefix_space": True}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (tokenizer_json(["pre_tokenizer"], None), "the pre_tokenizer None"),
        (tokenizer_json(["pre_tokenizer"], split_by(r"\w+|\s+")), r"Regex': '\\\\w\+.*those of GPT-2, SmolLM"),
        (tokenizer_json(["pre_tokenizer"], SPACE_IN_FRONT), "'add_prefix_space': True"),
        (tokenizer_json(["pre_tokenizer"], {"type": "Metaspace"}), "Metaspace"),
        (tokenizer_json(["model", "ignore_merges"], True), "ignore_merges True"),
        (tokenizer_json(["model", "byte_fallback"], True), "has byte_fallback, as SentencePiece"),
        (tokenizer_json(["model", "type"], "Unigram"), "the model 'Unigram'"),
        (tokenizer_json(["model"], None), "the model None"),
        (tokenizer_json(["model", "end_of_word_suffix"], "</w>"), "end_of_word_suffix = '</w>'"),
        (tokenizer_json(["model", "dropout"], 0.1), "dropout = 0.1"),
        (tokenizer_json(["normalizer"], {"type": "Lowercase"}), "the normalizer .*Lowercase"),
        (tokenizer_json(["post_processor"], template("<s>", "<s>", "$A")), "puts one token before a text"),
        (tokenizer_json(["post_processor"], template("<s>", "$A", token_id=5)), "puts one token before a text"),
        (tokenizer_json(["post_processor"], template("[CLS]", "$A")), "puts one token before a text"),
        (tokenizer_json(["post_processor"], {"type": "RobertaProcessing"}), "RobertaProcessing"),
        (tokenizer_json(["added_tokens", 0], {"id": 0, "content": "<s>", "special": False, "lstrip": True}),
         "'<s>' with lstrip"),
    ],
)  # fmt: skip
def test_tokeniser_that_llama_cpp_does_not_have(
    folder: DecoderFolder, change: Callable[[DecoderFolder], None], says: str
) -> None:
    change(folder)
    refused(folder, says, UnsupportedArchitecture)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (tokenizer_json(["model", "vocab"], {}), "has no vocab"),
        (tokenizer_json(["model", "merges"], []), "has no merges"),
        (tokenizer_json(["model", "merges", 0], ["q", "q"]), "merges 'q q'; expected two tokens whose join is a token"),
        (tokenizer_json(["model", "merges", 1], [1, 2]), "make no sense to the package gguf"),
        (tokenizer_json(["model", "vocab", "film"], 3), "the same id 3"),
        (tokenizer_json(["model", "vocab", "film"], -1), "'film' the id -1"),
        (tokenizer_json(["model", "vocab", "film"], 100_000), "'film' the id 100000, but the token embeddings have"),
        (tokenizer_json(["model", "vocab", "\ud800"], 493), "the token '.ud800'; expected Unicode text"),
        (tokenizer_json(["model", "vocab", "[unused row 493]"], 493), "expected Unicode text"),
        (tokenizer_json(["added_tokens", 0], "<s>"), "added token '<s>'; expected an object"),
        (tokenizer_json(["added_tokens", 0, "special"], "no"), "special = 'no'; expected true or false"),
        (tokenizer_json(["added_tokens"], 7), "added_tokens 7; expected a list"),
        (
            lambda folder: (folder.path / "tokenizer_config.json").write_text("[1]"),
            "tokenizer_config.json' holds a JSON",
        ),
        (lambda folder: (folder.path / "tokenizer.json").unlink(), "no such file: .*tokenizer.json"),
    ],
)
def test_tokeniser_that_makes_no_sense(
    folder: DecoderFolder, change: Callable[[DecoderFolder], None], says: str
) -> None:
    change(folder)
    refused(folder, says)


def test_vocabulary_with_more_tokens_than_rows(tmp_path: Path) -> None:
    refused(write_decoder_folder(tmp_path / "llama", extra_rows=-2), r"gives token .* rows \(vocab_size\)")


def test_sentence_piece_is_named(folder: DecoderFolder) -> None:
    (folder.path / "tokenizer.json").rename(folder.path / "tokenizer.model")
    refused(folder, "no tokenizer.json but a tokenizer.model", UnsupportedArchitecture)


@pytest.mark.parametrize(
    ("parts", "flags"),
    [(("$A",), (False, False)), (("<s>", "$A"), (True, False)), (("<s>", "$A", "<s>"), (True, True))],
)
def test_tokens_around_a_text(
    folder: DecoderFolder, tmp_path: Path, parts: tuple[str, ...], flags: tuple[bool, bool]
) -> None:
    tokenizer_json(["post_processor"], {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template(*parts)]})(
        folder
    )
    tokenizer_json(["pre_tokenizer"], split_by(LLAMA3_WORDS))(folder)  # for which llama.cpp adds one unless told
    convert_folder(folder.path, tmp_path / "tiny.gguf")
    fields = gguf.GGUFReader(tmp_path / "tiny.gguf").fields
    assert tuple(fields[f"tokenizer.ggml.add_{role}_token"].contents() for role in ("bos", "eos")) == flags
    inner = bpe_vocabulary().tokenize("good")
    ids = [0] * flags[0] + inner + [0] * flags[1]
    found = fastplr.Embedder(tmp_path / "tiny.gguf", layer=0, pooling="mean_all").embed(["good"])
    np.testing.assert_allclose(found[0], folder.tensors["model.embed_tokens.weight"][ids].mean(axis=0), atol=1e-5)


# --- any JSON at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.sampled_from(["<s>", "BPE"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)
@hypothesis.given(
    name=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json"]),
    steps=st.lists(st.integers(min_value=0, max_value=10_000), min_size=1, max_size=6),
    value=json_values,
)
def test_any_value_anywhere_raises_nothing_but_our_errors(
    folder: DecoderFolder, name: str, steps: list[int], value: object
) -> None:
    path, target = folder.path / name, folder.path.parent / "out.gguf"
    if not path.exists():
        path.write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "x"}))
    original = path.read_text("utf-8")
    changed = json.loads(original)
    inner: Any = changed
    for n_left, step in zip(reversed(range(len(steps))), steps, strict=True):
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        key = keys[step % len(keys)]
        if n_left == 0 or not (isinstance(inner[key], (dict, list)) and inner[key]):
            break
        inner = inner[key]
    inner[key] = value
    path.write_text(json.dumps(changed), "utf-8")
    try:
        convert_folder(folder.path, target, overwrite=True)
    except ModelError:
        assert not target.exists()
    finally:
        path.write_text(original, "utf-8")
        target.unlink(missing_ok=True)
