"""What a model can be named by besides its name: a path, the hub; and what is neither."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from fastplr import model_store
from fastplr.errors import InputError, ModelError
from fastplr.store.catalogue import CatalogueEntry
from fastplr.store.identity import file_sha256
from fastplr.store.model_folder import ModelStore, home
from packaged_models import (
    MODEL,
    NO_RECIPE,
    RecordingQuantiser,
    files_of,
    sha256,
    write_parts,
)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def entry(wheels: Path) -> CatalogueEntry:
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


class OwnPath:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_path_to_any_gguf_file(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "modèle 1.gguf"
    path.write_bytes(b"GGUF and more")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for spec in (path, str(path), OwnPath(path), path.name, f"~/{path.name}", f"./{path.name}"):
        resolved = store.resolve(spec)
        assert resolved.path.samefile(path)
        assert resolved.name == os.fspath(spec)
        assert resolved.source_sha256 == resolved.file_sha256 == sha256(b"GGUF and more")
        assert resolved.recipe == NO_RECIPE
    assert files_of(store) == set()


def test_changed_file_has_another_identity(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for number, content in enumerate([b"GGUF one", b"GGUF two"]):  # the same size, another date
        path.write_bytes(content)
        os.utime(path, ns=(number, number))
        assert store.resolve(path).file_sha256 == sha256(content)


def test_file_hash_is_kept_while_the_file_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF one")
    assert file_sha256(path) == sha256(b"GGUF one")
    with monkeypatch.context() as patch:
        patch.setattr("fastplr.store.identity.hashlib", None)  # the content is not read again
        assert file_sha256(path) == sha256(b"GGUF one")


def test_file_of_the_same_size_and_date_is_hashed_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for content in (b"GGUF one", b"GGUF two"):
        beside = tmp_path / "beside.gguf"
        beside.write_bytes(content)
        os.utime(beside, ns=(7, 7))
        beside.replace(path)
        assert file_sha256(path) == sha256(content)
    time.sleep(0.05)  # longer than a tick of the clock that file systems go by
    path.write_bytes(b"GGUF 3rd")
    os.utime(path, ns=(7, 7))
    assert file_sha256(path) == sha256(b"GGUF 3rd")


def test_variant_is_known_by_path_too(pulled: ModelStore, tmp_path: Path) -> None:
    by_name = pulled.resolve("tiny")
    elsewhere = tmp_path / "copied.gguf"
    elsewhere.write_bytes(by_name.path.read_bytes())
    for path in (by_name.path, elsewhere):
        by_path = pulled.resolve(path)
        assert (by_path.source_sha256, by_path.recipe) == (by_name.source_sha256, by_name.recipe)
        assert by_path.file_sha256 == by_name.file_sha256


def test_name_wins_over_a_file_of_that_name(
    pulled: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_bytes(b"GGUF mine")
    assert pulled.resolve("tiny").source_sha256 == sha256(MODEL)
    for spec in ("./tiny", Path("tiny")):
        assert pulled.resolve(spec).source_sha256 == sha256(b"GGUF mine")


@pytest.mark.parametrize("spec", [None, 3, 1.5, b"tiny", ["tiny"], "", "  \n", "ti\0ny", Path("a\0b")])
def test_what_is_no_name_and_no_path_is_an_input_error(store: ModelStore, spec: object) -> None:
    with pytest.raises(InputError, match="model") as caught:
        store.resolve(spec)  # type: ignore[arg-type]
    assert repr(spec) in str(caught.value) or repr(str(spec)) in str(caught.value)


@pytest.mark.parametrize("name", [None, Path("tiny"), ""])
def test_pull_and_path_take_names_only(store: ModelStore, name: object) -> None:
    for method in (store.pull, store.path, store.is_pulled):
        with pytest.raises(InputError):
            method(name)  # type: ignore[operator]


def test_unknown_name_suggests_near_ones_and_says_how_to_give_a_path() -> None:
    for name in ("smollm-135m", "SmolLM2-135M", "smollm2_135m"):
        with pytest.raises(ModelError, match="did you mean 'smollm2-135m'") as caught:
            model_store.resolve(name)
        assert repr(name) in str(caught.value)
        assert "./model.gguf" in str(caught.value)
        assert "hf:OWNER/REPO/FILE" in str(caught.value)
    with pytest.raises(ModelError, match="known are smollm2-135m, minilm-l6-v2, gemma3-270m"):
        model_store.resolve("zzz")


def test_long_text_in_place_of_a_name_is_not_repeated_in_full(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="unknown model") as caught:
        store.resolve("some text " * 2000)
    assert len(str(caught.value)) < 500


def test_unusable_files_are_named(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "notes.txt").write_text("hello there")
    for spec, says in [
        (tmp_path, "is a directory"),
        (tmp_path / "absent.gguf", "no such file: .*absent.gguf"),
        ("absent.gguf", "no such file: 'absent.gguf'"),
        ("models/absent", "no such file: 'models/absent'"),
        (tmp_path / "notes.txt" / "x.gguf", r"cannot read .*x.gguf"),
        (tmp_path / "empty.gguf", r"not a GGUF file: it begins with b''"),
        (str(tmp_path / "notes.txt"), r"not a GGUF file: it begins with b'hell'"),
    ]:
        with pytest.raises(ModelError, match=says):
            store.resolve(spec)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_refused_and_does_not_hang(store: ModelStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelError, match="not a regular file"):
        store.resolve(tmp_path / "pipe.gguf")


# --- the Hugging Face hub

RESOLVE_FROM_HUB = """
    import sys
    from pathlib import Path
    from fastplr.store.model_folder import ModelStore
    from fastplr.store.native import NativeCore
    store = ModelStore(Path(sys.argv[1]), native=NativeCore(None, lambda: "", lambda path: None))
    resolved = store.resolve(sys.argv[2])
    print(resolved.path, resolved.name, resolved.file_sha256, sep="\\n")
