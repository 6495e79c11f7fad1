"""Small but real vocabularies for tiny models, and plain Python tokenisers for them.

Four kinds, as llama.cpp names them in ``tokenizer.ggml.model``:

- ``gpt2``: byte-level BPE (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
  section 2.2), with the pre-tokeniser ``smollm`` (every digit on its own, then GPT-2's pattern);
- ``llama``: SentencePiece-style BPE with scores, a leading space and byte fallback (Kudo and Richardson
  2018);
- ``bert``: WordPiece, greedy longest match first (Devlin et al. 2018), lower case, accents stripped;
- ``t5``: SentencePiece's unigram model (Kudo 2018), the likeliest of all segmentations, a leading space, runs
  of spaces as one; without a map of characters.

The tokenisers are written from those definitions, not from llama.cpp's code, so tests can hold llama.cpp
against them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import gguf
import numpy as np

# Merges are learnt from this text: ordinary words of the domains that the tests use, so that texts in tests
# get tokens of one byte, of several bytes and of whole words.
CORPUS = """
The company said that the operating profit rose to EUR 13.1 mn from EUR 8.7 mn in the same quarter of the year
before. The film is a warm and funny story about the people who work there, and the acting is good. The film
is not very good, and the story is slow and boring. The bank said that the sales fell and that the loss was
higher than the market had thought. This is one of the best films of the year. I want to change the order, but
the service of the company is very bad. The committee thinks that inflation is higher than it should be and
that the rates of interest will rise. What is the name of the city in which the company was founded? The text
is about the market and the sentence is about the film. It was the best of times, it was the worst of times,
in the spring of hope and in the winter of the year.
"""

# SentencePiece's visible space; in a WordPiece vocabulary llama.cpp marks the start of a word with it.
SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, BYTE = (
    int(gguf.TokenType.NORMAL),
    int(gguf.TokenType.UNKNOWN),
    int(gguf.TokenType.CONTROL),
    int(gguf.TokenType.BYTE),
)


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary as it is stored in a GGUF file.

    ``tokens`` are the stored strings, ``pieces`` the bytes that each of them stands for in a text (control
    tokens: their name), ``special`` the ids by role (``bos``, ``eos``, ``unk``, ``sep``, ``pad``, ``mask``).
    """

    kind: str
    tokens: list[str]
    types: list[int]
    pieces: list[bytes]
    special: dict[str, int]
    add_bos: bool
    merges: list[tuple[str, str]] | None = None
    scores: list[float] | None = None
    pre: str | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Writes every ``tokenizer.ggml.*`` key."""
        writer.add_tokenizer_model(self.kind)
        if self.pre is not None:
            writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        if self.merges is not None:
            writer.add_token_merges([f"{left} {right}" for left, right in self.merges])
        for role, token_id in self.special.items():
            getattr(writer, f"add_{role}_token_id")(token_id)
        writer.add_add_bos_token(self.add_bos)
        if self.kind == "bert":
            writer.add_token_type_count(2)
        if self.kind == "t5":
            writer.add_add_eos_token(True)
            writer.add_add_space_prefix(True)
            writer.add_remove_extra_whitespaces(True)

    def without_bytes(self, missing: bytes) -> Vocabulary:
        """The same vocabulary, where the tokens of single bytes in ``missing`` stand for none."""
        lost = [len(piece) == 1 and piece in missing for piece in self.pieces]
        tokens = [f"[unused {i}]" if lost[i] else token for i, token in enumerate(self.tokens)]
        pieces = [token.encode() if lost[i] else self.pieces[i] for i, token in enumerate(tokens)]
        return replace(self, tokens=tokens, pieces=pieces)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ``text`` with the special tokens that the model adds; ``<s>`` in a text is text."""
        split = {
            "gpt2": self._byte_level,
            "llama": self._sentence_piece,
            "bert": self._word_piece,
            "t5": self._unigram,
        }[self.kind]
        ids = split(text)
        if self.add_bos:
            ids = [self.special["bos"], *ids]
        if self.kind == "bert":
            ids = [*ids, self.special["sep"]]
        if self.kind == "t5":
            ids = [*ids, self.special["eos"]]
        return ids

    def _byte_level(self, text: str) -> list[int]:
        assert self.merges is not None
        index = {token: i for i, token in enumerate(self.tokens)}
        ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        ids: list[int] = []
        for word in pre_tokenize(text):
            symbols = [BYTE_TO_UNICODE[b] for b in word.encode("utf-8")]
            ids += [index[s] for s in merge_symbols(symbols, lambda left, right: ranks.get((left, right)))]
        return ids

    def _sentence_piece(self, text: str) -> list[int]:
        assert self.scores is not None
        if not text:
            return []
        index = {token: i for i, token in enumerate(self.tokens) if self.types[i] == NORMAL}
        priority = {token: -self.scores[i] for token, i in index.items()}
        symbols = merge_symbols(list((" " + text).replace(" ", SPACE)), lambda left, right: priority.get(left + right))
        ids: list[int] = []
        for symbol in symbols:
            if symbol in index:
                ids.append(index[symbol])
            else:
                ids += [self.tokens.index(f"<0x{byte:02X}>") for byte in symbol.encode("utf-8")]
        return ids

    def _word_piece(self, text: str) -> list[int]:
        index = {token: i for i, token in enumerate(self.tokens)}
        ids: list[int] = []
        for word in basic_words(text):
            marked, start, found = SPACE + word, 0, []
            while start < len(marked):
                end = next((e for e in range(len(marked), start, -1) if marked[start:e] in index), None)
                if end is None:
                    found = [self.special["unk"]]
                    break
                found.append(index[marked[start:end]])
                start = end
            ids += found
        return ids

    def _unigram(self, text: str) -> list[int]:
        assert self.scores is not None
        words = [word for word in text.split(" ") if word]
        normalised = "".join(SPACE + word for word in words)
        unknown = self.special["unk"]
        scores = {
            token: score for token, score, t in zip(self.tokens, self.scores, self.types, strict=True) if t == NORMAL
        }
        index = {token: i for i, token in enumerate(self.tokens)}
        longest = max(map(len, scores))
        # The best segmentation of every beginning: its score, where its last piece begins, and that piece.
        best: list[tuple[float, int, int]] = [(0.0, 0, unknown)]
        for end in range(1, len(normalised) + 1):
            choices = []
            for start in range(max(0, end - longest), end):
                piece = normalised[start:end]
                if piece in scores:
                    choices.append((best[start][0] + scores[piece], start, index[piece]))
                elif start == end - 1:  # SentencePiece's penalty for a character that it does not know
                    choices.append((best[start][0] + min(scores.values()) - 10, start, unknown))
            best.append(max(choices))
        ids: list[int] = []
        end = len(normalised)
        while end > 0:
            _, start, token = best[end]
            if not (token == unknown and ids and ids[-1] == unknown):  # neighbours of them are one
                ids.append(token)
            end = start
        return ids[::-1]


