"""What the benchmarks share."""

import os

import pytest


@pytest.fixture(scope="session")
def n_threads() -> int:
    """Threads of every benchmark, rivals included."""
    return int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
