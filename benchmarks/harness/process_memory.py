"""Memory of another process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["peak_bytes", "reset_peak", "resident_bytes"]


def _status_bytes(pid: int, key: str) -> int | None:
    path = Path(f"/proc/{pid}/status")
    if not path.exists():
        return None
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def resident_bytes(pid: int) -> int | None:
    """Bytes of the process that are in memory, mapped files included (VmRSS); None where the system does not tell."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int | None:
    """The most that was ever in memory, or since the last `reset_peak` (VmHWM); None where the system does not tell."""
    return _status_bytes(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let the peak start again at what is in memory now. Does nothing where the system has no such thing."""
    path = Path(f"/proc/{pid}/clear_refs")
    if path.exists():
        path.write_text("5", "utf-8")
