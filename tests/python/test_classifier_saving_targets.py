"""Saving onto what is there already, and saving a classifier that was loaded with another variant of its model."""

import stat
import sys
from pathlib import Path

import pytest

import fastplr
from fastplr import _core
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel, write_tiny_llama


@pytest.fixture
def classifier(tiny_llama: TinyModel) -> fastplr.PLRClassifier:
    train, labels, _ = train_and_test(2)
    return fastplr.fit(train, labels, model=tiny_llama.path, C=0.1, **NO_CHOICE)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and permissions")
def test_a_link_stays_a_link_and_permissions_stay(classifier: fastplr.PLRClassifier, tmp_path: Path) -> None:
    target, link = tmp_path / "real.plr", tmp_path / "link.plr"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    classifier.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert fastplr.load(target).C_ == classifier.C_
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.plr", "real.plr"]


def test_a_classifier_loaded_with_another_variant_still_names_its_own_model(tmp_path: Path) -> None:
    train, labels, test = train_and_test(2)
    source = write_tiny_llama(tmp_path / "source.gguf", tensor_type="F16").path
    variant = tmp_path / "variant.gguf"
    _core.quantize_file(str(source), str(variant), "Q8_0", 1)
    trained = fastplr.fit(train, labels, model=source, C=0.1, **NO_CHOICE)
    trained.save(tmp_path / "first.plr")
    with pytest.warns(UserWarning, match="another variant"):
        fastplr.load(tmp_path / "first.plr", model=variant, allow_variant=True).save(tmp_path / "second.plr")
    again = fastplr.load(tmp_path / "second.plr")
    assert (again.predict_proba(test) == trained.predict_proba(test)).all()
