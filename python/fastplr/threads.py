"""How many threads a computation gets where the user names no number."""

from __future__ import annotations

import joblib

__all__ = ["default_threads"]


def default_threads() -> int:
    """Cores that this process may use: the machine's, less what affinity and cgroup limits take away.

    ``LOKY_MAX_CPU_COUNT`` lowers it, as everywhere in joblib.
    """
    from fastplr import _core  # imported where it is used: `fastplr --help` need not load the core

    return max(1, min(int(joblib.cpu_count()), _core.available_cores()))
