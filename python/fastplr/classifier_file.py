"""Between a PLRClassifier and its file. The format itself is the native core's (``cpp/src/classifier``)."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastplr import _core, model_store
from fastplr._version import __version__
from fastplr.embedder import Embedder
from fastplr.errors import ClassifierFileError, InputError, ModelError, ModelMismatch
from fastplr.model_store import ResolvedModel
from fastplr.prompt import Prompt
from fastplr.report import Report

if TYPE_CHECKING:
    from fastplr.classifier import PLRClassifier

__all__ = ["check_model", "identity_of", "info", "load", "named", "save", "to_native"]

Identity = dict[str, Any]

#: Parameters of the estimator that are kept as they were given, for another fit; they play no part in predicting.
_PARAMETERS = (
    "layer", "pooling", "C", "Cs", "cv", "class_weight", "class_prior", "calibrate", "speed", "max_layer",
    "keep_training", "random_state",
)  # fmt: skip


def identity_of(resolved: ResolvedModel) -> Identity:
    """sha256 of the source file, and what was made from it."""
    return {"source_sha256": resolved.source_sha256, "recipe": dict(resolved.recipe)}


def named(embedder: Embedder) -> str:
    """The model as the user named it; a path in full, since the file may be read from another folder."""
    spec = os.fsdecode(embedder.model)
    resolved = embedder.resolve()
    return os.path.abspath(spec) if os.path.abspath(spec) == os.path.abspath(resolved.path) else spec  # noqa: PTH100


def _described(identity: Identity) -> str:
    recipe = identity["recipe"]
    made = f"made into {recipe['type']} by llama.cpp {recipe['llama_cpp_commit']}" if recipe["type"] else "as it is"
    return f"source {identity['source_sha256'][:12]}..., {made}"


def check_model(resolved: ResolvedModel, trained_on: Identity, allow_variant: bool, name: str) -> None:
    """Raise ModelMismatch unless `resolved` is the model of `trained_on`, or (warned of) an allowed variant.

    `name` is what the model was called at fitting.
    """
    found = identity_of(resolved)
    if found == trained_on:
        return
    both = f"it was trained on {name!r} ({_described(trained_on)}); {resolved.name!r} is {_described(found)}"
    if found["source_sha256"] != trained_on["source_sha256"]:
        raise ModelMismatch(f"the classifier belongs to another model: {both}")
    if not allow_variant:
        raise ModelMismatch(
            f"the classifier belongs to another variant of this model: {both} (allow_variant=True accepts it)"
        )
    warnings.warn(f"another variant of the model: {both}; predictions may differ", UserWarning, stacklevel=4)


def _label_texts(classes: npt.NDArray[Any]) -> tuple[list[str], list[str]]:
    labels = list(classes) if classes.dtype.kind in "mM" else classes.tolist()  # their list would be of int
    kinds = [_kind(label) for label in labels]
    return [label if isinstance(label, str) else repr(label) for label in labels], kinds


def _kind(label: object) -> str:
    """The word for a label's type. Raises InputError for a label that a file cannot hold."""
    kind = type(label).__name__
    if type(label) not in (str, int, bool, float):
        raise InputError(
            f"the label {label!r} is a {kind}: a classifier file holds labels of the kinds str, int, bool and float"
        )
    if isinstance(label, str) and any("\ud800" <= character <= "\udfff" for character in label):
        raise InputError(f"the label {label!r} is not valid Unicode: half of a surrogate pair")
    return kind


def _labels(data: dict[str, Any]) -> npt.NDArray[Any]:
    readers: dict[str, Any] = {
        "str": str,
        "int": int,
        "float": float,
        "bool": {"True": True, "False": False}.__getitem__,
    }
    values = [readers[kind](text) for text, kind in zip(data["labels"], data["label_kinds"], strict=True)]
    dtype = data["label_dtype"]
    if dtype != "object":
        return np.array(values, dtype=np.dtype(dtype))
    classes = np.empty(len(values), dtype=object)
    classes[:] = values
    return classes


