"""Converted decoders give the tokens and the hidden states of transformers, layer by layer."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import fastplr
from decoder_folders import PRE_TOKENIZERS, byte_level_tokenizer
from fastplr.convert import convert_folder
from tiny_models.vocabulary import CORPUS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what they import
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")

TEXTS = [
    "The committee decided to raise interest rates by 25 basis points.",
    "It's 3 a.m., I'll say WE'RE DONE, you'd've; don't SHOUT: IT'S",
    "0 12 345 6789 1234567 3.14159 1,000,000 2026-11-23 \u0663\u0664 \u00bd \u00b2",
    "Caf\u00e9 cr\u00e8me br\u00fbl\u00e9e & Z\u00fcrich \u2014 tr\u00e8s bon \u00c9T\u00c9",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6771\u4eac\u306f\u3067\u3059\u3002 \ud55c\uad6d\uc5b4 2\u5e74",
    "\U0001f600\U0001f97a \u2665 \U0001f469\u200d\U0001f469\u200d\U0001f467 ok\U0001f389",
    "many      blanks   \n\n\n  and\tlines \r\n  \t x\u00a0y\u3000z  ",
    "def f(x):\n    return {'a': x[0] != 1}  # ...?!\n\n",
    " leading, ((brackets)) <html> </s> a_b-c/d\\e ##x $5 %",
    "An unmerged word",
    "a",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u064e\u0631\u0628 \u05e2\u05d1\u05e8 \u0e44\u0e17\u0e22",
    "the film is very good " * 12,
]
# llama.cpp keeps keys and values in half precision: what is left of the length of a state. 0.0014 are found.
F16_ATTENTION = 0.0025
BEGIN, END, TOOL = "<|begin|>", "<|end_here|>", "<tool>"

PIECES = [" ", "  ", "\n", "\t", "\r\n", "'s", "'LL", "1", "23", "456", "the", "Film", "ok", ".", "!?", "-", "_", "("]
PIECES += [BEGIN, TOOL]
#: Latin, combining marks, Greek to Hebrew, Arabic, Indic scripts, Thai, spaces and punctuation, digits and symbols,
#: Japanese, Chinese, Korean, wide forms, mathematical letters, emoji.
SCRIPTS = [(0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF), (0x900, 0xD7F), (0xE00, 0xEFF),
           (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
           (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF)]  # fmt: skip


def random_texts(n: int, *, seed: int) -> list[str]:
    """Texts of words, digits, blanks and characters of many scripts, in any order."""
    draw = random.Random(seed)

    def character() -> str:
        return next(c for c in (chr(draw.randint(*draw.choice(SCRIPTS))) for _ in range(99)) if c.isprintable())

    return [
        "".join(draw.choice(PIECES) if draw.random() < 0.7 else character() for _ in range(draw.randint(1, 25))) + "x."
        for _ in range(n)
    ]


@dataclass
class Folder:
    """A folder that transformers and tokenizers wrote, with both loaded from it."""

    path: Path
    model: Any
    tokenizer: Any

    def states(self, text: str) -> list[np.ndarray]:
        """States of all tokens: the embeddings, after each block, after the output norm."""
        before_norm = []
        norm = getattr(self.model, "model", self.model).norm
        hook = norm.register_forward_pre_hook(lambda _, inputs: before_norm.append(inputs[0]))
        with torch.no_grad():
            ids = torch.tensor([self.tokenizer.encode(text).ids])
            found = self.model(ids, output_hidden_states=True).hidden_states
        hook.remove()
        return [state[0].double().numpy() for state in (*found[:-1], before_norm[0], found[-1])]


def train_tokenizer(pre: str, *, add_bos: bool = False, add_eos: bool = False) -> Any:
    """A byte-level BPE tokeniser trained on a few sentences, with special, added and plain tokens.

    It is trained on texts that are not split into words: merges go across the borders of words, and tokens are
    others wherever a text is split elsewhere.
    """
    settings = byte_level_tokenizer(pre)
    settings["model"] |= {"vocab": {}, "merges": []}
    settings["added_tokens"] = []
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(settings))
    splits_words = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=[BEGIN, END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*CORPUS.splitlines(), *TEXTS, *random_texts(1000, seed=1)], trainer)
    tokenizer.pre_tokenizer = splits_words
    # A word that no merges lead to: found only where whole words are looked for first.
    settings = json.loads(tokenizer.to_str())
    settings["model"]["vocab"]["\u0120unmerged"] = tokenizer.get_vocab_size()
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(settings))
    tokenizer.add_tokens([tokenizers.AddedToken(TOOL, special=False, normalized=False)])
    template = f"{BEGIN + ' ' if add_bos else ''}$A{' ' + END if add_eos else ''}"
    steps = [tokenizers.processors.ByteLevel(trim_offsets=False)]
    if add_bos or add_eos:
        ids = [(name, tokenizer.token_to_id(name)) for name in (BEGIN, END)]
        steps.append(tokenizers.processors.TemplateProcessing(single=template, special_tokens=ids))
    tokenizer.post_processor = tokenizers.processors.Sequence(steps)
    return tokenizer


def write_folder(
    path: Path,
    kind: str = "Llama",
    *,
    pre: str = "llama-bpe",
    head: bool = True,
    add_bos: bool = False,
    add_eos: bool = False,
    normalizer: Any = None,
    **settings: Any,
) -> Folder:
    """Random weights that make every part of a block count, and a tokeniser, both written by their packages."""
    tokenizer = train_tokenizer(pre, add_bos=add_bos, add_eos=add_eos)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    shape = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = getattr(transformers, f"{kind}Config")(
        **({"vocab_size": tokenizer.get_vocab_size() + 5, "intermediate_size": 96, "max_position_embeddings": 512}
           | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
           | shape | settings)
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, kind + ("ForCausalLM" if head else "Model"))(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape)
            if values.ndim == 1:
                values.copy_(0.3 * noise if name.endswith("bias") else 1 + 0.2 * noise)
            elif "embed_tokens" in name:
                values.copy_(0.5 * noise)
            else:
                gain = 1.5 if "q_proj" in name or "k_proj" in name else 1
                values.copy_(gain * noise / values.shape[1] ** 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(path)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END
        ).save_pretrained(path)
    written = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    written.encode_special_tokens = True  # written in a text they are text, as fastplr has it
    return Folder(path, model, written)


def require_same(folder: Folder, target: Path) -> None:
    convert_folder(folder.path, target)
    embedder = fastplr.Embedder(target, kernels=False, n_threads=1)
    n_layers = embedder.n_layers
    layers = [*range(n_layers + 1), -1]
    found = embedder.embed(TEXTS, layers=layers, pooling=["mean_all", "last"]).astype(np.float64)
    for i, text in enumerate(TEXTS):
        states = folder.states(text)
        expected = np.array([[state.mean(axis=0), state[-1]] for state in states])
        # Rows of the embeddings are random: the same mean is the same tokens.
        np.testing.assert_allclose(found[i, 0], expected[0], atol=1e-5, err_msg=f"tokens of {text!r}")
        error = np.linalg.norm(found[i] - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert error.max() < F16_ATTENTION, (text, error)


LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 5000.0, "factor": 3.0}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 128}

MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, no groups, tied": {"num_key_value_heads": 4, "tie_word_embeddings": True},
    "llama, one head of keys, head_dim": {"num_key_value_heads": 1, "head_dim": 32, "add_bos": True},
    "llama, biases": {"attention_bias": True, "mlp_bias": True},
    "llama, llama3": {"rope_parameters": LLAMA3_ROPE},
    "llama, linear": {"rope_parameters": LINEAR},
    "llama, yarn": {"rope_parameters": YARN},
    "llama, without head": {"head": False, "add_eos": True},
    "mistral": {"kind": "Mistral", "sliding_window": None, "head_dim": 24, "pre": "gpt-2"},
    "mistral, window as long as the context": {"kind": "Mistral", "sliding_window": 512, "tie_word_embeddings": True},
    "qwen2": {"kind": "Qwen2", "pre": "qwen2"},
    "qwen2, tied, without head": {"kind": "Qwen2", "pre": "qwen2", "tie_word_embeddings": True, "head": False},
    "qwen2, yarn": {"kind": "Qwen2", "pre": "qwen2", "rope_parameters": YARN},
    "qwen3": {"kind": "Qwen3", "pre": "qwen2", "head_dim": 32},
    "qwen3, tied, eos": {
        "kind": "Qwen3", "pre": "qwen2", "head_dim": 16, "tie_word_embeddings": True, "add_eos": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_states_of_every_layer_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    require_same(write_folder(tmp_path / "folder", **MODELS[name]), tmp_path / "model.gguf")


@pytest.mark.parametrize("rope", [LLAMA3_ROPE, LINEAR, YARN], ids=lambda rope: rope["rope_type"])
def test_older_layout_of_rope_says_the_same(tmp_path: Path, rope: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "folder", rope_parameters=rope)
    new = convert_folder(folder.path, tmp_path / "new.gguf")
    path = folder.path / "config.json"
    config = json.loads(path.read_text("utf-8"))
    stated = config.pop("rope_parameters")
    scaling = {"type" if key == "rope_type" else key: stated[key] for key in stated if key != "rope_theta"}
    path.write_text(json.dumps(config | {"rope_theta": stated["rope_theta"], "rope_scaling": scaling}), "utf-8")
    old = convert_folder(folder.path, tmp_path / "old.gguf")
    assert old.source_sha256 == new.source_sha256
    assert fastplr.Embedder(old.path).embed(TEXTS).tobytes() == fastplr.Embedder(new.path).embed(TEXTS).tobytes()
    # The scaling counts: without it the states are others, by far more than the comparisons above let pass.
    path.write_text(json.dumps(config | {"rope_theta": stated["rope_theta"]}), "utf-8")
    plain = convert_folder(folder.path, tmp_path / "plain.gguf")
    assert plain.source_sha256 != new.source_sha256
    found, other = (fastplr.Embedder(x.path, layer=-1, kernels=False).embed(TEXTS) for x in (new, plain))
    assert np.max(np.linalg.norm(found - other, axis=1) / np.linalg.norm(found, axis=1)) > 10 * F16_ATTENTION


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_and_shards(tmp_path: Path, dtype: str) -> None:
    folder = write_folder(tmp_path / "folder")
    for file in folder.path.glob("model*"):
        file.unlink()
    folder.model.to(getattr(torch, dtype)).save_pretrained(folder.path, max_shard_size="100KB")
    assert len(list(folder.path.glob("model-*.safetensors"))) > 1
    folder.model = type(folder.model).from_pretrained(folder.path, dtype=torch.float32)
    require_same(folder, tmp_path / "model.gguf")


def test_matrices_in_f16(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", rope_parameters=LLAMA3_ROPE, attention_bias=True)
    convert_folder(folder.path, tmp_path / "whole.gguf")
    convert_folder(folder.path, tmp_path / "half.gguf", tensor_type="f16")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "half.gguf").tensors}
    assert (kinds["blk.0.attn_q.weight"], kinds["blk.0.attn_q.bias"], kinds["rope_freqs.weight"]) == (
        "F16",
        "F32",
        "F32",
    )
    whole, half = (fastplr.Embedder(tmp_path / f"{name}.gguf", layer=-1).embed(TEXTS) for name in ("whole", "half"))
    np.testing.assert_allclose(half, whole, atol=0.02)


def test_nfc_is_accepted_and_composed_texts_have_the_same_tokens(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", "Qwen2", pre="qwen2", normalizer=tokenizers.normalizers.NFC())
    require_same(folder, tmp_path / "model.gguf")


def test_metadata_is_what_llama_cpp_reads(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", "Qwen3", pre="qwen2", add_bos=True, head_dim=32)
    settings = json.loads((folder.path / "tokenizer_config.json").read_text("utf-8"))
    (folder.path / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "{{ messages }}"}))
    (folder.path / "README.md").write_text("---\nlicense: mit\n---\n")
    converted = convert_folder(folder.path, tmp_path / "model.gguf")
    assert (converted.architecture, converted.left_out) == ("qwen3", ())
    found = {name: field.contents() for name, field in gguf.GGUFReader(converted.path).fields.items()}
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    n_named = folder.tokenizer.get_vocab_size()
    assert tokens[:n_named] == [folder.tokenizer.id_to_token(i) for i in range(n_named)]
    unused = [i for i, kind in enumerate(kinds) if kind == gguf.TokenType.UNUSED]
    assert unused == [*range(n_named, n_named + 5)]
    assert kinds[tokens.index(BEGIN)] == kinds[tokens.index(END)] == gguf.TokenType.CONTROL
    assert kinds[tokens.index(TOOL)] == gguf.TokenType.USER_DEFINED
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (0, 1)
    assert (found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]) == (True, False)
    assert found["tokenizer.chat_template"] == "{{ messages }}"
    assert found["fastplr.conversion"] == "decoder 1"
    info = fastplr.read_model_info(converted.path)
    assert (info.n_layers, info.n_embd, info.n_ctx_train, info.license) == (3, 64, 512, "mit")
    # A template of conversations has no part in the features, nor in the identity.
    (folder.path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert convert_folder(folder.path, tmp_path / "b.gguf").source_sha256 == converted.source_sha256


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_tokens_are_those_of_tokenizers(tmp_path: Path, pre: str, add_bos: bool) -> None:
    folder = write_folder(tmp_path / "folder", pre=pre, add_bos=add_bos, num_hidden_layers=1)
    texts = [*TEXTS, *random_texts(1000, seed=0)]
    target = tmp_path / "model.gguf"
    convert_folder(folder.path, target)
    embedder = fastplr.Embedder(target, kernels=False, n_threads=1, layer=0, pooling="mean_all")
    table = folder.model.model.embed_tokens.weight.detach().double().numpy()
    for text, found in zip(texts, embedder.embed(texts), strict=True):
        expected = table[folder.tokenizer.encode(text).ids].mean(axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=repr(text))
    fields = {name: field.contents() for name, field in gguf.GGUFReader(target).fields.items()}
    assert fields["tokenizer.ggml.pre"] == pre
