"""Run the rows of the plan: every rival in its own process, rounds interleaved, one rival computing at a time."""

from __future__ import annotations

import datetime
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fastplr import __version__, _core
from harness.corpus import Corpus, Group, draw_corpus
from harness.machine import describe_machine, pin_to_cores
from harness.models import MODELS, float32_folder, gguf_path
from harness.plan import N_ROUNDS, Definition, Engine, Row
from harness.results import Results, RowResult
from harness.worker_process import PythonWorker, RivalFailed, RivalUnavailable, WorkerProcess
from rivals.libllama import LibllamaWorker

__all__ = ["Comparison"]

N_TEXTS = {"main": 300, "long": 2000, "memory": 102}
QUICK_N_TEXTS = {"main": 17, "long": 34, "memory": 17}
N_WARM_UP = 34
FIRST_TEXT = [Group("", "", ("The time until these words have features is counted as loading.",))]

Features = npt.NDArray[np.float32]


class Comparison:
    """One run of (some of) the plan.

    Args:
        rows: What to measure.
        n_threads: Threads of every rival; all run on as many cores.
        minutes: Time for all of it. Rows that no target rests on run fewer rounds where it would not suffice for all.
        quick: A few texts and one round, to see that everything works.
        say: Told what happens.

    Raises:
        NoTasks: There are no texts.
    """

    def __init__(
        self, rows: Sequence[Row], *, n_threads: int, minutes: float, quick: bool, say: Callable[[str], None]
    ) -> None:
        self._n_threads = n_threads
        self._deadline = time.monotonic() + minutes * 60
        self._n_rounds = 1 if quick else N_ROUNDS
        self._say = say
        self._rows = list(rows)
        sizes = QUICK_N_TEXTS if quick else N_TEXTS
        self._corpora: dict[str, Corpus] = {name: draw_corpus(sizes[name]) for name in ("main", "long")}
        self._corpora["memory"] = self._corpora["main"].first(sizes["memory"])
        self._workers: dict[tuple[str, str], WorkerProcess] = {}
        self._loaded: dict[tuple[str, str], float] = {}
        self._references: dict[tuple[str, str], Features] = {}
        self.results = Results(
            rows=[
                RowResult(
                    row.id, MODELS[row.engine.model].title, row.engine.title, row.form, row.corpus, row.engine.float32
                )
                for row in rows
            ],
            machine=describe_machine(),
            date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
            n_threads=n_threads,
            cores=pin_to_cores(n_threads),
            fastplr={"fastplr": __version__, "llama.cpp": _core.llama_cpp_commit},
            quick=quick,
        )
        self._by_id = {result.id: result for result in self.results.rows}

    def run(self) -> Results:
        """Measure everything; a rival that cannot be used, or fails, is a row that says so."""
        started = time.monotonic()
        try:
            self._count_tokens()
            self._compute_references()
            self._memory_rows()
            self._main_rows()
            self._long_rows()
        finally:
            for worker in self._workers.values():
                worker.close()
        self.results.minutes = (time.monotonic() - started) / 60
        return self.results

    # -- what is known before anything is timed ------------------------------------------------------------------------

    def _count_tokens(self) -> None:
        """Tokens of every text in every form, by libllama: a tokenizer for each set of weights."""
        for weights, key in {MODELS[row.engine.model].weights: row.engine.model for row in self._rows}.items():
            rows = [row for row in self._rows if MODELS[row.engine.model].weights == weights]
            try:
                worker = LibllamaWorker(str(gguf_path(key)), self._n_threads)
                try:
                    worker.load()
                    for form, corpus in {(row.form, row.corpus) for row in rows}:
                        counts = worker.count_tokens(self._corpora[corpus].groups(form))
                        self.results.lengths[f"{weights}/{form}/{corpus}"] = counts
                finally:
                    worker.close()
            except (RivalUnavailable, RivalFailed) as error:
                self._say(f"tokens of {weights} not counted: {error}")
            for row in rows:
                result = self._by_id[row.id]
                result.n_texts = self._corpora[row.corpus].n_texts
                result.n_tokens = sum(self.results.lengths.get(f"{weights}/{row.form}/{row.corpus}", []))

    def _compute_references(self) -> None:
        wanted: dict[tuple[str, str], list[Definition]] = defaultdict(list)
        for row in self._rows:
            if row.corpus == "main" and row.engine.definition is not None:
                definitions = wanted[MODELS[row.engine.model].weights, row.form]
                if row.engine.definition not in definitions:
                    definitions.append(row.engine.definition)
        for (weights, form), definitions in wanted.items():
            self._say(f"float32 reference: {weights}, {form}")
            try:
                settings = {"folder": str(float32_folder(weights)), "definitions": definitions}
                worker = PythonWorker("harness.reference", "Reference", settings, self._n_threads)
                try:
                    worker.load()
                    states = worker.embed(self._corpora["main"].groups(form))[1]
                finally:
                    worker.close()
            except (RivalUnavailable, RivalFailed) as error:
                self._say(f"no float32 reference: {error}")
                continue
            for number, definition in enumerate(definitions):
                width = states.shape[1] // len(definitions)
                key = f"{form}/{definition[0]}/{definition[1]}"
                self._references[weights, key] = states[:, number * width : (number + 1) * width]

    # -- the rows ------------------------------------------------------------------------------------------------------

    def _memory_rows(self) -> None:
        for row in self._rows:
            if row.corpus == "memory":
                self._run(row)
                self._close(row.engine)

    def _main_rows(self) -> None:
        rows = [row for row in self._rows if row.corpus == "main"]
        for row in rows:  # memory is read after it: forms come in the plan's order, and that without a prompt first
            self._run(row)
        left = dict.fromkeys((row.id for row in rows), 1) | self._rounds_left(rows)
        wanted_again = [row.engine for row in rows if left[row.id] > 1]
        wanted_again += [row.engine for row in self._rows if row.corpus == "long"]
        for row in rows:  # a rival that is done with gives its memory back
            if all((row.engine.model, row.engine.key) != (engine.model, engine.key) for engine in wanted_again):
                self._close(row.engine)
        rng = random.Random(0)
        for round_number in range(2, self._n_rounds + 1):
            again = [row for row in rows if left[row.id] >= round_number and self._by_id[row.id].trouble is None]
            rng.shuffle(again)
            for row in again:
                self._run(row)

    def _rounds_left(self, rows: Sequence[Row]) -> dict[str, int]:
        """How many rounds each row may run in all: those that are needed all of them, the others as time allows."""
        rounds = {row.id: self._n_rounds for row in rows if row.needed}
        cost = {row.id: self._by_id[row.id].median_seconds * 1.1 for row in rows if self._by_id[row.id].seconds}
        time_left = self._deadline - time.monotonic() - self._long_estimate()
        time_left -= (self._n_rounds - 1) * sum(cost.get(row_id, 0.0) for row_id in rounds)
        others = sorted((row.id for row in rows if not row.needed and row.id in cost), key=cost.__getitem__)
        for round_number in range(2, self._n_rounds + 1):
            for row_id in others:
                if cost[row_id] <= time_left:
                    rounds[row_id] = round_number
                    time_left -= cost[row_id]
        return rounds

    def _long_estimate(self) -> float:
        seconds = 0.0
        for row in self._rows:
            same = self._by_id.get(f"{row.engine.model}/{row.engine.key}/{row.form}")
            if row.corpus == "long" and same is not None and same.seconds:
                seconds += same.median_seconds * self._corpora["long"].n_texts / self._corpora["main"].n_texts
        return seconds * 1.1

    def _long_rows(self) -> None:
        for row in self._rows:
            if row.corpus == "long":
                self._run(row)

    def _run(self, row: Row) -> None:
        result = self._by_id[row.id]
        if result.trouble is not None:
            return
        groups = self._corpora[row.corpus].groups(row.form)
        try:
            worker = self._worker(row.engine)
            if not result.seconds and row.corpus != "memory":
                worker.embed(self._corpora[row.corpus].first(N_WARM_UP).groups(row.form))
            seconds, features = worker.embed(groups)
        except (RivalUnavailable, RivalFailed) as error:
            result.trouble = str(error)
            result.installed = not isinstance(error, RivalUnavailable)
            self._say(f"{row.id}: {error}")
            self._close(row.engine)
            return
        if not result.seconds:
            result.peak_bytes = worker.peak_over_import()
            result.load_seconds = self._loaded[row.engine.model, row.engine.key]
            result.versions = worker.versions
            self._compare(row, result, features)
        result.seconds.append(seconds)
        self._say(f"round {len(result.seconds)}: {row.id}: {result.n_texts / seconds:.1f} texts/s")

    def _worker(self, engine: Engine) -> WorkerProcess:
        key = (engine.model, engine.key)
        if key not in self._workers:
            worker = engine.start(self._n_threads)
            self._workers[key] = worker
            self._loaded[key] = worker.load() + worker.embed(FIRST_TEXT)[0]
        return self._workers[key]

    def _close(self, engine: Engine) -> None:
        worker = self._workers.pop((engine.model, engine.key), None)
        if worker is not None:
            worker.close()

    def _compare(self, row: Row, result: RowResult, features: Features) -> None:
        if row.engine.definition is None or row.corpus != "main":
            return
        layer, pooling = row.engine.definition
        reference = self._references.get((MODELS[row.engine.model].weights, f"{row.form}/{layer}/{pooling}"))
        if reference is None:
            return
        a, b = features.astype(np.float64), reference.astype(np.float64)
        cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        result.cosine_mean, result.cosine_min = float(cosines.mean()), float(cosines.min())
