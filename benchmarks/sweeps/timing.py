"""Cases timed beside each other: rounds interleaved, each process computing alone unless the case says otherwise."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.corpus import Group
from harness.worker_process import PythonWorker, RivalFailed, RivalUnavailable, WorkerProcess
from rivals.libllama import LibllamaWorker

__all__ = ["Case", "Engine", "Timing", "libllama", "native", "time_cases", "token_counter"]

Label = tuple[str, ...]
N_WARM_UP = 8
MIB = 2**20


@dataclass(frozen=True)
class Engine:
    """A process that embeds.

    Attributes:
        key: Unique; cases whose engines have the same key share a process.
        start: Starts it, given the number of threads.
    """

    key: str
    start: Callable[[int], WorkerProcess] = field(compare=False)


@dataclass(frozen=True)
class Case:
    """What is timed at once.

    Attributes:
        label: Unique among the cases.
        engines: Nearly always one; several embed the same texts at the same time.
        groups: The texts.
    """

    label: Label
    engines: tuple[Engine, ...]
    groups: tuple[Group, ...]

    @property
    def n_texts(self) -> int:
        """Of all engines together."""
        return len(self.engines) * sum(len(group.texts) for group in self.groups)


@dataclass
class Timing:
    """What was measured of a case.

    Attributes:
        n_texts: As the case has them.
        wall, cpu: Seconds of each round; the processor's of all threads and engines together.
        peak_bytes: The most memory over that after the imports that its (first) engine had, in all cases that use it.
        features: Of the first round and engine.
        trouble: Why nothing was measured, if so.
    """

    n_texts: int
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    features: npt.NDArray[np.float32] | None = None
    trouble: str | None = None

    @property
    def median_wall(self) -> float:
        """Seconds; nan where nothing was measured."""
        return statistics.median(self.wall) if self.wall else float("nan")

    @property
    def median_cpu(self) -> float:
        """Seconds; nan where nothing was measured."""
        return statistics.median(self.cpu) if self.cpu else float("nan")

    @property
    def rate(self) -> str:
        """Texts a second."""
        return f"{self.n_texts / self.median_wall:.1f}" if self.wall else "not measured"

    @property
    def spread(self) -> str:
        """Texts a second of the slowest and the fastest round."""
        return f"{self.n_texts / max(self.wall):.1f} to {self.n_texts / min(self.wall):.1f}" if self.wall else ""

    @property
    def cpu_per_text(self) -> str:
        """Milliseconds of the processors."""
        return f"{1000 * self.median_cpu / self.n_texts:.1f}" if self.wall else ""

    @property
    def peak(self) -> str:
        """MiB."""
        return "" if self.peak_bytes is None else f"{self.peak_bytes / MIB:.0f}"


def native(path: Path, **settings: object) -> Engine:
    """fastplr's native engine; `settings` of NativeEngine."""
    given = {"path": str(path), **settings}
    return Engine(
        f"native {given}", lambda n_threads: PythonWorker("sweeps.native_engine", "NativeEngine", given, n_threads)
    )


def token_counter(path: Path) -> Engine:
    """fastplr's tokenizer alone."""
    given = {"path": str(path)}
    return Engine(
        f"tokens {path}", lambda n_threads: PythonWorker("sweeps.native_engine", "TokenCounter", given, n_threads)
    )


def libllama(path: Path, n_batch: int, n_ctx: int, *options: str, which: str = "patched", number: int = 0) -> Engine:
    """libllama's own embedding, with fastplr's patches unless `which` says otherwise; `number` tells twins apart."""
    return Engine(
        f"{which} {path} {n_batch} {n_ctx} {options} {number}",
        lambda n_threads: LibllamaWorker(str(path), n_threads, n_batch, n_ctx, which, options),
    )


def time_cases(
    cases: Sequence[Case], *, n_rounds: int, n_threads: int, say: Callable[[str], None]
) -> dict[Label, Timing]:
    """Times every case once a round, in an order drawn anew for each; a case that fails is a Timing with the reason."""
    timings = {case.label: Timing(case.n_texts) for case in cases}
    workers: dict[Engine, WorkerProcess] = {}
    failed: dict[Engine, str] = {}
    rng = random.Random(0)
    try:
        for engine in dict.fromkeys(engine for case in cases for engine in case.engines):
            try:
                workers[engine] = engine.start(n_threads)
                workers[engine].load()
            except (RivalUnavailable, RivalFailed) as error:
                failed[engine] = str(error)
        for round_number in range(n_rounds + 1):
            for case in rng.sample(cases, len(cases)) if round_number else cases:
                timing = timings[case.label]
                timing.trouble = timing.trouble or next((failed[e] for e in case.engines if e in failed), None)
                if timing.trouble is not None:
                    continue
                try:
                    if round_number == 0:
                        _embed(case, workers, [_longest(group) for group in case.groups])
                    else:
                        _add_round(case, workers, timing)
                except RivalFailed as error:
                    timing.trouble = str(error)
                    failed |= dict.fromkeys(case.engines, str(error))
            if round_number:
                say(f"  round {round_number} of {n_rounds}")
        for case in cases:
            if timings[case.label].wall:
                timings[case.label].peak_bytes = workers[case.engines[0]].peak_over_import()
    finally:
        for worker in workers.values():
            worker.close()
    for label, timing in timings.items():
        if timing.trouble is not None:
            say(f"  {', '.join(label)}: {timing.trouble}")
    return timings


def _longest(group: Group) -> Group:
    """After these the context is as large as it will have to be."""
    return Group(group.prefix, group.suffix, tuple(sorted(group.texts, key=len)[-N_WARM_UP:]))


def _embed(
    case: Case, workers: dict[Engine, WorkerProcess], groups: Sequence[Group]
) -> list[tuple[float, npt.NDArray[np.float32]]]:
    with ThreadPoolExecutor(len(case.engines)) as pool:
        return list(pool.map(lambda engine: workers[engine].embed(groups), case.engines))


def _add_round(case: Case, workers: dict[Engine, WorkerProcess], timing: Timing) -> None:
    answers = _embed(case, workers, case.groups)
    timing.wall.append(max(seconds for seconds, _ in answers))
    timing.cpu.append(sum(workers[engine].cpu_seconds for engine in case.engines))
    if timing.features is None:
        timing.features = answers[0][1]
