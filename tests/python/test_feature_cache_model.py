"""A model file that is replaced while it is used: no feature is ever kept under the name of another model."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastplr.embedder
import fastplr.model_file
from fastplr import Embedder, ModelError, engine, model_store
from fastplr.feature_cache import FeatureCache, feature_cache
from fastplr.model_file import ModelFile
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny_llama

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = [f"{i} the film is slow" for i in range(30)]


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    feature_cache.clear()
    engine.clear_engines()


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyModel]:
    """Two models of the same size and date."""
    folder = tmp_path_factory.mktemp("models")
    made = {name: write_tiny_llama(folder / f"{name}.gguf", seed=seed) for seed, name in enumerate(("old", "new"))}
    for tiny in made.values():
        os.utime(tiny.path, ns=(10**18, 10**18))
    assert len({tiny.path.stat().st_size for tiny in made.values()}) == 1
    return made


@pytest.fixture(scope="module")
def expected(tinies: dict[str, TinyModel]) -> dict[str, np.ndarray]:
    return {
        name: np.array([expected_embedding(tiny, text, layer=2, pooling="mean") for text in TEXTS])
        for name, tiny in tinies.items()
    }


@pytest.fixture
def path(tinies: dict[str, TinyModel], tmp_path: Path) -> Path:
    """Where the old model is, until :func:`replace`."""
    return Path(shutil.copy2(tinies["old"].path, tmp_path / "model.gguf"))


@pytest.fixture
def replace(tinies: dict[str, TinyModel], path: Path) -> Callable[[], None]:
    def put_new_in_place() -> None:
        beside = Path(shutil.copy2(tinies["new"].path, path.with_name("beside.gguf")))
        beside.replace(path)

    return put_new_in_place


def embedder(path: Path, tmp_path: Path) -> Embedder:
    return Embedder(path, n_threads=1, n_batch=16, cache=tmp_path / "features")  # a text or two a batch


def check_what_is_kept(tinies: dict[str, TinyModel], expected: dict[str, np.ndarray], tmp_path: Path) -> dict[str, int]:
    """The features of each model as the cache has them are right; how many tokens were still to be computed."""
    n_tokens = {}
    for forget in (False, True):  # what is in memory, and what is on disk
        for name, tiny in tinies.items():
            if forget:
                feature_cache.clear()
            features, n_tokens[name] = embedder(tiny.path, tmp_path)._embed_counted(TEXTS, None, None, None)
            np.testing.assert_allclose(features, expected[name], atol=F16_ATTENTION)
    return n_tokens


def changed(path: Path) -> str:
    return re.escape(f"the model file {str(path)!r} changed")


class ReplacingCache(FeatureCache):
    """The real cache; when the third batch is kept, another file takes the model's place."""

    def __init__(self, replace: Callable[[], None]) -> None:
        super().__init__()
        self.n_batches = 0
        self._replace = replace

    def put(self, *entries: Any) -> None:
        self.n_batches += 1
        super().put(*entries)
        if self.n_batches == 3:
            self._replace()


