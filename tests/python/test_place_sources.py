"""third_party/llama.cpp/place_sources.py, run as the build runs it, on small archives made here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parents[2] / "third_party" / "llama.cpp"
PREFIX = "llama_cpp_python-9.9.9/vendor/llama.cpp"
FILES = {
    f"{PREFIX}/ggml/src/ggml.c": b"int ggml;\n",
    f"{PREFIX}/src/llama.cpp": b"int one;\nint two;\nint three;\n",
    f"{PREFIX}/LICENSE": b"MIT\n",
    f"{PREFIX}/tools/server.cpp": b"not wanted\n",
    "llama_cpp_python-9.9.9/pyproject.toml": b"not wanted\n",
}
ENTRIES = ["ggml", "src", "LICENSE"]


def regular(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def write_sdist(path: Path, extra: Iterable[tuple[tarfile.TarInfo, bytes]] = ()) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in [*(regular(name, content) for name, content in FILES.items()), *extra]:
            archive.addfile(info, io.BytesIO(content))
    return path


class Room:
    """A copy of third_party/llama.cpp whose pin is `sdist`."""

    def __init__(self, folder: Path, sdist: Path) -> None:
        self.folder = folder
        self.sdist = sdist
        self.processes: list[subprocess.Popen[str]] = []
        folder.mkdir()
        for name in ("place_sources.py", "unified_diff.py"):
            shutil.copy(ROOM / name, folder)
        self.pin = {
            "package": "llama-cpp-python",
            "version": "9.9.9",
            "sdist": sdist.name,
            "sha256": hashlib.sha256(sdist.read_bytes()).hexdigest(),
            "size": sdist.stat().st_size,
            "source_folder": PREFIX,
            "list_version": 1,
            "entries": ENTRIES,
            "commit": "abc",
        }
        self.write_pin()

    def write_pin(self) -> None:
        (self.folder / "pin.json").write_text(json.dumps(self.pin))

    def start(self, *, python: str = sys.executable, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FASTPLR", "PYTHON"))}
        variables = {**inherited, "FASTPLR_LLAMA_SDIST": str(self.sdist), **environment}
        process = subprocess.Popen(
            [python, str(self.folder / "place_sources.py")],
            env={name: value for name, value in variables.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End what a failed test left running."""
        for process in self.processes:
            process.kill()
            process.communicate()

    def run(self, *, python: str = sys.executable, **environment: str) -> tuple[int, str]:
        """Exit status and standard error; standard output must stay empty."""
        process = self.start(python=python, **environment)
        output, error = process.communicate(timeout=60)
        assert output == ""
        return process.returncode, error

    def placed(self) -> dict[str, bytes]:
        """What lies under the wanted entries, by path."""
        found = [path for entry in ENTRIES for path in [self.folder / entry, *(self.folder / entry).rglob("*")]]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in found if path.is_file()}

    def is_complete(self) -> bool:
        wanted = {name[len(PREFIX) + 1 :]: content for name, content in FILES.items()}
        return self.placed() == {name: data for name, data in wanted.items() if name.split("/")[0] in ENTRIES}

    def has_nothing(self) -> bool:
        """Neither sources, nor stamp, nor leftovers."""
        names = {path.name for path in self.folder.iterdir()}
        return names <= {"place_sources.py", "unified_diff.py", "pin.json", "patches", ".lock", "__pycache__"}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path / "llama.cpp", write_sdist(tmp_path / "sdist.tar.gz"))
    yield room
    room.stop()


def test_places_the_wanted_entries_and_nothing_else(room: Room) -> None:
    before = time.time() - 5
    assert room.run()[0] == 0
    assert room.is_complete()
    assert not (room.folder / "tools").exists()
    assert not list(room.folder.glob(".tmp-*"))
    # The archive's members are dated 1970: a build system must see new files as new.
    assert (room.folder / "src" / "llama.cpp").stat().st_mtime > before


def test_second_run_changes_nothing_says_nothing_and_needs_no_sdist(room: Room) -> None:
    room.run()
    stamps = {path: path.stat().st_mtime_ns for path in room.folder.rglob("*")}
    assert room.run(FASTPLR_LLAMA_SDIST="/nowhere") == (0, "")
    assert {path: path.stat().st_mtime_ns for path in room.folder.rglob("*")} == stamps


def test_wrong_sha256_stops_with_expected_found_and_file(room: Room) -> None:
    found = room.pin["sha256"]
    room.pin["sha256"] = "0" * 64
    room.write_pin()
    status, error = room.run()
    assert status == 1
    for part in ("wrong sha256", "0" * 64, str(found), str(room.sdist)):
        assert part in error
    assert room.has_nothing()


def test_wrong_size_stops_with_expected_and_found(room: Room) -> None:
    room.sdist.write_bytes(room.sdist.read_bytes()[:-10])
    status, error = room.run()
    assert status == 1
    assert f"expected {room.pin['size']} bytes, found {room.sdist.stat().st_size}" in error
    assert room.has_nothing()


def test_missing_sdist_is_named(room: Room, tmp_path: Path) -> None:
    status, error = room.run(FASTPLR_LLAMA_SDIST=str(tmp_path / "absent.tar.gz"))
    assert status == 1
    assert "absent.tar.gz is not a file" in error


