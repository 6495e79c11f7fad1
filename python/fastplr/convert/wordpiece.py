"""The WordPiece vocabulary of a model folder, as llama.cpp's tokeniser wants it.

llama.cpp puts U+2581 before every word and looks for the longest token from there on, so a token that starts a word is
stored with that sign and one that continues a word without the ``##`` that marks it elsewhere.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr.convert.folder_files import has_file, read_json_object, read_text
from fastplr.convert.token_rows import added_tokens, token_rows
from fastplr.errors import ModelError

__all__ = ["WordPieceVocabulary", "read_wordpiece"]

WORD_START = "\u2581"
CONTINUATION = "##"

# Token types of GGUF.
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5

#: Roles of special tokens and the names that BERT gives them; the first three stand in every tokenised text.
ROLES = {"cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "pad": "[PAD]", "mask": "[MASK]"}
REQUIRED_ROLES = ("cls", "sep", "unk")

TOKENIZER_CLASSES = ("BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True)
class WordPieceVocabulary:
    """A vocabulary and what is done to a text before it is looked up.

    Attributes:
        tokens: What llama.cpp stores, one for each row of the token embeddings, all distinct.
        types: GGUF's type of each token.
        special: Ids of special tokens by role: ``cls``, ``sep``, ``unk``, and where there are such, ``pad``, ``mask``.
        lowercase: Whether texts are made lower case.
        strip_accents: Whether accents are taken off letters.
    """

    tokens: list[str]
    types: list[int]
    special: dict[str, int]
    lowercase: bool
    strip_accents: bool


def read_wordpiece(folder: Path, n_vocab: int) -> WordPieceVocabulary:
    """The vocabulary of `folder`: of ``tokenizer.json`` where there is one, else of ``vocab.txt``.

    Args:
        folder: The model folder.
        n_vocab: Rows of the token embeddings. Rows that no token names get one that no text has.

    Raises:
        ModelError: There is no vocabulary, it is damaged or has more tokens than rows, or it is used in a way that
            llama.cpp's tokeniser does not have.
    """
    settings_path = folder / "tokenizer_config.json"
    settings = read_json_object(settings_path) if has_file(settings_path) else {}
    roles = {role: _name(settings.get(f"{role}_token"), settings_path) or name for role, name in ROLES.items()}
    if has_file(folder / "tokenizer.json"):
        source = folder / "tokenizer.json"
        ids, specials, normalizer = _fast_tokenizer(source, roles)
    else:
        source = folder / "vocab.txt"
        ids, specials, normalizer = _word_list(source, settings_path, settings), set(roles.values()), {}
    lowercase, strip_accents = _normalisation(source, normalizer, settings_path, settings)
    special = {role: ids[name] for role, name in roles.items() if name in ids}
    for role in REQUIRED_ROLES:
        if role not in special:
            raise ModelError(f"{str(source)!r} has no token {roles[role]!r} ({role}_token)")
    tokens, types = _rows(source, ids, specials | {roles[role] for role in special}, n_vocab)
    types[special["unk"]] = UNKNOWN
    return WordPieceVocabulary(tokens, types, special, lowercase, strip_accents)


def _name(token: object, path: Path) -> str | None:
    """A special token in a settings file: its text, or an object with the text as its content."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is not None and not isinstance(text, str):
        raise ModelError(f"{str(path)!r} has the special token {token!r:.200}; expected a text")
    return text


def _word_list(path: Path, settings_path: Path, settings: Mapping[str, Any]) -> dict[str, int]:
    """``vocab.txt``: a token a line, its id the number of the line; of two that are the same the later counts."""
    tokenizer_class = settings.get("tokenizer_class")
    if tokenizer_class is not None and tokenizer_class not in TOKENIZER_CLASSES:
        raise ModelError(
            f"{str(settings_path)!r} has tokenizer_class = {tokenizer_class!r:.200}; expected one of "
            + ", ".join(TOKENIZER_CLASSES)
        )
    if settings.get("do_basic_tokenize") is False:
        raise ModelError(f"{str(settings_path)!r} has do_basic_tokenize = false; llama.cpp always splits words")
    text = read_text(path)
    return {line.rstrip(): number for number, line in enumerate(text.removesuffix("\n").split("\n"))}


