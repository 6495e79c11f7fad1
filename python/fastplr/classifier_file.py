"""Between a PLRClassifier and its file. The format itself is the native core's (``cpp/src/classifier``)."""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastplr import _core, model_store
from fastplr._version import __version__
from fastplr.embedder import Embedder
from fastplr.errors import ClassifierFileError, InputError, ModelError, ModelMismatch
from fastplr.model_store import ResolvedModel
from fastplr.prompt import Prompt

if TYPE_CHECKING:
    from fastplr.classifier import PLRClassifier

__all__ = ["check_model", "identity_of", "info", "load", "save", "to_native"]

Identity = dict[str, Any]

#: Parameters of the estimator that are kept for information; they play no part in predicting.
_PARAMETERS = ("C", "Cs", "cv", "class_weight", "random_state")


def identity_of(resolved: ResolvedModel) -> Identity:
    """sha256 of the source file, and what was made from it."""
    return {"source_sha256": resolved.source_sha256, "recipe": dict(resolved.recipe)}


def _absolute(embedder: Embedder) -> str:
    """The model as the user named it; a path in full, since the file may be read from another folder."""
    spec = os.fsdecode(embedder.model)
    resolved = embedder.resolve()
    return os.path.abspath(spec) if os.path.abspath(spec) == os.path.abspath(resolved.path) else spec  # noqa: PTH100


def _described(identity: Identity) -> str:
    recipe = identity["recipe"]
    made = f"made into {recipe['type']} by llama.cpp {recipe['llama_cpp_commit']}" if recipe["type"] else "as it is"
    return f"source {identity['source_sha256'][:12]}..., {made}"


def check_model(resolved: ResolvedModel, trained_on: Identity, allow_variant: bool) -> None:
    """Raise ModelMismatch unless `resolved` is the model of `trained_on`, or (warned of) an allowed variant."""
    found = identity_of(resolved)
    if found == trained_on:
        return
    both = f"it was trained on {_described(trained_on)}; {resolved.name!r} is {_described(found)}"
    if found["source_sha256"] != trained_on["source_sha256"]:
        raise ModelMismatch(f"the classifier belongs to another model: {both}")
    if not allow_variant:
        raise ModelMismatch(
            f"the classifier belongs to another variant of this model: {both} (allow_variant=True accepts it)"
        )
    warnings.warn(f"another variant of the model: {both}; predictions may differ", UserWarning, stacklevel=4)


def _label_texts(classes: npt.NDArray[Any]) -> tuple[list[str], list[str]]:
    texts, kinds = [], []
    for label in classes.tolist():
        kind = type(label).__name__
        if type(label) not in (str, int, bool, float):
            raise InputError(
                f"the label {label!r} is a {kind}: a classifier file holds labels of the kinds str, int, bool and float"
            )
        texts.append(label if isinstance(label, str) else repr(label))
        kinds.append(kind)
    return texts, kinds


def _labels(texts: list[str], kinds: list[str], dtype: str) -> npt.NDArray[Any]:
    readers: dict[str, Any] = {
        "str": str,
        "int": int,
        "float": float,
        "bool": {"True": True, "False": False}.__getitem__,
    }
    values = [readers[kind](text) for text, kind in zip(texts, kinds, strict=True)]
    if dtype != "object":
        return np.array(values, dtype=np.dtype(dtype))
    classes = np.empty(len(values), dtype=object)
    classes[:] = values
    return classes


def _plain(value: object) -> object:
    """For JSON: NumPy values as the Python values they hold, anything else by its repr."""
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


def to_native(classifier: PLRClassifier) -> dict[str, Any]:
    """What the native core predicts from, and writes to a file."""
    prompt = Prompt.coerce(classifier.embedder_.prompt)
    identity = classifier.model_identity_
    recipe = identity["recipe"]
    return {
        "model_name": _absolute(classifier.embedder_),
        "source_sha256": identity["source_sha256"],
        "tensor_type": recipe["type"] or "",
        "llama_cpp_commit": recipe["llama_cpp_commit"] or "",
        "prefix": prompt.prefix,
        "suffix": prompt.suffix,
        "layer": classifier.layer_,
        "pooling": classifier.pooling_,
        "on_long": classifier.on_long,
        # Labels only matter in a file: until then they may be of any kind.
        "labels": [str(index) for index in range(len(classifier.classes_))],
        "label_kinds": ["int"] * len(classifier.classes_),
        "label_dtype": "",
        "mean": classifier.mean_,
        "scale": classifier.scale_,
        "coef": classifier.coef_,
        "intercept": classifier.intercept_,
        "C": classifier.C_,
        "created_with": f"fastplr {__version__}",
        "annotations": "",
    }


