"""The tensors of a model folder, from ``model.safetensors`` or from the shards of its index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastplr.convert.folder_files import has_file, read_json_object
from fastplr.convert.safetensors_file import SafetensorsFile, StoredTensor
from fastplr.errors import ModelError

__all__ = ["Weights"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Weights:
    """The tensors of the model in `folder`, by name; the single file where there are both, as transformers does.

    Attributes:
        files: The files that hold them, in the order of their names.

    Raises:
        ModelError: There are none, or a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._holder: dict[str, SafetensorsFile] = {}
        self.files: tuple[Path, ...]
        if has_file(folder / SINGLE):
            single = SafetensorsFile(folder / SINGLE)
            self._holder = dict.fromkeys(single.tensors, single)
            self.files = (single.path,)
        elif has_file(folder / INDEX):
            self.files = self._add_shards(folder)
        else:
            raise ModelError(
                f"no {SINGLE} or {INDEX} in {str(folder)!r}; expected weights as safetensors "
                "(PyTorch's pickled .bin files can run code when they are read, and are not)"
            )

    def _add_shards(self, folder: Path) -> tuple[Path, ...]:
        index = read_json_object(folder / INDEX).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise ModelError(f"{str(folder / INDEX)!r} has no 'weight_map' of tensors to files")
        shards: dict[str, SafetensorsFile] = {}
        for tensor, shard in index.items():
            # Only files of this folder: an index is data, and must not reach for others.
            if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
                raise ModelError(
                    f"{str(folder / INDEX)!r} says that {tensor!r} is in {shard!r}; "
                    "expected the name of a .safetensors file in the same folder"
                )
            if shard not in shards:
                shards[shard] = SafetensorsFile(folder / shard)
            if tensor not in shards[shard].tensors:
                raise ModelError(f"{str(folder / shard)!r} has no tensor {tensor!r}, which {INDEX} says it has")
            self._holder[tensor] = shards[shard]
        return tuple(shards[name].path for name in sorted(shards))

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._holder)

    def stored(self, name: str) -> StoredTensor:
        """Type and shape of tensor `name`. Raises KeyError."""
        return self._holder[name].tensors[name]

    def where(self) -> str:
        """The files, for a message."""
        return ", ".join(repr(str(path)) for path in self.files[:3]) + (", ..." if len(self.files) > 3 else "")

    def require(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ModelError unless there is a tensor `name` of the shape `shape`."""
        if name not in self._holder:
            raise ModelError(f"no tensor {name!r} in {self.where()}; expected one of shape {list(shape)}")
        stored = self.stored(name)
        if stored.shape != shape:
            raise ModelError(
                f"tensor {name!r} in {self.where()} has the shape {list(stored.shape)}; "
                f"expected {list(shape)}, by the config.json"
            )

    def pieces(self, name: str, *, multiple: int = 1) -> Iterator[npt.NDArray[np.float32]]:
        """See :meth:`SafetensorsFile.pieces`."""
        return self._holder[name].pieces(name, multiple=multiple)
