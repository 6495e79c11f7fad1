"""The classifier on the 17 core tasks beside what people would use otherwise; writes docs/accuracy.md and its picture.

    python benchmarks/accuracy_of_classifiers.py [--tasks NAME ...] [--rows 20 50 75] [--seeds 5]

Every run is a line of results/accuracy/runs.jsonl, so that a run which was stopped goes on where it was; features are
kept in results/accuracy/features. With `--tasks`, `--rows` or `--seeds` the document goes beside the runs instead.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from accuracy.contenders import contenders, embed_all
from accuracy.document import write_document
from accuracy.draws import core_tasks, draw
from fastplr import __version__
from harness.machine import revision

RESULTS = Path(__file__).parent / "results" / "accuracy"
DOCUMENT = Path(__file__).parents[1] / "docs" / "accuracy.md"
ROWS = (20, 50, 75)
N_SEEDS = 5


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    wanted = parser.parse_args()
    n_threads = int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
    os.environ.setdefault("FASTPLR_CACHE_MB", "8000")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    done = {(run["task"], run["n_per_class"], run["seed"], run["contender"]) for run in runs}
    tasks = core_tasks(wanted.tasks)
    measured = revision()
    compared = contenders(str(RESULTS / "features"), n_threads)
    with path.open("a", encoding="utf-8") as file:
        for task in tasks:
            open_runs = [
                (n, seed, contender)
                for seed in range(wanted.seeds)
                for n in wanted.rows
                for contender in compared
                if (task.name, n, seed, contender.name) not in done
            ]
            if open_runs:
                embed_all(task, str(RESULTS / "features"), n_threads)
            for n, seed, contender in open_runs:
                found = contender.run(task, draw(task, n, seed), seed)
                asked = {"task": task.name, "n_per_class": n, "seed": seed, "contender": contender.name}
                run = {**asked, "revision": measured, **found}
                file.write(json.dumps(run) + "\n")
                file.flush()
                runs.append(run)
            print(task.name, flush=True)
    whole = wanted.tasks is None and wanted.rows == list(ROWS) and wanted.seeds == N_SEEDS
    names = {task.name for task in tasks}
    shown = [
        run for run in runs if run["task"] in names and run["n_per_class"] in wanted.rows and run["seed"] < wanted.seeds
    ]
    document = DOCUMENT if whole else RESULTS / "part.md"
    write_document(shown, document, version=__version__)
    print(f"written: {document}")


if __name__ == "__main__":
    main()
