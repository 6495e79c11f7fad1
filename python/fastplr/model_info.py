"""What a model file is: architecture, size, the tensor types that it really has, sha256, licence.

Read from the file's head by the native core, without loading the model. ``fastplr info FILE`` prints it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastplr.errors import InputError, ModelError
from fastplr.store.identity import file_sha256

__all__ = ["ModelInfo", "TensorTypeShare", "read_model_info"]

NOT_STATED = "not stated"


@dataclass(frozen=True)
class TensorTypeShare:
    """All tensors of one type in a model file.

    Attributes:
        type: The type as ggml names it, in capitals, such as ``"Q4_1"``.
        n_tensors: Number of tensors.
        n_elements: Number of weights in them.
        n_bytes: Bytes that they take in the file.
    """

    type: str
    n_tensors: int
    n_elements: int
    n_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight of this type takes, scales included."""
        return 8 * self.n_bytes / self.n_elements


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself. Numbers are 0 and strings empty where it does not.

    Attributes:
        path: The file.
        file_size: Its size in bytes.
        architecture: Such as ``"llama"``.
        name: The model's name.
        n_parameters: Elements of all tensors.
        n_layers: Blocks.
        n_embd: Width of the hidden states.
        n_ctx_train: Longest context in training, in tokens.
        n_vocab: Tokens of the vocabulary.
        is_encoder: Whether every token reads the whole text, not only what is before it.
        tensor_mix: The types that the tensors really have, most bytes first.
        bits_per_weight: 8 * bytes of all tensors / elements of all tensors.
        license: As stated in the file.
        quantization: What the file calls itself (``general.file_type``); `tensor_mix` is what it is.
        metadata: Every metadata entry, shortened for reading.
    """

    path: str
    file_size: int
    architecture: str
    name: str
    n_parameters: int
    n_layers: int
    n_embd: int
    n_ctx_train: int
    n_vocab: int
    is_encoder: bool
    tensor_mix: tuple[TensorTypeShare, ...]
    bits_per_weight: float
    license: str
    quantization: str
    metadata: dict[str, str] = field(hash=False, repr=False)

    @property
    def sha256(self) -> str:
        """sha256 of the file, hashed on first use and kept while its size and modification time stay.

        Raises:
            ModelError: The file is gone, cannot be read, or changed while it was being read.
        """
        try:
            return file_sha256(Path(self.path))
        except OSError as error:
            raise ModelError(f"cannot read {self.path!r}: {error.strerror or error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Everything as str, int, float, list and dict, for JSON; `sha256` included."""
        return {
            **asdict(self),
            "tensor_mix": [asdict(share) for share in self.tensor_mix],
            "sha256": self.sha256,
        }

    def format(self) -> str:
        """A text of several lines for people: one line a property, then the table of tensor types."""
        quantization = self.quantization or NOT_STATED
        lines = [
            ("file", self.path),
            ("size", f"{self.file_size:,} bytes"),
            ("sha256", self.sha256),
            ("name", self.name or NOT_STATED),
            ("architecture", self.architecture),
            ("parameters", f"{self.n_parameters:,}"),
            ("layers", f"{self.n_layers:,}"),
            ("width", f"{self.n_embd:,}"),
            ("context", f"{self.n_ctx_train:,} tokens"),
            ("vocabulary", f"{self.n_vocab:,} tokens"),
            ("licence", self.license or NOT_STATED),
            ("calls itself", quantization),
            ("bits per weight", f"{self.bits_per_weight:.2f}"),
        ]
        width = max(len(label) for label, _ in lines)
        text = "\n".join(f"{label:<{width}}  {_printable(value)}" for label, value in lines)
        return f"{text}\n\n{self._format_mix()}\n"

    def _format_mix(self) -> str:
        n_bytes = sum(share.n_bytes for share in self.tensor_mix)
        rows = [("tensor type", "tensors", "weights", "% of weights", "bytes", "% of bytes", "bits a weight")]
        rows += [
            (
                share.type,
                f"{share.n_tensors:,}",
                f"{share.n_elements:,}",
                f"{100 * share.n_elements / self.n_parameters:.1f}",
                f"{share.n_bytes:,}",
                f"{100 * share.n_bytes / n_bytes:.1f}",
                f"{share.bits_per_weight:.2f}",
            )
            for share in self.tensor_mix
        ]
        return _table(rows)


def read_model_info(path: str | os.PathLike[str]) -> ModelInfo:
    """Read and check the GGUF file at `path` without loading it.

    Args:
        path: The file.

    Returns:
        What it says about itself.

    Raises:
        InputError: `path` is no str and no path.
        ModelError: The file is missing, no GGUF file, cut short, damaged, or holds no model that would
            load; the message says what was found and what was expected.
        UnsupportedArchitecture: The file holds a network of another kind, such as an image projector.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"path is {path!r} of type {type(path).__name__}: expected a str or a path")
    from fastplr import _core  # imported where it is used: `fastplr --help` need not load the core

    found = _core.read_model_info(os.fsdecode(path))
    return ModelInfo(
        path=found["path"],
        file_size=found["file_size"],
        architecture=found["architecture"],
        name=found["name"],
        n_parameters=found["n_parameters"],
        n_layers=found["n_layers"],
        n_embd=found["n_embd"],
        n_ctx_train=found["n_ctx_train"],
        n_vocab=found["n_vocab"],
        is_encoder=found["is_encoder"],
        tensor_mix=tuple(TensorTypeShare(**share) for share in found["tensor_mix"]),
        bits_per_weight=found["bits_per_weight"],
        license=found["license"],
        quantization=found["quantization"],
        metadata=found["metadata"],
    )


def _printable(text: str) -> str:
    """`text` on one line: a model's name must not move a terminal's cursor or forge further lines."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, the first flush left and the others right, with a line under the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in [*rows[:1], ["-" * width for width in widths], *rows[1:]]:
        columns = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in columns))
    return "\n".join(lines)
