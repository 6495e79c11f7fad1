"""The constants as the sources have them, so that no table shows another value than the one in use."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["CONSTANTS", "REPOSITORY", "constant", "where"]

REPOSITORY = Path(__file__).parents[2]

#: Constants by name: what the line that defines it looks like.
CONSTANTS = {
    "n_batch": r"^ *int n_batch = (\d+);",
    "kMaxBatchOfPairs": r"^constexpr int kMaxBatchOfPairs = (\d+);",
    "kPercentTogether": r"^constexpr std::size_t kPercentTogether = (\d+);",
    "kTextsPerWindow": r"^inline constexpr std::size_t kTextsPerWindow = (\d+);",
    "kWorthKeeping": r"^constexpr std::size_t kWorthKeeping = (\d+);",
    "GGML_BARRIER_SPINS": r"^\+#define GGML_BARRIER_SPINS +(\d+)",
    "GGML_FA_TILE_Q": r"^\+#define GGML_FA_TILE_Q +(\d+)",
}


def constant(name: str) -> int:
    """Its value. Raises LookupError where no source, or more than one, defines it."""
    return _found(name)[0]


def where(name: str) -> str:
    """The file that defines it, relative to the repository; errors as above."""
    return _found(name)[1]


def _found(name: str) -> tuple[int, str]:
    line = re.compile(CONSTANTS[name], re.MULTILINE)
    sources = [*(REPOSITORY / "cpp").rglob("*.[ch]pp"), *(REPOSITORY / "third_party/llama.cpp/patches").glob("*.patch")]
    found = [(match, path) for path in sorted(sources) if (match := line.search(path.read_text("utf-8")))]
    if len(found) != 1:
        raise LookupError(f"{name}: {len(found)} files have a line like {CONSTANTS[name]!r}: expected one")
    match, path = found[0]
    return int(match[1]), path.relative_to(REPOSITORY).as_posix()
