"""How far the embedding is from what the processor's cores could do at the most.

The bound is that of the matrix products alone: as if the instruction that multiplies bytes ran without a pause.
"""

from __future__ import annotations

import json
import subprocess

from harness.build_folder import find_built
from harness.results import Results

__all__ = ["OPERATIONS_PER_BLOCK", "ROWS", "measure_peak", "operations_per_second"]

#: Of SmolLM2-135M, for a token: two for each weight of queries, attention output, keys, values, gate, up and down.
OPERATIONS_PER_BLOCK = 2 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)

#: Rows of the comparison, with the blocks that they compute.
ROWS = {
    **{
        f"smollm2-{kind}/{rival}/none": blocks
        for kind in ("q4_0", "q4_1", "q8_0")
        for rival, blocks in (("libllama", 30), ("fastplr-full", 30), ("fastplr-half", 15))
    },
    "smollm2-q4_0/transformers-int8/none": 30,
    "smollm2-q4_0/openvino-int8/none": 30,
}


def measure_peak(n_threads: int) -> float | None:
    """GOP/s of `vpdpbusd` on registers alone, by so many threads; None without the program or the instruction."""
    program = find_built("benchmarks/kernels/kernel-products")
    if program is None:
        return None
    command = [str(program), "q4_0", str(n_threads), "16", "576", "576"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return next((float(line["peak"]) for line in lines if "peak" in line), None)


def operations_per_second(results: Results, row_id: str) -> float | None:
    """GOP/s of a row's matrix products, counted over its whole time; None where it was not measured."""
    row = results.row(row_id)
    return row and row.n_tokens / row.median_seconds * ROWS[row_id] * OPERATIONS_PER_BLOCK / 1e9
