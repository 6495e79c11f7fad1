"""Takes peak memory and load time of some rows from a later run, whole rows that the first run could not measure, and
the profile and the processor's peak; writes docs/benchmarks.md again.

    python -m pytest benchmarks/bench_rivals.py -k fastplr --minutes 1     # writes results/part.json
    cd benchmarks && python -m harness.amend

For a change that moves these but no time. Times stay as they were: they are only worth what was measured beside them.
"""

from __future__ import annotations

from pathlib import Path

from harness.document import render
from harness.results import Results

__all__ = ["amend"]

RESULTS = Path(__file__).parents[1] / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def amend(whole: Results, part: Results) -> Results:
    """`whole`, with the peak memory and load time of the rows of `part`, rows that it lacks, profile and peak."""
    names, added = set(), set()
    for number, row in enumerate(whole.rows):
        later = part.row(row.id)
        if later is None:
            continue
        if row.seconds:
            row.peak_bytes, row.load_seconds = later.peak_bytes, later.load_seconds
            names.add(row.title.split(",")[0])
        else:
            whole.rows[number] = later
            added.add(row.model)
    whole.lengths = {**part.lengths, **whole.lengths}
    parts = [
        f"{what} of {', '.join(sorted(some))}"
        for what, some in (("peak memory and load time", names), ("rows", added))
        if some
    ]
    if part.profiles:
        whole.profiles, whole.profile_note = part.profiles, part.profile_note
        parts.append("profile")
    if part.peak_gops is not None:
        whole.peak_gops = part.peak_gops
        parts.append("peak of the processor")
    whole.amended = f"{'; '.join(parts)}: {part.date}"
    return whole


if __name__ == "__main__":
    results = amend(Results.read(RESULTS / "rivals.json"), Results.read(RESULTS / "part.json"))
    results.save(RESULTS / "rivals.json")
    DOCUMENT.write_text(render(results), "utf-8")
