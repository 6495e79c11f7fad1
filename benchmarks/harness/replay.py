"""pytest-benchmark as a reporter of times that were measured before: interleaved rounds of other processes."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["ReplayedClock", "rounds_of"]


class ReplayedClock:
    """A clock that stands still but for the times it is told of."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Seconds."""
        return self._now

    def pass_by(self, seconds: float) -> None:
        """Let so much time be gone."""
        self._now += seconds


def rounds_of(seconds: list[float]) -> Iterator[tuple[tuple[float], dict[str, object]]]:
    """Arguments for each round."""
    for value in seconds:
        yield (value,), {}
