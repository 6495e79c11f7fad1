"""Times of all rivals on a problem, in interleaved rounds, each as loose as the objective allows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import fastplr
from solvers.problem import Problem
from solvers.rival import Rival, RivalUnavailable

__all__ = ["ACCURACY", "Timed", "compare"]

#: How far above the minimum an objective may be, relative to it.
ACCURACY = 1e-8
#: A rival that takes longer is tried no further.
PATIENCE = 60.0
N_ROUNDS = 7


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


def compare(problem: Problem, rivals: Sequence[Rival], *, n_threads: int, say: Callable[[str], None]) -> list[Timed]:
    """fastplr first, then `rivals`."""
    exact = fastplr.LogisticRegression(problem.C, tol=1e-13, max_iter=1000, n_threads=n_threads)
    exact.fit(problem.X, problem.y)
    least = problem.objective(exact.coef_, exact.intercept_)
    found = []
    for rival in rivals:
        timed = _loosest(problem, rival, least, n_threads)
        say(f"  {rival.name}: {timed.trouble or f'tol {timed.tol:g}, excess {timed.excess:.1e}'}")
        found.append(timed)
    for round_number in range(N_ROUNDS):
        for rival, timed in zip(rivals, found, strict=True):
            if timed.tol is None or (round_number > 1 and timed.seconds[0] > 5.0):
                continue
            started = time.perf_counter()
            rival.fit(problem, timed.tol, n_threads)
            timed.seconds.append(time.perf_counter() - started)
    return found


def _loosest(problem: Problem, rival: Rival, least: float, n_threads: int) -> Timed:
    excess = float("inf")
    for tol in rival.tolerances:
        started = time.perf_counter()
        try:
            coef, intercept = rival.fit(problem, tol, n_threads)
        except RivalUnavailable as error:
            return Timed(rival.name, trouble=str(error))
        except Exception as error:  # a rival may fail as it likes
            return Timed(rival.name, trouble=f"failed: {error}"[:200])
        excess = (problem.objective(coef, intercept) - least) / least
        if excess <= ACCURACY:
            return Timed(rival.name, tol=tol, excess=excess)
        if time.perf_counter() - started > PATIENCE:
            return Timed(rival.name, trouble=f"{excess:.1e} above the minimum after {PATIENCE:.0f} s")
    return Timed(rival.name, trouble=f"never nearer to the minimum than {excess:.1e}")
