"""What the benchmarks share."""

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastplr")
    group.addoption("--quick", action="store_true", help="bench_rivals.py: a few texts, one round: does it all work?")
    group.addoption("--minutes", type=float, default=57.0, help="bench_rivals.py: time for all of it (default: 57)")


@pytest.fixture(scope="session")
def n_threads() -> int:
    """Threads of every benchmark, rivals included."""
    return int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