def byte_to_unicode() -> dict[int, str]:
    """GPT-2's map from bytes to characters: printable Latin-1 as itself, the rest from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) if byte in printable else chr(256 + rest.index(byte)) for byte in range(256)}


BYTE_TO_UNICODE = byte_to_unicode()
UNICODE_TO_BYTE = {char: byte for byte, char in BYTE_TO_UNICODE.items()}


def merge_symbols(symbols: list[str], priority: Callable[[str, str], float | None]) -> list[str]:
    """Joins neighbours, lowest ``priority`` first, leftmost among equals, until no pair has a priority."""
    symbols = list(symbols)
    while True:
        ranked = [(rank, i) for i in range(len(symbols) - 1) if (rank := priority(*symbols[i : i + 2])) is not None]
        if not ranked:
            return symbols
        i = min(ranked)[1]
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


def learn_merges(words: list[list[str]], n_merges: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016, algorithm 1); ties go to the pair that sorts first."""
    counts = Counter(tuple(word) for word in words)
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, count in counts.items():
            for pair in pairwise(symbols):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        counts = Counter({_join_pair(word, best): count for word, count in counts.items()})
    return merges


def _join_pair(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    return tuple(merge_symbols(list(word), lambda *neighbours: 0 if neighbours == pair else None))


def _is_space(char: str) -> bool:
    # str.isspace() also holds for the separators U+001C..U+001F, which \s of the pattern leaves out.
    return char.isspace() and not "\x1c" <= char <= "\x1f"


def pre_tokenize(text: str) -> Iterator[str]:
    r"""Splits as the pre-tokeniser ``smollm``: each ``\p{N}`` alone, the rest by GPT-2's pattern
    ``'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+``. The words joined give the text.
    """
    start = 0
    for i, char in enumerate(text):
        if unicodedata.category(char)[0] == "N":
            yield from _split_fragment(text[start:i])
            yield char
            start = i + 1
    yield from _split_fragment(text[start:])


def _split_fragment(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        contraction = re.match("'(?:s|t|re|ve|m|ll|d)", text[start:])
        if contraction:
            end = start + contraction.end()
        else:
            first = start + 1 if text[start] == " " and start + 1 < len(text) else start
            if _is_space(text[first]):
                end = start
                while end < len(text) and _is_space(text[end]):
                    end += 1
                if end < len(text) and end - start > 1:
                    end -= 1  # the last space belongs to the word that follows
            else:
                letters = unicodedata.category(text[first])[0] == "L"
                end = first
                while end < len(text) and not _is_space(text[end]):
                    if (unicodedata.category(text[end])[0] == "L") != letters:
                        break
                    end += 1
        yield text[start:end]
        start = end


def basic_words(text: str) -> list[str]:
    """BERT's basic tokeniser: no control characters, no accents, lower case, punctuation and CJK alone."""
    spaced = []
    for char in unicodedata.normalize("NFD", text):
        category = unicodedata.category(char)
        if char.isspace():
            spaced.append(" ")
        elif char in "\0\ufffd" or category in ("Cc", "Cf", "Mn"):
            continue
        elif category[0] == "P" or (category[0] == "S" and char.isascii()) or "\u4e00" <= char <= "\u9fff":
            spaced.append(f" {char} ")
        else:
            spaced.append(char.lower())
    return "".join(spaced).split()


def bpe_vocabulary(*, n_merges: int = 250, add_bos: bool = False) -> Vocabulary:
    """Byte-level BPE: BOS ``<s>`` is 0, EOS ``</s>`` is 1, then 256 bytes and the results of merges."""
    corpus = " ".join(CORPUS.split())
    words = [[BYTE_TO_UNICODE[b] for b in word.encode("utf-8")] for word in pre_tokenize(corpus)]
    merges = learn_merges(words, n_merges)
    learnt = [*BYTE_TO_UNICODE.values(), *(left + right for left, right in merges)]
    tokens = ["<s>", "</s>", *dict.fromkeys(learnt)]
    pieces = [token.encode() for token in tokens[:2]]
    pieces += [bytes(UNICODE_TO_BYTE[char] for char in token) for token in tokens[2:]]
    types = [CONTROL] * 2 + [NORMAL] * (len(tokens) - 2)
    special = {"bos": 0, "eos": 1}
    return Vocabulary("gpt2", tokens, types, pieces, special, add_bos, merges=merges, pre="smollm")


def spm_vocabulary(*, n_merges: int = 250, add_bos: bool = True) -> Vocabulary:
    """SentencePiece BPE: ``<unk>``, ``<s>``, ``</s>``, 256 byte tokens, merges, characters."""
    text = " ".join(CORPUS.split())
    words = [list(SPACE + word) for word in text.split()]
    merges = learn_merges(words, n_merges)
    characters = sorted({char for word in words for char in word} | {"\u00e9"})
    learnt = list(dict.fromkeys(left + right for left, right in merges))
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *byte_tokens, *learnt, *characters]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(learnt) + len(characters))]
    pieces = [token.encode() for token in tokens[:3]] + [bytes([byte]) for byte in range(256)]
    pieces += [token.replace(SPACE, " ").encode() for token in tokens[259:]]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(learnt) + len(characters))]
    special = {"bos": 1, "eos": 2, "unk": 0}
    return Vocabulary("llama", tokens, types, pieces, special, add_bos, scores=scores)


