"""docs/accuracy.md and its picture out of the runs: no number in it comes from anywhere else."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from accuracy.transforms import TRANSFORMED, TRANSFORMS
from harness.document import table
from harness.machine import describe_machine

__all__ = ["write_document"]

Run = dict[str, Any]
METRICS = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "accuracy": "accuracy"}
LEADING = ("auto", "auto, speed", "MiniLM", "TF-IDF")


def write_document(runs: Sequence[Run], path: Path, *, version: str) -> None:
    """The document at `path`, and its picture beside it with the ending .svg."""
    most = max(run["n_per_class"] for run in runs)
    names = list(dict.fromkeys(run["contender"] for run in runs))
    fixed = [name for name in names if name.startswith("layer ")]
    parts = [
        "# How right it is",
        "Written by `python benchmarks/accuracy_of_classifiers.py`; not edited.",
        table(["", ""], _head(runs, version).items(), left=2),
        _targets(runs, fixed, most),
        _means(runs, [name for name in LEADING if name in names]),
        f"![balanced accuracy by rows a class]({path.with_suffix('.svg').name})",
        _layers(runs, fixed, most),
        _variants(runs, most),
        _by_task(runs, [name for name in LEADING if name in names], most),
        _honesty(runs),
    ]
    path.write_text("\n\n".join(parts) + "\n", "utf-8")
    _picture(runs, [name for name in LEADING if name in names], path.with_suffix(".svg"))


def _head(runs: Sequence[Run], version: str) -> dict[str, str]:
    seeds = {run["seed"] for run in runs}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "fastplr": version,
        "revision": ", ".join(sorted({run.get("revision", "not kept") for run in runs})),
        "tasks": f"{len({run['task'] for run in runs})}, each with its own instruction before the text",
        "draws": f"{len(seeds)} for each task and number of rows; every contender gets the same rows",
        "test rows": "the whole test file of each task",
    }


def _mean(runs: Iterable[Run], metric: str = "balanced_accuracy") -> float:
    """Over draws, then over tasks."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if metric in run:
            by_task[run["task"]].append(run[metric])
    return float(np.mean([np.mean(values) for values in by_task.values()])) if by_task else float("nan")


def _of(runs: Sequence[Run], contender: str, n: int | None = None) -> list[Run]:
    return [run for run in runs if run["contender"] == contender and n in (None, run["n_per_class"])]


def _targets(runs: Sequence[Run], fixed: Sequence[str], n: int) -> str:
    auto = _mean(_of(runs, "auto", n))
    among = [name for name in fixed if not name.startswith("layer -1") and _is_candidate(name, fixed)]
    best = max(among, key=lambda name: _mean(_of(runs, name, n)))
    last = max((name for name in fixed if name not in among), key=lambda name: _mean(_of(runs, name, n)))
    ours = _of(runs, "auto")
    lines: list[tuple[str, str, str, Callable[[float], bool], float]] = [
        (f"balanced accuracy over TF-IDF, {n} rows a class", "≥ +0.04", "{:+.3f}", lambda x: x >= 0.04,
         auto - _mean(_of(runs, "TF-IDF", n))),
        (f"over MiniLM, {n} rows a class", "≥ +0.02", "{:+.3f}", lambda x: x >= 0.02,
         auto - _mean(_of(runs, "MiniLM", n))),
        (f"over the best single {best}, {n} rows a class", "≥ -0.005", "{:+.3f}", lambda x: x >= -0.005,
         auto - _mean(_of(runs, best, n))),
        (f"over the end of the model ({last}), {n} rows a class", "≥ +0.02", "{:+.3f}", lambda x: x >= 0.02,
         auto - _mean(_of(runs, last, n))),
        ("expected calibration error, test rows weighted to the training shares", "≤ 0.07", "{:.3f}",
         lambda x: x <= 0.07, _mean(ours, "calibration_error")),
        ("the same with `class_prior` given, test rows as they are", "≤ 0.07", "{:.3f}", lambda x: x <= 0.07,
         _mean(ours, "calibration_error_prior")),
        ("coverage of `predict_set`, 0.9 asked for", "0.87 to 0.93", "{:.3f}", lambda x: abs(x - 0.9) <= 0.03,
         _mean(ours, "coverage")),
    ]  # fmt: skip
    rows = [(what, bound, form.format(value), "yes" if met(value) else "no") for what, bound, form, met, value in lines]
    return "## What was to be reached\n\n" + table(["of `auto`", "to reach", "reached", "met"], rows)


