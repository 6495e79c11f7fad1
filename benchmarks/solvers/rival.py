"""What a rival is, to the benchmark of the solver."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from solvers.problem import Problem

__all__ = ["Rival", "RivalUnavailable"]

Floats = npt.NDArray[np.float64]


class RivalUnavailable(Exception):
    """It is not installed, or cannot solve this kind of problem; the message says which."""


class Rival(Protocol):
    """One solver.

    Attributes:
        name: In the tables.
        tolerances: Its settings, from the loosest to the tightest: the loosest that reaches the objective counts.
    """

    name: str
    tolerances: tuple[float, ...]

    def fit(self, problem: Problem, tol: float, n_threads: int) -> tuple[Floats, Floats]:
        """Coefficients and intercepts. Raises RivalUnavailable."""
        ...
