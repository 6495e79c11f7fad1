"""A saved classifier and the model it belongs to: the same one is found or made again, another one is refused."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import fastplr
from fastplr import ClassifierFileError, InputError, ModelError, ModelMismatch, PLRClassifier, _core, model_store
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel, write_tiny_llama

TRAIN, LABELS, TEST = train_and_test(3, n_train=24)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Variants are made in a folder of the test's own."""
    monkeypatch.setenv("FASTPLR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shape, other weights."""
    return write_tiny_llama(tmp_path_factory.mktemp("other") / "other.gguf", seed=1).path


@pytest.fixture(scope="module")
def variant(tiny_llama: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model quantised to Q4_0 by the native core, with its source written into it."""
    path = tmp_path_factory.mktemp("variant") / "tiny-q4.gguf"
    _core.quantize_file(str(tiny_llama.path), str(path), "Q4_0", 1)
    return path


@pytest.fixture(scope="module")
def classifier(tiny_llama: TinyModel) -> PLRClassifier:
    return fastplr.fit(TRAIN, LABELS, model=tiny_llama.path, C=0.1, **NO_CHOICE)


@pytest.fixture(scope="module")
def variant_classifier(variant: Path) -> PLRClassifier:
    return fastplr.fit(TRAIN, LABELS, model=variant, C=0.1, **NO_CHOICE)


@pytest.fixture
def saved(classifier: PLRClassifier, tmp_path: Path) -> Path:
    classifier.save(tmp_path / "c.plr")
    return tmp_path / "c.plr"


@pytest.fixture
def variant_saved(variant_classifier: PLRClassifier, tmp_path: Path) -> Path:
    variant_classifier.save(tmp_path / "v.plr")
    return tmp_path / "v.plr"


def sha256(path: Path) -> str:
    return model_store.resolve(path).source_sha256


def test_another_model_is_refused_with_both_named(saved: Path, tiny_llama: TinyModel, other_model: Path) -> None:
    with pytest.raises(ModelMismatch, match="another model") as caught:
        fastplr.load(saved, model=other_model)
    for named in (tiny_llama.path, other_model):
        assert str(named) in str(caught.value)
        assert sha256(named)[:12] in str(caught.value)
    with pytest.raises(ModelMismatch, match="another model"):
        fastplr.load(saved, model=other_model, allow_variant=True)


def test_another_model_in_the_old_place_is_refused(tiny_llama: TinyModel, other_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    shutil.copy(tiny_llama.path, model)
    classifier = fastplr.fit(TRAIN, LABELS, model=model, C=0.1, **NO_CHOICE)
    classifier.save(tmp_path / "c.plr")
    pickled = pickle.dumps(classifier)
    model.unlink()
    shutil.copy(other_model, model)
    with pytest.raises(ModelMismatch, match="another model"):
        fastplr.load(tmp_path / "c.plr")
    with pytest.raises(ModelMismatch, match="another model"):
        pickle.loads(pickled).predict(TEST)


def test_another_variant_needs_leave(saved: Path, classifier: PLRClassifier, variant: Path) -> None:
    with pytest.raises(ModelMismatch, match=r"another variant.*made into Q4_0.*allow_variant=True"):
        fastplr.load(saved, model=variant)
    with pytest.warns(UserWarning, match="another variant of the model"):
        loaded = fastplr.load(saved, model=variant, allow_variant=True)
    with pytest.warns(UserWarning, match="another variant of the model"):
        p = loaded.predict_proba(TEST)
    expected = classifier.predict_proba(TEST)
    assert 1e-6 < np.abs(p - expected).max() < 0.5  # four bits a weight
    assert np.mean(p.argmax(axis=1) == expected.argmax(axis=1)) > 0.5


def test_a_variant_is_known_by_itself(variant_saved: Path, variant_classifier: PLRClassifier, variant: Path) -> None:
    loaded = fastplr.load(variant_saved)
    np.testing.assert_array_equal(loaded.predict_proba(TEST), variant_classifier.predict_proba(TEST))
    assert fastplr.classifier_file_info(variant_saved)["model"] == {
        "name": str(variant),
        "source_sha256": sha256(variant),
        "recipe": {"type": "Q4_0", "cut": None, "llama_cpp_commit": _core.llama_cpp_commit},
    }


def test_the_variant_is_made_again_from_its_source(
    variant_saved: Path, variant_classifier: PLRClassifier, tiny_llama: TinyModel, variant: Path, own_home: Path
) -> None:
    expected = variant_classifier.predict_proba(TEST)
    fastplr.feature_cache.feature_cache.clear()
    loaded = fastplr.load(variant_saved, model=tiny_llama.path)
    made = loaded.embedder_.resolve().path
    assert own_home in made.parents
    assert made.read_bytes() == variant.read_bytes()
    np.testing.assert_array_equal(loaded.predict_proba(TEST), expected)

    written = made.stat().st_mtime_ns
    fastplr.load(variant_saved, model=tiny_llama.path)
    assert made.stat().st_mtime_ns == written  # made once
    loaded.save(variant_saved)  # and what it is saved with finds it again
    np.testing.assert_array_equal(fastplr.load(variant_saved).predict_proba(TEST), expected)


def test_the_source_itself_may_stand_in_for_its_variant(
    variant_saved: Path, tiny_llama: TinyModel, own_home: Path
) -> None:
    with pytest.warns(UserWarning, match="another variant of the model"):
        loaded = fastplr.load(variant_saved, model=tiny_llama.path, allow_variant=True)
    assert loaded.embedder_.resolve().path == tiny_llama.path
    assert not own_home.exists()


def test_relative_model_paths_work_from_everywhere(
    tiny_llama: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    shutil.copy(tiny_llama.path, tmp_path / "there" / "m.gguf")
    monkeypatch.chdir(tmp_path / "there")
    classifier = fastplr.fit(TRAIN, LABELS, model="m.gguf", C=0.1, **NO_CHOICE)
    classifier.save("c.plr")
    assert fastplr.classifier_file_info("c.plr")["model"]["name"] == str(tmp_path / "there" / "m.gguf")
    expected = classifier.predict_proba(TEST)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(fastplr.load("there/c.plr").predict_proba(TEST), expected)


def test_a_moved_model_can_be_named(tiny_llama: TinyModel, tmp_path: Path) -> None:
    old, new = tmp_path / "old.gguf", tmp_path / "new.gguf"
    shutil.copy(tiny_llama.path, old)
    classifier = fastplr.fit(TRAIN, LABELS, model=old, C=0.1, **NO_CHOICE)
    classifier.save(tmp_path / "c.plr")
    expected = classifier.predict_proba(TEST)
    old.rename(new)
    with pytest.raises(ModelError, match=rf"c\.plr.*{re.escape(str(old))}.*model=\.\.\. names it"):
        fastplr.load(tmp_path / "c.plr")
    loaded = fastplr.load(tmp_path / "c.plr", model=new)
    np.testing.assert_array_equal(loaded.predict_proba(TEST), expected)
    loaded.save(tmp_path / "c.plr")
    assert fastplr.load(tmp_path / "c.plr").model == str(new)


def test_a_model_is_no_classifier_and_a_classifier_no_model(saved: Path, tiny_llama: TinyModel) -> None:
    with pytest.raises(ClassifierFileError, match="architecture 'llama': expected 'fastplr-classifier'"):
        fastplr.load(tiny_llama.path)
    with pytest.raises(ModelError, match=r"classifier saved by fastplr.*fastplr\.load"):
        fastplr.fit(TRAIN, LABELS, model=saved)
    with pytest.raises(ModelError, match="classifier saved by fastplr"):
        fastplr.load(saved, model=saved)


@pytest.mark.parametrize("model", ["", "no-such-model", 3, "missing.gguf"])
def test_a_model_that_is_none(saved: Path, model: object) -> None:
    with pytest.raises((ModelError, InputError), match=re.escape(repr(model))):
        fastplr.load(saved, model=model)  # type: ignore[arg-type]
