"""Model files: what fastplr says about them against the `gguf` package, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastplr import _core
from fastplr.errors import InputError, ModelError, UnsupportedArchitecture
from fastplr.model_info import ModelInfo, read_model_info
from tiny_models import DECODERS, ENCODERS, RECURRENT, TinyModel, write_tiny, write_tiny_llama

N_TOKENS = 12
N_EMBD = 32


def write_small(
    path: Path,
    *,
    architecture: str = "llama",
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    leave_out: tuple[str, ...] = (),
) -> Path:
    """A Llama of one block and 12 tokens, a few kilobytes; `change` adds metadata, `leave_out` omits it."""
    writer = gguf.GGUFWriter(path, architecture)
    numbers = {
        "block_count": 1,
        "embedding_length": N_EMBD,
        "context_length": 64,
        "feed_forward_length": 8,
        "attention.head_count": 2,
    }
    for name, value in numbers.items():
        if name not in leave_out:
            writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(N_TOKENS)])
    if "merges" not in leave_out:
        writer.add_token_merges(["t 1"])
    change(writer)
    writer.add_tensor("token_embd.weight", np.zeros((N_TOKENS, N_EMBD), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((N_EMBD, N_EMBD), np.float16))
    writer.add_tensor("output_norm.weight", np.ones(N_EMBD, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("small") / "small.gguf")


def mix_by_gguf(path: Path) -> dict[str, tuple[int, int, int]]:
    """Tensors, elements and bytes of each type, counted by the `gguf` package."""
    tensors: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for tensor in gguf.GGUFReader(path).tensors:
        name = tensor.tensor_type.name
        tensors[name] += 1
        elements[name] += int(tensor.n_elements)
        n_bytes[name] += int(tensor.n_bytes)
    return {name: (tensors[name], elements[name], n_bytes[name]) for name in tensors}


def assert_agrees_with_gguf(info: ModelInfo, path: Path) -> None:
    mix = mix_by_gguf(path)
    found = {share.type: (share.n_tensors, share.n_elements, share.n_bytes) for share in info.tensor_mix}
    assert found == mix
    assert info.n_parameters == sum(n_elements for _, n_elements, _ in mix.values())
    bits = 8 * sum(n_bytes for _, _, n_bytes in mix.values()) / info.n_parameters
    assert math.isclose(info.bits_per_weight, bits, rel_tol=1e-12)
    assert [share.n_bytes for share in info.tensor_mix] == sorted((n for _, _, n in mix.values()), reverse=True)
    fields = gguf.GGUFReader(path).fields
    for name, value in {
        "block_count": info.n_layers,
        "embedding_length": info.n_embd,
        "context_length": info.n_ctx_train,
    }.items():
        assert value == fields[f"{info.architecture}.{name}"].contents()
    assert info.n_vocab == len(fields["tokenizer.ggml.tokens"].data)
    assert info.file_size == path.stat().st_size
    assert info.metadata["general.architecture"] == info.architecture


@pytest.mark.parametrize("architecture", [*DECODERS, *ENCODERS, *RECURRENT])
def test_agrees_with_the_gguf_package_for_every_tiny_architecture(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_tiny(architecture, path)
    info = read_model_info(path)
    assert info.architecture == architecture
    assert_agrees_with_gguf(info, path)


def test_mixed_types_are_counted_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_llama(path, tensor_type="Q8_0")
    info = read_model_info(path)
    assert {share.type for share in info.tensor_mix} >= {"Q8_0", "F32"}
    assert_agrees_with_gguf(info, path)
    share = next(share for share in info.tensor_mix if share.type == "Q8_0")
    assert share.bits_per_weight == 8.5  # 32 weights of 8 bits and a scale of 16


@pytest.mark.skipif("FASTPLR_TEST_GGUF" not in os.environ, reason="FASTPLR_TEST_GGUF names no model file")
def test_agrees_with_the_gguf_package_on_a_real_file() -> None:
    path = Path(os.environ["FASTPLR_TEST_GGUF"])
    assert_agrees_with_gguf(read_model_info(path), path)


def test_sha256_equals_hashlib(tmp_path: Path, tiny_llama: TinyModel) -> None:
    path = tmp_path / "bytes"
    for size in (1, 55, 56, 63, 64, 65, 1000, 1 << 18, (1 << 18) + 1):
        path.write_bytes(random.Random(size).randbytes(size))
        assert _core.sha256_file(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    info = read_model_info(tiny_llama.path)
    assert info.sha256 == hashlib.sha256(Path(tiny_llama.path).read_bytes()).hexdigest()


def test_sha256_follows_a_changed_file(tmp_path: Path) -> None:
    path = write_small(tmp_path / "model.gguf")
    info = read_model_info(path)
    before = info.sha256
    path.write_bytes(path.read_bytes() + b"\0")
    assert info.sha256 != before
    path.unlink()
    with pytest.raises(ModelError, match="cannot read"):
        _ = info.sha256


def test_info_is_shown_and_can_be_stored(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_name("small\x1b[2J\nname")
        writer.add_license("apache-2.0")
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
        writer.add_chat_template("x" * 1000)

    info = read_model_info(write_small(tmp_path / "model.gguf", change=change))
    text = info.format()
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if line.startswith(("licence", "layers")))
    assert lines == {"licence": "apache-2.0", "layers": "1"}
    assert "\x1b" not in text
    assert "Q4_K_M" in text  # what the file calls itself, and beside it what it is:
    assert [line.split()[:2] for line in text.splitlines()[-2:]] == [["F16", "1"], ["F32", "2"]]
    assert info.sha256 in text
    assert json.loads(json.dumps(info.to_dict()))["tensor_mix"][0]["type"] == "F16"
    assert info.metadata["tokenizer.chat_template"].endswith("... (1000 bytes)")
    assert hash(info) == hash(read_model_info(info.path))


def test_what_is_not_stated_is_said(small: Path) -> None:
    info = read_model_info(small)
    assert (info.license, info.quantization) == ("", "")
    assert "not stated" in info.format()


def test_metadata_that_is_no_text_becomes_text(tmp_path: Path) -> None:
    # The writer encodes str only, so the two bytes are put in afterwards.
    path = write_small(tmp_path / "model.gguf", change=lambda writer: writer.add_name("XY"))
    path.write_bytes(path.read_bytes().replace(b"XY", b"\xff\xc3", 1))
    assert read_model_info(path).name == "\N{REPLACEMENT CHARACTER}" * 2


def test_paths_of_all_kinds(small: Path, tmp_path: Path) -> None:
    assert read_model_info(str(small)) == read_model_info(small)
    for name in ("umlaut-ä-日本.gguf", os.fsdecode(b"not-utf8-\xff.gguf")):
        try:
            (tmp_path / name).write_bytes(small.read_bytes())
        except OSError:
            continue  # this file system takes no such name
        assert read_model_info(tmp_path / name).path == str(tmp_path / name)
    for wrong in (None, 3, b"bytes"):
        with pytest.raises(InputError, match="expected a str or a path"):
            read_model_info(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the path is empty"),
        ("a\0b.gguf", "NUL byte"),
        ("\ud800.gguf", "no file name can hold"),
        ("missing.gguf", r"'.*missing\.gguf': there is no such file"),
        (".", "is a directory"),
    ],
)
def test_what_is_no_file_is_refused(path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for read in (read_model_info, _core.sha256_file):
        with pytest.raises(ModelError, match=message):
            read(path)


def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="is a named pipe; expected a GGUF file"):
        read_model_info(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text,label\nfine,1\n", "begins with 'text'; a GGUF file begins with 'GGUF'"),
        (b"PK\x03\x04" + bytes(100), "begins with"),
        (b"GGUF", "cut short"),
        (b"GGUF\x01\0\0\0" + bytes(100), "version 1; expected version 2 or 3"),
        (b"GGUF\0\0\0\x03" + bytes(100), "big-endian"),
    ],
)
def test_what_is_no_gguf_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_model_info(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.add_uint32("split.count", 3), "one of 3 parts"),
        (lambda w: w.add_uint32("llama.attention.head_count_kv", 3), "expected a divisor"),
        (lambda w: w.add_uint32("llama.rope.dimension_count", 8), "expected the head width 16"),
        (lambda w: w.add_uint32("llama.attention.key_length", 8), "expected equal values"),
        (lambda w: w.add_uint32("llama.expert_count", 4), "expert_used_count"),
        (lambda w: w.add_uint32("llama.expert_used_count", 1), "with 0 experts; expected 0"),
        (lambda w: w.add_uint32("llama.pooling_type", 9), "expected 0 to 4"),
        (lambda w: w.add_uint64("llama.embedding_length_out", 32), "expected a uint32"),
        (lambda w: w.add_float32("llama.rope.freq_base", float("inf")), "expected a finite number"),
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.NONE), None),
        (lambda w: w.add_string("llama.rope.scaling.type", "ntk"), "is 'ntk'"),
        (lambda w: w.add_array("llama.rope.dimension_sections", [0, 0, 0, 0]), "holds only zeros"),
        (lambda w: w.add_token_scores([0.0]), "has 1 elements; expected one for each of 12 tokens"),
        (lambda w: w.add_token_types([6] * N_TOKENS), "byte token with the text 't0'"),
        (
            lambda w: w.add_array("llama.attention.head_count_kv", [1, 1]),
            "has 2 values; expected one for each of 1",
        ),
        (lambda w: w.add_string("tokenizer.ggml.precompiled_charsmap", "x"), "expected an array"),
    ],
)
def test_models_that_would_stop_llama_cpp_are_refused(
    change: Callable[[gguf.GGUFWriter], None], message: str | None, tmp_path: Path
) -> None:
    path = write_small(tmp_path / "model.gguf", change=change)
    if message is None:
        assert read_model_info(path).n_layers == 1
    else:
        with pytest.raises(ModelError, match=message):
            read_model_info(path)


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "context_length", "attention.head_count", "merges"])
def test_missing_metadata_is_named(key: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"'[a-z.]*{key}' is missing"):
        read_model_info(write_small(tmp_path / "model.gguf", leave_out=(key,)))


def test_other_networks_are_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedArchitecture, match="'clip'; expected a causal decoder"):
        read_model_info(write_small(tmp_path / "model.gguf", architecture="clip"))


def test_a_truncated_file_says_how_much_is_missing(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    data_end = len(whole)  # the writer pads the last tensor to a multiple of 32, and 32 * 4 bytes are one
    for missing in (1, 100, 2048):
        path = tmp_path / "short.gguf"
        path.write_bytes(whole[:-missing])
        with pytest.raises(ModelError, match=f"need {data_end} bytes, .*{missing} bytes are missing"):
            read_model_info(path)


def test_every_truncation_is_refused(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(small.read_bytes())
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(ModelError):
            _core.read_model_info(str(path))


def read_or_refuse(path: Path) -> dict[str, Any] | None:
    """The description of the file, or None where it is refused; whatever else happens fails the test."""
    try:
        return dict(_core.read_model_info(str(path)))
    except ModelError:
        return None


fuzz = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzz
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_give_a_description_or_a_model_error(
    small: Path, tmp_path: Path, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(small.read_bytes())
    head = content.index(b"output_norm.weight") + 50  # beyond it are weights, which are not looked at
    for where, value in changes:
        content[int(where * head)] = value
    path = tmp_path / "changed.gguf"
    path.write_bytes(content)
    found = read_or_refuse(path)
    assert found is None or found["n_parameters"] > 0


@fuzz
@given(content=st.binary(min_size=1, max_size=400))
def test_random_bytes_after_a_sound_header_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + content)
    assert read_or_refuse(path) is None
    path.write_bytes(content)
    assert read_or_refuse(path) is None