UNSAFE, SPECIAL = "unsafe path", "neither file nor folder"


@pytest.mark.parametrize(
    ("member", "says"),
    [
        pytest.param(regular(f"{PREFIX}/src/../../../../escaped", b"x"), UNSAFE, id="dotdot"),
        pytest.param(regular("../escaped", b"x"), UNSAFE, id="dotdot-root"),
        pytest.param(regular("/escaped", b"x"), UNSAFE, id="absolute"),
        pytest.param(regular(f"{PREFIX}/src/..\\escaped", b"x"), UNSAFE, id="backslash"),
        pytest.param(regular(f"{PREFIX}/src/c:escaped", b"x"), UNSAFE, id="drive"),
        pytest.param(special(f"{PREFIX}/src/link", tarfile.SYMTYPE, "/etc/passwd"), SPECIAL, id="symlink"),
        pytest.param(special(f"{PREFIX}/src/link", tarfile.LNKTYPE, f"{PREFIX}/LICENSE"), SPECIAL, id="hardlink"),
        pytest.param(special(f"{PREFIX}/src/device", tarfile.CHRTYPE), SPECIAL, id="device"),
        pytest.param(special(f"{PREFIX}/src/pipe", tarfile.FIFOTYPE), SPECIAL, id="fifo"),
        pytest.param(regular(f"{PREFIX}/LICENSE", b"a second one"), "FileExistsError", id="twice"),
    ],
)
def test_unsafe_member_is_refused(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], says: str) -> None:
    room = Room(tmp_path / "llama.cpp", write_sdist(tmp_path / "sdist.tar.gz", [member]))
    status, error = room.run()
    assert status == 1
    assert error.count("error:") == 1
    assert says in error
    assert room.has_nothing()
    assert not list(tmp_path.rglob("*escaped*"))


def test_sdist_without_a_wanted_entry_is_refused(room: Room) -> None:
    room.pin["entries"] = [*ENTRIES, "cmake"]
    room.write_pin()
    status, error = room.run()
    assert status == 1
    assert "has no cmake" in error
    assert room.has_nothing()


def test_truncated_archive_is_one_clear_line(tmp_path: Path) -> None:
    sdist = write_sdist(tmp_path / "sdist.tar.gz")
    sdist.write_bytes(sdist.read_bytes()[:-60])
    room = Room(tmp_path / "llama.cpp", sdist)  # the pin is that of the truncated file
    status, error = room.run()
    assert status == 1
    assert "Traceback" not in error
    assert room.has_nothing()


def test_parallel_builds_all_succeed_and_one_places(room: Room) -> None:
    processes = [room.start() for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum("placed llama-cpp-python" in error for error in errors) == 1
    assert room.is_complete()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe to hold a placement in the middle")
def test_killed_build_frees_the_lock_and_the_waiting_one_starts_over(room: Room) -> None:
    # What an earlier killed build may have left: an entry of an older pin, no stamp, a temporary folder.
    (room.folder / "src").mkdir()
    (room.folder / "src" / "stale.cpp").write_bytes(b"of an older pin\n")
    (room.folder / ".tmp-old").mkdir()
    # A build that holds the lock: a patch that is a pipe keeps it in the middle for as long as we like.
    pipe = room.folder / "patches" / "0.patch"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    holder = room.start()
    writing_end = -1
    while writing_end < 0:  # a pipe can be opened for writing only once the other side reads
        assert holder.poll() is None
        with contextlib.suppress(OSError):
            writing_end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.01)
    pipe.rename(room.folder / "pipe")
    waiting = room.start()
    assert waiting.stderr is not None
    assert "waiting" in waiting.stderr.readline()
    assert holder.poll() is None
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=60)
    os.close(writing_end)
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert room.is_complete()
    assert not list(room.folder.glob(".tmp-*"))


@pytest.mark.parametrize("lost", ["src", "LICENSE", ".placed"])
def test_incomplete_placement_is_not_taken_as_complete(room: Room, lost: str) -> None:
    room.run()
    path = room.folder / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    status, error = room.run()
    assert status == 0
    assert "placed" in error
    assert room.is_complete()


def test_changed_pin_or_list_version_places_anew(room: Room, tmp_path: Path) -> None:
    room.run()
    (room.folder / "src" / "llama.cpp").write_bytes(b"of the old list\n")
    room.pin["list_version"] = 2
    room.write_pin()
    assert room.run()[0] == 0
    assert room.is_complete()


def test_failed_update_keeps_the_old_sources_but_their_stamp_does_not_match(room: Room) -> None:
    room.run()
    room.pin["sha256"] = "0" * 64
    room.write_pin()
    assert room.run()[0] == 1
    assert room.is_complete()
    assert room.run()[0] == 1  # and is not mistaken for the new pin's


PATCH = b"""Explain what it is for.

diff --git a/src/llama.cpp b/src/llama.cpp
--- a/src/llama.cpp
+++ b/src/llama.cpp
@@ -1,3 +1,4 @@
 int one;
-int two;
+int zwei;
+int new_line;
 int three;
diff --git a/src/added.h b/src/added.h
new file mode 100644
--- /dev/null
+++ b/src/added.h
@@ -0,0 +1,2 @@
+#pragma once
+int added;
"""