def test_during_a_run(
    tinies: dict[str, TinyModel],
    expected: dict[str, np.ndarray],
    path: Path,
    replace: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = ReplacingCache(replace)
    monkeypatch.setattr("fastplr.embedder.feature_cache", memory)
    model = embedder(path, tmp_path)
    with pytest.raises(ModelError, match=changed(path) + " during the run: its features were not kept"):
        model.embed(TEXTS)
    assert memory.n_batches == 3
    features = model.embed(TEXTS)  # of the model that is there now
    np.testing.assert_allclose(features, expected["new"], atol=F16_ATTENTION)
    assert memory.n_batches > 10
    check_what_is_kept(tinies, expected, tmp_path)


def test_in_place_during_a_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrite_the_end() -> None:
        with path.open("r+b") as file:
            file.seek(-64, os.SEEK_END)
            file.write(bytes(64))

    monkeypatch.setattr("fastplr.embedder.feature_cache", ReplacingCache(overwrite_the_end))
    with pytest.raises(ModelError, match=changed(path)):
        embedder(path, tmp_path).embed(TEXTS)


def test_by_nothing_during_a_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastplr.embedder.feature_cache", ReplacingCache(path.unlink))
    with pytest.raises(ModelError, match=changed(path) + " during the run: no such file"):
        embedder(path, tmp_path).embed(TEXTS)


def test_a_new_date_or_a_copy_of_the_same_model_does_no_harm(
    tinies: dict[str, TinyModel],
    expected: dict[str, np.ndarray],
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def same_again() -> None:
        shutil.copy(tinies["old"].path, path.with_name("beside.gguf")).replace(path)

    for harmless in (path.touch, same_again):
        memory = ReplacingCache(harmless)
        monkeypatch.setattr("fastplr.embedder.feature_cache", memory)
        shutil.rmtree(tmp_path / "features", ignore_errors=True)
        np.testing.assert_allclose(embedder(path, tmp_path).embed(TEXTS), expected["old"], atol=F16_ATTENTION)
        assert memory.n_batches >= 10
    assert check_what_is_kept(tinies, expected, tmp_path)["old"] == 0


@pytest.mark.parametrize("which_call", range(5))
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("function", ["fastplr.embedder.get_engine", "fastplr.model_file.model_store.resolve"])
def test_before_or_while_it_is_loaded_or_hashed(
    tinies: dict[str, TinyModel],
    expected: dict[str, np.ndarray],
    path: Path,
    replace: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    moment: str,
    which_call: int,
) -> None:
    real = engine.get_engine if "engine" in function else model_store.resolve
    n_calls = 0

    def replaced_meanwhile(*args: Any, **settings: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if moment == "before" and n_calls == which_call + 1:
            replace()
        result = real(*args, **settings)
        if moment == "after" and n_calls == which_call + 1:
            replace()
        return result

    monkeypatch.setattr(function, replaced_meanwhile)
    try:
        features = embedder(path, tmp_path).embed(TEXTS)
    except ModelError as error:
        if not re.match(changed(path), str(error)):
            raise
    else:
        differences = {name: np.abs(features - rows).max() for name, rows in expected.items()}
        assert min(differences.values()) < F16_ATTENTION
        assert max(differences.values()) > 0.1
    monkeypatch.undo()
    check_what_is_kept(tinies, expected, tmp_path)


def test_again_and_again(
    tinies: dict[str, TinyModel], expected: dict[str, np.ndarray], path: Path, tmp_path: Path
) -> None:
    """Files of the same size and date take turns under one name while it is embedded: each result is of one model."""
    stop = threading.Event()

    def take_turns() -> None:
        turn = 0
        while not stop.wait(0.005):
            turn += 1
            beside = Path(shutil.copy2(tinies[("old", "new")[turn % 2]].path, path.with_name("beside.gguf")))
            beside.replace(path)

    turns = threading.Thread(target=take_turns)
    turns.start()
    try:
        outcomes = set()
        for start in range(200):
            some = slice(start % 20, start % 20 + 3)
            feature_cache.clear()
            try:
                features = embedder(path, tmp_path).embed(TEXTS[some])
            except ModelError as error:
                if "changed" not in str(error):
                    raise
                outcomes.add("error")
            else:
                near = [name for name, rows in expected.items() if np.abs(features - rows[some]).max() < F16_ATTENTION]
                assert len(near) == 1
                outcomes.update(near)
    finally:
        stop.set()
        turns.join()
    assert len(outcomes) > 1
    check_what_is_kept(tinies, expected, tmp_path)


def test_a_spec_that_is_no_path_is_resolved_until_nothing_changes(
    tinies: dict[str, TinyModel], path: Path, replace: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(spec: str, *, progress: bool | None = None) -> model_store.ResolvedModel:
        resolved = model_store.resolve(path)
        if resolved.file_sha256 == model_store.resolve(tinies["old"].path).file_sha256:
            replace()  # after it was hashed
        return resolved

    class Store:
        resolve = staticmethod(named)

    monkeypatch.setattr(fastplr.model_file, "model_store", Store)
    file = ModelFile.resolve("a-name")
    assert file.resolved.file_sha256 == model_store.resolve(tinies["new"].path).file_sha256
    assert file.is_current()
