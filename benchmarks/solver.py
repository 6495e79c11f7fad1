"""fastplr's solver beside its rivals; writes docs/solver.md.

    python benchmarks/solver.py              some 20 minutes on two cores with nothing else beside it
    python benchmarks/solver.py --quick      small problems, two rounds, to see that everything works
    python benchmarks/solver.py --only "200 x 4096" --threads 1

Every measurement is a line of results/solver/runs.jsonl, so that a run which was stopped goes on where it was;
`--fresh` begins anew. Problems are kept beside it. Only a whole run writes docs/solver.md; others write beside it.
Real features need the labelled tasks (benchmarks/README.md); rivals that are not installed are lines that say so.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fastplr
from harness.corpus import NoTasks
from harness.machine import describe_machine, revision
from solvers.all_rivals import all_rivals
from solvers.cross_validation import compare_choices
from solvers.document import render
from solvers.measure import compare, peak_memory
from solvers.plan import CROSS_VALIDATED, SHAPES, Shape
from solvers.problem import Problem
from solvers.timings import time_choices, time_products
from solvers.worker import RivalProcess

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "solver.md"
RESULTS = Path(__file__).resolve().parent / "results" / "solver"
PACKAGES = ("numpy", "scipy", "scikit-learn", "glum", "adelie", "python-glmnet")
KINDS = ("synthetic", "real")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Benchmark:
    """A run: what was asked for, and what is done."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.folder = RESULTS
        self.revision = revision()
        self.path = RESULTS / ("quick.jsonl" if asked.quick else "runs.jsonl")
        self.folder.mkdir(parents=True, exist_ok=True)
        if asked.fresh:
            self.path.unlink(missing_ok=True)
        lines = self.path.read_text("utf-8").splitlines() if self.path.is_file() else []
        self.runs: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.processes = [RivalProcess(rival.name) for rival in all_rivals()]

    def done(self, **key: Any) -> bool:
        """Whether a run of this key is there."""
        return any(all(run.get(name) == value for name, value in key.items()) for run in self.runs)

    def keep(self, run: dict[str, Any]) -> None:
        """To the file as well."""
        run = {**run, "revision": self.revision}
        self.runs.append(run)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")

    def problems(self) -> Iterator[tuple[Shape, str, Path]]:
        """Those that can be had here."""
        for shape in SHAPES[:1] if self.asked.quick else SHAPES:
            for rows in KINDS if self.asked.only in shape.name else ():
                try:
                    yield shape, rows, shape.problem(rows, self.folder)
                except NoTasks as error:
                    say(f"{shape.name}, {rows}: {error}")

    def fits(self) -> None:
        """Single fits, at two penalties."""
        for shape, rows, path in self.problems():
            problem = Problem.load(path)
            penalties = {}
            if any(
                not self.done(kind="fit", shape=shape.name, rows=rows, n_threads=n_threads, penalty="chosen")
                for n_threads in self.asked.threads
            ):
                penalties["chosen"] = _chosen(problem)
            penalties["1"] = 1.0
            hopeless: dict[str, str] = {}  # the strong penalty, which is the easier problem, comes first
            for n_threads in self.asked.threads:
                for penalty, C in penalties.items():
                    key = {"kind": "fit", "shape": shape.name, "rows": rows, "n_threads": n_threads, "penalty": penalty}
                    if self.done(**key):
                        continue
                    say(f"{shape.name}, {rows}, C = {penalty} ({C:.3g}), threads {n_threads}")
                    least = _least(problem, C)
                    timed = compare(
                        path,
                        C,
                        least,
                        self.processes,
                        n_threads=n_threads,
                        hopeless=hopeless,
                        quick=self.asked.quick,
                        say=say,
                    )
                    run = {**key, "C": C, "least": least, "timed": [asdict(one) for one in timed]}
                    if shape.peak_bytes is not None:
                        run["peak_bytes"] = peak_memory(path, C, n_threads)
                    self.keep(run)
        for process in self.processes:
            process.end()

    def products(self) -> None:
        """Gram matrices alone."""
        for n_threads in self.asked.threads:
            key = {"kind": "products", "n_threads": n_threads}
            if not self.done(**key):
                say(f"Gram matrices, threads {n_threads}")
                self.keep({**key, "products": time_products(self.folder, n_threads=n_threads, say=say)})

    def choices(self) -> None:
        """Penalties by cross-validation."""
        for n_threads in self.asked.threads:
            for rows in KINDS:
                key = {"kind": "choice", "rows": rows, "n_threads": n_threads}
                if self.done(**key):
                    continue
                try:
                    path = CROSS_VALIDATED.problem(rows, self.folder)
                except NoTasks as error:
                    say(f"cross-validation, {rows}: {error}")
                    continue
                say(f"cross-validation, {rows}, threads {n_threads}")
                found = compare_choices(path, n_threads=n_threads, quick=self.asked.quick, say=say)
                self.keep({**key, "choices": found})
            key = {"kind": "timings", "n_threads": n_threads}
            if self.done(**key):
                continue
            try:
                found = time_choices(self.folder, n_threads=n_threads, quick=self.asked.quick, say=say)
            except NoTasks as error:
                say(f"choices of a penalty: {error}")
                continue
            self.keep({**key, "timings": found})


def _chosen(problem: Problem) -> float:
    """What ten folds choose. Of many rows a part is asked, the penalty scaled to the sum over all."""
    n_rows = len(problem.y)
    step = max(1, n_rows // 2500)
    model = fastplr.LogisticRegression("auto", random_state=0, cv=5 if problem.n_classes > 10 else 10)
    C = float(model.fit(problem.X[::step], problem.y[::step]).C_)
    return C / step


def _least(problem: Problem, C: float) -> float:
    exact = fastplr.LogisticRegression(C, tol=1e-12, max_iter=1000).fit(problem.X, problem.y)
    return problem.with_penalty(C).objective(exact.coef_, exact.intercept_)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small problems, two rounds: does it all work?")
    parser.add_argument("--fresh", action="store_true", help="measure anew what was measured")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", default="", help="shapes whose name holds this, and no cross-validation")
    asked = parser.parse_args()
    started = time.monotonic()
    benchmark = Benchmark(asked)
    if not asked.only:
        benchmark.choices()
        if not asked.quick:
            benchmark.products()
    benchmark.fits()
    versions = [f"fastplr {fastplr.__version__}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "versions": ", ".join(versions),
        "revision": ", ".join(sorted({run.get("revision", "not kept") for run in benchmark.runs})),
        "duration": f"{(time.monotonic() - started) / 60:.1f} minutes, where nothing had been measured before",
    }
    whole = not asked.quick and not asked.only and asked.threads == [1, 2]
    document = DOCUMENT if whole else RESULTS / ("quick.md" if asked.quick else "part.md")
    document.write_text(render(facts, benchmark.runs, whole=whole), "utf-8")
    print(f"written: {document}")


if __name__ == "__main__":
    main()
