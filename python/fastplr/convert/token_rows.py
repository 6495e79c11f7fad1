"""The tokens that a tokenizer.json adds to its vocabulary, and which row of the embeddings each token belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastplr.errors import ModelError

__all__ = ["added_tokens", "token_rows"]


def added_tokens(path: Path, tokenizer: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Text and entry of every added token of `tokenizer`, the tokenizer.json at `path`. Raises ModelError."""
    stated = tokenizer.get("added_tokens") or []
    if not isinstance(stated, list):
        raise ModelError(f"{str(path)!r} has the added_tokens {stated!r:.200}; expected a list")
    found = []
    for added in stated:
        content = added.get("content") if isinstance(added, dict) else None
        if not isinstance(content, str):
            raise ModelError(f"{str(path)!r} has the added token {added!r:.200}; expected an object with its content")
        found.append((content, added))
    return found


def token_rows(path: Path, ids: Mapping[str, int], n_vocab: int) -> list[str | None]:
    """The token of every row, None for one that no token names.

    Args:
        path: The file that the ids come from, for messages.
        ids: Ids by token, as they stand in the file.
        n_vocab: Rows of the token embeddings.

    Raises:
        ModelError: An id is none, or lies beyond the rows, or belongs to two tokens.
    """
    rows: list[str | None] = [None] * n_vocab
    for token, token_id in ids.items():
        if type(token_id) is not int or token_id < 0:
            raise ModelError(f"{str(path)!r} gives token {token!r:.200} the id {token_id!r:.200}; expected 0 or more")
        if token_id >= n_vocab:
            raise ModelError(
                f"{str(path)!r} gives token {token!r:.200} the id {token_id}, "
                f"but the token embeddings have {n_vocab} rows (vocab_size)"
            )
        if rows[token_id] is not None:
            raise ModelError(f"{str(path)!r} gives {rows[token_id]!r:.200} and {token!r:.200} the same id {token_id}")
        rows[token_id] = token
    return rows
