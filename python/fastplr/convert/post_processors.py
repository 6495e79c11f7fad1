"""The tokens that a tokenizer.json puts around every text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastplr.errors import UnsupportedArchitecture

__all__ = ["tokens_around"]


def tokens_around(path: Path, processor: object, ids: Mapping[str, int]) -> tuple[int | None, int | None]:
    """Ids of the tokens that the post-processor puts before and after a text; None where it puts none there.

    Args:
        path: The tokenizer.json, for messages.
        processor: Its post_processor.
        ids: Ids by token.

    Raises:
        UnsupportedArchitecture: It puts others than one before and one after.
    """
    match processor:
        case {"type": "Sequence", "processors": [*several]}:
            steps = list(several)
        case _:
            steps = [] if processor is None else [processor]
    names: list[str | None] = []
    entries: dict[str, Any] = {}
    match [step for step in steps if not (isinstance(step, dict) and step.get("type") == "ByteLevel")]:
        case []:  # ByteLevel moves offsets only
            names = [None]
        case [{"type": "TemplateProcessing", "single": [*parts], "special_tokens": {**tokens}}]:
            names, entries = [_special_name(part) for part in parts], {str(name): tokens[name] for name in tokens}
    place = names.index(None) if names.count(None) == 1 else -1
    before = [name for name in names[: max(place, 0)] if name is not None]
    after = [name for name in names[place + 1 :] if name is not None]
    # The template has ids of its own for the names that it puts in.
    known = all(name in ids and _is_entry(entries.get(name), ids[name]) for name in (*before, *after))
    if place < 0 or len(before) > 1 or len(after) > 1 or not known:
        raise UnsupportedArchitecture(
            f"{str(path)!r} has the post_processor {processor!r:.300}; llama.cpp puts one token before a text, "
            "one after it, or none"
        )
    return (ids[before[0]] if before else None), (ids[after[0]] if after else None)


def _special_name(part: object) -> str | None:
    """The special token of a part of a template; None for the text."""
    match part:
        case {"Sequence": _}:
            return None
        case {"SpecialToken": {"id": str(name)}}:
            return name
    return repr(part)


def _is_entry(entry: object, token_id: int) -> bool:
    return isinstance(entry, dict) and entry.get("ids") == [token_id]
