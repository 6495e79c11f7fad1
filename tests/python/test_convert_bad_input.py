"""Folders that cannot be converted: an error of ours that names what was found, and no file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_folders import (
    BertFolder,
    bert_shapes,
    draw,
    encode,
    fast_tokenizer,
    plain_words,
    write_bert_folder,
    write_safetensors,
)
from fastplr.convert import convert_folder
from fastplr.errors import InputError, ModelError, UnsupportedArchitecture

Change = Callable[[BertFolder], object]


@pytest.fixture
def folder(tmp_path: Path) -> BertFolder:
    return write_bert_folder(tmp_path / "bert")


def refused(folder: BertFolder, says: str | None, error: type[BaseException] = ModelError, **options: Any) -> None:
    target = folder.path.parent / "out.gguf"
    with pytest.raises(error, match=says):
        convert_folder(folder.path, target, **options)
    assert {path.name for path in folder.path.parent.iterdir()} == {"bert"}


# --- what is no BERT encoder, nor a decoder that is converted


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3"}, "Gemma3ForCausalLM.*'gemma3'.*BertModel"),
        ({"architectures": ["RobertaModel"], "model_type": "roberta"}, "RobertaModel"),
        ({"architectures": ["JinaBertModel"]}, "JinaBertModel"),
        ({"architectures": None, "model_type": "distilbert"}, "'distilbert'"),
        ({"architectures": None, "model_type": None}, "model_type None"),
        ({"model_type": "nomic_bert"}, "nomic_bert"),
        ({"is_decoder": True}, "is_decoder = True"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'.*'absolute' only"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu'.*'gelu' only"),
    ],
)
def test_other_architectures_are_named(folder: BertFolder, changes: dict[str, Any], says: str) -> None:
    folder.change_json("config.json", **changes)
    refused(folder, says, UnsupportedArchitecture)


# --- config.json


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": None}, "hidden_size = None; expected a whole number above 0"),
        ({"hidden_size": 0}, "hidden_size = 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers = -1"),
        ({"vocab_size": 1.5}, "vocab_size = 1.5"),
        ({"vocab_size": 10**30}, "vocab_size = 10000"),
        ({"intermediate_size": "96"}, "intermediate_size = '96'"),
        ({"num_attention_heads": True}, "num_attention_heads = True"),
        ({"num_attention_heads": 5}, "num_attention_heads = 5, which does not divide hidden_size = 64"),
        ({"layer_norm_eps": 0}, "layer_norm_eps = 0"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps = '1e-12'"),
        ({"architectures": "BertModel"}, "architectures = 'BertModel'"),
        # The numbers make sense, but the tensors are others.
        ({"intermediate_size": 128}, r"intermediate.dense.weight'.*shape \[96, 64\]; expected \[128, 64\]"),
        ({"max_position_embeddings": 512}, r"position_embeddings.*shape \[128, 64\]; expected \[512, 64\]"),
        ({"num_hidden_layers": 2}, r"encoder.layer.2.*no part that the config.json describes \(2 blocks\)"),
        ({"num_hidden_layers": 4}, r"no tensor 'encoder.layer.3.*shape \[64, 64\]"),
        ({"vocab_size": 400}, r"word_embeddings.*expected \[400, 64\]"),
        ({"vocab_size": 100}, "but the token embeddings have 100 rows"),
    ],
)
def test_config_that_makes_no_sense(folder: BertFolder, changes: dict[str, Any], says: str) -> None:
    folder.change_json("config.json", **changes)
    refused(folder, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "config.json' is not JSON"),
        (b"{", "config.json' is not JSON"),
        (b"[" * 200_000, "config.json' is not JSON"),
        (b"[1]", "holds a JSON list; expected an object"),
        (b'{"a": "\xff"}', "is not UTF-8"),
    ],
)
def test_config_that_is_no_json_object(folder: BertFolder, content: bytes, says: str) -> None:
    (folder.path / "config.json").write_bytes(content)
    refused(folder, says)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_is_named(folder: BertFolder, name: str) -> None:
    (folder.path / name).unlink()
    # Without a tokenizer.json it is the vocab.txt that is looked for.
    refused(folder, {"tokenizer.json": "no such file: .*vocab.txt"}.get(name, f"no .*{name}"))


def test_folder_that_is_not_there_or_no_folder(folder: BertFolder, tmp_path: Path) -> None:
    for given in (tmp_path / "absent", folder.path / "config.json"):
        with pytest.raises(ModelError, match="is not a folder"):
            convert_folder(given, tmp_path / "out.gguf")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_pipe_in_place_of_a_file_is_not_waited_for(folder: BertFolder) -> None:
    for name in ("config.json", "model.safetensors"):
        content = (folder.path / name).read_bytes()
        (folder.path / name).unlink()
        os.mkfifo(folder.path / name)
        refused(folder, "is not a regular file")
        (folder.path / name).unlink()
        (folder.path / name).write_bytes(content)


def test_pickled_weights_are_not_read(folder: BertFolder) -> None:
    (folder.path / "model.safetensors").rename(folder.path / "pytorch_model.bin")
    refused(folder, "no model.safetensors.*pickled")


# --- weights


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("encoder.layer.1.output.dense.weight", np.nan, "holds a weight of nan"),
        ("embeddings.LayerNorm.bias", np.inf, "holds a weight of inf"),
    ],
)
def test_weights_that_are_no_numbers(folder: BertFolder, name: str, value: float, says: str) -> None:
    write_weights(folder, lambda tensors: tensors[name].flat.__setitem__(0, value))
    refused(folder, says)


def test_weight_too_large_for_f16_is_said(folder: BertFolder, tmp_path: Path) -> None:
    name = "encoder.layer.1.output.dense.weight"
    write_weights(folder, lambda tensors: tensors[name].flat.__setitem__(0, 70_000.0))
    refused(folder, f"'{name}' holds a weight of 70000.0; expected numbers up to 65504", tensor_type="f16")
    convert_folder(folder.path, tmp_path / "out.gguf")


def write_weights(folder: BertFolder, change: Callable[[dict[str, np.ndarray]], object], dtype: str = "F32") -> None:
    tensors = {name: encode(draw(name, shape, 0), dtype) for name, shape in bert_shapes(len(folder.words)).items()}
    change(tensors)
    write_safetensors(folder.path / "model.safetensors", tensors, dtype)


def test_missing_tensor_and_strange_type_are_named(folder: BertFolder) -> None:
    write_weights(folder, lambda tensors: tensors.pop("encoder.layer.0.attention.self.key.bias"))
    refused(folder, r"no tensor 'encoder.layer.0.attention.self.key.bias'.*shape \[64\]")
    write_weights(folder, lambda tensors: None, dtype="F64")
    refused(folder, "is of the type F64; expected one of F32, F16, BF16")


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({}, "has no 'weight_map'"),
        ({"weight_map": {"a": "../model.safetensors"}}, "'a' is in '../model.safetensors'; expected the name"),
        ({"weight_map": {"a": "/etc/passwd"}}, "expected the name of a .safetensors file"),
        ({"weight_map": {"a": 1}}, "'a' is in 1"),
        ({"weight_map": {"a": "absent.safetensors"}}, "no such file: .*absent.safetensors"),
        ({"weight_map": {"a": "part.safetensors"}}, "part.safetensors' has no tensor 'a'"),
    ],
)
def test_index_of_shards_that_is_wrong(folder: BertFolder, index: dict[str, Any], says: str) -> None:
    (folder.path / "model.safetensors").rename(folder.path / "part.safetensors")
    (folder.path / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, says)


# --- tokeniser


def tokenizer_json(path: Sequence[str | int], value: object) -> Change:
    """Sets what lies at `path` in the tokenizer.json."""

    def change(folder: BertFolder) -> None:
        tokenizer = fast_tokenizer(plain_words())
        inner: Any = tokenizer
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (folder.path / "tokenizer.json").write_text(json.dumps(tokenizer))

    return change


def renamed(token: str, name: str) -> Change:
    """Gives a token another name, written as in JSON, wherever the tokenizer.json has it."""

    def change(folder: BertFolder) -> None:
        path = folder.path / "tokenizer.json"
        path.write_text(path.read_text("utf-8").replace(f'"{token}"', f'"{name}"'), "utf-8")

    return change


def word_list(text: str) -> Change:
    return lambda folder: (folder.path / "vocab.txt").write_bytes(text.encode("latin-1"))


def settings(**changes: Any) -> Change:
    return lambda folder: folder.change_json("tokenizer_config.json", **changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (tokenizer_json(["model", "type"], "BPE"), "the model 'BPE'; fastplr converts 'WordPiece'"),
        (tokenizer_json(["model", "continuing_subword_prefix"], "@@"), "marks continuations by '@@'"),
        (tokenizer_json(["model", "vocab"], []), "has no vocabulary"),
        (tokenizer_json(["model", "vocab", "film"], 3), "the same id 3"),
        (tokenizer_json(["model", "vocab", "film"], -1), "'film' the id -1"),
        (tokenizer_json(["model", "vocab", "film"], 1.5), "'film' the id 1.5"),
        (tokenizer_json(["model", "vocab", "film"], 100_000), "'film' the id 100000, but the token embeddings have"),
        (tokenizer_json(["model", "unk_token"], "<unk>"), "has no token '<unk>'"),
        (tokenizer_json(["normalizer"], None), "the normalizer None; fastplr converts 'BertNormalizer'"),
        (tokenizer_json(["normalizer", "type"], "NFC"), "the normalizer 'NFC'"),
        (tokenizer_json(["normalizer", "clean_text"], False), "clean_text = false"),
        (tokenizer_json(["normalizer", "lowercase"], "yes"), "lowercase = 'yes'"),
        (tokenizer_json(["normalizer", "lowercase"], False), "do_lower_case = True, .* says False"),
        (tokenizer_json(["normalizer", "handle_chinese_chars"], False), "Chinese"),
        (tokenizer_json(["pre_tokenizer", "type"], "Whitespace"), "the pre_tokenizer 'Whitespace'"),
        (tokenizer_json(["post_processor"], None), r"post_processor None; expected one that puts '\[CLS\]'"),
        (tokenizer_json(["post_processor", "single"], []), "post_processor"),
        (tokenizer_json(["post_processor", "single", 0], {"SpecialToken": {"id": "<s>"}}), "has no token '<s>'"),
        (tokenizer_json(["added_tokens", 0, "special"], False), r"added token '\[PAD\]', which is looked for in texts"),
        (tokenizer_json(["added_tokens", 0], "[PAD]"), r"added token '\[PAD\]'; expected an object"),
        (tokenizer_json(["added_tokens"], True), "added_tokens True; expected a list"),
        (renamed("[MASK]", "mask"), "special token 'mask'; expected one like"),
        (renamed("[MASK]", "[\\ud800]"), r"special token '\[.*ud800\]'; expected one like"),
        (settings(do_lower_case=False), "do_lower_case = False, .* says True"),
        (settings(do_lower_case=1), "do_lower_case = 1; expected true or false"),
        (settings(cls_token=7), "special token 7; expected a text"),
    ],
)
def test_tokeniser_that_llama_cpp_does_not_have(folder: BertFolder, change: Change, says: str) -> None:
    change(folder)
    refused(folder, says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (settings(tokenizer_class="BertJapaneseTokenizer"), "'BertJapaneseTokenizer'; expected one of BertTokenizer"),
        (settings(do_basic_tokenize=False), "do_basic_tokenize"),
        (settings(tokenize_chinese_chars=False), "Chinese"),
        (settings(cls_token="<cls>"), "vocab.txt' has no token '<cls>'"),
        (word_list("\xff\xfe"), "is not UTF-8"),
        (word_list(""), "has no token"),
        (word_list("\n".join(plain_words()) + "\nx" * 1000), "'x' the id 1.*, but"),
    ],
)
def test_word_list_that_does_not_fit(tmp_path: Path, change: Change, says: str) -> None:
    folder = write_bert_folder(tmp_path / "bert", tokenizer="vocab.txt")
    change(folder)
    refused(folder, says)


# --- any JSON at all

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.sampled_from(["[CLS]", "##a", "\u2581"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)
@hypothesis.given(
    name=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json"]),
    steps=st.lists(st.integers(min_value=0, max_value=10_000), min_size=1, max_size=6),
    value=json_values,
)
def test_any_value_anywhere_raises_nothing_but_our_errors(
    folder: BertFolder, name: str, steps: list[int], value: object
) -> None:
    path, target = folder.path / name, folder.path.parent / "out.gguf"
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


# --- arguments


def test_arguments_that_make_no_sense(folder: BertFolder, tmp_path: Path) -> None:
    for output, says in [
        (tmp_path, "is a directory"),
        (tmp_path / "absent" / "out.gguf", "there is no folder"),
        ("/dev/null", "is a device"),
        ("", "expected a path"),
        ("a\0b", "expected a path"),
        (7, "output is 7 of type int"),
    ]:
        with pytest.raises(InputError, match=says):
            convert_folder(folder.path, output)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="folder is None of type NoneType"):
        convert_folder(None, tmp_path / "out.gguf")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tensor_type is 'q8_0': expected one of 'f32', 'f16'"):
        convert_folder(folder.path, tmp_path / "out.gguf", tensor_type="q8_0")  # type: ignore[arg-type]


def test_missing_package_says_which_extra(folder: BertFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # the import system's own way to say: not there
    refused(folder, r"pip install 'fastplr\[convert\]'")


def test_interruption_leaves_nothing(folder: BertFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        """A bar at whose first step, in the middle of writing, Ctrl-C comes."""

        def update(self, n: float = 1) -> None:
            signal.raise_signal(signal.SIGINT)

    bar = contextlib.nullcontext(Interrupting())
    monkeypatch.setattr("fastplr.convert.gguf_file.byte_bar", lambda *_: bar)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    try:
        refused(folder, None, KeyboardInterrupt)
    finally:
        signal.signal(signal.SIGINT, before)