def wordpiece_vocabulary() -> Vocabulary:
    """WordPiece as llama.cpp stores it: a word's start is marked with U+2581, a continuation (``##x``) is
    bare.
    """
    names = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    words = sorted({word for word in basic_words(CORPUS) if len(word) > 1})
    punctuation = list(".,;:!?'\"()-$%&")
    starts = [SPACE + item for item in [*letters, *punctuation, *words]]
    endings = ["ing", "ed", "er", "est", "ly", "ness", "tion", "able", "es"]
    tokens = [*names.values(), *starts, *letters, *endings]
    pieces = [token.replace(SPACE, " ").encode() for token in tokens]
    types = [CONTROL, UNKNOWN, *[CONTROL] * 3, *[NORMAL] * (len(tokens) - 5)]
    return Vocabulary("bert", tokens, types, pieces, {role: i for i, role in enumerate(names)}, True)


def unigram_vocabulary(*, n_pieces: int = 300) -> Vocabulary:
    """T5's kind: ``<pad>`` is 0, ``</s>`` 1, ``<unk>`` 2; then the characters of the corpus and its most frequent
    pieces of words, each with the logarithm of its frequency.
    """
    words = [SPACE + word for word in CORPUS.split()]
    counts = Counter(
        word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, min(len(word), i + 8) + 1)
    )
    characters = sorted({char for word in words for char in word})
    frequent = sorted((p for p in counts if len(p) > 1), key=lambda p: (-counts[p] * (len(p) - 1), p))[:n_pieces]
    learnt = [*frequent, *characters]
    total = sum(counts[piece] for piece in learnt)
    # The small term makes ties, which nobody says how to break, next to impossible.
    scores = [float(np.float32(np.log(counts[p] / total) - 1e-3 * i / len(learnt))) for i, p in enumerate(learnt)]
    special = {"pad": 0, "eos": 1, "unk": 2}
    tokens = ["<pad>", "</s>", "<unk>", *learnt]
    types = [CONTROL, CONTROL, UNKNOWN, *[NORMAL] * len(learnt)]
    pieces = [token.encode() for token in tokens[:3]] + [token.replace(SPACE, " ").encode() for token in learnt]
    return Vocabulary("t5", tokens, types, pieces, special, False, scores=[0.0] * 3 + scores)
