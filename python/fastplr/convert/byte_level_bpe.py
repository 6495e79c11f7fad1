"""The byte-level BPE vocabulary of a model folder, as llama.cpp's tokeniser ``gpt2`` wants it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr.convert.config_values import require_flag
from fastplr.convert.folder_files import has_file, read_json_object
from fastplr.convert.post_processors import tokens_around
from fastplr.convert.pre_tokenizers import pre_tokenizer_name
from fastplr.convert.token_rows import added_tokens, token_rows
from fastplr.errors import ModelError, UnsupportedArchitecture

__all__ = ["ByteLevelVocabulary", "read_byte_level_bpe"]

# Token types of GGUF.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

#: Roles of special tokens that llama.cpp has keys for.
ROLES = ("bos", "eos", "unk", "sep", "pad", "mask", "eot", "eom")

# What a BPE model says where it is the plain one that llama.cpp computes.
PLAIN = {"continuing_subword_prefix": "", "end_of_word_suffix": "", "dropout": 0}


@dataclass(frozen=True)
class ByteLevelVocabulary:
    """A vocabulary and how texts become tokens of it.

    Attributes:
        tokens: One for each row of the token embeddings, all distinct.
        types: GGUF's type of each token.
        merges: Pairs of tokens that are merged, the first pair first, a space between the two.
        pre: llama.cpp's name for how texts are split into words.
        special: Ids of special tokens by role, as many as the folder names.
        add_bos: Whether the token ``bos`` is put before a text.
        add_eos: Whether the token ``eos`` is put after a text.
        chat_template: The template of a conversation, where there is one.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    special: dict[str, int]
    add_bos: bool
    add_eos: bool
    chat_template: str | None


def read_byte_level_bpe(folder: Path, n_vocab: int) -> ByteLevelVocabulary:
    """The vocabulary in the ``tokenizer.json`` of `folder`.

    Args:
        folder: The model folder.
        n_vocab: Rows of the token embeddings. Rows that no token names get one that no text has.

    Raises:
        UnsupportedArchitecture: The vocabulary is of another kind (SentencePiece), or splits texts in a way that
            llama.cpp's tokeniser does not have.
        ModelError: There is none, or it is damaged or has more tokens than rows.
    """
    path = folder / "tokenizer.json"
    if not has_file(path) and has_file(folder / "tokenizer.model"):
        raise UnsupportedArchitecture(
            f"{str(folder)!r} has no tokenizer.json but a tokenizer.model; fastplr converts byte-level BPE "
            "vocabularies, not those of SentencePiece"
        )
    tokenizer = read_json_object(path)
    model = _model(path, tokenizer)
    _require_normaliser(path, tokenizer.get("normalizer"))
    pre = pre_tokenizer_name(
        tokenizer.get("pre_tokenizer"), ignore_merges=require_flag(model, "ignore_merges", path), path=path
    )
    ids, types = _ids(path, model, tokenizer)
    tokens = token_rows(path, ids, n_vocab)
    for token in ids:
        _require_text(path, token)
    before, after = tokens_around(path, tokenizer.get("post_processor"), ids)
    merges, special, chat_template = _by_gguf(folder, n_vocab)
    for merge in merges:
        left, _, right = merge.partition(" ") if isinstance(merge, str) else ("", "", "")
        if not (left and {left, right, left + right} <= ids.keys()):
            raise ModelError(f"{str(path)!r} merges {merge!r:.200}; expected two tokens whose join is a token")
    special |= {role: token_id for role, token_id in (("bos", before), ("eos", after)) if token_id is not None}
    return ByteLevelVocabulary(
        [token or f"[unused row {row}]" for row, token in enumerate(tokens)],
        [types.get(token, NORMAL) if token else UNUSED for token in tokens],
        merges,
        pre,
        special,
        add_bos=before is not None,
        add_eos=after is not None,
        chat_template=chat_template,
    )


def _model(path: Path, tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else model
    if not isinstance(model, dict) or kind != "BPE" or require_flag(model, "byte_fallback", path):
        what = "byte_fallback, as SentencePiece's BPE has it" if kind == "BPE" else f"the model {kind!r:.200}"
        raise UnsupportedArchitecture(f"{str(path)!r} has {what}; fastplr converts byte-level BPE vocabularies")
    for key, expected in PLAIN.items():
        if (model.get(key) or expected) != expected:
            raise UnsupportedArchitecture(
                f"{str(path)!r} has {key} = {model[key]!r:.200}; llama.cpp's tokeniser does not do that"
            )
    for key, kind in (("vocab", dict), ("merges", list)):
        if not isinstance(model.get(key), kind) or not model[key]:
            raise ModelError(f"{str(path)!r} has no {key}")
    return model


def _require_normaliser(path: Path, normalizer: object) -> None:
    match normalizer:
        case None | {"type": "NFC"} | {"type": "Sequence", "normalizers": [] | [{"type": "NFC"}]}:
            return  # llama.cpp leaves texts as they are; most are composed already
    raise UnsupportedArchitecture(
        f"{str(path)!r} has the normalizer {normalizer!r:.200}; fastplr converts byte-level BPE without one, or NFC"
    )


def _ids(path: Path, model: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Ids by token, and the types of those that are not found by merging."""
    ids: dict[str, Any] = dict(model["vocab"])
    types: dict[str, int] = {}
    for content, added in added_tokens(path, tokenizer):
        # Special tokens are never looked for in texts; others are, as they stand.
        is_special = require_flag(added, "special", path)
        strips = [key for key in ("lstrip", "rstrip", "single_word") if require_flag(added, key, path)]
        if strips and not is_special:
            raise UnsupportedArchitecture(
                f"{str(path)!r} has the added token {content!r:.200} with {', '.join(strips)}; "
                "llama.cpp looks for it wherever it stands"
            )
        ids[content] = added.get("id")  # checked with all others
        types[content] = CONTROL if is_special else USER_DEFINED
    return ids, types


def _require_text(path: Path, token: str) -> None:
    """Raise ModelError where llama.cpp would read `token` as another, or it is like what rows without one are named."""
    # JSON can name half of a surrogate pair; llama.cpp reads up to the first NUL, and names tokens without text.
    is_text = "\0" not in token and not any("\ud800" <= character <= "\udfff" for character in token)
    if not is_text or token.startswith(("[EMPTY_", "[unused row ")):
        raise ModelError(f"{str(path)!r} has the token {token!r:.200}; expected Unicode text")


def _by_gguf(folder: Path, n_vocab: int) -> tuple[list[str], dict[str, int], str | None]:
    """Merges, ids of special tokens and chat template as the package ``gguf`` finds them in the folder's files."""
    import gguf

    if has_file(folder / "tokenizer_config.json"):
        read_json_object(folder / "tokenizer_config.json")  # says what is wrong with it, which gguf does not
    try:
        with _without_warnings("gguf.vocab"):
            found = gguf.SpecialVocab(folder, load_merges=True, n_vocab=n_vocab)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise ModelError(
            f"the merges and special tokens of {str(folder)!r} (tokenizer.json, tokenizer_config.json, config.json) "
            f"make no sense to the package gguf: {error!r:.300}"
        ) from error
    special = {role: found.special_token_ids[role] for role in ROLES if type(found.special_token_ids.get(role)) is int}
    template = found.chat_template
    return found.merges, special, template if isinstance(template, str) else None


@contextlib.contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    """No warnings of the logger `name`: gguf's are about templates for pairs of texts and roles without a token."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
