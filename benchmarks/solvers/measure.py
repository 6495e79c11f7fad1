"""Times of all rivals on a problem, in interleaved rounds, each as loose as the objective allows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from solvers.all_rivals import OURS, all_rivals
from solvers.worker import RivalProcess, TookTooLong

__all__ = ["ACCURACY", "Timed", "compare", "peak_memory"]

#: How far above the minimum an objective may be, relative to it.
ACCURACY = 1e-8
#: Seconds that a rival's fit may take: at the least, at the most, and times the fastest rival's.
PATIENCE = (2.0, 40.0, 5.0)
#: Rivals slower than this many times the fastest keep the single time of the search.
CONTENDER = 4.0
#: Seconds of rounds for a problem, and how many there are.
ROUNDS_SECONDS = 6.0
ROUNDS = (3, 41)


@dataclass
class Timed:
    """A rival on a problem.

    Attributes:
        name: Of the rival.
        tol: The loosest of its tolerances that reaches the objective; None where none does.
        seconds: Of each round.
        excess: How far its objective is above the minimum, relative to it.
        trouble: Why there are no times.
    """

    name: str
    tol: float | None = None
    seconds: list[float] = field(default_factory=list)
    excess: float = 0.0
    trouble: str = ""

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seconds)


def compare(
    problem: Path, C: float, least: float, processes: Sequence[RivalProcess], *, n_threads: int,
    hopeless: dict[str, str], quick: bool, say: Callable[[str], None],
) -> list[Timed]:  # fmt: skip
    """fastplr first, then its rivals. `least` is the minimum of the objective.

    Rivals named in `hopeless` are not tried, for the reason there; those that prove too slow are added to it.
    """
    found: list[Timed] = []
    fastest = PATIENCE[1] / PATIENCE[2]
    for process in processes:
        low, high, times = PATIENCE
        patience = 1.0 if quick else min(high, max(low, times * fastest))
        if process.name in hopeless:
            found.append(Timed(process.name, trouble=hopeless[process.name]))
            continue
        timed = _loosest(problem, C, process, least, n_threads, patience)
        if " s" in timed.trouble and "after" in timed.trouble:
            hopeless[process.name] = f"not tried: {timed.trouble} of these rows before"
        if timed.seconds and process.name != OURS:
            fastest = min(fastest, timed.median)
        say(
            f"    {process.name}: {timed.trouble}"
            if timed.trouble
            else f"    {process.name}: {1e3 * timed.median:.2f} ms at {timed.tol:g}, {timed.excess:.0e} above"
        )
        found.append(timed)
    contenders = [
        (process, timed)
        for process, timed in zip(processes, found, strict=True)
        if timed.seconds and (timed.median <= CONTENDER * fastest or timed.name == OURS)
    ]
    a_round = sum(timed.median for _, timed in contenders)
    n_rounds = 2 if quick else int(min(ROUNDS[1], max(ROUNDS[0], ROUNDS_SECONDS / max(a_round, 1e-3))))
    for _, timed in contenders:
        timed.seconds.clear()
    for _ in range(n_rounds):
        for process, timed in contenders:
            assert timed.tol is not None
            answer = process.fit(problem, C, timed.tol, n_threads, patience=10 * PATIENCE[1])
            timed.seconds.append(answer.seconds)
    return found


def _loosest(problem: Path, C: float, process: RivalProcess, least: float, n_threads: int, patience: float) -> Timed:
    rival = next(rival for rival in all_rivals() if rival.name == process.name)
    excess = float("inf")
    started = time.monotonic()
    for tol in rival.tolerances:
        try:
            answer = process.fit(problem, C, tol, n_threads, patience=patience)
        except TookTooLong:
            return Timed(rival.name, trouble=f"not done after {patience:.2g} s at a tolerance of {tol:g}")
        if answer.trouble:
            return Timed(rival.name, trouble=answer.trouble)
        excess = (answer.objective - least) / least
        if excess <= ACCURACY:
            if answer.seconds < 0.5:  # the first fits of a process warm it up
                answer = process.fit(problem, C, tol, n_threads, patience=patience)
            return Timed(rival.name, tol=float(tol), seconds=[answer.seconds], excess=excess)
        if time.monotonic() - started > patience:
            return Timed(rival.name, trouble=f"still {excess:.0e} above the minimum after {patience:.2g} s")
    return Timed(rival.name, trouble=f"never nearer to the minimum than {excess:.0e}")


def peak_memory(problem: Path, C: float, n_threads: int) -> int:
    """Bytes that a process of its own ever has, the libraries and the problem itself among them, while fastplr fits."""
    process = RivalProcess(OURS)
    try:
        return process.fit(problem, C, 1e-8, n_threads, patience=600.0).peak_bytes
    finally:
        process.end()
