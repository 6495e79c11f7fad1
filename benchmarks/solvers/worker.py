"""A process of its own for each rival: what one leaves behind cannot slow another, and one that hangs can be ended."""

from __future__ import annotations

import multiprocessing
import resource
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from solvers.all_rivals import all_rivals
from solvers.problem import Problem
from solvers.rival import RivalUnavailable

__all__ = ["Answer", "RivalProcess", "TookTooLong"]


class TookTooLong(Exception):
    """The process was ended."""


@dataclass(frozen=True)
class Answer:
    """Of one fit.

    Attributes:
        seconds: It took.
        objective: Where it ended.
        trouble: Why there is none.
        peak_bytes: The most memory that the process ever had.
    """

    seconds: float = 0.0
    objective: float = float("inf")
    trouble: str = ""
    peak_bytes: int = 0


class RivalProcess:
    """The rival called `name`, which fits problems that were saved to files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def fit(self, problem: Path, C: float, tol: float, n_threads: int, *, patience: float) -> Answer:
        """Raises TookTooLong after `patience` seconds."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(self.name, other), daemon=True)
            self._process.start()
            other.close()
            self._connection.recv()
        assert self._connection is not None
        try:
            self._connection.send((str(problem), C, tol, n_threads))
            if not self._connection.poll(patience):
                raise TookTooLong
            answer: Answer = self._connection.recv()
        except (EOFError, OSError):
            self.end()
            return Answer(trouble="its process died")
        except TookTooLong:
            self.end()
            raise
        return answer

    def end(self) -> None:
        """The process starts anew at the next fit."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None


def _serve(name: str, connection: Connection) -> None:
    rival = next(rival for rival in all_rivals() if rival.name == name)
    loaded = ""
    problem: Problem | None = None
    connection.send("ready")
    while True:
        try:
            path, C, tol, n_threads = connection.recv()
        except EOFError:
            return
        if path != loaded:
            problem = Problem.load(Path(path))
            loaded = path
        assert problem is not None
        asked = problem.with_penalty(C)
        try:
            started = time.perf_counter()
            coef, intercept = rival.fit(asked, tol, n_threads)
            seconds = time.perf_counter() - started
        except RivalUnavailable as error:
            connection.send(Answer(trouble=str(error)))
            continue
        except Exception as error:  # a rival may fail as it likes
            connection.send(Answer(trouble=f"failed: {error!r}"[:200]))
            continue
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        connection.send(Answer(seconds, asked.objective(coef, intercept), "", peak))
