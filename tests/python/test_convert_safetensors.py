"""Reading safetensors: what is written is read, whatever the bytes are nothing but ModelError is raised."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bert_folders import encode, write_safetensors
from fastplr.convert.safetensors_file import PIECE, SafetensorsFile
from fastplr.errors import ModelError

# A function-scoped folder is fine: every example writes its file anew.
anew = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(path: Path) -> dict[str, np.ndarray]:
    file = SafetensorsFile(path)
    return {
        name: np.concatenate([np.zeros(0, np.float32), *file.pieces(name)]).reshape(tensor.shape)
        for name, tensor in file.tensors.items()
    }


def with_header(path: Path, header: object, data: bytes = b"", n_header: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if n_header is None else n_header) + text + data)
    return path


@anew
@given(
    dtype=st.sampled_from(["F32", "F16", "BF16"]),
    tensors=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__"),
        arrays(np.float32, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.floats(width=16)),
        max_size=5,
    ),
)
def test_what_is_written_is_read(tmp_path: Path, dtype: str, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {name: encode(values, dtype) for name, values in tensors.items()}, dtype)
    found = read(path)
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        if dtype == "BF16":  # its definition, number by number
            cut = [struct.unpack("<f", b"\0\0" + struct.pack("<f", value)[2:])[0] for value in values.ravel()]
            values = np.array(cut, np.float32).reshape(values.shape)
        np.testing.assert_array_equal(found[name], values)


@anew
@given(data=st.data())
def test_damaged_bytes_raise_nothing_but_our_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"a": np.ones((3, 4), "<f4"), "b": np.ones(5, "<f4")}, "F32")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read(path)
    except ModelError:
        return
    # A value, a name, a shape or a type can have changed, but not what there is.
    assert sum(tensor.n_bytes for tensor in SafetensorsFile(path).tensors.values()) == 4 * (3 * 4 + 5)
    assert len(found) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "I64", "BOOL", "F8_E4M3"]) | json_values,
        "shape": st.lists(st.integers(-1, 2**70), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 2**70) | st.integers(0, 32), max_size=3) | json_values,
    },
)


@anew
@given(header=json_values | st.dictionaries(st.text(max_size=3), entries, max_size=3), n_data=st.integers(0, 32))
def test_headers_that_lie_raise_nothing_but_our_error(tmp_path: Path, header: object, n_data: int) -> None:
    path = with_header(tmp_path / "t.safetensors", header, bytes(n_data))
    try:
        file = SafetensorsFile(path)
    except ModelError:
        return
    assert sum(tensor.n_bytes for tensor in file.tensors.values()) == n_data


def one(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (one(shape=[3]), r"shape \[3\] in 8 bytes; expected 12"),
        (one(shape=[2**62, 4]), "in 8 bytes; expected"),
        (one(shape=[2.0]), "expected whole numbers"),
        (one(shape=[True, 2]), "expected whole numbers"),
        (one(shape=[1] * 99), "expected whole numbers"),
        (one(shape=[-2]), "expected whole numbers"),
        (one(dtype="F31"), "type 'F31'"),
        (one(dtype=["F32"]), "type"),
        (one(offsets=[0, 12]), r"bytes \[0, 12\] of its data; expected two offsets, in order, up to 8"),
        (one(offsets=[8, 0]), "in order"),
        (one(offsets=[0]), "expected two offsets"),
        (one(shape=[1], offsets=[4, 8]), "at byte .*; expected it at"),
        (one(shape=[1], offsets=[0, 4]), "expected .* for its 1 tensors"),
        ({"a": one()["a"], "b": one()["a"]}, "has tensor 'b' at byte"),
        ({"a": 7}, "has tensor 'a' of the type None"),
        ([1, 2], "JSON list; expected an object"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": {}, "a": {}}', "a name stands in it twice"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xff", "not JSON"),
        (b"{" + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_header_that_lies_is_named(tmp_path: Path, header: object, says: str) -> None:
    path = with_header(tmp_path / "t.safetensors", header, bytes(8))
    with pytest.raises(ModelError, match=rf"t.safetensors' is not a sound safetensors file: .*{says}"):
        SafetensorsFile(path)


@pytest.mark.parametrize("n_header", [0, 1, 2**40, 2**64 - 1])
def test_header_length_that_lies_is_named(tmp_path: Path, n_header: int) -> None:
    path = with_header(tmp_path / "t.safetensors", one(), bytes(8), n_header)
    with pytest.raises(ModelError, match=f"says that its header has {n_header} bytes; expected 2 to"):
        SafetensorsFile(path)


def test_file_cut_short_is_named_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"a": np.ones((3, 4), "<f4")}, "F32")
    content = path.read_bytes()
    for n_bytes in range(len(content)):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(ModelError, match="not a sound safetensors file"):
            SafetensorsFile(path)


def test_file_that_shrinks_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"a": np.ones(PIECE + 5, "<f4")}, "F32")
    pieces = SafetensorsFile(path).pieces("a")
    assert next(pieces).size == PIECE
    with path.open("rb+") as file:
        file.truncate(1000)
    with pytest.raises(ModelError, match="changed while it was read"):
        next(pieces)
