"""The document of the explanations' benchmark, from runs that were made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def in_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))


def test_document(tmp_path: Path) -> None:
    from explaining.document import write_document
    from explaining.methods import METHODS

    keys = ("comprehensiveness", "sufficiency", "seeds", "draws", "draws_of_one_seed")
    rng = np.random.default_rng(0)

    def measured(method: str) -> dict[str, list[float]]:
        return {key: (rng.random(5) + (method == "fastplr")).tolist() for key in keys}

    runs = [
        {"part": "quality", "task": task, "method": method, "budget": budget, "revision": "r", **measured(method)}
        for task in ("a", "b", "c")
        for method in METHODS
        for budget in ((None, 50) if method == "fastplr" else (None,) if "fastplr o" in method else (50,))
    ]
    for method in METHODS:
        of_default = {"task": "a", "method": method, "revision": "r"}
        runs.append({"part": "speed", "seconds": [40.0 if method == "lime" else 2.0], **of_default})
        runs.append({"part": "defaults", **of_default, **measured(method)})
    runs.append({"part": "long", "task": "a", "method": "fastplr", "n_words": 2001, "truncated": False, "seconds": 9.0})
    word = {"text": "gut | böse", "value": 1.0, "low": 0.5, "high": 1.5, "count": 4, "n_texts": 3}
    runs.append({"part": "words", "task": "a", "n_texts": 7, "seconds": 1.0, "words": {"good": [word]}})
    for run in runs:
        run.setdefault("revision", "r")
    write_document(runs, tmp_path / "quality.md")
    text = (tmp_path / "quality.md").read_text("utf-8")
    mean = {
        method: np.mean(
            [
                run["comprehensiveness"]
                for run in runs
                if run["part"] == "quality" and run["method"] == method and run["budget"] == 50
            ]
        )
        for method in ("fastplr", "lime")
    }
    [line] = [line for line in text.splitlines() if line.startswith("| 50 | lime |")]
    assert f"{mean['lime']:.3f} | {mean['fastplr'] - mean['lime']:+.3f} (" in line
    assert "| lime | 40.00 | 20.0 |" in text
    assert "3 tasks, 5 test texts of 2 to 80 words each" in text
    assert "+0.50 to +1.50 | 3 |" in text
    assert "| 2001 | no | 9.0 |" in text


def test_faithfulness_of_words_that_carry_everything() -> None:
    from explaining.faithfulness import faithfulness

    def probabilities(texts: list[str]) -> np.ndarray:
        good = np.array([0.9 if "good" in text.split() else 0.2 for text in texts])
        return np.stack([1 - good, good], axis=1)

    texts = ["a good film with some words here and there"]
    n = len(texts[0].split())
    right = np.array([float(k == 1) for k in range(n)])
    comprehensive, sufficient = faithfulness(probabilities, texts, [1], [right])
    assert comprehensive == pytest.approx([0.7])
    assert sufficient == pytest.approx([0.0])
    comprehensive, sufficient = faithfulness(probabilities, texts, [1], [-right])
    assert comprehensive == pytest.approx([0.0])
    assert sufficient == pytest.approx([0.7])


def test_values_of_pieces_are_spread_over_words() -> None:
    from explaining.methods import _spread

    # "don't" in two pieces, and "now!" in one: a word and its mark share by their characters.
    assert _spread("don't now!", [(0, 3), (3, 5), (6, 10)], [3.0, 1.0, 4.0]) == pytest.approx([4.0, 3.0, 1.0])
