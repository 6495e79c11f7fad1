"""Which of the answers that a language model was asked for it has given."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

__all__ = ["label_of_reply"]

_AROUND = " \t\r\n\"'`“”„‘’«»‹›()[]{}<>*_.,;:!"
_THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_LEAD = re.compile(
    r"\A\W*(?:(?:the|my)\s+)?(?:(?:correct|final|best|right)\s+)?(?:answer|label|option|choice|category|class)\b"
    r"(?:\s+(?:is|would\s+be)\b)?",
    re.IGNORECASE,
)
#: Words; underscores stand between words, as in "hate_speech".
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

_NEGATIONS = frozenset({"not", "no", "non", "never", "neither", "nor", "without", "cannot"})
#: Words before a name among which a negation takes it back.
_REACH = 3

#: What may stand around a short name that is a choice, and a place where one is announced.
_OPEN, _CLOSE = r"[(\[{<\"'“‘«*`_]", r"[)\]}>\"'”’»*`_]"
_ANNOUNCED = r"(?:\b(?:option|choice|letter)\s+|\b(?:answer|label|category|class)(?:\s+(?:is|would\s+be)\b)?|[:=→>])"

Span = tuple[int, int]  # characters


def label_of_reply(reply: str, answers: Sequence[str], labels: Sequence[str]) -> int | None:
    """The number of the label whose answer, or whose name, `reply` gives; None where it gives none or several.

    Taken in this order: the reply is an answer; it is one but for case, quotes, brackets, punctuation around it and a
    lead such as "The answer is"; the same of names of labels; exactly one label is mentioned, by its answer or its
    name, in whole words. There, single characters, numbers and "no" count only where they are marked as a choice, as
    in "(a)", "a. Positive", "option a": the "a" of "a good film" is none. A mention after a negation ("not positive")
    makes the reply unknown. What stands in ``<think>`` at the beginning is left out.

    Args:
        reply: What the model said.
        answers: What it was asked for.
        labels: What the answers stand for, as many.
    """
    said = _THOUGHT.sub("", reply, count=1)
    for names in (answers, labels):
        for form, lead in ((str.strip, False), (_bare, False), (_fold, False), (_fold, True)):
            number = _equal(_LEAD.sub("", said, count=1) if lead else said, names, form)
            if number is not None:
                return number
    return _only_mention(_fold(said, bare=False), answers, labels)


def _equal(said: str, names: Sequence[str], form: Callable[[str], str]) -> int | None:
    meant = form(said)
    hits = [number for number, name in enumerate(names) if form(name) == meant]
    return hits[0] if meant and len(hits) == 1 else None


def _bare(text: str) -> str:
    return text.strip(_AROUND)


def _fold(text: str, *, bare: bool = True) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_bare(text).split()) if bare else text


def _only_mention(said: str, answers: Sequence[str], labels: Sequence[str]) -> int | None:
    words = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(said)]
    labels_of: dict[tuple[str, ...], set[int]] = {}
    for names in (answers, labels):
        known = set(labels_of)  # what is an answer already does not stand for a label of that name
        for number, name in enumerate(names):
            of_name = tuple(_WORD.findall(_fold(name)))
            if of_name and of_name not in known:
                labels_of.setdefault(of_name, set()).add(number)
    short = {name[0] for name in labels_of if len(name) == 1 and _is_short(name[0])}
    mentions = _long_mentions(
        words, {name: labels_of[name] for name in labels_of if name[0] not in short or len(name) > 1}
    )
    loose: set[int] = set()
    for word in short:
        found = {match.span(1) for pattern in _marked(word) for match in re.finditer(pattern, said, re.MULTILINE)}
        mentions += [(span, labels_of[word,]) for span in found]
        loose |= labels_of[word,] if re.search(_loose(word), said) else set()
    meant: set[int] = set().union(*(numbers for _, numbers in mentions))
    if len(meant) != 1 or loose - meant or _is_negated(words, [span for span, _ in mentions]):
        return None
    return meant.pop()


def _is_short(word: str) -> bool:
    """Whether a word says too little to be an answer wherever it stands."""
    return len(word) == 1 or word.isdigit() or word == "no"


def _long_mentions(
    words: list[tuple[str, int, int]], labels_of: dict[tuple[str, ...], set[int]]
) -> list[tuple[Span, set[int]]]:
    """Mentions of names as whole words, the longest ones first: "not ironic" is no mention of "ironic"."""
    longest = max(map(len, labels_of), default=0)
    mentions = []
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            name = tuple(word for word, _, _ in words[at : at + length])
            if name in labels_of:
                mentions.append(((words[at][1], words[at + length - 1][2]), labels_of[name]))
                at += length - 1
                break
        at += 1
    return mentions


def _whole(name: str) -> str:
    return rf"(?<![\w'’])({re.escape(name)})(?!\w|['’]\w)"


def _marked(name: str) -> list[str]:
    """Where a short name is a choice: in brackets or quotes, at the beginning of a line, where one is announced."""
    whole = _whole(name)
    return [
        rf"{_OPEN}\s*{whole}\s*{_CLOSE}",
        rf"^[^\w\n]*{whole}\s*(?:[.):,;\]–—-]+(?!\w)|$)",
        rf"{_ANNOUNCED}\W{{0,8}}{whole}(?=\s*(?:[^\w\s'’]|$))",
        rf"\b(?:option|choice|letter)\s+{whole}",
    ]


def _loose(name: str) -> str:
    """Any mention of a short name, which is no article, pronoun or determiner there."""
    return _whole(name) + (r"(?=\s*(?:[^\w\s'’]|$))" if name in {"a", "i", "no"} else "")


def _is_negated(words: list[tuple[str, int, int]], mentions: list[Span]) -> bool:
    starts, ends = [start for _, start, _ in words], [end for _, _, end in words]
    mentioned: set[int] = set()
    for begin, end in mentions:
        mentioned.update(range(bisect_left(starts, begin), bisect_left(starts, end)))
    for begin, _ in mentions:
        at = bisect_right(ends, begin)
        for number in range(max(0, at - _REACH), at):
            word = words[number][0]
            if number not in mentioned and (word in _NEGATIONS or word.endswith(("n't", "n’t"))):
                return True
    return False
