"""Time for a token and a text in 2, 4, 8, 16 and 32 bits: libllama generating, and fastplr; the paper's 30 % figure.

    python -m pytest benchmarks/bench_token_time.py            some 20 minutes on two cores
    python -m pytest benchmarks/bench_token_time.py -k smollm2

Needs the build of the benchmarks (benchmarks/README.md) and some 20 GB of memory: all files are loaded at once, since
rounds are interleaved. All selected rows are measured first (``harness/token_time.py``), then handed to
pytest-benchmark. A whole run writes its section of docs/benchmarks.md and docs/token_time.svg.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fastplr import model_store
from harness.machine import pin_to_cores
from harness.replay import ReplayedClock, rounds_of
from harness.token_time import ROWS, Measured, Row, measure, picture, put_section, section
from harness.worker_process import RivalUnavailable

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = Path(__file__).parent / "results"

clock = ReplayedClock()


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> Measured:
    """All rows of the selected tests."""
    selected = [item.callspec.params["row"] for item in request.session.items if hasattr(item, "callspec")]
    rows = [row for row in ROWS if row in selected]
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    quick = request.config.getoption("--quick")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write(f"\n{line}", flush=True)

    pin_to_cores(2)
    try:
        found = measure(rows, model_store.home() / "benchmarks" / "bits", n_rounds=1 if quick else 7, say=say)
    except RivalUnavailable as error:
        pytest.skip(str(error))
    whole = len(rows) == len(ROWS) and not quick
    found.save(RESULTS / f"token_time{'' if whole else '_part'}.json")
    drawing = (DOCS if whole else RESULTS) / "token_time.svg"
    picture(found, drawing)
    put_section(DOCS / "benchmarks.md" if whole else RESULTS / "token_time.md", section(found, drawing.name))
    return found


@pytest.mark.benchmark(timer=clock.now)
@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_time(benchmark, measured: Measured, row: Row):
    seconds = measured.seconds(row.model, row.bits, row.n_threads, row.what)
    benchmark.group = f"{row.model}, {row.what}, {row.n_threads} threads"
    benchmark.extra_info.update(measured.files[f"{row.model} {row.bits}"])
    rounds = rounds_of(seconds)
    benchmark.pedantic(clock.pass_by, setup=lambda: next(rounds), rounds=len(seconds))
