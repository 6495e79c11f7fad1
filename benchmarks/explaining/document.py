"""docs/explanation_quality.md out of the runs: no number in it comes from anywhere else."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from explaining.methods import METHODS, RIVALS
from harness.document import table
from harness.machine import describe_machine

__all__ = ["write_document"]

Run = dict[str, Any]
DEFAULT = "fastplr"


def write_document(runs: Sequence[Run], path: Path) -> None:
    """The document at `path`."""
    quality = [run for run in runs if run["part"] == "quality"]
    speed = [run for run in runs if run["part"] == "speed"]
    n_tasks = len({run["task"] for run in quality})
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "revision": ", ".join(sorted({run["revision"] for run in runs})),
        "texts": f"{n_tasks} tasks, {len(quality[0]['comprehensiveness'])} test texts each",
        "classifiers": "75 rows a class, the default model, everything chosen",
    }
    parts = [
        "# Which explanations to trust",
        "Written by `python benchmarks/explanations.py`; not edited.",
        table(["", ""], facts.items(), left=2),
        _faithfulness(quality),
        _stability(quality),
        _speed(speed),
    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", "utf-8")


def _pooled(runs: Sequence[Run], method: str, budget: int | None, key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    own = [run for run in runs if (run["method"], run["budget"]) == (method, budget)]
    own.sort(key=lambda run: run["task"])
    return np.concatenate([run[key] for run in own]) if own else np.zeros(0)


def _interval(difference: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Mean of paired differences with its 95 % interval."""
    if not len(difference):
        return ""
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    return f"{difference.mean():+.3f} ({difference.mean() - half:+.3f} to {difference.mean() + half:+.3f})"


def _faithfulness(runs: Sequence[Run]) -> str:
    lines = []
    for budget in sorted({run["budget"] for run in runs if run["budget"] is not None}):
        ours = {key: _pooled(runs, DEFAULT, budget, key) for key in ("comprehensiveness", "sufficiency")}
        for method in METHODS:
            own = budget if _pooled(runs, method, budget, "sufficiency").size else None
            found = {key: _pooled(runs, method, own, key) for key in ours}
            if not found["sufficiency"].size:
                continue
            cells = [f"{found[key].mean():.3f}" for key in ours]
            better = [
                "" if method == DEFAULT else _interval(sign * (ours[key] - found[key]))
                for key, sign in (("comprehensiveness", 1), ("sufficiency", -1))
            ]
            lines.append([str(budget), method, cells[0], better[0], cells[1], better[1]])
    head = ["evaluations", "method", "comprehensiveness", "fastplr better by", "sufficiency", "fastplr better by"]
    return (
        "## Faithfulness\n\nThe fall of the predicted class's probability when the top 10, 20 and 50 % of the words "
        "are taken out (comprehensiveness, higher is better) and when nothing else is left (sufficiency, lower is "
        "better), DeYoung et al. 2020. Differences are paired, text by text, with 95 % intervals. `fastplr` is the "
        "default method; `additive` takes one pass of the model and `occlusion` one more than there are words, "
        "whatever the budget.\n\n" + table(head, lines, left=2)
    )


def _stability(runs: Sequence[Run]) -> str:
    lines = []
    for method in METHODS:
        own = [run for run in runs if run["method"] == method and "draws" in run]
        if own:
            means = [np.mean([np.mean(run[key]) for run in own]) for key in ("draws", "seeds")]
            lines.append([method, str(own[0]["budget"] or ""), *(f"{mean:.3f}" for mean in means)])
    return (
        "## Stability\n\nSpearman's correlation of the word values of a text, mean over texts and tasks: between "
        "classifiers trained on two draws of 75 rows a class, and between two seeds of the method on one "
        "classifier.\n\n" + table(["method", "evaluations", "two draws", "two seeds"], lines, left=1)
    )


def _speed(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    seconds = {run["method"]: float(np.median(run["seconds"])) for run in runs}
    lines = [
        [name, f"{value:.2f}", f"{value / seconds[DEFAULT]:.1f}" if name in RIVALS else ""]
        for name, value in seconds.items()
    ]
    return (
        f"## Speed\n\n30 texts of `{runs[0]['task']}`, everybody with their own defaults, nothing cached.\n\n"
        + table(["method", "seconds", "times fastplr's"], lines, left=1)
    )