"""


def resolve_from_hub(tmp_path: Path, spec: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads where its cache is when it is imported."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", textwrap.dedent(RESOLVE_FROM_HUB), str(tmp_path / "home"), spec]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("file_name", ["model.gguf", "quantised/q8/model.gguf"])
def test_file_of_the_hub_that_is_in_its_cache(tmp_path: Path, file_name: str) -> None:
    pytest.importorskip("huggingface_hub")
    repository = tmp_path / "hf" / "hub" / "models--owner--repo"
    commit = "0123456789" * 4
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    path = repository / "snapshots" / commit / file_name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF of the hub")
    result = resolve_from_hub(tmp_path, f"hf:owner/repo/{file_name}")
    assert result.returncode == 0, result.stderr
    found, name, digest = result.stdout.splitlines()
    assert Path(found).samefile(path)
    assert (name, digest) == (f"hf:owner/repo/{file_name}", sha256(b"GGUF of the hub"))


def test_file_of_the_hub_that_cannot_be_had(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    result = resolve_from_hub(tmp_path, "hf:owner/repo/absent.gguf")
    assert result.returncode == 1
    assert "fastplr.errors.ModelError: cannot get 'hf:owner/repo/absent.gguf'" in result.stderr


def test_hub_without_its_package_names_the_extra(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'fastplr\[hub\]'"):
        store.resolve("hf:owner/repo/model.gguf")


@pytest.mark.parametrize("spec", ["hf:", "hf:model", "hf:owner/repo", "hf:owner//x.gguf", "hf:owner/repo/../x"])
def test_malformed_hub_name_is_an_input_error(store: ModelStore, spec: str) -> None:
    with pytest.raises(InputError, match="hf:OWNER/REPO/FILE"):
        store.resolve(spec)


def test_home_is_fastplr_home_or_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTPLR_HOME", str(tmp_path / "mine"))
    assert home() == tmp_path / "mine"
    assert not model_store.is_pulled("smollm2-135m:source")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTPLR_HOME", "relative")
    assert home() == tmp_path / "relative"
    monkeypatch.setenv("FASTPLR_HOME", "")
    assert home().name == "fastplr"
    assert home().is_absolute()
