"""fastplr's embedding beside its rivals: measures all rows, writes docs/benchmarks.md, and reports to pytest-benchmark.

    python -m pytest benchmarks/bench_rivals.py            about an hour on two cores
    python -m pytest benchmarks/bench_rivals.py --quick    a few texts, to see that every rival works

pytest-benchmark runs all rounds of one test before it goes on to the next, and in this process. Rounds of rivals have
to be interleaved, each in its own process: so the measuring is done once, for all the tests that were selected
(``harness/measure.py``), and each test hands its times on by a clock of its own. Columns, ``--benchmark-json``,
``--benchmark-compare`` and the like work as ever.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.corpus import NoTasks
from harness.document import render
from harness.measure import Comparison
from harness.plan import ROWS, Row
from harness.profile import add_profile
from harness.replay import ReplayedClock, rounds_of
from harness.results import Results
from harness.roofline import measure_peak
from harness.token_time import kept_section, put_section

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
RESULTS = Path(__file__).parent / "results"


clock = ReplayedClock()


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, n_threads: int) -> Results:
    """Everything that the selected tests report, measured; written as JSON and as the document.

    The document in docs/ is written by a whole run only; others write theirs beside the JSON.
    """
    selected = [item.callspec.params["row"] for item in request.session.items if hasattr(item, "callspec")]
    rows = [row for row in ROWS if row in selected]
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    quick = request.config.getoption("--quick")
    minutes = request.config.getoption("--minutes")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():  # else it would be shown at the end, if at all
            reporter.write(f"\n{line}", flush=True)

    try:
        comparison = Comparison(rows, n_threads=n_threads, minutes=minutes, quick=quick, say=say)
    except NoTasks as error:
        pytest.skip(str(error))
    measured = comparison.run()
    add_profile(measured, quick=quick, n_threads=n_threads)
    measured.peak_gops = measure_peak(n_threads)
    whole = len(rows) == len(ROWS) and not quick
    name = "rivals" if whole else "quick" if quick else "part"
    measured.save(RESULTS / f"{name}.json")
    document = DOCUMENT if whole else RESULTS / f"{name}.md"
    kept = kept_section(document)  # of bench_token_time.py
    document.write_text(render(measured), "utf-8")
    if kept:
        put_section(document, kept)
    say(f"written: {document}\n")
    return measured


@pytest.mark.benchmark(timer=clock.now)
@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_rival(request, results: Results, row: Row):
    measured = next(found for found in results.rows if found.id == row.id)
    if not measured.installed:
        pytest.skip(measured.trouble)
    if measured.trouble is not None:
        pytest.fail(measured.trouble, pytrace=False)
    benchmark = request.getfixturevalue("benchmark")  # here, since one that goes unused is an error of its own
    benchmark.group = f"{measured.model}, {row.form}, {row.corpus}"
    benchmark.extra_info.update(
        n_texts=measured.n_texts,
        n_tokens=measured.n_tokens,
        load_seconds=measured.load_seconds,
        peak_bytes=measured.peak_bytes,
        cosine_mean=measured.cosine_mean,
        cosine_min=measured.cosine_min,
        versions=measured.versions,
    )
    rounds = rounds_of(measured.seconds)
    benchmark.pedantic(clock.pass_by, setup=lambda: next(rounds), rounds=len(measured.seconds))