def save(classifier: PLRClassifier, path: str | os.PathLike[str]) -> None:
    """See :meth:`fastplr.PLRClassifier.save`."""
    texts, kinds = _label_texts(classifier.classes_)
    dtype = classifier.classes_.dtype
    parameters = classifier.get_params(deep=False)
    annotations = {
        "prompt": Prompt.coerce(classifier.embedder_.prompt).to_dict(),
        "parameters": {name: parameters[name] for name in _PARAMETERS},
        "report": classifier.report_,
    }
    data = to_native(classifier) | {
        "labels": texts,
        "label_kinds": kinds,
        "label_dtype": "object" if dtype.kind == "O" else dtype.str,
        "annotations": json.dumps(annotations, default=_plain),
    }
    try:
        target = os.fsdecode(path)
    except TypeError:
        raise InputError(f"path is {path!r} of type {type(path).__name__}: expected a str or a path") from None
    if not target or "\0" in target:
        raise InputError(f"path is {target!r}: expected the path of a file")
    _core.save_classifier(data, target)


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        data = _core.read_classifier(os.fsdecode(path))
    except TypeError:
        raise InputError(f"path is {path!r} of type {type(path).__name__}: expected a str or a path") from None
    try:
        annotations = json.loads(data["annotations"])
        if not isinstance(annotations, dict):
            raise ValueError("not a mapping")
    except ValueError as error:
        raise ClassifierFileError(f"{os.fsdecode(path)!r}: its annotations are not JSON: {error}") from None
    return data, annotations


def _identity(data: dict[str, Any]) -> Identity:
    return {
        "source_sha256": data["source_sha256"],
        "recipe": {
            "type": data["tensor_type"] or None,
            "cut": None,
            "llama_cpp_commit": data["llama_cpp_commit"] or None,
        },
    }


def _prompt(data: dict[str, Any], annotations: dict[str, Any]) -> Prompt:
    written = annotations.get("prompt")
    prompt = Prompt.from_dict(written) if isinstance(written, dict) else Prompt()
    # What the core reads is what counts; the annotation only knows in which form the user gave it.
    if (prompt.prefix, prompt.suffix) != (data["prefix"], data["suffix"]):
        return Prompt(data["prefix"], data["suffix"])
    return prompt


def load(
    cls: type[PLRClassifier],
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None,
    allow_variant: bool,
) -> PLRClassifier:
    """See :meth:`fastplr.PLRClassifier.load`."""
    data, annotations = _read(path)
    identity = _identity(data)
    spec = data["model_name"] if model is None else model
    try:
        resolved = model_store.resolve(spec)
    except ModelError as error:
        if model is not None:
            raise
        raise ModelError(
            f"the model of the classifier {os.fsdecode(path)!r} is not at hand: {error} (model=... names it)"
        ) from error
    wanted_type = identity["recipe"]["type"]
    is_source = resolved.recipe["type"] is None
    if is_source and wanted_type and resolved.source_sha256 == identity["source_sha256"] and not allow_variant:
        resolved = model_store.variant_of(resolved, wanted_type)
        spec = resolved.path
    check_model(resolved, identity, allow_variant)

    parameters = {name: value for name, value in annotations.get("parameters", {}).items() if name in _PARAMETERS}
    classifier = cls(
        spec,
        prompt=_prompt(data, annotations),
        layer=data["layer"],
        pooling=data["pooling"],
        on_long=data["on_long"],
        **parameters,
    )
    classifier.classes_ = _labels(data["labels"], data["label_kinds"], data["label_dtype"])
    classifier.embedder_ = Embedder(
        spec,
        layer=data["layer"],
        pooling=data["pooling"],
        prompt=classifier.prompt,
        on_long=data["on_long"],
    )
    classifier.layer_, classifier.pooling_ = data["layer"], data["pooling"]
    classifier.mean_, classifier.scale_ = data["mean"], data["scale"]
    classifier.coef_, classifier.intercept_, classifier.C_ = data["coef"], data["intercept"], data["C"]
    classifier.model_identity_ = identity
    classifier.report_ = annotations.get("report", {})
    classifier.allow_variant_ = allow_variant
    return classifier


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a classifier file holds, as plain values; the model is not needed.

    Raises:
        ClassifierFileError: As :meth:`fastplr.PLRClassifier.load`.
    """
    data, annotations = _read(path)
    return {
        "format_version": _core.classifier_format_version,
        "created_with": data["created_with"],
        "labels": _labels(data["labels"], data["label_kinds"], data["label_dtype"]).tolist(),
        "label_dtype": data["label_dtype"],
        "prompt": _prompt(data, annotations).to_dict() | {"prefix": data["prefix"], "suffix": data["suffix"]},
        "layer": data["layer"],
        "pooling": data["pooling"],
        "on_long": data["on_long"],
        "n_features": int(data["mean"].shape[0]),
        "C": data["C"],
        "lambda": 1.0 / data["C"],
        "model": {"name": data["model_name"], **_identity(data)},
        "scaler": "standardised: mean and scale of each feature over the training rows",
        "coef_norm": [float(np.linalg.norm(row)) for row in data["coef"]],
        "intercept": data["intercept"].tolist(),
        "report": annotations.get("report", {}),
    }
