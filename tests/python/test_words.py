"""Words and phrases of a text: what explanations give values to."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastplr.explanation import phrases_of, words_of


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in words_of(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It wasn't good.", ["It", "wasn't", "good", "."]),
        ("It wasn’t well-made...", ["It", "wasn’t", "well-made", "..."]),
        ("3.5% of 1,000 in the U.S.", ["3.5", "%", "of", "1,000", "in", "the", "U.S", "."]),
        ("a_b  c\n\td", ["a_b", "c", "d"]),
        ("(yes)[no]", ["(", "yes", ")", "[", "no", "]"]),
        ("'quoted' and rock'n'roll", ["'", "quoted", "'", "and", "rock'n'roll"]),
        ("영화가 정말 좋았다!", ["영화가", "정말", "좋았다", "!"]),
        ("这部电影很好。", ["这", "部", "电", "影", "很", "好", "。"]),
        ("これはテストです", ["これは", "テスト", "です"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("مرحبا، كيف", ["مرحبا", "،", "كيف"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("👍🏽👍🏽 👨‍👩‍👧 🇩🇪🇫🇷 ❤️!", ["👍🏽👍🏽", "👨‍👩‍👧", "🇩🇪", "🇫🇷", "❤️", "!"]),
        ("1️⃣ step", ["1️⃣", "step"]),
        ("a,b", ["a", ",", "b"]),
        ("-5 -- x", ["-", "5", "--", "x"]),
        ("@user #tag", ["@", "user", "#", "tag"]),
        ("\u200fabc\u200e d", ["\u200fabc\u200e", "d"]),
        ("   ", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert cut(text) == words


@given(st.text() | st.text("ab '’-.,!👍🏽\u200d\ufe0f🇩é\u0301한中ア\u200f\n"))
def test_every_character_but_white_space_is_in_exactly_one_word(text: str) -> None:
    words = words_of(text)
    inside = [position for start, end in words for position in range(start, end)]
    assert inside == sorted(set(inside))
    white = [one in "\t\n\v\f\r\x85\u200b" or unicodedata.category(one).startswith("Z") for one in text]
    assert [position not in set(inside) for position in range(len(text))] == white


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("I loved it, but the end was weak.", ["I loved it,", "but the end was weak."]),
        ("Short one", ["Short one"]),
        ("He said (very loudly) no!", ["He said", "(very loudly)", "no!"]),
        ("... what?", ["... what?"]),
        ("!!!", ["!!!"]),
    ],
)
def test_phrases(text: str, phrases: list[str]) -> None:
    assert [text[start:end] for start, end in phrases_of(text)] == phrases


def test_a_long_clause_is_cut_before_short_words() -> None:
    text = "the committee decided yesterday to raise interest rates by half a point"
    phrases = [text[start:end] for start, end in phrases_of(text)]
    assert phrases == ["the committee decided yesterday", "to raise interest rates", "by half a point"]


@given(st.text() | st.lists(st.sampled_from(["a", "film", "good", ",", "(", ")", ".", "中", "!"])).map(" ".join))
def test_phrases_are_made_of_whole_words_and_leave_none_out(text: str) -> None:
    words, phrases = words_of(text), phrases_of(text)
    inside = [[(a, b) for a, b in words if start <= a and b <= end] for start, end in phrases]
    assert [word for some in inside for word in some] == words
    assert all((some[0][0], some[-1][1]) == phrase for some, phrase in zip(inside, phrases, strict=True))
    assert all(sum(any(c.isalnum() for c in text[a:b]) for a, b in some) <= 5 for some in inside)
