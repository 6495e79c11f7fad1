"""A classifier explains the same from C++, without Python: the example program of examples/cpp."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import fastplr
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program() -> str:
    programs = [*REPOSITORY.glob("build/*/examples/cpp/fastplr-explain")]
    if not programs:
        reason = "the C++ example is not built: configure with -DFASTPLR_BUILD_EXAMPLES=ON"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return str(max(programs, key=lambda path: path.stat().st_mtime))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_same_explanations_as_python(program: str, tiny_llama: TinyModel, tmp_path: Path, n_classes: int) -> None:
    train, labels, test = train_and_test(n_classes)
    test = [*test, "Ünïcödé 日本 🙂", "x"]
    classifier = fastplr.fit(train, labels, model=tiny_llama.path, C=0.05, progress=False, **NO_CHOICE)
    classifier.save(tmp_path / "c.plr")
    done = subprocess.run(
        [program, tmp_path / "c.plr", tiny_llama.path], input="\n".join(test), capture_output=True, text=True,
        encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    texts = [[line.split("\t") for line in text.splitlines()] for text in done.stdout.split("\n\n")[:-1]]
    label = classifier.classes_[1 if n_classes == 2 else 0]
    expected = classifier.explain(test, label=label)
    fewest = classifier.counterfactual(test)
    assert any(one.removed for one in fewest)
    for lines, why, flip in zip(texts, expected, fewest, strict=True):
        n = len(why.spans)
        assert [line[0] for line in lines[:n]] == [span.text for span in why.spans]
        assert [float(line[1]) for line in lines[:n]] == pytest.approx([span.value for span in why.spans], abs=1e-9)
        assert float(lines[n][1]) == pytest.approx(why.base_value, abs=1e-9)
        assert lines[n + 1 :] == ([["without", *flip.words]] if flip.removed else [])


def test_errors_go_to_standard_error(program: str, tmp_path: Path) -> None:
    done = subprocess.run([program, tmp_path / "no.plr", "m"], input="a", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastplr-explain: ")
