"""How a byte-level BPE tokeniser splits texts into words, as tokenizer.json has it and as llama.cpp calls it.

llama.cpp has the expressions under names (``llm_tokenizer_bpe`` in its llama-vocab.cpp) and takes none from the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastplr.errors import UnsupportedArchitecture

__all__ = ["pre_tokenizer_name"]


def _words(digits: str) -> str:
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


#: llama.cpp's names, by what splits and by whether a word that is a token is looked for before the merges.
NAMES = {
    ("byte level", False): "gpt-2",
    ("digits, byte level", False): "smollm",
    (_words(r"\p{N}"), False): "qwen2",
    (_words(r"\p{N}{1,3}"), True): "llama-bpe",
    (_words(r"\p{N}{1,3}"), False): "smaug-bpe",
}


def pre_tokenizer_name(pre_tokenizer: object, *, ignore_merges: bool, path: Path) -> str:
    """llama.cpp's name of the `pre_tokenizer` in the tokenizer.json at `path`.

    Raises:
        UnsupportedArchitecture: It is none of GPT-2's, SmolLM's, Qwen2's and Llama 3's.
    """
    splits: Any = pre_tokenizer
    match _steps(pre_tokenizer):
        case [{"type": "ByteLevel"} as last] if _is_plain(last, use_regex=True):
            splits = "byte level"
        case [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"} as last] if _is_plain(
            last, use_regex=True
        ):
            splits = "digits, byte level"
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel"} as last,
        ] if _is_plain(last, use_regex=False):
            splits = pattern
    name = NAMES.get((splits, ignore_merges)) if isinstance(splits, str) else None
    if name is None:
        raise UnsupportedArchitecture(
            f"{str(path)!r} has the pre_tokenizer {pre_tokenizer!r:.600} (ignore_merges {ignore_merges}); fastplr "
            "converts those of GPT-2, SmolLM, Qwen2 and Llama 3"
        )
    return name


def _steps(pre_tokenizer: object) -> list[Any]:
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": [*steps]}:
            return list(steps)
    return [pre_tokenizer]


def _is_plain(byte_level: dict[str, Any], *, use_regex: bool) -> bool:
    """Whether it adds no space in front, and splits by GPT-2's expression just where `use_regex`."""
    return byte_level.get("add_prefix_space") is False and byte_level.get("use_regex", True) is use_regex
