"""What is shown of long work: bars and one-line notes on standard error, or nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from tqdm import tqdm

__all__ = ["Bar", "byte_bar", "count_bar", "note", "text_bar"]

_logger = logging.getLogger("fastplr")


def _new_tqdm_lock_in_child() -> None:
    # Another thread may have held tqdm's lock, under which every bar is made, at the moment of the fork.
    tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_tqdm_lock_in_child)


class Bar(Protocol):
    """What is told of progress."""

    n: Any

    def update(self, n: float = 1) -> object:
        """`n` more are done."""


class _Hidden:
    """A bar that shows nothing. tqdm's own takes its lock even where it is disabled."""

    n = 0

    def update(self, n: float = 1) -> None:
        """Nothing is shown."""


def _shown(progress: bool | None) -> bool:
    """None shows on a terminal only, True always, False never."""
    return sys.stderr is not None and sys.stderr.isatty() if progress is None else progress


@contextlib.contextmanager
def _bar(progress: bool | None, **settings: Any) -> Iterator[Bar]:
    if not _shown(progress):
        yield _Hidden()
        return
    with tqdm(leave=False, **settings) as bar:
        yield bar


def byte_bar(total: int, description: str, progress: bool | None) -> contextlib.AbstractContextManager[Bar]:
    """A bar that counts bytes. `progress`: None shows it on a terminal only, True always, False never."""
    return _bar(progress, total=total, desc=description, unit="B", unit_scale=True)


def text_bar(total: int | None, description: str, progress: bool | None) -> contextlib.AbstractContextManager[Bar]:
    """A bar that counts texts, under the same rule as :func:`byte_bar`; none where there is nothing to do.

    `total` is None where nobody knows it.
    """
    return _bar(False if total == 0 else progress, total=total, desc=description, unit="text")


def count_bar(total: int, description: str, unit: str, progress: bool | None) -> contextlib.AbstractContextManager[Bar]:
    """A bar that counts things called `unit`, under the same rule as :func:`byte_bar`."""
    return _bar(progress, total=total, desc=description, unit=unit)


def note(message: str, progress: bool | None) -> None:
    """Log `message`, and show it on standard error under the same rule as :func:`byte_bar`."""
    _logger.info("%s", message)
    if _shown(progress):
        print(message, file=sys.stderr, flush=True)
