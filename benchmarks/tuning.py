"""What each tuned constant of the engine is worth; writes docs/tuning.md.

    python benchmarks/tuning.py              some quarter of an hour on two cores with nothing else beside it
    python benchmarks/tuning.py --quick      a few texts and cases, to see that everything works
    python benchmarks/tuning.py tiles t5     some sections only

Only a whole run writes docs/tuning.md; others write beside their JSON, in benchmarks/results/. Needs labelled tasks and
FASTPLR_BUILD_BENCHMARKS=ON (benchmarks/README.md); what is not here is a line that says so.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fastplr import __version__, _core
from harness.corpus import Corpus, NoTasks, draw_corpus
from harness.machine import describe_machine, pin_to_cores
from harness.models import gguf_path
from sweeps import attention, barrier, batch_size, lanes, pair_attention, shared_prefix, token_window
from sweeps.document import Results, render
from sweeps.section import Section, Setting

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "tuning.md"
RESULTS = Path(__file__).resolve().parent / "results"
N_TEXTS = 512

#: What there is, by the name on the command line.
SWEEPS: dict[str, Callable[[Setting], Section]] = {
    "batch": batch_size.sweep,
    "lanes": lanes.sweep,
    "cache": attention.sweep_cache,
    "tiles": attention.sweep_tiles,
    "t5": pair_attention.sweep,
    "window": token_window.sweep,
    "prefix": shared_prefix.sweep,
    "barrier": barrier.sweep,
}


def measure(
    names: Sequence[str],
    corpus: Corpus,
    model_path: Callable[[str], Path],
    *,
    quick: bool = False,
    n_threads: int = 2,
    cores: Sequence[int] = (),
) -> Results:
    """Runs these SWEEPS. `cores` are those that this process is pinned to, if it is."""
    started = time.monotonic()
    setting = Setting(corpus, model_path, n_threads, quick, lambda line: print(line, file=sys.stderr, flush=True))
    results = Results(quick=quick)
    results.facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "threads": f"{n_threads}" + (f", on the cores {', '.join(map(str, cores))}" if cores else ""),
        "versions": f"fastplr {__version__}, llama.cpp {_core.llama_cpp_commit}",
    }
    for name in names:
        results.sections.append(SWEEPS[name](setting))
        results.facts["duration"] = f"{(time.monotonic() - started) / 60:.1f} minutes"
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Evidence for the engine's tuned constants.")
    parser.add_argument("sections", nargs="*", help=f"all, or some of: {', '.join(SWEEPS)}")
    parser.add_argument("--quick", action="store_true", help="a few texts and cases: does it all work?")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in SWEEPS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}: expected some of {', '.join(SWEEPS)}")
    names = arguments.sections or list(SWEEPS)
    try:
        corpus = draw_corpus(N_TEXTS)
    except NoTasks as error:
        sys.exit(str(error))
    n_threads = int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
    cores = pin_to_cores(n_threads)
    results = measure(names, corpus, gguf_path, quick=arguments.quick, n_threads=n_threads, cores=cores)
    whole = names == list(SWEEPS) and not arguments.quick
    name = "tuning" if whole else "tuning-quick" if arguments.quick else "tuning-part"
    results.save(RESULTS / f"{name}.json")
    document = DOCUMENT if whole else RESULTS / f"{name}.md"
    document.write_text(render(results), "utf-8")
    print(f"written: {document}")


if __name__ == "__main__":
    main()