@contextlib.contextmanager
def _damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """The core checks the file's form and checksum; what only Python can read may still make no sense."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ClassifierFileError(f"{os.fsdecode(path)!r} is no usable classifier file: {error}") from error


def _parameters_to(classifier: PLRClassifier) -> dict[str, Any]:
    """The parameters that JSON can hold; a splitter, for instance, is left out. A mapping becomes pairs."""
    found: dict[str, Any] = {}
    for name in _PARAMETERS:
        value = getattr(classifier, name)
        if isinstance(value, Mapping):
            value = {"pairs": [[_item(key), _item(weight)] for key, weight in value.items()]}
        elif isinstance(value, np.ndarray | list | tuple):
            value = [_item(entry) for entry in value]
        value = _item(value)
        with contextlib.suppress(TypeError, ValueError):
            json.dumps(value)
            found[name] = value
    return found


def _parameters_from(annotations: dict[str, Any]) -> dict[str, Any]:
    def value(written: Any) -> Any:
        return dict(written["pairs"]) if isinstance(written, dict) else written

    return {name: value(written) for name, written in annotations["parameters"].items() if name in _PARAMETERS}


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


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
        "model_name": classifier.model_name_,
        "source_sha256": identity["source_sha256"],
        "tensor_type": recipe["type"] or "",
        "llama_cpp_commit": recipe["llama_cpp_commit"] or "",
        "prefix": prompt.prefix,
        "suffix": prompt.suffix,
        "layer": classifier.layer_,
        "pooling": classifier.pooling_,
        "on_long": classifier.embedder_.on_long,
        # Labels only matter in a file: until then they may be of any kind.
        "labels": [str(index) for index in range(len(classifier.classes_))],
        "label_kinds": ["int"] * len(classifier.classes_),
        "label_dtype": "",
        "mean": classifier.mean_,
        "scale": classifier.scale_,
        "coef": classifier.coef_,
        "intercept": classifier.intercept_,
        "C": classifier.C_,
        "temperature": classifier.temperature_,
        "log_prior_ratio": classifier.log_prior_ratio_,
        "training": None,  # predicting does not need it
        "created_with": f"fastplr {__version__}",
        "annotations": "",
    }


def save(classifier: PLRClassifier, path: str | os.PathLike[str]) -> None:
    """See :meth:`fastplr.PLRClassifier.save`."""
    texts, kinds = _label_texts(classifier.classes_)
    dtype = classifier.classes_.dtype
    prompt = Prompt.coerce(classifier.embedder_.prompt)
    for label in prompt.answers or {}:
        _kind(_item(label))
    annotations = {
        "prompt": prompt.to_dict(),
        "parameters": _parameters_to(classifier),
        "report": classifier.report_.known(),
    }
    if classifier.training_ is not None and classifier.training_rows_ is not None:
        annotations["training_rows"] = classifier.training_rows_.tolist()
    data = to_native(classifier) | {
        "labels": texts,
        "label_kinds": kinds,
        "label_dtype": "object" if dtype.kind == "O" else dtype.str,
        "training": classifier.training_,
        "annotations": json.dumps(annotations, default=_plain),
    }
    _core.save_classifier(data, _path_text(path))


def _path_text(path: str | os.PathLike[str]) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise InputError(f"path is {path!r} of type {type(path).__name__}: expected a str or a path") from None
    if not text or "\0" in text:
        raise InputError(f"path is {text!r}: expected the path of a file")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"path is {text!r}: expected a path that is valid Unicode") from None
    return text


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    text = _path_text(path)
    data = _core.read_classifier(text)
    with _damage(path):
        annotations = json.loads(data["annotations"])
        if not isinstance(annotations, dict):
            raise ValueError("its annotations are no mapping")
        for name in ("parameters", "report"):
            if not isinstance(annotations.setdefault(name, {}), dict):
                raise ValueError(f"its annotations have no mapping {name!r}")
    return data, annotations


def _training_rows(data: dict[str, Any], annotations: dict[str, Any]) -> npt.NDArray[np.int64] | None:
    """Positions of the kept training rows among the texts of the fit; None where an older file does not tell."""
    if data["training"] is None:
        return None
    n_kept = len(data["training"]["codes"])
    written = annotations.get("training_rows")
    if written is None:
        return np.arange(n_kept) if annotations["report"].get("n_texts") == n_kept else None
    if not isinstance(written, list) or len(written) != n_kept or not all(type(row) is int for row in written):
        raise ValueError(f"its annotation training_rows is no list of {n_kept} row numbers")
    return np.array(written, dtype=np.int64)


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
    with _damage(path):
        classes = _labels(data)
        prompt = _prompt(data, annotations)
        training_rows = _training_rows(data, annotations)
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
    check_model(resolved, identity, allow_variant, data["model_name"])

    in_use = {"layer": data["layer"], "pooling": data["pooling"]}  # of older files, which do not say what was asked for
    parameters = in_use | _parameters_from(annotations)
    classifier = cls(spec, prompt=prompt, on_long=data["on_long"], **parameters)
    classifier.classes_ = classes
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
    classifier.temperature_, classifier.log_prior_ratio_ = data["temperature"], data["log_prior_ratio"]
    classifier.training_, classifier.training_rows_, classifier._familiarity = data["training"], training_rows, None
    classifier.model_identity_ = identity
    # An allowed variant does not become the model that the classifier was trained on.
    is_trained_on = identity_of(resolved) == identity
    classifier.model_name_ = named(classifier.embedder_) if is_trained_on else data["model_name"]
    classifier.report_ = Report(annotations["report"])
    classifier.allow_variant_ = allow_variant
    return classifier


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a classifier file holds, as plain values; the model is not needed.

    Raises:
        ClassifierFileError: As :meth:`fastplr.PLRClassifier.load`.
    """
    data, annotations = _read(path)
    with _damage(path):
        labels = _labels(data)
        prompt = _prompt(data, annotations)
    return {
        "format_version": data["format_version"],
        "created_with": data["created_with"],
        "labels": labels.tolist(),
        "label_dtype": data["label_dtype"],
        "prompt": prompt.to_dict() | {"prefix": data["prefix"], "suffix": data["suffix"]},
        "layer": data["layer"],
        "pooling": data["pooling"],
        "on_long": data["on_long"],
        "n_features": int(data["mean"].shape[0]),
        "C": data["C"],
        "temperature": data["temperature"],
        "log_prior_ratio": data["log_prior_ratio"].tolist(),
        "n_training_rows": 0 if data["training"] is None else len(data["training"]["codes"]),
        "lambda": 1.0 / data["C"],
        "model": {"name": data["model_name"], **_identity(data)},
        "mean": data["mean"].tolist(),
        "scale": data["scale"].tolist(),
        "coef": data["coef"].tolist(),
        "coef_norm": [float(np.linalg.norm(row)) for row in data["coef"]],
        "intercept": data["intercept"].tolist(),
        "report": annotations["report"],
    }
