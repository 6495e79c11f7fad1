"""The words that speak most for each class over a corpus, against the explanations that they are made of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import fastplr
from fastplr import InputError, PLRClassifier
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel


@pytest.fixture(scope="module", params=[2, 3])
def classifier(request: pytest.FixtureRequest, tiny_llama: TinyModel) -> PLRClassifier:
    texts, labels, _ = train_and_test(request.param)
    return fastplr.fit(texts, labels, model=tiny_llama.path, C=0.05, progress=False, **NO_CHOICE)


CORPUS = [*train_and_test(2)[0], "MY card, my Card", "<b>card</b>"]


def test_effects_are_means_over_texts_with_their_intervals(classifier: PLRClassifier) -> None:
    found = classifier.overview(CORPUS, method="additive", min_texts=2)
    assert list(found.effects) == classifier.classes_.tolist()
    for label, effects in found.effects.items():
        in_texts: dict[str, list[float]] = {}
        count: dict[str, int] = {}
        for one in classifier.explain(CORPUS, method="additive", label=label):
            of_text: dict[str, list[float]] = {}
            for span in one.spans:
                of_text.setdefault(span.text.casefold(), []).append(span.value)
                count[span.text.casefold()] = count.get(span.text.casefold(), 0) + 1
            for word, values in of_text.items():
                in_texts.setdefault(word, []).append(float(np.mean(values)))
        assert {one.text.casefold() for one in effects} == {word for word, some in in_texts.items() if len(some) >= 2}
        for one in effects:
            values = in_texts[one.text.casefold()]
            interval = ttest_1samp(values, 0.0).confidence_interval(0.95)
            assert (one.value, one.low, one.high) == pytest.approx((np.mean(values), interval.low, interval.high))
            assert (one.n_texts, one.count) == (len(values), count[one.text.casefold()])
        assert [one.low for one in effects] == sorted((one.low for one in effects), reverse=True)
    for label, strongest in found.strongest(3).items():
        assert strongest == tuple(one for one in found.effects[label][:3] if one.low > 0)
    assert json.loads(json.dumps(found.to_dict()))["classes"][1]["effects"][0]["n_texts"] >= 2


def test_a_text_that_is_there_twice_counts_once(classifier: PLRClassifier) -> None:
    once = classifier.overview(CORPUS, method="additive", min_texts=2)
    assert classifier.overview([*CORPUS, *CORPUS[:7]], method="additive", min_texts=2) == once
    assert once.n_texts == len(set(CORPUS))


def test_phrases_lose_the_marks_at_their_ends(classifier: PLRClassifier) -> None:
    texts = ["Oh no! My card,", "oh no (my card)", "OH NO: my card!"]
    found = classifier.overview(texts, method="additive", by="phrase")
    assert {one.text.casefold() for one in next(iter(found.effects.values()))} == {"oh no", "my card"}


def test_what_people_see(classifier: PLRClassifier) -> None:
    found = classifier.overview(CORPUS, method="additive", min_texts=2)
    text, page = found.format(), found._repr_html_()
    for label, strongest in found.strongest().items():
        assert f"for {label}:" in text
        for one in strongest:
            assert f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f}), {one.n_texts} texts" in text
    assert "<b>" not in page
    assert page.count("<section>") == len(classifier.classes_)
    nothing = classifier.overview(["card", "my"], min_texts=2)
    assert nothing.strongest() == dict.fromkeys(classifier.classes_.tolist(), ())
    assert "none whose interval" in nothing.format()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": []}, "texts is empty"),
        ({"min_texts": 1}, "min_texts is 1: expected an int of at least 2"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"by": "letter"}, "by is 'letter'"),
        ({"budget": 0}, "budget is 0"),
    ],
)
def test_bad_input(classifier: PLRClassifier, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        classifier.overview(**{"X": CORPUS, **arguments})
