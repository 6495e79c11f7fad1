"""How many threads a computation gets where the user names no number."""

from __future__ import annotations

import joblib

__all__ = ["default_threads"]


def default_threads() -> int:
    """Cores that this process may use: the machine's, less what affinity and cgroup limits take away."""
    return int(joblib.cpu_count())
