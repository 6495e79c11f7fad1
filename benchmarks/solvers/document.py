"""docs/solver.md out of what was measured: no number in it comes from anywhere else."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from harness.document import table
from solvers.all_rivals import OURS
from solvers.measure import ACCURACY
from solvers.plan import BEST, CROSS_VALIDATED, SHAPES, Shape

__all__ = ["render"]

Run = Mapping[str, Any]

HOW = f"""Every time is a whole `fit` of arrays that are in memory, checks of the input included, at the loosest of a
rival's tolerances whose objective ends within {ACCURACY:g} (relative) of the minimum; fastplr runs at its
default, and its excess is shown as well. Rivals have a process of their own each, which waits while another
computes; times are medians over rounds that were interleaved, factors are quotients of medians. A rival that
takes several times as long as the fastest keeps the single time of the search for its tolerance (1 round); one
that takes far longer is ended. Synthetic features have singular values that fall as k^-1/2, as those of hidden
states do; real ones are hidden states of the default model's middle layers beside one another, without a
prompt. Both are standardised. The real rows of 20,000 x 576 are those of the 17 core tasks, and the label is
which half of the tasks a row comes from. `C = 1` is the default of scikit-learn and fastplr; `C = chosen` is
what ten folds choose on the same rows among 20 penalties from 1e-4 to 1e4."""


def render(facts: Mapping[str, str], runs: Sequence[Run], *, whole: bool) -> str:
    """The document, in Markdown. `runs` as the command keeps them."""
    parts = [
        "# The solver beside others\n\nWritten by `python benchmarks/solver.py`; not edited. Times depend on the "
        "machine: compare within a table.",
        "" if whole else "**A part of the run, or a quick check that it works: its figures mean little.**",
        table(["", ""], facts.items(), left=2),
        _filled(HOW),
        _targets(runs),
        _choices(runs),
        _timings(runs),
        _products(runs),
        *(_problem(run) for run in runs if run["kind"] == "fit"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 10 else f"{1e3 * seconds:,.0f}"


def _factor(run: Run, rival: str) -> tuple[float, str] | None:
    """How many times as long as fastplr a rival takes, and the rival."""
    timed = {one["name"]: one for one in run["timed"] if one["seconds"]}
    if OURS not in timed:
        return None
    ours = statistics.median(timed.pop(OURS)["seconds"])
    if rival != BEST:
        timed = {rival: timed[rival]} if rival in timed else {}
    if not timed:
        return None
    name = min(timed, key=lambda name: statistics.median(timed[name]["seconds"]))
    return statistics.median(timed[name]["seconds"]) / ours, name


def _targets(runs: Sequence[Run]) -> str:
    lines = []
    for shape in SHAPES:
        for rival, factor in shape.factors.items():
            for run in runs:
                if run["kind"] == "fit" and run["shape"] == shape.name:
                    lines.append(_target(shape, run, rival, factor))
        if shape.peak_bytes is not None:
            for run in runs:
                if run["kind"] == "fit" and run["shape"] == shape.name and run.get("peak_bytes"):
                    peak = run["peak_bytes"]
                    lines.append(
                        [f"{shape.name}, peak memory", run["rows"], f"{run['penalty']}", str(run["n_threads"]),
                         f"< {shape.peak_bytes / 1e9:g} GB", f"{peak / 1e9:.2f} GB", "",
                         "yes" if peak < shape.peak_bytes else "**no**"]
                    )  # fmt: skip
    for run in runs:
        if run["kind"] == "choice":
            factor = CROSS_VALIDATED.factors["LogisticRegressionCV"]
            ours, *rivals = run["choices"]
            rivals = [rival for rival in rivals if rival["seconds"]]
            if not rivals:
                continue
            best = min(rivals, key=lambda rival: statistics.median(rival["seconds"]))
            reached = statistics.median(best["seconds"]) / statistics.median(ours["seconds"])
            lines.append(
                [f"20 penalties, 10 folds, {CROSS_VALIDATED.name}", run["rows"], "", str(run["n_threads"]),
                 f"{factor:g}x", f"{reached:.1f}x", best["name"], "yes" if reached >= factor else "**no**"]
            )  # fmt: skip
    head = ["problem", "features", "C", "threads", "to reach", "reached", "fastest rival", "met"]
    return "## What was to be reached\n\n" + table(head, lines, left=8) if lines else ""


def _target(shape: Shape, run: Run, rival: str, factor: float) -> list[str]:
    found = _factor(run, rival)
    reached, name = (f"{found[0]:.1f}x", found[1]) if found else ("", "not measured")
    met = "" if found is None else "yes" if found[0] >= factor else "**no**"
    return [shape.name, run["rows"], run["penalty"], str(run["n_threads"]), f"{factor:g}x", reached, name, met]


def _choices(runs: Sequence[Run]) -> str:
    lines = []
    for run in runs:
        if run["kind"] != "choice":
            continue
        ours = statistics.median(run["choices"][0]["seconds"])
        for choice in run["choices"]:
            if choice["trouble"]:
                lines.append([run["rows"], str(run["n_threads"]), f"{choice['name']}: {choice['trouble']}", *[""] * 4])
                continue
            seconds = statistics.median(choice["seconds"])
            lines.append(
                [run["rows"], str(run["n_threads"]), choice["name"], f"{seconds:.3f}", f"{seconds / ours:.1f}",
                 f"{choice['C']:.3g}", f"{choice['loss']:.6f}"]
            )  # fmt: skip
    head = ["features", "threads", "", "seconds", "times fastplr's", "C", "held-out log-loss"]
    text = _filled(
        "The same folds and penalties; of LogisticRegressionCV, for each solver, the loosest tolerance that chooses "
        "the same penalty at the same held-out loss (within 1e-4 of it), threads over folds or in products, whichever "
        "is faster."
    )
    return f"## Twenty penalties and ten folds\n\n{text}\n\n" + table(head, lines, left=3) if lines else ""


def _timings(runs: Sequence[Run]) -> str:
    lines = [
        [row["shape"], row["task"], str(run["n_threads"]), _ms(row["folds"]), _ms(row["leave-one-out"])]
        for run in runs
        if run["kind"] == "timings"
        for row in run["timings"]
    ]
    head = ["rows", "task", "threads", "ten folds, 20 penalties, ms", "approximate leave-one-out, 9 penalties, ms"]
    return "## Choices of a penalty on real features\n\n" + table(head, lines, left=3) if lines else ""


def _products(runs: Sequence[Run]) -> str:
    lines = []
    for run in runs:
        if run["kind"] != "products":
            continue
        for row in run["products"]:
            fits = {
                fit["rows"]: next(statistics.median(one["seconds"]) for one in fit["timed"] if one["name"] == OURS)
                for fit in runs
                if fit["kind"] == "fit" and (fit["shape"], fit["penalty"]) == (row["shape"], "1")
                if fit["n_threads"] == run["n_threads"]
            }
            speeds = [f"{row['flops'] / row[name] / 1e9:.0f}" for name in ("float64", "float32")]
            lines.append(
                [row["shape"], str(run["n_threads"]), _ms(row["float64"]), speeds[0], _ms(row["float32"]), speeds[1],
                 ", ".join(f"{_ms(seconds)} ({rows})" for rows, seconds in fits.items())]
            )  # fmt: skip
    head = ["problem", "threads", "float64, ms", "GFLOP/s", "float32, ms", "GFLOP/s", "whole fit, C = 1, ms"]
    text = _filled(
        "X X' by NumPy's BLAS (OpenBLAS, of symmetric products one half is computed: n^2 p operations): no solver that "
        "forms the Gram matrix in that precision can be faster. Ours forms it in single precision (by Eigen) and "
        "takes exact scores of the features at the end."
    )
    return f"## The Gram matrix alone\n\n{text}\n\n" + table(head, lines, left=1) if lines else ""


def _problem(run: Run) -> str:
    ours = next((statistics.median(one["seconds"]) for one in run["timed"] if one["seconds"]), float("nan"))
    lines = []
    for one in run["timed"]:
        if one["trouble"]:
            lines.append([f"{one['name']}: {one['trouble']}", *[""] * 6])
            continue
        median = statistics.median(one["seconds"])
        lines.append(
            [one["name"], _ms(median), f"{_ms(min(one['seconds']))} to {_ms(max(one['seconds']))}",
             str(len(one["seconds"])), f"{median / ours:.1f}", f"{one['tol']:g}", f"{one['excess']:.0e}"]
        )  # fmt: skip
    head = ["", "ms", "least to most", "rounds", "times fastplr's", "tolerance", "above the minimum"]
    threads = f"{run['n_threads']} thread" + ("s" if run["n_threads"] > 1 else "")
    title = f"## {run['shape']}, {run['rows']}, C = {run['penalty']}, {threads}"
    peak = (
        f"\n\nPeak memory of a process that only fits: {run['peak_bytes'] / 1e6:.0f} MB."
        if run.get("peak_bytes")
        else ""
    )
    return f"{title}\n\n" + table(head, lines, left=1) + peak