def test_patch_gives_what_git_apply_gives(room: Room, tmp_path: Path) -> None:
    (room.folder / "patches").mkdir()
    (room.folder / "patches" / "one.patch").write_bytes(PATCH)
    assert room.run()[0] == 0
    expected = tmp_path / "expected"
    (expected / "src").mkdir(parents=True)
    (expected / "src" / "llama.cpp").write_bytes(FILES[f"{PREFIX}/src/llama.cpp"])
    subprocess.run(["git", "apply", "-"], input=PATCH, cwd=expected, check=True)
    for name in ("llama.cpp", "added.h"):
        assert (room.folder / "src" / name).read_bytes() == (expected / "src" / name).read_bytes()
    # Without the patch the sources are placed anew.
    shutil.rmtree(room.folder / "patches")
    assert room.run()[0] == 0
    assert room.is_complete()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b" int one;", b" int eins;", "line 1 is not"),
        (b"a/src/llama.cpp\n+++ b/src/llama.cpp", b"a/../x\n+++ b/../x", "unsafe"),
        (b"a/src/llama.cpp\n+++ b/src/llama.cpp", b"a/src/gone.cpp\n+++ b/src/gone.cpp", "does not exist"),
        (b"+++ b/src/added.h", b"+++ b/src/llama.cpp", "exists already"),
        (b"+int added;\n", b"", "cut short"),
        (PATCH, b"nothing\n", "changes no file"),
    ],
)
def test_patch_that_does_not_fit_stops_the_build(room: Room, old: bytes, new: bytes, says: str) -> None:
    (room.folder / "patches").mkdir()
    assert old in PATCH
    (room.folder / "patches" / "one.patch").write_bytes(PATCH.replace(old, new))
    status, error = room.run()
    assert status == 1
    assert "one.patch does not apply" in error
    assert says in error
    assert room.has_nothing()


def test_python_without_pip_says_what_to_do(room: Room, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=os.name != "nt")
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    status, error = room.run(python=str(python), FASTPLR_LLAMA_SDIST="")
    assert status == 1
    for part in ("has no pip", "ensurepip", "llama-cpp-python==9.9.9", "FASTPLR_LLAMA_SDIST"):
        assert part in error
    assert room.has_nothing()


# --- the fetch, with the real pip and a folder of files in place of an index


BACKEND = b"""
import pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    pathlib.Path(MARKER).write_text("ran")
    info = pathlib.Path(folder, "llama_cpp_python-9.9.9.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 9.9.9\\n")
    return info.name
"""


@pytest.fixture
def fetched_room(tmp_path: Path) -> tuple[Room, dict[str, str], Path]:
    """A room, the environment in which pip finds its sdist offline, and the file that its backend leaves."""
    pytest.importorskip("pip")
    (tmp_path / "index").mkdir()
    marker = tmp_path / "backend-ran"
    pyproject = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    extra = [
        regular("llama_cpp_python-9.9.9/backend.py", BACKEND.replace(b"MARKER", repr(str(marker)).encode())),
        regular(
            "llama_cpp_python-9.9.9/PKG-INFO",
            b"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 9.9.9\n",
        ),
        regular("llama_cpp_python-9.9.9/pyproject.toml", pyproject),
    ]
    sdist = write_sdist(tmp_path / "index" / "llama_cpp_python-9.9.9.tar.gz", extra)
    environment = {
        "FASTPLR_LLAMA_SDIST": "",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(sdist.parent),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
    }
    return Room(tmp_path / "llama.cpp", sdist), environment, marker


def test_fetches_with_pip(fetched_room: tuple[Room, dict[str, str], Path]) -> None:
    room, environment, marker = fetched_room
    # What a build leaves in the environment when pip has started it through a backend of its own folder.
    environment["_PYPROJECT_HOOKS_BACKEND_PATH"] = str(room.folder)
    status, error = room.run(**environment)
    assert status == 0, error
    assert room.is_complete()
    assert marker.exists()  # the control of the next test: pip does run the backend of an archive it trusts


def test_pip_checks_the_hash_before_it_runs_anything(fetched_room: tuple[Room, dict[str, str], Path]) -> None:
    room, environment, marker = fetched_room
    found = str(room.pin["sha256"])
    room.pin["sha256"] = "0" * 64
    room.write_pin()
    status, error = room.run(**environment)
    assert status == 1
    assert not marker.exists()
    assert "pip could not fetch llama-cpp-python==9.9.9" in error
    assert found in error  # pip's own message has both
    assert "0" * 64 in error
    assert room.has_nothing()


def test_the_repository_pins_the_version_the_design_names() -> None:
    pin = json.loads((ROOM / "pin.json").read_text(encoding="utf-8"))
    assert (pin["package"], pin["version"], pin["commit"]) == ("llama-cpp-python", "0.3.36", "0c1e57098")
    assert (pin["size"], pin["sha256"][:16]) == (76589250, "832db0699007f1be")
