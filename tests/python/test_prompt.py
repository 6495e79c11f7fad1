"""Prompt: what stands around a text, as a value that can be compared, hashed, stored and taken from a task."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastplr import FastplrError, InputError, Prompt

TASK = {
    "name": "mood",
    "prefix": "The following is a message: ",
    "suffix": " Is it (a) glad or (b) sad? Answer:",
    "option_letters": {"glad": "a", "sad": "b"},
    "label_words": {"glad": "happy", "sad": "unhappy"},
}
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ANSWERS = st.none() | st.dictionaries(st.text() | st.integers() | st.booleans(), WORDS.filter(lambda w: w.strip()))


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    before = {"instruction": draw(WORDS)} if draw(st.booleans()) else {"prefix": draw(WORDS)}
    return Prompt(**before, suffix=draw(WORDS), cue=draw(WORDS), answers=draw(ANSWERS))


def test_the_model_sees_prefix_text_suffix() -> None:
    assert Prompt("Read: ", " Good?").render("a film") == "Read: a film Good?"
    assert Prompt().render("a film") == "a film"
    assert Prompt(cue=" Answer:").render("a film") == "a film"  # the cue is no part of an embedding


@pytest.mark.parametrize(
    ("instruction", "rendered"),
    [("Is it good?", "Is it good? x"), ("Good?\n", "Good?\nx"), ("Good? ", "Good? x"), ("", "x")],
)
def test_an_instruction_is_set_off_from_the_text(instruction: str, rendered: str) -> None:
    prompt = Prompt(instruction=instruction)
    assert prompt.render("x") == rendered
    assert prompt.instruction == instruction


@pytest.mark.parametrize("name", ["prefix", "suffix", "instruction", "cue", "answers", "new"])
def test_a_prompt_cannot_be_changed(name: str) -> None:
    prompt = Prompt("a", "b", cue="c", answers={"x": "y"})
    with pytest.raises(AttributeError):
        setattr(prompt, name, "other")
    prompt.answers["x"] = "other"  # a copy
    assert prompt == Prompt("a", "b", cue="c", answers={"x": "y"})


def test_later_changes_to_the_answers_given_do_not_reach_the_prompt() -> None:
    answers = {"x": "y"}
    prompt = Prompt(answers=answers)
    answers["x"] = "z"
    assert prompt.answers == {"x": "y"}


@given(prompts())
def test_dict_json_pickle_and_copies_give_an_equal_prompt_back(prompt: Prompt) -> None:
    for again in (
        Prompt.from_dict(prompt.to_dict()),
        pickle.loads(pickle.dumps(prompt)),
        copy.copy(prompt),
        copy.deepcopy(prompt),
        Prompt.from_dict(json.loads(json.dumps(prompt.to_dict()))),
    ):
        assert again == prompt
        assert hash(again) == hash(prompt)
        assert again.render("x") == prompt.render("x")
        assert repr(again) == repr(prompt)


@given(prompts())
def test_repr_is_an_expression(prompt: Prompt) -> None:
    assert eval(repr(prompt), {"Prompt": Prompt}).render("x") == prompt.render("x")


def test_prompts_that_differ_anywhere_are_not_equal() -> None:
    different = [
        Prompt(),
        Prompt("a"),
        Prompt("a", "b"),
        Prompt(suffix="a"),
        Prompt(cue="a"),
        Prompt(answers={}),
        Prompt(answers={"a": "b"}),
        Prompt(answers={"a": "c"}),
        Prompt(instruction="a"),
    ]
    assert len(set(different)) == len(different)
    assert Prompt("a") != "a"


def test_the_papers_style_keeps_the_words_where_they_are() -> None:
    prompt = Prompt.from_task(TASK)
    assert prompt.render("I won!") == "The following is a message: I won! Is it (a) glad or (b) sad? Answer:"
    assert prompt.answers == {"glad": "a", "sad": "b"}
    assert prompt.cue == ""


def test_the_instruction_style_puts_them_before_the_text() -> None:
    prompt = Prompt.from_task(TASK, style="instruction", answers="words")
    assert prompt.render("I won!") == "Is it (a) glad or (b) sad? The following is a message: I won!"
    assert prompt.suffix == ""
    assert prompt.cue == " Answer:"
    assert prompt.answers == {"glad": "happy", "sad": "unhappy"}


def test_a_suffix_that_asks_for_no_answer_leaves_no_cue() -> None:
    prompt = Prompt.from_task({**TASK, "suffix": " Is it glad? "}, style="instruction")
    assert prompt.render("x") == "Is it glad? The following is a message: x"
    assert prompt.cue == ""


@pytest.mark.parametrize("key", ["prefix", "suffix", "option_letters"])
def test_a_task_without_a_key_says_which_and_what_it_has(key: str) -> None:
    task = {name: value for name, value in TASK.items() if name != key}
    with pytest.raises(InputError, match=f"no key '{key}'; it has 'name'"):
        Prompt.from_task(task)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"style": "essay"}, "style is 'essay': expected 'paper' or 'instruction'"),
        ({"answers": "numbers"}, "answers is 'numbers': expected 'letters' or 'words'"),
    ],
)
def test_unknown_styles_are_named(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Prompt.from_task(TASK, **wrong)


@pytest.mark.parametrize("style", ["paper", "instruction"])
def test_a_task_whose_words_are_no_str_is_refused(style: str) -> None:
    with pytest.raises(InputError, match="suffix is 7 of type int"):
        Prompt.from_task({**TASK, "suffix": 7}, style=style)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prefix": "a", "instruction": "b"}, "both prefix 'a' and instruction 'b'"),
        ({"prefix": 3}, "prefix is 3 of type int: expected a str"),
        ({"suffix": b"x"}, "suffix is b'x' of type bytes"),
        ({"suffix": None}, "suffix is None of type NoneType"),
        ({"instruction": 1.5}, "instruction is 1.5 of type float"),
        ({"cue": ["a"]}, r"cue is \['a'\] of type list"),
        ({"prefix": "a\0b"}, r"prefix has the character '\\x00' at 1"),
        ({"suffix": "\udcff"}, r"suffix has the character '\\udcff' at 0"),
        ({"answers": {"glad": " "}}, "the answer for 'glad' is ' ': expected a visible text"),
        ({"answers": {"glad": 1}}, "the answer for 'glad' is 1 of type int"),
        ({"answers": ["a", "b"]}, r"answers is \['a', 'b'\]: expected a mapping"),
        ({"answers": "ab"}, "answers is 'ab': expected a mapping"),
    ],
)
def test_what_is_no_prompt_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Prompt(**arguments)
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, FastplrError)


def test_a_str_is_an_instruction_and_none_is_no_prompt() -> None:
    assert Prompt.coerce("Is it good?") == Prompt(instruction="Is it good?")
    assert Prompt.coerce(None) == Prompt.coerce("") == Prompt()
    prompt = Prompt("a")
    assert Prompt.coerce(prompt) is prompt
    with pytest.raises(InputError, match=r"prompt is 5 of type int: expected a fastplr\.Prompt, a str or None"):
        Prompt.coerce(5)


def test_only_a_str_can_be_rendered() -> None:
    with pytest.raises(InputError, match="text is None"):
        Prompt("a").render(None)
