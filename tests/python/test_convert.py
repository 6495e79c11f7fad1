"""Converted models compute what the folder's tensors say; every form of folder gives the same file."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import fastplr
from bert_folders import BertFolder, write_bert_folder
from fastplr.convert import ConvertedModel, conversion, convert_folder, write_converted
from fastplr.convert.gguf_file import Tensor, write_gguf
from fastplr.convert.weights import Weights
from fastplr.errors import InputError
from fastplr.store.native import native_core

TEXTS = [
    "The film is very good.",
    "THE BANK said (again!) that operating profit rose 13.1 %",
    "Caf\u00e9 cr\u00e8me, na\u00efve and \u00dcber",
    "\u65e5\u672c \U0001f600 unknown ##pieces [MASK] \u2581here",
    "a",
]
# ggml computes the tanh form of GELU from a table of half-precision values, transformers the exact one.
TOLERANCE = 0.01


@pytest.fixture
def folder(tmp_path: Path) -> BertFolder:
    return write_bert_folder(tmp_path / "tiny-bert")


def embed(path: Path, pooling: str) -> np.ndarray:
    return fastplr.Embedder(path, layer=-1, pooling=pooling, n_threads=1).embed(TEXTS)


def fields(path: Path) -> dict[str, object]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def tensor_bytes(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors}


# --- what the file computes


@pytest.mark.parametrize(("pooling", "rows"), [("mean", slice(None)), ("last", slice(-1, None))])
def test_hidden_states_are_those_of_the_folder(folder: BertFolder, tmp_path: Path, pooling: str, rows: slice) -> None:
    convert_folder(folder.path, tmp_path / "tiny.gguf")
    expected = [folder.states(folder.vocabulary.tokenize(text))[rows].mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(embed(tmp_path / "tiny.gguf", pooling), expected, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_weights_are_kept_exactly(tmp_path: Path, dtype: str) -> None:
    folder = write_bert_folder(tmp_path / "half", dtype=dtype)
    convert_folder(folder.path, tmp_path / "tiny.gguf")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "tiny.gguf").tensors}
    for name, source in [
        ("token_embd.weight", "embeddings.word_embeddings.weight"),
        ("blk.1.ffn_down.weight", "encoder.layer.1.output.dense.weight"),
        ("blk.2.layer_output_norm.bias", "encoder.layer.2.output.LayerNorm.bias"),
    ]:
        assert stored[name].tensor_type.name == "F32"
        np.testing.assert_array_equal(stored[name].data, folder.tensors[source])
    expected = [folder.states(folder.vocabulary.tokenize(text)).mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(embed(tmp_path / "tiny.gguf", "mean"), expected, atol=TOLERANCE)


def test_f16_rounds_the_matrices_and_nothing_else(folder: BertFolder, tmp_path: Path) -> None:
    converted = convert_folder(folder.path, tmp_path / "tiny.gguf", tensor_type="f16")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "tiny.gguf").tensors}
    query = folder.tensors["encoder.layer.0.attention.self.query.weight"]
    assert stored["blk.0.attn_q.weight"].tensor_type.name == "F16"
    np.testing.assert_array_equal(stored["blk.0.attn_q.weight"].data, query.astype(np.float16))
    assert stored["blk.0.attn_q.bias"].tensor_type.name == "F32"
    assert stored["position_embd.weight"].tensor_type.name == "F32"
    # The same identity as the f16 variant that the store would make of the f32 file.
    source_sha256, recipe = native_core.recorded_source(str(tmp_path / "tiny.gguf")) or ("", {})
    assert source_sha256 == converted.source_sha256
    assert recipe == {"type": "F16", "cut": None, "llama_cpp_commit": native_core.llama_cpp_commit()}
    expected = [folder.states(folder.vocabulary.tokenize(text)).mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(embed(tmp_path / "tiny.gguf", "mean"), expected, atol=2 * TOLERANCE)


def test_metadata_is_what_llama_cpp_reads(folder: BertFolder, tmp_path: Path) -> None:
    (folder.path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n", "utf-8")
    convert_folder(folder.path, tmp_path / "tiny.gguf")
    found = fields(tmp_path / "tiny.gguf")
    assert found["general.architecture"] == "bert"
    assert found["general.name"] == "tiny-bert"
    assert found["bert.attention.causal"] is False
    assert found["bert.pooling_type"] == gguf.PoolingType.CLS
    assert found["tokenizer.ggml.tokens"] == folder.vocabulary.tokens
    assert found["tokenizer.ggml.token_type"] == folder.vocabulary.types
    spelled = {"bos": "bos", "sep": "seperator", "unk": "unknown", "pad": "padding", "mask": "mask"}
    special = {role: found[f"tokenizer.ggml.{key}_token_id"] for role, key in spelled.items()}
    assert special == folder.vocabulary.special
    info = fastplr.read_model_info(tmp_path / "tiny.gguf")
    assert (info.n_layers, info.n_embd, info.n_ctx_train, info.license) == (3, 64, 128, "apache-2.0")


# --- forms of the folder


def test_every_form_of_the_same_model_gives_the_same_file(folder: BertFolder, tmp_path: Path) -> None:
    plain = convert_folder(folder.path, tmp_path / "plain.gguf", name="tiny")
    forms = {
        "vocab.txt": write_bert_folder(tmp_path / "words", tokenizer="vocab.txt"),
        "shards": write_bert_folder(tmp_path / "shards", n_shards=3),
        "head": write_bert_folder(
            tmp_path / "head", prefix="bert.", extra={"classifier.weight": (2, 64), "bert.pooler.dense.bias": (64,)}
        ),
    }
    forms["head"].change_json("config.json", architectures=["BertForSequenceClassification"])
    for name, form in forms.items():
        converted = convert_folder(form.path, tmp_path / f"{name}.gguf", name="tiny")
        assert tensor_bytes(converted.path) == tensor_bytes(plain.path), name
        differing = {key for key, value in fields(plain.path).items() if fields(converted.path)[key] != value}
        # The identity covers the weights' files as they are: another split is another source.
        assert differing <= {"fastplr.source_sha256"}, name
        assert (converted.source_sha256 == plain.source_sha256) == (name == "vocab.txt")
        assert converted.left_out == (("bert.pooler.dense.bias", "classifier.weight") if name == "head" else ())


def test_old_names_of_norms_are_understood(tmp_path: Path) -> None:
    new = write_bert_folder(tmp_path / "new")
    convert_folder(new.path, tmp_path / "new.gguf")
    weights = new.path / "model.safetensors"
    data = weights.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + n_header].replace(b"LayerNorm.weight", b"LayerNorm.gamma")
    header = header.replace(b"LayerNorm.bias", b"LayerNorm.beta")
    weights.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + n_header :])
    convert_folder(new.path, tmp_path / "old.gguf")
    assert tensor_bytes(tmp_path / "old.gguf") == tensor_bytes(tmp_path / "new.gguf")


def test_values_that_old_configs_leave_out_are_those_of_transformers(folder: BertFolder, tmp_path: Path) -> None:
    first = convert_folder(folder.path, tmp_path / "full.gguf")
    folder.change_json("config.json", layer_norm_eps=None, type_vocab_size=None, hidden_act=None, architectures=None)
    second = convert_folder(folder.path, tmp_path / "short.gguf")
    assert first.source_sha256 == second.source_sha256


def test_a_cased_tokeniser_stays_cased(tmp_path: Path) -> None:
    cased = write_bert_folder(tmp_path / "cased", lowercase=False)
    convert_folder(cased.path, tmp_path / "cased.gguf")
    # All words of the vocabulary are lower-case: "Film" and "caf\u00e9" are unknown to a tokeniser that keeps them.
    found = fastplr.Embedder(tmp_path / "cased.gguf", layer=-1, n_threads=1).embed(["the Film", "caf\u00e9 film"])
    ids = [cased.words.index(word) for word in ("[CLS]", "the", "[UNK]", "[SEP]", "film")]
    cls, the, unk, sep, film = ids
    expected = [cased.states(tokens).mean(axis=0) for tokens in ([cls, the, unk, sep], [cls, unk, film, sep])]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_rows_without_a_token_are_kept_and_matched_by_no_text(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path / "tiny", tokenizer="vocab.txt")
    words = [*folder.words]
    gone = words.index("film")
    words[gone] = ""  # an empty line; and the last two rows have no line at all
    sign = words.index("##able")
    words[sign] = "##\u2581"  # llama.cpp's own sign for the start of a word must not match every word
    (folder.path / "vocab.txt").write_text("\n".join(words[:-2]) + "\n", "utf-8")
    convert_folder(folder.path, tmp_path / "tiny.gguf")
    found = fields(tmp_path / "tiny.gguf")
    tokens = found["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert len(set(tokens)) == len(words)
    kinds = found["tokenizer.ggml.token_type"]
    assert isinstance(kinds, list)
    assert {row for row, kind in enumerate(kinds) if kind == gguf.TokenType.UNUSED} == {
        gone, sign, len(words) - 2, len(words) - 1
    }  # fmt: skip
    assert fastplr.Embedder(tmp_path / "tiny.gguf", layer=-1).embed(["film"]).shape == (1, 64)


# --- identity


def test_identity_is_of_the_content_not_of_the_folder(folder: BertFolder, tmp_path: Path) -> None:
    first = convert_folder(folder.path, tmp_path / "a.gguf")
    folder.change_json("config.json", transformers_version="5.0.0", _name_or_path="somewhere/else")
    moved = folder.path.rename(tmp_path / "renamed")
    second = convert_folder(moved, tmp_path / "b.gguf")
    assert first.source_sha256 == second.source_sha256
    assert len(first.source_sha256) == 64


@pytest.mark.parametrize("change", ["weights", "vocabulary", "settings"])
def test_identity_changes_with_all_that_changes_the_features(folder: BertFolder, tmp_path: Path, change: str) -> None:
    first = convert_folder(folder.path, tmp_path / "a.gguf")
    if change == "weights":
        path = folder.path / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    elif change == "vocabulary":
        path = folder.path / "tokenizer.json"
        path.write_text(path.read_text("utf-8").replace('"film"', '"movie"'), "utf-8")
    else:
        folder.change_json("config.json", num_attention_heads=2)
    assert convert_folder(folder.path, tmp_path / "b.gguf").source_sha256 != first.source_sha256


def test_file_knows_its_source_wherever_it_is(folder: BertFolder, tmp_path: Path) -> None:
    converted = convert_folder(folder.path, tmp_path / "tiny.gguf")
    resolved = fastplr.Embedder(tmp_path / "tiny.gguf").resolve()
    assert resolved.source_sha256 == converted.source_sha256
    assert resolved.recipe == {"type": None, "cut": None, "llama_cpp_commit": None}
    assert resolved.file_sha256 == hashlib.sha256((tmp_path / "tiny.gguf").read_bytes()).hexdigest()


# --- the output file


def test_existing_file_is_kept_unless_asked(folder: BertFolder, tmp_path: Path) -> None:
    target = tmp_path / "tiny.gguf"
    target.write_text("mine")
    with pytest.raises(InputError, match=r"tiny.gguf' exists.*overwrite=True"):
        convert_folder(folder.path, target)
    assert target.read_text() == "mine"
    assert isinstance(convert_folder(folder.path, target, overwrite=True), ConvertedModel)
    assert target.read_bytes().startswith(b"GGUF")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.gguf", "tiny-bert"}


def test_a_file_that_was_made_there_meanwhile_is_kept(
    folder: BertFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tiny.gguf"

    def write(*args: Any, **kwargs: Any) -> ConvertedModel:
        target.write_text("mine")
        return write_converted(*args, **kwargs)

    monkeypatch.setattr(conversion, "write_converted", write)
    with pytest.raises(InputError, match=r"tiny\.gguf' exists"):
        convert_folder(folder.path, target)
    assert target.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.gguf", "tiny-bert"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes to stand for a full disk")
@pytest.mark.parametrize("tensor_type", ["f32", "f16"])
def test_disk_that_fills_up_leaves_nothing(folder: BertFolder, tmp_path: Path, tensor_type: str) -> None:
    code = """
        import resource, sys
        from fastplr.convert import convert_folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)
        convert_folder(sys.argv[1], sys.argv[2], tensor_type=sys.argv[3])
    """
    target = tmp_path / "tiny.gguf"
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), folder.path, target, tensor_type], capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "InputError" in run.stderr
    assert "tiny.gguf cannot be written: File too large" in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"tiny-bert"}


def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    shape = (500_000, 64)
    header = json.dumps({"rows": {"dtype": "F32", "shape": shape, "data_offsets": [0, 128_000_000]}}).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(file.tell() + 128_000_000)  # zeros that take no room on the disk
    weights = Weights(tmp_path)
    tracemalloc.start()
    try:
        tensors = [Tensor("token_embd.weight", shape, "rows")]
        write_gguf(tmp_path / "wide.gguf", "bert", {}, tensors, weights, largest=1.0, progress=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "wide.gguf").stat().st_size > 128_000_000
    assert peak < 32_000_000
