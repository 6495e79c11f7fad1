"""What the model store shows while it works: bars and one-line notes on standard error, or nothing."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

from tqdm import tqdm

__all__ = ["byte_bar", "note"]

_logger = logging.getLogger("fastplr.model_store")


def byte_bar(total: int, description: str, progress: bool | None) -> tqdm[NoReturn]:
    """A bar that counts bytes. `progress`: None shows it on a terminal only, True always, False never."""
    disable = None if progress is None else not progress  # tqdm's None: disabled where there is no terminal
    return tqdm(total=total, desc=description, unit="B", unit_scale=True, disable=disable, leave=False)


def note(message: str, progress: bool | None) -> None:
    """Log `message`, and show it on standard error under the same rule as :func:`byte_bar`."""
    _logger.info("%s", message)
    if progress or (progress is None and sys.stderr is not None and sys.stderr.isatty()):
        print(message, file=sys.stderr, flush=True)
