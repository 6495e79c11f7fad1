"""The fewest words without which a text gets another label, against trying all sets of words."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

import fastplr
from fastplr import InputError, PLRClassifier
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel

TEXTS = ["where is my new card now", "what is the exchange rate today", "my card was stolen and I need help"]


def fitted(tiny: TinyModel, n_classes: int = 2, **settings: Any) -> PLRClassifier:
    texts, labels, _ = train_and_test(n_classes)
    return fastplr.fit(texts, labels, model=tiny.path, C=0.05, progress=False, **(NO_CHOICE | settings))


def fewest(classifier: PLRClassifier, text: str) -> int | None:
    """The size of the smallest set of words that does it, by trying every one of them."""
    words = text.split()
    [label] = classifier.predict([text])
    for size in range(1, len(words)):
        sets = list(itertools.combinations(range(len(words)), size))
        rests = [" ".join(word for k, word in enumerate(words) if k not in removed) for removed in sets]
        if (classifier.predict(rests) != label).any():
            return size
    return None


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_smallest_sets_are_found(tiny_llama: TinyModel, n_classes: int, pooling: str) -> None:
    classifier = fitted(tiny_llama, n_classes, pooling=pooling)
    texts = [*TEXTS, *train_and_test(n_classes)[2][:4]]
    texts = [" ".join(text.split()[:8]) for text in texts]
    found = classifier.counterfactual(texts, budget=300, spans=[words_by_space(text) for text in texts])
    assert any(one.removed for one in found)
    for one, text in zip(found, texts, strict=True):
        assert one.predicted == classifier.predict([text])[0]
        assert one.confidence == pytest.approx(classifier.predict_proba([text]).max(), abs=1e-6)
        assert (len(one.removed) or None) == fewest(classifier, text)
        if one.removed:
            assert one.smallest
            assert one.text_without == " ".join(text[a:b] for a, b in words_by_space(text) if (a, b) not in one.removed)
            assert one.becomes == classifier.predict([one.text_without])[0] != one.predicted
            assert one.becomes_confidence == pytest.approx(classifier.predict_proba([one.text_without]).max(), abs=1e-6)
            assert one.words == [text[a:b] for a, b in one.removed]
        assert one.n_tried <= 300
        assert json.loads(json.dumps(one.to_dict()))["words"] == one.words


def words_by_space(text: str) -> list[tuple[int, int]]:
    places, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        places.append((at, at + len(word)))
        at += len(word)
    return places


def test_class_shares_decide_too(tiny_llama: TinyModel) -> None:
    labels = train_and_test(2)[1]
    second = sorted(set(labels))[1]
    classifier = fitted(tiny_llama, class_prior={sorted(set(labels))[0]: 0.2, second: 0.8})
    for one in classifier.counterfactual(TEXTS):
        assert one.predicted == classifier.predict([one.text])[0]
        if one.removed:
            assert one.becomes == classifier.predict([one.text_without])[0] != one.predicted


def test_all_spans_may_go_where_text_is_left(tiny_llama: TinyModel) -> None:
    classifier = fitted(tiny_llama)
    for text in train_and_test(2)[0]:
        first = text.split()[0]
        [one] = classifier.counterfactual([text], spans=[[(0, len(first))]])
        rest = text[len(first) :].strip()
        flips = classifier.predict([rest])[0] != classifier.predict([text])[0]
        assert one.removed == (((0, len(first)),) if flips else ())
        assert one.smallest == flips
        assert one.n_tried == 1


def test_nothing_is_found_where_nothing_does_it(tiny_llama: TinyModel) -> None:
    classifier = fitted(tiny_llama)
    classifier.intercept_ = classifier.intercept_ + 1000.0
    for one in classifier.counterfactual([*TEXTS, "word", "카드 😀"], budget=50):
        assert (one.removed, one.text_without, one.becomes, one.becomes_confidence) == ((), None, None, None)
        assert not one.smallest
        assert one.predicted == classifier.classes_[1]


def test_long_texts_and_phrases(tiny_llama: TinyModel) -> None:
    classifier = fitted(tiny_llama)
    text = ". ".join([*TEXTS] * 5)
    for by in ("word", "phrase"):
        [one] = classifier.counterfactual([text], by=by, budget=60)
        assert 0 < one.n_tried <= 60
        if one.removed:
            assert one.becomes != one.predicted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": []}, "texts is empty"),
        ({"X": [""]}, r"texts\[0\]"),
        ({"budget": 0}, "budget is 0"),
        ({"budget": 10**9}, "budget is 1000000000: expected an int from 1 to 100000"),
        ({"spans": [None]}, r"spans\[0\] is None"),
        ({"by": "letter"}, "by is 'letter'"),
        ({"replacement": None}, "replacement is None"),
        ({"spans": [[(3, 9), (5, 11)]]}, r"spans\[0\]\[1\]"),
    ],
)
def test_bad_input(tiny_llama: TinyModel, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fitted(tiny_llama).counterfactual(**{"X": TEXTS[:1], **arguments})
