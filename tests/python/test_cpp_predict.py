"""A classifier fitted in Python predicts the same from C++, without Python: the example program of examples/cpp."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastplr
from fastplr import Prompt
from fastplr.feature_cache import feature_cache
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel, write_tiny_llama

REPOSITORY = Path(__file__).resolve().parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run() -> Run:
    """``run(CLASSIFIER, MODEL, texts=...)`` runs the newest build of the example."""
    programs = [
        *REPOSITORY.glob("build/*/examples/cpp/fastplr-predict"),
        *REPOSITORY.glob("build/*/examples/cpp/*.exe"),
    ]
    if not programs:
        reason = "the C++ example is not built: configure with -DFASTPLR_BUILD_EXAMPLES=ON"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    program = max(programs, key=lambda path: path.stat().st_mtime)

    def run_program(*arguments: object, texts: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(
            command, input=texts, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
        )

    return run_program


def read(output: str) -> tuple[list[str], np.ndarray]:
    rows = [line.split("\t") for line in output.splitlines()]
    return [row[0] for row in rows], np.array([[float(cell) for cell in row[1:]] for row in rows])


@pytest.mark.parametrize("layer", [1, "middle", -1])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("prompt", [None, Prompt("«Ü» A message: ", " Topic?")], ids=["plain", "prompt"])
def test_same_probabilities_as_python(
    run: Run, tiny_llama: TinyModel, tmp_path: Path, n_classes: int, layer: int | str, prompt: Prompt | None
) -> None:
    train, labels, test = train_and_test(n_classes)
    test = [*test, "Ünïcödé 日本 🙂", "x"]
    classifier = fastplr.fit(train, labels, model=tiny_llama.path, layer=layer, pooling="mean", prompt=prompt, C=0.1)
    classifier.save(tmp_path / "c.plr")
    feature_cache.clear()
    expected = classifier.predict_proba(test)

    done = run(tmp_path / "c.plr", tiny_llama.path, texts="\n".join(test) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    found_labels, found = read(done.stdout)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert found_labels == classifier.predict(test).tolist()


def test_line_ends_and_long_texts(run: Run, tiny_llama: TinyModel, tmp_path: Path) -> None:
    train, labels, test = train_and_test()
    classifier = fastplr.fit(train, labels, model=tiny_llama.path, C=0.1, on_long="truncate", **NO_CHOICE)
    classifier.save(tmp_path / "c.plr")
    texts = [test[0], "very long " * 600]
    feature_cache.clear()
    with pytest.warns(fastplr.TruncationWarning):
        expected = classifier.predict_proba(texts)
    done = run(tmp_path / "c.plr", tiny_llama.path, texts="\r\n".join(texts))  # none at the end
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(read(done.stdout)[1], expected, rtol=0, atol=1e-12)


def test_errors_go_to_standard_error_with_status_1(run: Run, tiny_llama: TinyModel, tmp_path: Path) -> None:
    train, labels, test = train_and_test()
    saved = tmp_path / "c.plr"
    fastplr.fit(train, labels, model=tiny_llama.path, C=0.1, **NO_CHOICE).save(saved)
    other = write_tiny_llama(tmp_path / "other.gguf", seed=1).path
    for arguments, texts, message in (
        ((), "", "usage: fastplr-predict CLASSIFIER MODEL"),
        ((saved,), "", "usage: fastplr-predict CLASSIFIER MODEL"),
        ((tmp_path / "missing.plr", tiny_llama.path), "", "missing.plr' is no usable classifier file"),
        ((tiny_llama.path, tiny_llama.path), "", "architecture 'llama': expected 'fastplr-classifier'"),
        ((saved, tmp_path / "missing.gguf"), "", "missing.gguf"),
        ((saved, other), "\n".join(test), "the classifier belongs to another model"),
        ((saved, tiny_llama.path), "a text\n\nanother\n", "1"),
        ((saved, tiny_llama.path), "very long " * 600, "tokens"),
    ):
        done = run(*arguments, texts=texts)
        assert done.returncode == 1, arguments
        assert done.stdout == ""
        assert message in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1  # one line
