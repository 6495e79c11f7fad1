"""Which answer a reply of a language model gives: never one that it does not say, and none where it says several."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastplr.reply_matching import label_of_reply

LETTERS = ["a", "b", "c"]
LABELS = ["positive", "negative", "neutral"]
AROUND = [
    "{}", " {}\n", "({})", "[{}]", "{}.", "{})", "{}:", "**{}**", '"{}"', "'{}'", "`{}`", "«{}»", "Answer: {}",
    "answer={}", "The answer is {}.", "The correct answer is: ({})", "Final answer: **{}**", "Option {}",
    "I would say option {}.", "<think>It could be anything.</think>\n\n{}", "Label: {}\n",
    "\n\n{}\n\nThat is all.", "My choice would be: {}",
]  # fmt: skip

#: Words of no meaning here, of several scripts; none of them is one of the rules' own.
WORDS = st.text(string.ascii_lowercase + "äßéñжя", min_size=4, max_size=12).filter(
    lambda word: word not in {"answer", "label", "option", "choice", "category", "class", "letter", "without", "never"}
)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("said", ["b", "B", "negative", "Negative", "NEGATIVE"])
def test_an_answer_in_usual_words(around: str, said: str) -> None:
    assert label_of_reply(around.format(said), LETTERS, LABELS) == 1


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("(b) negative", 1),
        ("b. Negative", 1),
        ("b, because it is a bad film", 1),
        ("It is a negative sentence", 1),
        ('{"answer": "b"}', 1),
        ("The sentence is (a) positive.", 0),
        ("Option a is right", 0),
        ("a good film", None),
        ("The answer is a good one", None),
        ("A film about vitamin C.", None),
        ("E.g. a film", None),
        ("I'd like to", None),
        ("(a) or (b)", None),
        ("a, b", None),
        ("a. b. c.", None),
        ("b. a.", None),
        ("(a) negative", None),
        ("positive or negative", None),
        ("not positive", None),
        ("It isn't negative.", None),
        ("It is neither positive nor bad", None),
        ("It is not (a)", None),
        ("positively", None),
        ("<think>It is positive", None),
        ("<think>negative?</think>a", 0),
        ("I cannot tell.", None),
        ("", None),
        (" \n", None),
        ("...", None),
        ("\ud800", None),
    ],
)
def test_what_a_reply_says_and_what_it_does_not(reply: str, number: int | None) -> None:
    assert label_of_reply(reply, LETTERS, LABELS) == number


@pytest.mark.parametrize(
    ("reply", "answers", "labels", "number"),
    [
        ("No", ["yes", "no"], ["ironic", "not ironic"], 1),
        ("No, it is not ironic.", ["yes", "no"], ["ironic", "not ironic"], 1),
        ("Yes, the tweet is ironic.", ["yes", "no"], ["ironic", "not ironic"], 0),
        ("It is not ironic", ["yes", "no"], ["ironic", "not ironic"], 1),
        ("I have no idea", ["yes", "no"], ["ironic", "not ironic"], None),
        ("It has no environmental claim", ["environmental claim", "no claim"], ["1", "2"], None),
        ("unacceptable", ["acceptable", "unacceptable"], ["x", "y"], 1),
        ("It is unacceptable.", ["acceptable", "unacceptable"], ["x", "y"], 1),
        ("hate_speech", ["a", "b"], ["hate speech", "offensive"], 0),
        ("It is hate-speech.", ["a", "b"], ["hate speech", "offensive"], 0),
        ("C++.", ["C", "C++", "C#"], ["x", "y", "z"], 1),
        ("It is C++, I think", ["C", "C++", "C#"], ["x", "y", "z"], None),
        (":(", [":)", ":("], ["x", "y"], 1),
        ("-", ["positive", "negative"], ["+", "-"], 1),
        ("A", ["a", "A"], ["x", "y"], 1),
        ("(A)", ["a", "A"], ["x", "y"], 1),
        ("Answer: 2", ["1", "2"], ["x", "y"], 1),
        ("There are 2 films", ["1", "2"], ["x", "y"], None),
        ("b", ["b", "a"], ["a", "b"], 0),  # answers before labels
        ("It is b.", ["b", "a"], ["a", "b"], None),
        ("Option b", ["b", "a"], ["a", "b"], 0),
        ("正面。", ["正面", "负面"], ["x", "y"], 0),
    ],
)
def test_other_answers(reply: str, answers: list[str], labels: list[str], number: int | None) -> None:
    assert label_of_reply(reply, answers, labels) == number


@given(st.lists(WORDS, min_size=2, max_size=6, unique_by=str.casefold), st.data())
def test_every_answer_is_found_in_usual_words(answers: list[str], data: st.DataObject) -> None:
    labels = [f"label {number} of them" for number in range(len(answers))]
    number = data.draw(st.integers(0, len(answers) - 1))
    around = data.draw(st.sampled_from(AROUND))
    assume(not set(answers) & {"anything", "correct", "final", "right", "best", "could", "would", "that"})
    said = data.draw(st.sampled_from([answers[number], answers[number].title(), labels[number]]))
    assert label_of_reply(around.format(said), answers, labels) == number


@given(st.data(), st.sampled_from([" ", ", ", " or ", "\n", ". ", "/", " and ", ") ("]))
def test_several_answers_are_none(data: st.DataObject, between: str) -> None:
    answers = data.draw(st.sampled_from([list("abcdef"), ["1", "2", "3"], LABELS, ["yes", "no"]]))
    first, second = data.draw(st.permutations(answers))[:2]
    left, right = data.draw(st.sampled_from([("", ""), ("(", ")"), ("option ", ""), ("answer: ", ".")]))
    reply = f"{left}{first}{right}{between}{left}{second}{right}"
    assert label_of_reply(reply, answers, [f"label {answer}" for answer in answers]) is None


@given(st.text(), st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=4))
def test_any_reply_to_any_question_has_a_verdict_and_says_what_is_found(reply: str, answers: list[str]) -> None:
    labels = [f"label {number}" for number in range(len(answers))]
    number = label_of_reply(reply, answers, labels)
    assert number is None or 0 <= number < len(answers)
    if not any(character.isalnum() for character in reply) and reply.strip() not in {a.strip() for a in answers}:
        bare = {answer for answer in answers if not any(character.isalnum() for character in answer)}
        assert number is None or answers[number] in bare


ARTICLES = ["it", "is", "a", "good", "film", "i", "would", "call", "an", "old", "one", "of", "its", "kind"]


@given(st.lists(st.sampled_from(ARTICLES), max_size=12))
def test_articles_and_pronouns_are_no_options(words: list[str]) -> None:
    assume(not words or words[-1] not in {"a", "i"})
    assert label_of_reply(" ".join(words), list("abcdefghi"), [f"label {n}" for n in range(9)]) is None


@given(st.text("ab()[]'\".,: \nisno<think>/", max_size=60))
def test_replies_of_marks_alone_are_read_in_time(reply: str) -> None:
    assert label_of_reply(reply * 200, ["a", "b"], ["x", "no"]) in (None, 0, 1)


@pytest.mark.parametrize(
    "part", ["(a) ", "answer ", ": ", "answer:" + "." * 50, "a) not ", "( ", "\n", "'a", "positive "]
)
def test_long_replies_are_read_in_time(part: str) -> None:
    begun = time.monotonic()
    label_of_reply(part * 5000, LETTERS, LABELS)
    assert time.monotonic() - begun < 5
