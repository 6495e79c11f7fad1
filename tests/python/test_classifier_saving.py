"""Saving a classifier is all or nothing: a save that fails says why and leaves what was there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastplr
from fastplr import ClassifierFileError, InputError, PLRClassifier
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel


@pytest.fixture(scope="module")
def classifier(tiny_llama: TinyModel) -> PLRClassifier:
    texts, labels, _ = train_and_test(3)
    return fastplr.fit(texts, labels, model=tiny_llama.path, C=1.0, **NO_CHOICE)


@pytest.fixture
def saved(classifier: PLRClassifier, tmp_path: Path) -> Path:
    classifier.save(tmp_path / "c.plr")
    return tmp_path / "c.plr"


def assert_predicts_like(path: str | Path, classifier: PLRClassifier) -> None:
    _, _, texts = train_and_test(3)
    np.testing.assert_array_equal(fastplr.load(path).predict_proba(texts), classifier.predict_proba(texts))


def test_saving_replaces_the_old_file_and_leaves_nothing_else(classifier: PLRClassifier, tmp_path: Path) -> None:
    path = tmp_path / ("a long name " * 20 + ".plr")  # the longest that a file can have, nearly
    path.write_text("something else")
    classifier.save(str(path))
    assert_predicts_like(path, classifier)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("folder", "it is a directory"), ("missing/c.plr", "no directory.*missing"), ("n" * 300, "too long|long")],
)
def test_targets_that_cannot_be_written(classifier: PLRClassifier, tmp_path: Path, target: str, expected: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ClassifierFileError, match=expected):
        classifier.save(tmp_path / target)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_replaced(classifier: PLRClassifier, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ClassifierFileError, match="not a regular file"):
        classifier.save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_folder(classifier: PLRClassifier, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ClassifierFileError, match="could not be written"):
        classifier.save(tmp_path / "c.plr")
    tmp_path.chmod(0o755)
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import pathlib, resource, sys
import fastplr
path = pathlib.Path(sys.argv[1])
classifier, old = fastplr.load(path), path.read_bytes()
assert len(old) > 4098
for size in (0, 1, 100, 4095, 4096, 4097, len(old) - 1):  # a stdio buffer has 4096 bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        classifier.save(path)
    except fastplr.ClassifierFileError as error:
        assert "could not be written" in str(error) and "large" in str(error), error
    else:
        raise SystemExit(f"saved into {size} bytes")
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]
resource.setrlimit(resource.RLIMIT_FSIZE, (len(old), resource.RLIM_INFINITY))
classifier.save(path)
assert path.read_bytes() == old
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_no_room_on_the_disk_keeps_the_old_file(saved: Path) -> None:
    command = [sys.executable, "-B", "-c", FULL_DISK, str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_paths_without_a_folder_and_no_paths_at_all(
    classifier: PLRClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier.save("here.plr")  # no folder in the path
    assert_predicts_like("here.plr", classifier)
    for bad in ("", "a\0b", 3, None, b"\xff.plr"):
        with pytest.raises(InputError, match="path is"):
            classifier.save(bad)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [tmp_path / "here.plr"]
