"""docs/explanation_quality.md out of the runs: no number in it comes from anywhere else."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from explaining.methods import METHODS
from harness.document import table
from harness.machine import describe_machine

__all__ = ["write_document"]

Run = dict[str, Any]
Floats = npt.NDArray[np.float64]
DEFAULT = "fastplr"


def write_document(runs: Sequence[Run], path: Path) -> None:
    """The document at `path`."""
    parts_of = {
        name: [run for run in runs if run["part"] == name] for name in ("quality", "speed", "long", "defaults", "words")
    }
    quality = parts_of["quality"]
    n_tasks = len({run["task"] for run in quality})
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "revision": ", ".join(sorted({run["revision"] for run in runs})),
        "texts": f"{n_tasks} tasks, {len(quality[0]['comprehensiveness'])} test texts of 2 to 80 words each",
        "classifiers": "75 rows a class, the default model, everything chosen",
    }
    parts = [
        "# Which explanations to trust",
        "Written by `python benchmarks/explanations.py`; not edited.",
        table(["", ""], facts.items(), left=2),
        _faithfulness(quality),
        _stability(quality),
        _defaults(parts_of["speed"], parts_of["defaults"]),
        _long(parts_of["long"]),
        _words(parts_of["words"]),
    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", "utf-8")


def _by_task(runs: Sequence[Run], method: str, budget: int | None, key: str) -> Floats:
    """Mean of each task's texts, tasks in order of their names."""
    own = sorted(
        (run for run in runs if (run["method"], run["budget"]) == (method, budget)), key=lambda run: run["task"]
    )
    return np.array([np.mean(run[key]) for run in own])


def _interval(differences: Floats) -> str:
    """Mean of differences on each task with its 95 % interval (Student's t, tasks as the sample)."""
    mean, n = differences.mean(), len(differences)
    half = stdtrit(n - 1, 0.975) * differences.std(ddof=1) / np.sqrt(n)
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def _mean_of(run: Run, key: str) -> float:
    return float(np.mean(run[key]))


def _faithfulness(runs: Sequence[Run]) -> str:
    lines = []
    for budget in sorted({run["budget"] for run in runs if run["budget"] is not None}):
        ours = {key: _by_task(runs, DEFAULT, budget, key) for key in ("comprehensiveness", "sufficiency")}
        for method in METHODS:
            own = budget if len(_by_task(runs, method, budget, "sufficiency")) else None
            found = {key: _by_task(runs, method, own, key) for key in ours}
            better = [
                "" if method == DEFAULT else _interval(sign * (ours[key] - found[key]))
                for key, sign in (("comprehensiveness", 1), ("sufficiency", -1))
            ]
            cells = [f"{found[key].mean():.3f}" for key in ours]
            lines.append([str(budget), method, cells[0], better[0], cells[1], better[1]])
    head = ["evaluations", "method", "comprehensiveness", "fastplr better by", "sufficiency", "fastplr better by"]
    return (
        "## Faithfulness\n\nThe fall of the predicted class's probability when the top 10, 20 and 50 % of the words "
        "are taken out (comprehensiveness, higher is better) and when nothing else is left (sufficiency, lower is "
        "better), DeYoung et al. 2020. Means over tasks; differences are paired, task by task, with 95 % intervals of "
        "Student's t over the tasks. `fastplr` is the default method; `additive` takes one pass of the model and "
        'occlusion one more than there are words, whatever the budget. `shap` puts "..." in the place of words, '
        "`shap, words out` nothing, which is how faithfulness is measured; `lime` counts no punctuation, "
        "`lime, our words` has fastplr's words.\n\n" + table(head, lines, left=2)
    )


def _stability(runs: Sequence[Run]) -> str:
    lines = []
    keys = ("seeds", "draws", "draws_of_one_seed")
    for method in METHODS:
        for budget in sorted({run["budget"] for run in runs if run["method"] == method}, key=lambda one: one or 0):
            cells = []
            for key in keys:
                found = _by_task(runs, method, budget, key)
                ours = _by_task(runs, DEFAULT, budget, key)
                better = "" if method == DEFAULT or budget is None else f"; {_interval(ours - found)}"
                cells.append(f"{found.mean():.3f}{better}")
            lines.append([method, str(budget or "default"), *cells])
    head = ["method", "evaluations", "two seeds", "two draws, two seeds", "two draws, one seed"]
    return (
        "## Stability\n\nSpearman's correlation of the values of a text's words (those with a letter or a digit), mean "
        "over texts and tasks: between two seeds of the method on one classifier; between classifiers trained on two "
        "draws of 75 rows a class, explained with two seeds; and with one, where methods that sample repeat the same "
        "samples, so that part of their error is the same too. Behind it by how much `fastplr` is above it with "
        "as many evaluations.\n\n" + table(head, lines, left=1)
    )


def _defaults(speed: Sequence[Run], quality: Sequence[Run]) -> str:
    seconds = {run["method"]: float(np.median(run["seconds"])) for run in speed}
    quality_of = {run["method"]: run for run in quality}
    lines = []
    for method, value in seconds.items():
        run = quality_of[method]
        cells = [f"{_mean_of(run, key):.3f}" for key in ("comprehensiveness", "sufficiency", "seeds", "draws")]
        lines.append([method, f"{value:.2f}", f"{value / seconds[DEFAULT]:.1f}", *cells])
    head = ["method", "seconds", "times fastplr's", "comprehensiveness", "sufficiency", "two seeds", "two draws"]
    return (
        f"## Everybody's defaults\n\n30 texts of `{speed[0]['task']}`, nothing cached, two threads. `fastplr` computes "
        "two variants for three words, 16 to 64; shap up to 500, lime 5,000.\n\n" + table(head, lines, left=1)
    )


def _long(runs: Sequence[Run]) -> str:
    lines = [
        [run["method"], str(run["n_words"]), "yes" if run["truncated"] else "no", f"{run['seconds']:.1f}"]
        for run in runs
    ]
    return (
        f"## A long text\n\nOne text of 2,000 words set apart by spaces (test texts of `{runs[0]['task']}`).\n\n"
        + table(["method", "words", "cut", "seconds"], lines, left=1)
    )


def _words(runs: Sequence[Run]) -> str:
    parts = [
        "## The strongest words\n\n`PLRClassifier.overview` of all test texts, the ten first words of each class: mean "
        "value in logits, its 95 % interval over texts, and how many texts hold the word. Unedited."
    ]
    for run in runs:
        lines = [
            [
                label,
                one["text"],
                f"{one['value']:+.2f}",
                f"{one['low']:+.2f} to {one['high']:+.2f}",
                str(one["n_texts"]),
            ]
            for label, some in run["words"].items()
            for one in some
        ]
        parts.append(
            f"`{run['task']}`: {run['n_texts']} texts, {run['seconds']:.0f} s.\n\n"
            + table(["class", "word", "value", "interval", "texts"], lines, left=2)
        )
    return "\n\n".join(parts)
