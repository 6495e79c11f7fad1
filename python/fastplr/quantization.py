"""Model files of fewer bits or fewer layers, made by llama.cpp's own quantiser."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr import model_store
from fastplr.errors import InputError, ModelError, QuantizationWarning
from fastplr.model_info import ModelInfo, read_model_info
from fastplr.model_store import ResolvedModel
from fastplr.progress import count_bar
from fastplr.solver_inputs import checked_bool, checked_int
from fastplr.tables.atomic_output import check_output
from fastplr.tables.file_in_the_making import exists_error, folder_for_making, put_in_place
from fastplr.threads import MAX_N_THREADS, default_threads
from fastplr.user_warning import warn_user

__all__ = ["TYPE_OF_BITS", "QuantizedModel", "quantize"]

#: The type that stands for a number of bits.
TYPE_OF_BITS = {2: "Q2_K", 4: "Q4_0", 8: "Q8_0"}


@dataclass(frozen=True)
class QuantizedModel:
    """A file that :func:`quantize` made.

    Attributes:
        path: The file.
        type: The type that was asked for.
        info: What the file really holds: ``info.tensor_mix``, ``info.bits_per_weight``, ``info.n_layers``.
        source_bits_per_weight: Of the file that it was made from.
        kernels: What multiplies by matrices of each type of ``info.tensor_mix`` on this processor.
        is_mixed: Whether matrices of blocks have another type than `type` because their rows do not fit it.
    """

    path: Path
    type: str
    info: ModelInfo
    source_bits_per_weight: float
    kernels: dict[str, str]
    is_mixed: bool

    def to_dict(self) -> dict[str, Any]:
        """Everything as str, int, float, list and dict, for JSON."""
        return {
            "output": str(self.path),
            "type": self.type,
            "is_mixed": self.is_mixed,
            "n_layers": self.info.n_layers,
            "n_parameters": self.info.n_parameters,
            "file_size": self.info.file_size,
            "bits_per_weight": self.info.bits_per_weight,
            "source_bits_per_weight": self.source_bits_per_weight,
            "tensor_mix": [
                {
                    "type": share.type,
                    "n_tensors": share.n_tensors,
                    "n_elements": share.n_elements,
                    "n_bytes": share.n_bytes,
                    "kernel": self.kernels[share.type],
                }
                for share in self.info.tensor_mix
            ],
        }


def quantize(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    bits: int | None = None,
    type: str | None = None,
    layers: int | None = None,
    allow_requantize: bool = False,
    overwrite: bool = False,
    n_threads: int | None = None,
    progress: bool | None = None,
) -> QuantizedModel:
    """Write a model with weights of fewer bits, or with fewer layers, as a GGUF file.

    Args:
        model: A catalogue name, the path of a GGUF file, or ``"hf:OWNER/REPO/FILE"``.
        out: The file to write. It is complete or not there.
        bits: 2 (Q2_K), 4 (Q4_0) or 8 (Q8_0). Where the rows of a model are no multiple of 256, Q2_K does not fit, and
            llama.cpp puts other types in its place: the file then holds more than 2 bits a weight, which is told by a
            warning and in the result.
        type: Instead of `bits`: a type of llama.cpp, such as ``"Q4_K_M"``; one that the rows do not fit is refused.
        layers: Blocks to keep, from the first on: layers above are left out, and the output norm follows the last one
            kept. Default: all.
        allow_requantize: Whether weights that are quantised already may be quantised again, which adds one error to
            another.
        overwrite: Whether a file at `out` is replaced.
        n_threads: Threads, 1 to 512. Default: the cores that this process may use.
        progress: Whether to show a bar on standard error. Default: only on a terminal.

    Raises:
        InputError: Neither or both of `bits` and `type`, other bits, an unknown type or one that does not fit, layers
            out of range, a quantised source without `allow_requantize`, a file at `out` without `overwrite`, also one
            made there in the meantime, which is kept; or one that cannot be written there.
        ModelError: The source cannot be used, or the file could not be written whole (a full disk); what was there
            before is still there.

    Warns:
        QuantizationWarning: The source has fewer bits than the result; the result holds other types than asked for.
    """
    wanted = _wanted_type(bits, type)
    allowed = checked_bool("allow_requantize", allow_requantize)
    n_layers = 0 if layers is None else checked_int("layers", layers, 1, 2**31 - 1)
    threads = min(default_threads(), MAX_N_THREADS)
    if n_threads is not None:
        threads = checked_int("n_threads", n_threads, 1, MAX_N_THREADS)
    target = _target(out, overwrite)
    source = model_store.resolve(model, progress=progress)
    if target.resolve() == source.path.resolve():
        raise InputError(f"out is {str(target)!r}, the model itself: expected another file")
    before = read_model_info(source.path)
    from fastplr import _core  # imported where it is used: `fastplr --help` need not load the core

    made = target
    try:
        with (
            folder_for_making(target) as working,
            count_bar(0, f"writing {target.name}", "tensor", progress) as bar,
        ):
            made = working / "model.gguf"

            def count(n_done: int, n_tensors: int) -> None:
                bar.total = n_tensors  # type: ignore[attr-defined]
                bar.update(n_done - bar.n)

            _core.quantize_file(
                str(source.path), str(made), wanted, threads, _origin(source), n_layers=n_layers,
                allow_requantize=allowed, allow_fallback=bits is not None, on_progress=count,
            )  # fmt: skip
            after = read_model_info(made)  # what is written passes the checks that stand before every load
            put_in_place(made, target, overwrite=overwrite)
    except ModelError as error:
        raise ModelError(str(error).replace(str(made), str(target))) from error
    except OSError as error:
        raise ModelError(f"{str(target)!r} cannot be written: {error.strerror or error}") from error
    info = ModelInfo(**{**vars(after), "path": str(target)})
    mixed = not _core.rows_fit(str(source.path), wanted)
    _warn(before, info, wanted, mixed)
    kernels = {share.type: _core.kernel_of_type(share.type) for share in info.tensor_mix}
    return QuantizedModel(target, wanted, info, before.bits_per_weight, kernels, mixed)


def _wanted_type(bits: object, type_name: object) -> str:
    if (bits is None) == (type_name is None):
        given = f"bits={bits!r} and type={type_name!r}"
        raise InputError(f"{given}: expected one of bits (2, 4, 8) and type (such as 'Q4_K_M')")
    if bits is None:
        if not isinstance(type_name, str):
            raise InputError(f"type is {type_name!r:.60}: expected a str, such as 'Q4_K_M'")
        return type_name.upper()
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in TYPE_OF_BITS:
        raise InputError(f"bits is {bits!r:.60}: expected 2, 4 or 8 (type= has others, such as 'Q5_1' and 'F16')")
    return TYPE_OF_BITS[bits]


def _target(out: object, overwrite: bool) -> Path:
    if not isinstance(out, str | os.PathLike):
        raise InputError(f"out is {out!r:.200} of type {type(out).__name__}: expected a str or a path")
    text = os.fsdecode(out)
    if not text or "\0" in text:
        raise InputError(f"out is {text!r:.200}: expected a path")
    target = Path(text)
    check_output(target, devices=False)
    if not checked_bool("overwrite", overwrite) and target.exists():
        raise exists_error(target)
    return target


def _origin(source: ResolvedModel) -> str:
    """What the new file was made from: the source of a model as fetched or converted; of a variant the variant."""
    return source.source_sha256 if source.recipe["type"] is None else source.file_sha256


def _warn(before: ModelInfo, after: ModelInfo, wanted: str, mixed: bool) -> None:
    if mixed:
        held = ", ".join(
            f"{share.type} {100 * share.n_elements / after.n_parameters:.0f} %" for share in after.tensor_mix
        )
        warn_user(
            f"{after.path} was asked for in {wanted}, but rows of the model do not fit it: it holds"
            f" {after.bits_per_weight:.2f} bits a weight ({held})",
            QuantizationWarning,
        )
    if after.bits_per_weight > before.bits_per_weight + 0.01 and before.bits_per_weight < 16:
        warn_user(
            f"{before.path} has {before.bits_per_weight:.2f} bits a weight, fewer than the {after.bits_per_weight:.2f}"
            f" of {after.path}: the new file has the size and speed of its type, not its quality",
            QuantizationWarning,
        )
