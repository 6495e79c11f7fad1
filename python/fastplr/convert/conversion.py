"""From a Hugging Face model folder to a GGUF file: what is read, what is written, and the model's identity."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fastplr.convert.architectures import model_family
from fastplr.convert.bert import BERT_CONVERSION, bert_metadata, bert_tensors
from fastplr.convert.byte_level_bpe import read_byte_level_bpe
from fastplr.convert.decoder import DECODER_CONVERSION, decoder_metadata, decoder_tensors
from fastplr.convert.decoder_config import read_decoder_config
from fastplr.convert.folder_files import has_file, read_json_object, read_text
from fastplr.convert.gguf_file import Metadata, Tensor, require_gguf_package, write_gguf
from fastplr.convert.weights import Weights
from fastplr.errors import InputError, ModelError
from fastplr.store.identity import file_sha256
from fastplr.tables.atomic_output import check_output
from fastplr.tables.file_in_the_making import exists_error, folder_for_making, put_in_place
from fastplr.threads import default_threads

__all__ = ["ConvertedModel", "TensorType", "convert_folder", "require_gguf_package", "write_converted"]

TensorType = Literal["f32", "f16"]

#: Largest absolute value that the type holds.
LARGEST = {"f32": float(np.finfo(np.float32).max), "f16": float(np.finfo(np.float16).max)}


@dataclass(frozen=True)
class ConvertedModel:
    """A GGUF file made from a model folder.

    Attributes:
        path: The file.
        architecture: llama.cpp's name of its architecture.
        source_sha256: The identity of what it was made from: sha256 over the sha256 of the weights' files, the
            hyper-parameters, the vocabulary, and the number of the conversion. The same in whatever type it is written.
        left_out: Names of the tensors of the folder that are no part of the file, such as a classification head.
    """

    path: Path
    architecture: str
    source_sha256: str
    left_out: tuple[str, ...]


def convert_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    tensor_type: TensorType = "f32",
    name: str | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> ConvertedModel:
    """Write the BERT encoder, or the Llama- or Qwen-style decoder, in a Hugging Face model folder as a GGUF file.

    Args:
        folder: A folder with config.json, model.safetensors (or the shards of its index), tokenizer.json (or for BERT
            vocab.txt), and where there are such, tokenizer_config.json and sentence-transformers'
            1_Pooling/config.json.
        output: The file to write. It is complete or not there.
        tensor_type: ``"f32"`` keeps every value of F32, F16 and BF16 weights; ``"f16"`` has matrices of half the size.
        name: What the file calls the model. Default: the name of the folder.
        overwrite: Whether a file at `output` is replaced.
        progress: Whether to show what happens on standard error. Default: only on a terminal.

    Raises:
        UnsupportedArchitecture: The folder holds something else than a model of these kinds that llama.cpp can
            compute.
        ModelError: The package ``gguf`` is missing, or a file of the folder is missing, damaged, or contradicts
            another.
        InputError: An argument makes no sense, or `output` exists (without `overwrite`) or cannot be written.
    """
    if tensor_type not in LARGEST:
        raise InputError(f"tensor_type is {tensor_type!r}: expected one of {', '.join(map(repr, LARGEST))}")
    source, target = _path(folder, "folder"), _path(output, "output")
    check_output(target, devices=False)
    if not overwrite and target.exists():
        raise exists_error(target)
    with (
        _output_errors(target),
        folder_for_making(target) as working,
    ):
        made = working / "f32.gguf"
        converted = write_converted(source, made, tensor_type=tensor_type, name=name, progress=progress)
        if tensor_type == "f16":
            from fastplr import _core

            # By the quantiser that makes the variants of all models: the same file as the model's f16 variant.
            made = working / "f16.gguf"
            _core.quantize_file(str(converted.path), str(made), "F16", default_threads(), converted.source_sha256)
        put_in_place(made, target, overwrite=overwrite)
    return ConvertedModel(target, converted.architecture, converted.source_sha256, converted.left_out)


def write_converted(
    folder: Path,
    path: Path,
    *,
    tensor_type: TensorType = "f32",
    name: str | None = None,
    progress: bool | None = None,
) -> ConvertedModel:
    """Write the model in `folder` to the new file `path` as float32; see :func:`convert_folder`.

    Args:
        folder: The model folder.
        path: The file; what a failure leaves of it is for the caller to remove.
        tensor_type: The type that it is wanted in later: no weight may be too large for it.
        name: What the file calls the model. Default: the name of the folder.
        progress: Whether to show a bar. Default: only on a terminal.

    Raises:
        UnsupportedArchitecture, ModelError: As :func:`convert_folder`.
        OSError: `path` cannot be written.
    """
    require_gguf_package()
    if not os.path.isdir(folder):  # noqa: PTH112  (Path.is_dir raises where it may not look)
        raise ModelError(f"{str(folder)!r} is not a folder; expected one with a Hugging Face model (config.json, ...)")
    source = _read_folder(folder)
    weights, tensors = source.weights, source.tensors
    source_sha256 = _identity(source)
    general: Metadata = {"general.name": name if name is not None else folder.resolve().name}
    licence = _licence(folder)
    if licence is not None:
        general["general.license"] = licence
    recorded: Metadata = {"fastplr.source_sha256": source_sha256, "fastplr.conversion": source.conversion}
    write_gguf(
        path,
        source.architecture,
        general | source.metadata | source.remarks | recorded,
        tensors,
        weights,
        largest=LARGEST[tensor_type],
        progress=progress,
    )
    from fastplr import _core

    _core.read_model_info(str(path))  # what is written passes the checks that stand before every load
    left_out = sorted(set(weights.names()) - {tensor.source for tensor in tensors})
    return ConvertedModel(path, source.architecture, source_sha256, tuple(left_out))


@dataclass(frozen=True)
class _Source:
    """A folder under llama.cpp's names.

    Attributes:
        architecture: llama.cpp's name of its architecture.
        conversion: The name and number of what made this of the folder.
        metadata: All metadata that the model's features follow from.
        remarks: Other metadata, which has no part in the identity.
        tensors: What is written, and from where.
        weights: The folder's tensors.
    """

    architecture: str
    conversion: str
    metadata: Metadata
    remarks: Metadata
    tensors: list[Tensor]
    weights: Weights


def _read_folder(folder: Path) -> _Source:
    if model_family(read_json_object(folder / "config.json"), folder) == "bert":
        metadata = bert_metadata(folder)
        weights = Weights(folder)
        return _Source("bert", BERT_CONVERSION, metadata, {}, bert_tensors(metadata, weights), weights)
    config = read_decoder_config(folder)
    weights = Weights(folder)
    tensors = decoder_tensors(config, weights)
    vocabulary = read_byte_level_bpe(folder, config.n_vocab)
    metadata = decoder_metadata(config, vocabulary)
    template = vocabulary.chat_template
    remarks: Metadata = {} if template is None else {"tokenizer.chat_template": template}
    return _Source(config.architecture, DECODER_CONVERSION, metadata, remarks, tensors, weights)


def _identity(source: _Source) -> str:
    """See :attr:`ConvertedModel.source_sha256`. Weights alone do not say what a model computes from a text."""
    try:
        digests = [file_sha256(path) for path in source.weights.files]
    except OSError as error:
        raise ModelError(f"cannot read {error.filename!r}: {error.strerror or error}") from error
    described = {"conversion": source.conversion, "metadata": source.metadata, "weights": digests}
    computed = {tensor.name: tensor.values for tensor in source.tensors if tensor.source is None}
    if computed:
        described["computed"] = computed
    return hashlib.sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _licence(folder: Path) -> str | None:
    """The licence that the head of README.md names, as model cards have it."""
    path = folder / "README.md"
    if not has_file(path):
        return None
    head = re.match(r"---\r?\n(.*?)\r?\n---\s*?\n", read_text(path), re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)['\"]?\s*$", head[1], re.MULTILINE) if head else None
    return found[1] if found else None


def _path(given: object, name: str) -> Path:
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(f"{name} is {given!r:.200} of type {type(given).__name__}: expected a str or a path")
    text = os.fsdecode(given)
    if not text or "\0" in text:
        raise InputError(f"{name} is {text!r:.200}: expected a path")
    return Path(text)


@contextlib.contextmanager
def _output_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
