"""Tensors of a safetensors file, read in pieces as float32.

The format (8 bytes of header length, a JSON header, the tensors' bytes) is read here and not with the package
``safetensors``, which has no NumPy type for BF16 and maps whole tensors: a file that shrinks while it is mapped kills
the process, one that is read does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import numpy as np
import numpy.typing as npt

from fastplr.convert.folder_files import require_file
from fastplr.errors import ModelError

__all__ = ["SafetensorsFile", "StoredTensor"]

#: Bytes of one element. All types of the format: tensors that are left out may be of any of them.
ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
#: Types that float32 holds without loss.
READABLE = ("F32", "F16", "BF16")

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_DIMENSIONS = 16
PIECE = 1 << 20  # elements read at once


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in its file.

    Attributes:
        dtype: The format's name of its type, such as ``"BF16"``.
        shape: Its shape, the slowest dimension first.
        offset: Position of its first byte in the file.
        n_bytes: Its size in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


class SafetensorsFile:
    """A safetensors file whose header has been read and found consistent with the file's size.

    Attributes:
        path: The file.
        tensors: What the header says of each tensor, by name.

    Raises:
        ModelError: The file is missing, cut short, or its header is no sound one; the message says what was found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = require_file(path)
        try:
            with path.open("rb") as file:
                n_header = self._header_length(file.read(8), size)
                text = file.read(n_header)
        except OSError as error:
            raise ModelError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
        if len(text) != n_header:
            self._fail(f"ends within its header, at byte {8 + len(text)}")
        self.tensors = self._tensors(self._header(text), 8 + n_header, size)

    def _fail(self, what: str) -> NoReturn:
        raise ModelError(f"{str(self.path)!r} is not a sound safetensors file: it {what}")

    def _header_length(self, first_bytes: bytes, size: int) -> int:
        if len(first_bytes) < 8:
            self._fail(f"has {size} bytes; expected at least the 8 that say how long its header is")
        n_header = int.from_bytes(first_bytes, "little")
        if not 2 <= n_header <= min(size - 8, MAX_HEADER_BYTES):
            self._fail(f"says that its header has {n_header} bytes; expected 2 to {min(size - 8, MAX_HEADER_BYTES)}")
        return n_header

    def _header(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            self._fail(f"has a header that is not JSON: {error}")
        if not isinstance(header, dict):
            self._fail(f"has a header that is a JSON {type(header).__name__}; expected an object")
        return header

    def _tensors(self, header: dict[str, Any], first_byte: int, size: int) -> dict[str, StoredTensor]:
        tensors = {
            name: self._tensor(name, entry, first_byte, size)
            for name, entry in header.items()
            if name != "__metadata__"
        }
        # The format leaves no holes: bytes that belong to no tensor, or to two, mean that the header is wrong.
        end = first_byte
        for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].n_bytes)):
            if tensor.offset != end:
                self._fail(f"has tensor {name!r:.200} at byte {tensor.offset}; expected it at {end}")
            end += tensor.n_bytes
        if end != size:
            self._fail(f"has {size} bytes; expected {end} for its {len(tensors)} tensors")
        return tensors

    def _tensor(self, name: str, entry: object, first_byte: int, size: int) -> StoredTensor:
        fields = entry if isinstance(entry, dict) else {}
        dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
            self._fail(f"has tensor {name!r:.200} of the type {dtype!r:.200}; expected one of {', '.join(ITEM_SIZES)}")
        if not _are_counts(shape):
            self._fail(f"has tensor {name!r:.200} of the shape {shape!r:.200}; expected whole numbers from 0 on")
        if not _are_counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size - first_byte:
            self._fail(
                f"has tensor {name!r:.200} at the bytes {offsets!r:.200} of its data; expected two offsets, "
                f"in order, up to {size - first_byte}"
            )
        n_bytes = offsets[1] - offsets[0]
        if math.prod(shape) * ITEM_SIZES[dtype] != n_bytes:
            self._fail(
                f"has tensor {name!r:.200} of type {dtype} and shape {shape!r:.200} in {n_bytes} bytes; "
                f"expected {math.prod(shape) * ITEM_SIZES[dtype]}"
            )
        return StoredTensor(dtype, tuple(shape), first_byte + offsets[0], n_bytes)

    def pieces(self, name: str, *, multiple: int = 1) -> Iterator[npt.NDArray[np.float32]]:
        """The elements of tensor `name`, one-dimensional, in order, at most :data:`PIECE` at once.

        F16 and BF16 are widened, which is exact.

        Args:
            name: The tensor.
            multiple: Each piece but the last has a multiple of so many elements, even where that is more.

        Raises:
            ModelError: The tensor's type is not one of :data:`READABLE`, or the file has become shorter.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in READABLE:
            raise ModelError(
                f"tensor {name!r:.200} of {str(self.path)!r} is of the type {tensor.dtype}; "
                f"expected one of {', '.join(READABLE)}"
            )
        stored = np.dtype({"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[tensor.dtype])
        left = tensor.n_bytes // stored.itemsize
        at_once = max(PIECE // multiple, 1) * multiple
        try:
            with self.path.open("rb") as file:
                file.seek(tensor.offset)
                while left > 0:
                    wanted = min(left, at_once)
                    data = file.read(wanted * stored.itemsize)
                    if len(data) != wanted * stored.itemsize:
                        self._fail(f"ends within tensor {name!r:.200}: it has been changed while it was read")
                    values = np.frombuffer(data, stored)
                    yield _widened(values) if tensor.dtype == "BF16" else values.astype(np.float32)
                    left -= wanted
        except OSError as error:
            raise ModelError(f"cannot read {str(self.path)!r}: {error.strerror or error}") from error


def _widened(bfloat16: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """BF16 is the upper half of a float32."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def _are_counts(values: object) -> TypeGuard[list[int]]:
    """Whether `values` is a list of a few numbers that can be sizes of a tensor or places in a file."""
    return (
        isinstance(values, list)
        and len(values) <= MAX_DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**63 for value in values)  # bool is an int too
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found
