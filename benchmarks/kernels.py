"""Matrix products alone: fastplr's kernels, ggml's and oneDNN's; writes docs/kernel_speed.md.

    python benchmarks/kernels.py BUILD      BUILD: a folder built with -DFASTPLR_BUILD_BENCHMARKS=ON

Shapes are those of SmolLM2-135M, 516 rows. For each type ours and ggml's take turns in one process; oneDNN runs
between types, and its best run counts (packages onednn, onednn-devel and tbb in this Python's environment, or the one
that -DONEDNN_ROOT named when BUILD was configured). Ours quantises activations within the time, as ggml does;
oneDNN's time is that of the product of bytes alone. Nothing else may run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.document import table
from harness.machine import describe_machine, revision

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "kernel_speed.md"
N_ROWS = 516
#: Inputs and outputs: queries and attention output; keys, values; gate, up; down. And a larger model's.
SHAPES = ((576, 576), (576, 192), (576, 1536), (1536, 576), (2048, 8192))
TYPES = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "q2_K", "q3_K", "q4_K", "q5_K", "q6_K")
VARIANTS = ("avx2",)


def lines_of(command: list[str], n_threads: int, **environment: str) -> list[dict[str, Any]]:
    """What a program prints, an object a line; it may use the first `n_threads` cores."""
    cores = sorted(os.sched_getaffinity(0))[:n_threads]
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, cores)), *command],
        env={**os.environ, **environment}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def speed(line: dict[str, Any]) -> float:
    """GOP/s by the median."""
    return 2.0 * N_ROWS * line["n_inputs"] * line["n_outputs"] / statistics.median(line["seconds"]) / 1e9


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    asked = parser.parse_args()
    folder = asked.build / "benchmarks" / "kernels"
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "revision": revision(),
        "rows": str(N_ROWS),
    }
    parts = [
        "# The kernels beside ggml's and oneDNN's\n\nWritten by `python benchmarks/kernels.py`; not edited. GOP/s: two "
        "operations a weight and row, medians of 11 rounds.",
        table(["", ""], facts.items(), left=2),
    ]
    for n_threads in (1, 2):
        parts.append(section(folder, n_threads))
    parts.append(splits_section(folder))
    DOCUMENT.write_text("\n\n".join(parts) + "\n", "utf-8")
    print(f"written: {DOCUMENT}")


def onednn_speeds(folder: Path, n_threads: int) -> dict[tuple[int, int], float]:
    """GOP/s by shape; empty where oneDNN was not there when the programs were built."""
    onednn = folder / "onednn-products"
    if not onednn.is_file():
        return {}
    numbers = [str(number) for shape in SHAPES for number in shape]
    # The package's library computes through SYCL, on the OpenCL runtime that came with it.
    library = Path(os.environ.get("ONEDNN_ROOT", sys.prefix)) / "lib"
    runtime = {"LD_LIBRARY_PATH": str(library), "OCL_ICD_FILENAMES": str(library / "libintelocl.so")}
    found = lines_of([str(onednn), str(N_ROWS), *numbers], n_threads, **runtime)
    return {(line["n_inputs"], line["n_outputs"]): speed(line) for line in found}


def section(folder: Path, n_threads: int) -> str:
    """Tables for a number of threads."""
    found: list[tuple[str, tuple[int, int], str, float, str, float]] = []
    peak = 0.0
    rival: dict[tuple[int, int], float] = {}
    for kernels in ("on", *VARIANTS):
        for name in TYPES:
            if name in ("q8_0", "q5_0", "q3_K"):
                for shape, gops in onednn_speeds(folder, n_threads).items():
                    rival[shape] = max(gops, rival.get(shape, 0.0))
            fitting = [shape for shape in SHAPES if not name.endswith("K") or shape[0] % 256 == 0]
            numbers = [str(number) for shape in fitting for number in shape]
            command = [str(folder / "kernel-products"), name, str(n_threads), str(N_ROWS), *numbers]
            lines = lines_of(command, n_threads, FASTPLR_KERNELS=kernels)
            peak = max([peak, *(line["peak"] for line in lines if "peak" in line)])
            timed = [line for line in lines if "kernels" in line]
            for ours, theirs in zip(timed[::2], timed[1::2], strict=True):
                shape = ours["n_inputs"], ours["n_outputs"]
                found.append((name, shape, ours["kernels"], speed(ours), theirs["kernels"], speed(theirs)))
    rows = []
    for name, shape, kernels, ours, theirs_name, theirs in found:
        other = rival.get(shape)
        rows.append(
            [name.upper(), f"{shape[0]} x {shape[1]}", kernels, f"{ours:.0f}", theirs_name, f"{theirs:.0f}",
             f"{ours / theirs:.1f}", f"{other:.0f}" if other else "", f"{ours / other:.2f}" if other else "",
             f"{100 * ours / peak:.0f} %" if peak else ""]
        )  # fmt: skip
    head = ["type", "inputs x outputs", "ours", "GOP/s", "ggml's", "GOP/s", "times ggml's", "oneDNN, GOP/s",
            "times oneDNN's", "of the peak"]  # fmt: skip
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    top = f"Peak of `vpdpbusd` on registers alone: {peak:.0f} GOP/s.\n\n" if peak else ""
    return f"## {threads}\n\n{top}" + table(head, rows, left=3)


def splits_section(folder: Path) -> str:
    """What it costs to have the products in a backend of their own."""
    rows = []
    for n_threads in (1, 2):
        for n_tokens in (16, 64, 256, 512):
            (found,) = lines_of([str(folder / "graph-splits"), str(n_threads), str(n_tokens)], n_threads)
            one, apart = found["one backend"], found["products apart"]
            times = [statistics.median(way["seconds"]) for way in (one, apart)]
            ways = [cell for way, seconds in zip((one, apart), times, strict=True)
                    for cell in (str(way["splits"]), f"{1e3 * seconds:.2f}")]  # fmt: skip
            rows.append([str(n_threads), str(n_tokens), *ways, f"{times[1] / times[0]:.2f}"])
    head = ["threads", "tokens", "splits, buffer type", "ms", "splits, own backend", "ms", "own backend to buffer type"]
    return (
        "## A buffer type, or a backend of its own\n\nA graph with the products of SmolLM2-135M's 30 blocks, norms, "
        "sums and activation functions (`graph_splits.cpp`): all of it in one backend, whose buffer type has the "
        "kernels, or its products assigned to a second backend. Medians of 21 rounds.\n\n" + table(head, rows, left=0)
    )


if __name__ == "__main__":
    main()
