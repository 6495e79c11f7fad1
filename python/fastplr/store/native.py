"""What the model store needs of the native core, in one place that can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastplr.store.identity import Recipe

__all__ = ["NativeCore", "native_core"]


@dataclass(frozen=True)
class NativeCore:
    """The functions of the native core that make variants and know them again.

    Attributes:
        quantise: ``quantise(source, target, type_name, n_threads, source_sha256)`` writes the model at
            `source` with another tensor type to `target`. Raises ModelError.
        llama_cpp_commit: ``llama_cpp_commit()`` is the commit of llama.cpp that `quantise` is of.
        recorded_source: ``recorded_source(path)`` reads what `quantise` wrote into the file at `path`: the
            sha256 of the source and the recipe; None for a file that it did not make. Raises ModelError for a
            damaged file.
    """

    quantise: Callable[[str, str, str, int, str], None]
    llama_cpp_commit: Callable[[], str]
    recorded_source: Callable[[str], tuple[str, Recipe] | None]


# The core is imported where it is used: a catalogue can be listed and a model fetched without loading it.


def _quantise(source: str, target: str, type_name: str, n_threads: int, source_sha256: str) -> None:
    from fastplr import _core

    _core.quantize_file(source, target, type_name, n_threads, source_sha256, allow_requantize=True, allow_fallback=True)


def _llama_cpp_commit() -> str:
    from fastplr import _core

    return _core.llama_cpp_commit


def _recorded_source(path: str) -> tuple[str, Recipe] | None:
    from fastplr import _core

    metadata = _core.read_model_info(path)["metadata"]
    source_sha256 = metadata.get("fastplr.source_sha256")
    if source_sha256 is None:
        return None
    n_layers_kept = metadata.get("fastplr.n_layers_kept")
    recipe: Recipe = {
        "type": metadata.get("fastplr.tensor_type"),
        "cut": None if n_layers_kept is None else int(n_layers_kept),
        "llama_cpp_commit": metadata.get("fastplr.llama_cpp_commit"),
    }
    return str(source_sha256), recipe


native_core = NativeCore(_quantise, _llama_cpp_commit, _recorded_source)