def _is_candidate(name: str, fixed: Sequence[str]) -> bool:
    deepest = max(int(one.split()[1].rstrip(",")) for one in fixed)
    return int(name.split()[1].rstrip(",")) < deepest


def _means(runs: Sequence[Run], names: Sequence[str]) -> str:
    head = ["", "rows a class", *METRICS.values()]
    rows = [
        (
            name,
            str(n),
            *(f"{_mean(_of(runs, name, n), metric):.3f}" for metric in METRICS),
        )
        for n in sorted({run["n_per_class"] for run in runs})
        for name in names
    ]
    return "## Means over the tasks\n\n" + table(head, rows)


def _layers(runs: Sequence[Run], fixed: Sequence[str], n: int) -> str:
    rows = [(name, *(f"{_mean(_of(runs, name, n), metric):.3f}" for metric in METRICS)) for name in fixed]
    return f"## Fixed layers and poolings, {n} rows a class\n\n" + table(["", *METRICS.values()], rows)


def _variants(runs: Sequence[Run], n: int) -> str:
    what = {
        "auto": "the default: leave-one-out of ridge regression screens, folds confirm the best four",
        "auto, folds alone": "folds for every layer and pooling",
        "auto, speed": "`speed=True`",
    }
    rows = [(f"{name}: {text}", name) for name, text in what.items()]
    rows += [(f"layer {TRANSFORMED[0]}, {TRANSFORMED[1]} pooling: {name}", name) for name in TRANSFORMS]
    rows = [(text, name) for text, name in rows if _of(runs, name, n)]
    lines = [(text, *(f"{_mean(_of(runs, name, n), metric):.3f}" for metric in METRICS)) for text, name in rows]
    return f"## What else was tried, {n} rows a class\n\n" + table(["", *METRICS.values()], lines)


def _by_task(runs: Sequence[Run], names: Sequence[str], n: int) -> str:
    rows = []
    for task in dict.fromkeys(run["task"] for run in runs):
        values = [[run["balanced_accuracy"] for run in _of(runs, name, n) if run["task"] == task] for name in names]
        rows.append((task, *(f"{np.mean(of):.3f} ± {np.std(of):.3f}" if of else "" for of in values)))
    return f"## By task, balanced accuracy, {n} rows a class, ± deviation over draws\n\n" + table(["", *names], rows)


def _honesty(runs: Sequence[Run]) -> str:
    metrics = {
        "calibration_error_raw": "error without temperature",
        "calibration_error": "error",
        "calibration_error_prior": "error with `class_prior`",
        "coverage": "coverage",
        "least_coverage": "least coverage of a class",
        "set_size": "labels in a set",
        "unfamiliar": "share of familiarity < 0.05",
    }
    rows = [
        (str(n), *(f"{_mean(_of(runs, 'auto', n), metric):.3f}" for metric in metrics))
        for n in sorted({run["n_per_class"] for run in runs})
    ]
    return (
        "## Probabilities, sets and familiarity of `auto`\n\nExpected calibration error over 15 bins of equal mass.\n\n"
        + table(["rows a class", *metrics.values()], rows, left=0)
    )


def _picture(runs: Sequence[Run], names: Sequence[str], path: Path) -> None:
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "fastplr"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    ns = sorted({run["n_per_class"] for run in runs})
    for name in names:
        axes.plot(ns, [_mean(_of(runs, name, n)) for n in ns], marker="o", label=name)
    axes.set_xlabel("labelled rows a class")
    axes.set_ylabel("balanced accuracy, mean over tasks")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
