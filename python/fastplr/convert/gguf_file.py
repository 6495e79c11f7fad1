"""Writing a GGUF file through the package ``gguf``, tensor by tensor and piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastplr.convert.weights import Weights
from fastplr.errors import ModelError
from fastplr.progress import byte_bar

if TYPE_CHECKING:
    from gguf import GGUFWriter

__all__ = ["Metadata", "Tensor", "require_gguf_package", "write_gguf"]

#: What metadata can be; whole numbers are written as uint32, those in lists as int32, other numbers as float32.
Metadata = dict[str, "str | bool | int | float | list[str] | list[int]"]

ALL_F32 = 0  # LLAMA_FTYPE_ALL_F32


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written.

    Attributes:
        name: Its name in the GGUF file.
        shape: Its shape, the slowest dimension first.
        source: Its name in the model folder; None for one that stands nowhere there.
        values: The values of one without a source.
        n_rows_of_head: Not 0: the rows are those of attention heads, so many each, and the two halves of every head
            are interleaved, as llama.cpp rotates pairs of neighbours where transformers rotates halves.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None
    values: tuple[float, ...] = ()
    n_rows_of_head: int = 0

    @property
    def n_bytes(self) -> int:
        """Its size as float32."""
        return 4 * math.prod(self.shape)


def require_gguf_package() -> None:
    """Raise :class:`ModelError` where the package ``gguf``, which writes the files, is not installed."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ModelError("converting a model needs the package gguf: pip install 'fastplr[convert]'") from error


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Mapping[str, str | bool | int | float | list[str] | list[int]],
    tensors: Sequence[Tensor],
    weights: Weights,
    *,
    largest: float,
    progress: bool | None,
) -> None:
    """Write a new GGUF file of float32 tensors to `path`, with a few MB of memory whatever the model's size.

    Args:
        path: The file; what a failure leaves of it is for the caller to remove.
        architecture: llama.cpp's name of the architecture.
        metadata: The other metadata, by key.
        tensors: The tensors, in the order of the file.
        weights: Where their values are.
        largest: Largest absolute value that a weight may have.
        progress: Whether to show a bar. Default: only on a terminal.

    Raises:
        ModelError: The package ``gguf`` is missing, a tensor cannot be read or holds a value that is no number or is
            too large.
        OSError: The file cannot be written.
    """
    require_gguf_package()
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    try:
        writer.add_type("model")
        writer.add_file_type(ALL_F32)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for key, value in metadata.items():
            _add(writer, key, value)
        for tensor in tensors:
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.n_bytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        _write_tensors(writer, tensors, weights, largest, progress)
    finally:
        writer.close()


def _add(writer: GGUFWriter, key: str, value: str | bool | int | float | list[str] | list[int]) -> None:
    if isinstance(value, bool):  # an int too, so before it
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _write_tensors(
    writer: GGUFWriter, tensors: Sequence[Tensor], weights: Weights, largest: float, progress: bool | None
) -> None:
    # The writer's own write_tensor_data wants a whole tensor: the embeddings of a large vocabulary have gigabytes.
    assert writer.fout is not None
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    with byte_bar(sum(tensor.n_bytes for tensor in tensors), "converting", progress) as bar:
        for tensor in tensors:
            for values in _pieces(tensor, weights):
                top = float(np.max(np.abs(values)))
                if not top <= largest:  # NaN is not
                    raise ModelError(
                        f"tensor {tensor.source or tensor.name!r} holds a weight of {top}; "
                        f"expected numbers up to {largest:g}"
                    )
                file.write(values.astype("<f4", copy=False).tobytes())
                bar.update(values.nbytes)
            writer.write_padding(file, tensor.n_bytes)


def _pieces(tensor: Tensor, weights: Weights) -> Iterator[npt.NDArray[np.float32]]:
    """The values of `tensor` in the order of the file."""
    if tensor.source is None:
        yield np.array(tensor.values, np.float32)
    elif tensor.n_rows_of_head == 0:
        yield from weights.pieces(tensor.source)
    else:
        half, width = tensor.n_rows_of_head // 2, math.prod(tensor.shape[1:])
        for values in weights.pieces(tensor.source, multiple=2 * half * width):
            yield values.reshape(-1, 2, half, width).swapaxes(1, 2).reshape(-1)
