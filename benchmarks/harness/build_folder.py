"""Where the programs of this repository's build are."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["find_built"]


def find_built(program: str) -> Path | None:
    """The newest `program` (a path within the folder) of build/*, or that of the folder in FASTPLR_BENCH_LIBLLAMA."""
    named = os.environ.get("FASTPLR_BENCH_LIBLLAMA")
    folders = [Path(named)] if named else list((Path(__file__).parents[2] / "build").glob("*"))
    built = [path for path in (folder / program for folder in folders) if path.is_file()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)
