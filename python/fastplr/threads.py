"""How many threads a computation gets where the user names no number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib

__all__ = ["MAX_N_THREADS", "default_threads", "one_blas_thread"]

MAX_N_THREADS = 512  # as in cpp/src/embedding/checks.cpp

_lock = threading.Lock()
_libraries: Any = None
_limits: Any = None
_n_inside = 0


def default_threads() -> int:
    """Cores that this process may use: the machine's, less what affinity and cgroup limits take away.

    ``LOKY_MAX_CPU_COUNT`` lowers it, as everywhere in joblib.
    """
    from fastplr import _core  # imported where it is used: `fastplr --help` need not load the core

    return max(1, min(int(joblib.cpu_count()), _core.available_cores()))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy's and SciPy's linear algebra on one thread for the time being, beside threads of our own: more of them
    would only wait for each other.

    The limit is the process's. It goes when the last of several threads that are in here leaves.
    """
    global _libraries, _limits, _n_inside
    with _lock:
        if _n_inside == 0:
            if _libraries is None:
                from threadpoolctl import ThreadpoolController  # looks through all loaded libraries: some milliseconds

                _libraries = ThreadpoolController()
            _limits = _libraries.limit(limits=1, user_api="blas")
        _n_inside += 1
    try:
        yield
    finally:
        with _lock:
            _n_inside -= 1
            if _n_inside == 0:
                _limits.restore_original_limits()
