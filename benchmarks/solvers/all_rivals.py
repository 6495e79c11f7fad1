"""Every solver that the benchmark knows, fastplr first, then from the ones that are usually fast to the others."""

from __future__ import annotations

from solvers.adelie_solver import Adelie
from solvers.fastplr_solver import Fastplr
from solvers.glmnet_solver import Glmnet
from solvers.glum_solver import Glum
from solvers.rival import Rival
from solvers.scikit_learn import ScikitLearn

__all__ = ["OURS", "all_rivals"]

OURS = Fastplr.name


def all_rivals() -> list[Rival]:
    """One of each."""
    usual = [ScikitLearn(solver) for solver in ("newton-cg", "lbfgs", "newton-cholesky", "liblinear")]
    return [Fastplr(), *usual, Glum(), Glmnet(), Adelie(), ScikitLearn("sag"), ScikitLearn("saga")]
