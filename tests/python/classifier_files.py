"""Classifier files written with the `gguf` package from docs/classifier_file.md, not by the library."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGUFValueType

#: Key: value, type, and type of the elements.
Entries = dict[str, tuple[Any, GGUFValueType, GGUFValueType | None]]
Tensors = dict[str, npt.NDArray[Any]]

TRAINING = ("features", "codes", "weights", "held_out_logits")


def digest(data: dict[str, Any], version: int) -> str:
    """What ``fastplr.checksum`` has to be."""
    sha256 = hashlib.sha256()

    def text(value: str) -> None:
        encoded = value.encode()
        sha256.update(b"%d:%s" % (len(encoded), encoded))

    def texts(*values: str) -> None:
        text(str(len(values)))
        for value in values:
            text(value)

    def numbers(values: npt.ArrayLike, dtype: str = "<f8") -> None:
        array = np.asarray(values, dtype=dtype)
        text(str(array.size))
        sha256.update(array.tobytes())

    texts(
        data["created_with"], data["model_name"], data["source_sha256"], data["tensor_type"],
        data["llama_cpp_commit"], data["prefix"], data["suffix"], str(data["layer"]), data["pooling"], data["on_long"],
    )  # fmt: skip
    texts(*data["labels"])
    texts(*data["label_kinds"])
    texts(data["label_dtype"], data["annotations"])
    numbers([data["C"]])
    for name in ("mean", "scale", "coef", "intercept"):
        numbers(data[name])
    if version >= 2:
        training = data["training"] or {name: [] for name in TRAINING}
        numbers([data["temperature"]])
        numbers(data["log_prior_ratio"])
        for name, dtype in zip(TRAINING, ("<f4", "<i4", "<f8", "<f8"), strict=True):
            numbers(training[name], dtype)
    return sha256.hexdigest()


def parts(data: dict[str, Any], version: int) -> tuple[Entries, Tensors]:
    """Entries and tensors of a file with the content of `data`, as ``_core.read_classifier`` gives it."""
    text, number, array = GGUFValueType.STRING, GGUFValueType.FLOAT64, GGUFValueType.ARRAY
    entries: Entries = {
        "fastplr.format_version": (version, GGUFValueType.UINT32, None),
        "fastplr.created_with": (data["created_with"], text, None),
        "fastplr.model.name": (data["model_name"], text, None),
        "fastplr.model.source_sha256": (data["source_sha256"], text, None),
        "fastplr.model.tensor_type": (data["tensor_type"], text, None),
        "fastplr.model.llama_cpp_commit": (data["llama_cpp_commit"], text, None),
        "fastplr.prompt.prefix": (data["prefix"], text, None),
        "fastplr.prompt.suffix": (data["suffix"], text, None),
        "fastplr.layer": (data["layer"], GGUFValueType.INT32, None),
        "fastplr.pooling": (data["pooling"], text, None),
        "fastplr.on_long": (data["on_long"], text, None),
        "fastplr.labels": (data["labels"], array, text),
        "fastplr.label_kinds": (data["label_kinds"], array, text),
        "fastplr.label_dtype": (data["label_dtype"], text, None),
        "fastplr.C": (data["C"], number, None),
        "fastplr.annotations": (data["annotations"], text, None),
        "fastplr.checksum": (digest(data, version), text, None),
    }
    tensors: Tensors = {name: data[name] for name in ("mean", "scale", "coef", "intercept")}
    if version >= 2:
        entries["fastplr.temperature"] = (data["temperature"], number, None)
        if len(data["log_prior_ratio"]):
            entries["fastplr.log_prior_ratio"] = (data["log_prior_ratio"].tolist(), array, number)
        if data["training"] is not None:
            tensors |= {f"training.{name}": data["training"][name] for name in TRAINING}
    return entries, tensors


def write(path: Path, entries: Entries, tensors: Tensors) -> Path:
    """Write them to `path`, which is returned."""
    writer = gguf.GGUFWriter(path, "fastplr-classifier")
    for key, (value, kind, element_kind) in entries.items():
        writer.add_key_value(key, value, kind, element_kind)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