def _fast_tokenizer(path: Path, roles: dict[str, str]) -> tuple[dict[str, int], set[str], dict[str, Any]]:
    """``tokenizer.json``: ids by token, the special tokens, and the normaliser. Corrects `roles` by what it says."""
    tokenizer = read_json_object(path)

    def part(key: str, kind: str) -> dict[str, Any]:
        value = tokenizer.get(key)
        found = value.get("type") if isinstance(value, dict) else value
        if not isinstance(value, dict) or found != kind:
            raise ModelError(f"{str(path)!r} has the {key} {found!r:.200}; fastplr converts {kind!r}, as BERT has it")
        return value

    model = part("model", "WordPiece")
    normalizer = part("normalizer", "BertNormalizer")
    part("pre_tokenizer", "BertPreTokenizer")
    if model.get("continuing_subword_prefix", CONTINUATION) != CONTINUATION:
        raise ModelError(f"{str(path)!r} marks continuations by {model['continuing_subword_prefix']!r:.200}; "
                         f"expected {CONTINUATION!r}")  # fmt: skip
    if normalizer.get("clean_text", True) is not True:
        raise ModelError(f"{str(path)!r} has clean_text = false; llama.cpp always takes out control characters")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ModelError(f"{str(path)!r} has no vocabulary")
    ids: dict[str, Any] = dict(vocabulary)
    specials: set[str] = set()
    for content, added in added_tokens(path, tokenizer):
        if added.get("special") is not True:
            raise ModelError(
                f"{str(path)!r} has the added token {content!r:.200}, which is looked for in texts before they are "
                "split into words; llama.cpp's WordPiece does not do that"
            )
        ids[content] = added.get("id")  # checked with all others
        specials.add(content)
    if isinstance(unknown := model.get("unk_token"), str):
        roles["unk"] = unknown
    roles["cls"], roles["sep"] = _frame(path, tokenizer.get("post_processor"), roles)
    return ids, specials, normalizer


def _frame(path: Path, processor: object, roles: Mapping[str, str]) -> tuple[str, str]:
    """The tokens that the post-processor puts before and after a text; llama.cpp puts one before and one after."""
    before = after = None
    match processor:
        case {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": before}}, {"Sequence": _}, {"SpecialToken": {"id": after}}],
        }:
            pass
        case {"type": "BertProcessing", "cls": [before, *_], "sep": [after, *_]}:
            pass
    if isinstance(before, str) and isinstance(after, str):
        return before, after
    raise ModelError(
        f"{str(path)!r} has the post_processor {processor!r:.200}; "
        f"expected one that puts {roles['cls']!r} before a text and {roles['sep']!r} after it"
    )


def _normalisation(
    path: Path, normalizer: Mapping[str, Any], settings_path: Path, settings: Mapping[str, Any]
) -> tuple[bool, bool]:
    """Whether texts are made lower case and lose their accents; both files may say so, and must agree."""

    def flag(stated: Mapping[str, Any], key: str, where: Path) -> bool | None:
        value = stated.get(key)
        if value is not None and not isinstance(value, bool):
            raise ModelError(f"{str(where)!r} has {key} = {value!r:.200}; expected true or false")
        return value

    def agreed(ours: bool | None, key: str, default: bool) -> bool:
        theirs = flag(settings, key, settings_path)
        if ours is not None and theirs is not None and ours != theirs:
            raise ModelError(f"{str(settings_path)!r} has {key} = {theirs}, {str(path)!r} says {ours}; they must agree")
        return next((value for value in (ours, theirs) if value is not None), default)

    lowercase = agreed(flag(normalizer, "lowercase", path), "do_lower_case", True)
    splits_chinese = agreed(flag(normalizer, "handle_chinese_chars", path), "tokenize_chinese_chars", True)
    if not splits_chinese:
        raise ModelError(f"{str(path)!r} keeps Chinese characters together; llama.cpp always splits them")
    return lowercase, agreed(flag(normalizer, "strip_accents", path), "strip_accents", lowercase)


def _rows(path: Path, ids: Mapping[str, int], specials: set[str], n_vocab: int) -> tuple[list[str], list[int]]:
    """Token and type of every row of the embeddings."""
    rows = token_rows(path, ids, n_vocab)
    for special in specials:
        # A special token is stored as it is. Without punctuation, which splits words, a text's word could match it.
        if not _is_unicode(special) or not any(character in string.punctuation for character in special[:-1]):
            raise ModelError(f"{str(path)!r} has the special token {special!r:.200}; expected one like '[CLS]'")
    tokens: list[str] = []
    types: list[int] = []
    for token_id, named in enumerate(rows):
        stored = None if named is None else _stored(named)
        if named is not None and named in specials:
            tokens.append(named)
            types.append(CONTROL)
        elif stored is not None and stored not in specials:
            tokens.append(stored)
            types.append(NORMAL)
        else:
            tokens.append(f"[unused row {token_id}]")  # brackets split words: no text has this token
            types.append(UNUSED)
    return tokens, types


def _stored(token: str) -> str | None:
    """The token as llama.cpp stores it; None for one that no text can have, or that would match what it should not."""
    continues = token.startswith(CONTINUATION) and len(token) > len(CONTINUATION)
    text = token.removeprefix(CONTINUATION) if continues else token
    # A continuation that begins with llama.cpp's sign would be taken for the start of a word.
    reachable = text and "\0" not in text and not (continues and text.startswith(WORD_START)) and _is_unicode(text)
    if not reachable:
        return None
    return text if continues else WORD_START + text


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8: JSON can name half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
