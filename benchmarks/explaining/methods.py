"""Ways to give the words of a text values: fastplr's, and shap's and lime's on the same classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fastplr
from fastplr import _core, classifier_file
from fastplr.explanation import words_of

__all__ = ["METHODS", "RIVALS", "probabilities_of", "word_values"]

Floats = npt.NDArray[np.float64]
Probabilities = Callable[[Sequence[str]], Floats]
#: Somebody else's, as their documentation says they are used, and made as like to the measure as they allow.
RIVALS = ("shap", "shap, words out", "lime", "lime, our words")
METHODS = ("fastplr", "fastplr shapley", "fastplr occlusion", "fastplr additive", *RIVALS)


def probabilities_of(classifier: fastplr.PLRClassifier) -> Probabilities:
    """`predict_proba` for perturbed texts: rivals also ask for texts without any word, which have the intercept's."""
    native = classifier_file.to_native(classifier)
    empty = _core.probabilities(native, np.atleast_2d(classifier.intercept_))[0]

    def probabilities(texts: Sequence[str]) -> Floats:
        texts = [str(text) for text in texts]
        said = [index for index, text in enumerate(texts) if text.strip()]
        found = np.tile(empty, (len(texts), 1))
        if said:
            found[said] = classifier.predict_proba([texts[index] for index in said])
        return found

    return probabilities


def word_values(
    name: str, classifier: fastplr.PLRClassifier, texts: list[str], predicted: list[int], budget: int | None, seed: int
) -> list[Floats]:
    """Values of the words (`words_of`) of each text for the class `predicted`; `budget` None is a method's default."""
    if name in RIVALS:
        rival = _shap_values if name.startswith("shap") else _lime_values
        as_ours = name not in ("shap", "lime")
        probabilities = probabilities_of(classifier)
        of_texts = [
            rival(probabilities, text, label, budget, seed, as_ours)
            for text, label in zip(texts, predicted, strict=True)
        ]
        return [_spread(text, *one) for text, one in zip(texts, of_texts, strict=True)]
    method = name.partition(" ")[2] or "auto"
    classes = classifier.classes_.tolist()
    found: list[Floats | None] = [None] * len(texts)
    for number in sorted(set(predicted)):
        some = [index for index, one in enumerate(predicted) if one == number]
        explained = classifier.explain(
            [texts[index] for index in some], method=method, label=classes[number], budget=budget, random_state=seed
        )
        for index, one in zip(some, explained, strict=True):
            found[index] = np.array([span.value for span in one.spans])
    return [one for one in found if one is not None]


def _spread(text: str, pieces: Sequence[tuple[int, int]], values: Sequence[float]) -> Floats:
    """Values of pieces of a text to values of its words, by the characters that they share."""
    words = words_of(text)
    spread = np.zeros(len(words))
    for (start, end), value in zip(pieces, values, strict=True):
        shared = np.array([max(0, min(end, b) - max(start, a)) for a, b in words], dtype=float)
        if shared.sum() > 0:
            spread += value * shared / shared.sum()
    return spread


def _shap_values(
    probabilities: Probabilities, text: str, label: int, budget: int | None, seed: int, as_ours: bool
) -> tuple[list[tuple[int, int]], list[float]]:
    import shap

    # By default it puts "..." in the place of words; here words are taken out where faithfulness is measured.
    masker = shap.maskers.Text(r"\W+", mask_token=" ") if as_ours else shap.maskers.Text(r"\W+")
    explainer = shap.Explainer(probabilities, masker, algorithm="partition", seed=seed)
    explained = explainer([text], silent=True, **({} if budget is None else {"max_evals": budget}))
    pieces, at = [], 0
    for piece in explained.data[0]:
        start = text.index(piece, at) if piece else at
        at = start + len(piece)
        pieces.append((start, at))
    return pieces, list(explained.values[0][:, label])


def _lime_values(
    probabilities: Probabilities, text: str, label: int, budget: int | None, seed: int, as_ours: bool
) -> tuple[list[tuple[int, int]], list[float]]:
    from lime.lime_text import LimeTextExplainer

    def words(text: str) -> list[str]:
        return [text[start:end] for start, end in words_of(text)]

    # By default punctuation is no word.
    split: Any = {"split_expression": words} if as_ours else {}
    explained = LimeTextExplainer(random_state=seed, **split).explain_instance(
        text, probabilities, labels=(label,), num_features=len(words(text)) + 1,
        **({} if budget is None else {"num_samples": budget}),
    )  # fmt: skip
    of_string = explained.domain_mapper.indexed_string
    pieces, values = [], []
    for number, value in explained.as_map()[label]:
        length = len(of_string.word(number))
        for start in np.atleast_1d(of_string.string_position(number)).tolist():
            pieces.append((start, start + length))
            values.append(value)
    return pieces, values
