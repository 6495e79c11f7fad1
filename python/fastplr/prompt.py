"""What stands around every text that the model sees."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any, Literal

from fastplr.errors import InputError

__all__ = ["Prompt"]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"Prompt: {name} is {value!r:.80} of type {type(value).__name__}: expected a str")
    for position, character in enumerate(value):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise InputError(
                f"Prompt: {name} has the character {character!r} at {position}: expected no NUL and no half of a"
                " surrogate pair"
            )
    return value


class Prompt:
    """A task in words: the model sees ``prefix + text + suffix``. Immutable and hashable.

    Everything before the text is cheap and as good as words on both sides: causal attention shows it to every token
    of the text. A suffix is paid for by every text, and the tokens of the text do not see it: with the default pooling,
    ``"mean"`` over those, it changes nothing (and is not computed) where the model is causal. Use ``"mean_all"`` or
    ``"last"`` with it.

    Args:
        prefix: Stands before the text.
        suffix: Stands after the text; for pooling ``"mean_all"`` or ``"last"``, and encoders.
        instruction: Everything before the text, for the form without a suffix; excludes `prefix`. A space is put
            between it and the text where it does not end in white space.
        cue: Stands after the suffix where the model is asked to answer (zero-shot, few-shot); not part of an embedding.
        answers: What the model would answer for each label.

    Raises:
        InputError: `instruction` together with `prefix`, a value that is not a str, an empty answer.

    Example:
        >>> Prompt(instruction="Is this message from a customer a complaint?").render("Where is my parcel?")
        'Is this message from a customer a complaint? Where is my parcel?'
    """

    __slots__ = ("_answers", "_cue", "_instruction", "_prefix", "_suffix")

    def __init__(
        self,
        prefix: str = "",
        suffix: str = "",
        *,
        instruction: str | None = None,
        cue: str = "",
        answers: Mapping[Any, str] | None = None,
    ) -> None:
        if instruction is not None:
            if prefix:
                raise InputError(
                    f"Prompt: both prefix {prefix!r} and instruction {instruction!r}: expected one of them"
                )
            _text("instruction", instruction)
            prefix = instruction if not instruction or instruction[-1].isspace() else instruction + " "
        self._prefix = _text("prefix", prefix)
        self._suffix = _text("suffix", suffix)
        self._instruction = instruction
        self._cue = _text("cue", cue)
        self._answers: tuple[tuple[Any, str], ...] | None = None
        if answers is not None:
            if not isinstance(answers, Mapping):
                raise InputError(f"Prompt: answers is {answers!r:.80}: expected a mapping from label to answer")
            for label, answer in answers.items():
                if not _text(f"the answer for {label!r}", answer).strip():
                    raise InputError(f"Prompt: the answer for {label!r} is {answer!r}: expected a visible text")
            self._answers = tuple(answers.items())

    @property
    def prefix(self) -> str:
        """What stands before the text."""
        return self._prefix

    @property
    def suffix(self) -> str:
        """What stands after the text."""
        return self._suffix

    @property
    def instruction(self) -> str | None:
        """The instruction as given, or None."""
        return self._instruction

    @property
    def cue(self) -> str:
        """What follows the suffix where the model is asked to answer."""
        return self._cue

    @property
    def answers(self) -> dict[Any, str] | None:
        """What the model would answer for each label, or None."""
        return None if self._answers is None else dict(self._answers)

    @classmethod
    def from_task(
        cls,
        task: Mapping[str, Any],
        *,
        style: Literal["paper", "instruction"] = "paper",
        answers: Literal["letters", "words"] = "letters",
    ) -> Prompt:
        """The prompt of a task description (keys ``prefix``, ``suffix``, ``option_letters``, ``label_words``).

        Args:
            task: One entry of a ``tasks.json``.
            style: ``"paper"`` puts the words around the text as in Buckmann & Hill 2024 (arXiv 2408.03414);
                ``"instruction"`` puts all of them before it.
            answers: Whether the model would answer with an option's letter or with a word.

        The word that asks for the answer (``Answer:`` at the end of the suffix) becomes the `cue` of the second
        style; in the first it stays in the suffix.

        Raises:
            InputError: A key is missing, `style` or `answers` is unknown.
        """
        key = {"letters": "option_letters", "words": "label_words"}.get(answers)
        if key is None:
            raise InputError(f"Prompt.from_task: answers is {answers!r}: expected 'letters' or 'words'")
        for needed in ("prefix", "suffix", key):
            if needed not in task:
                raise InputError(
                    f"Prompt.from_task: the task has no key {needed!r}; it has {', '.join(map(repr, task))}"
                )
        prefix, suffix, words = _text("prefix", task["prefix"]), _text("suffix", task["suffix"]), task[key]
        if style == "paper":
            return cls(prefix, suffix, answers=words)
        if style == "instruction":
            question, mark, _ = suffix.rstrip().rpartition("Answer:")
            question = (question if mark else suffix).strip()
            return cls(
                instruction=f"{question} {prefix}".rstrip(string.whitespace),
                cue=" Answer:" if mark else "",
                answers=words,
            )
        raise InputError(f"Prompt.from_task: style is {style!r}: expected 'paper' or 'instruction'")

    @classmethod
    def coerce(cls, prompt: Prompt | str | None) -> Prompt:
        """A Prompt as it is, a str as its instruction, None as the empty prompt; else InputError."""
        if prompt is None:
            return cls()
        if isinstance(prompt, str):
            return cls(instruction=prompt) if prompt else cls()
        if isinstance(prompt, cls):
            return prompt
        raise InputError(
            f"prompt is {prompt!r} of type {type(prompt).__name__}: expected a fastplr.Prompt, a str or None"
        )

    def render(self, text: str) -> str:
        """The whole string that an embedding of `text` is made from."""
        return f"{self._prefix}{_text('text', text)}{self._suffix}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_dict` makes an equal prompt."""
        return {
            "prefix": None if self._instruction is not None else self._prefix,
            "suffix": self._suffix,
            "instruction": self._instruction,
            "cue": self._cue,
            "answers": None if self._answers is None else [list(pair) for pair in self._answers],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Prompt:
        """The inverse of :meth:`to_dict`."""
        answers = values.get("answers")
        return cls(
            values.get("prefix") or "",
            values.get("suffix") or "",
            instruction=values.get("instruction"),
            cue=values.get("cue") or "",
            answers=None if answers is None else dict(answers),
        )

    def _key(self) -> tuple[Any, ...]:
        return (self._prefix, self._suffix, self._instruction, self._cue, self._answers)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Prompt) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return (Prompt.from_dict, (self.to_dict(),))

    def __repr__(self) -> str:
        given: list[str] = []
        if self._instruction is not None:
            given.append(f"instruction={self._instruction!r}")
        elif self._prefix:
            given.append(repr(self._prefix))
        if self._suffix:
            given.append(f"suffix={self._suffix!r}")
        if self._cue:
            given.append(f"cue={self._cue!r}")
        if self._answers is not None:
            given.append(f"answers={dict(self._answers)!r}")
        return f"Prompt({', '.join(given)})"
