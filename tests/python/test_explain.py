"""Explanations of a classifier's decisions, against their definitions."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastplr
from fastplr import Explanation, InputError, PLRClassifier, Prompt, Span
from fastplr.explanation import phrases_of, words_of
from fastplr.explanation_page import as_page
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel, write_tiny_llama

PROMPT = Prompt("A message to a bank: ", " What is it about?")


def fitted(tiny: TinyModel, n_classes: int = 2, **settings: Any) -> PLRClassifier:
    texts, labels, _ = train_and_test(n_classes)
    given = {"model": tiny.path, "C": 0.05, "prompt": PROMPT, "progress": False, **NO_CHOICE, **settings}
    return fastplr.fit(texts, labels, **given)


@pytest.fixture(scope="module")
def classifier(tiny_llama: TinyModel) -> PLRClassifier:
    return fitted(tiny_llama)


@pytest.fixture(scope="module")
def of_three(tiny_llama: TinyModel) -> PLRClassifier:
    return fitted(tiny_llama, 3)


TEXTS = [
    "My card hasn't arrived yet!",
    "exchange rate",
    "카드가 아직 안 왔어요 😀👍🏽",
    "naïve café — “quoted” (text), and 中文字",
    "שלום, where is my money?",
    "word",
]


def total(one: Explanation) -> float:
    return one.base_value + sum(span.value for span in one.spans)


@pytest.mark.parametrize("pooling", ["mean", "mean_all"])
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_llama_bos", "tiny_spm", "tiny_bert"])
def test_additive_values_add_up_to_the_logit(model: str, pooling: str, request: pytest.FixtureRequest) -> None:
    classifier = fitted(request.getfixturevalue(model), pooling=pooling, layer=1)
    texts = TEXTS if model != "tiny_bert" else [text for text in TEXTS if text.isascii()]
    found = classifier.explain(texts, method="additive")
    logits = classifier.decision_function(texts)
    for one, logit, text in zip(found, logits, texts, strict=True):
        assert one.logit == pytest.approx(logit, abs=1e-5)
        assert total(one) == pytest.approx(logit, abs=1e-5)
        assert [(span.start, span.end) for span in one.spans] == words_of(text)
        assert all(span.text == text[span.start : span.end] for span in one.spans)


def test_additive_values_are_those_of_the_tokens_own_states(tiny_llama: TinyModel) -> None:
    # In a causal model the mean over a text's beginning is that of its first tokens, whatever follows them.
    classifier = fitted(tiny_llama, prompt="Bank: ", pooling="mean")
    beginnings = ["where", "where is", "where is my", "where is my card"]
    engine = classifier.embedder_._native_engine([classifier.layer_])
    before = engine.count_tokens("x", prefix="Bank: ") - len(tiny_llama.tokenize(" x"))
    n_own = np.array([engine.count_tokens(text, prefix="Bank: ") - before for text in beginnings])
    sums = classifier.embedder_.embed(beginnings).astype(float) * n_own[:, None]
    weights = classifier.coef_[0] / classifier.scale_
    shares = np.diff((sums - n_own[:, None] * classifier.mean_) @ weights, prepend=0.0) / n_own[-1]
    [found] = classifier.explain(beginnings[-1:], method="additive")
    np.testing.assert_allclose([span.value for span in found.spans], shares, atol=1e-5)


def test_prompt_share_is_shown(tiny_llama: TinyModel) -> None:
    of_text, of_all = (
        fitted(tiny_llama, pooling=pooling).explain(["my card"], method="additive")[0]
        for pooling in ("mean", "mean_all")
    )
    assert of_text.prompt_value == pytest.approx(0.0, abs=1e-6)
    assert abs(of_all.prompt_value) > 1e-3


def test_labels_of_two_classes_are_two_sides_of_one_logit(classifier: PLRClassifier) -> None:
    first, second = classifier.classes_
    of_first, of_second, default = (
        classifier.explain(TEXTS[:1], method="additive", label=label)[0] for label in (first, second, None)
    )
    assert default == of_second
    assert of_first.logit == -of_second.logit
    assert [span.value for span in of_first.spans] == [-span.value for span in of_second.spans]
    assert of_first.probability + of_second.probability == pytest.approx(1.0)


def test_of_three_classes_the_predicted_one_is_explained(of_three: PLRClassifier) -> None:
    logits = of_three.decision_function(TEXTS)
    found = of_three.explain(TEXTS, method="additive")
    predicted = of_three.predict(TEXTS).tolist()
    assert [one.label for one in found] == predicted == [one.predicted for one in found]
    for label in of_three.classes_:
        for one, logit in zip(of_three.explain(TEXTS, method="additive", label=label), logits, strict=True):
            assert total(one) == pytest.approx(logit[of_three.classes_.tolist().index(label)], abs=1e-5)
    shares = of_three.predict_proba(TEXTS)
    np.testing.assert_allclose([one.probability for one in found], shares.max(axis=1), atol=1e-6)


def without(text: str, kept: tuple[bool, ...]) -> str:
    """What text_with() makes of words that are set apart by single spaces."""
    return " ".join(word for word, keep in zip(text.split(), kept, strict=True) if keep)


def test_occlusion_is_the_change_when_a_word_is_taken_out(classifier: PLRClassifier) -> None:
    text = "where is my new card now"
    n = len(text.split())
    found = classifier.explain([text], method="occlusion")[0]
    variants = [without(text, tuple(k != i for k in range(n))) for i in range(n)]
    expected = classifier.decision_function([text])[0] - classifier.decision_function(variants)
    np.testing.assert_allclose([span.value for span in found.spans], expected, atol=1e-5)
    replaced = classifier.explain([text], method="occlusion", replacement="…")[0]
    variants = [" ".join("…" if k == i else word for k, word in enumerate(text.split())) for i in range(n)]
    expected = classifier.decision_function([text])[0] - classifier.decision_function(variants)
    np.testing.assert_allclose([span.value for span in replaced.spans], expected, atol=1e-5)


def shapley_by_permutations(classifier: PLRClassifier, text: str) -> np.ndarray[Any, Any]:
    n = len(text.split())
    subsets = list(itertools.product([False, True], repeat=n))
    logits = dict(
        zip(subsets[1:], classifier.decision_function([without(text, one) for one in subsets[1:]]), strict=True)
    )
    logits[subsets[0]] = classifier.intercept_[0]
    values = np.zeros(n)
    for order in itertools.permutations(range(n)):
        kept = [False] * n
        for i in order:
            before = logits[tuple(kept)]
            kept[i] = True
            values[i] += logits[tuple(kept)] - before
    return values / math.factorial(n)


@pytest.mark.parametrize("text", ["card", "my card", "where is my new card"])
def test_shapley_values_of_a_short_text_are_exact(classifier: PLRClassifier, text: str) -> None:
    found = classifier.explain([text], method="shapley", budget=64)[0]
    np.testing.assert_allclose(
        [span.value for span in found.spans], shapley_by_permutations(classifier, text), atol=1e-5
    )
    assert all(span.stderr is None for span in found.spans)
    assert found.base_value == pytest.approx(classifier.intercept_[0])


def test_shapley_estimates_come_nearer_with_the_budget(classifier: PLRClassifier) -> None:
    text = "where is my new card now please"
    exact = np.array([span.value for span in classifier.explain([text], method="shapley", budget=128)[0].spans])
    assert classifier.explain([text], method="shapley", budget=128)[0].spans[0].stderr is None
    errors: dict[int, list[float]] = {}
    for budget, seed in itertools.product([16, 100], range(8)):
        found = classifier.explain([text], method="shapley", budget=budget, random_state=seed)[0]
        assert total(found) == pytest.approx(found.logit, abs=1e-9)
        values, stderr = np.array([(span.value, span.stderr) for span in found.spans]).T
        errors.setdefault(budget, []).append(float(np.abs(values - exact).mean()))
        assert (stderr > 0).all()
    assert np.mean(errors[100]) < 0.7 * np.mean(errors[16])


def test_what_is_in_no_span_stays_in_every_variant(tiny_llama: TinyModel) -> None:
    # Spans that cover all but one word: that word stays in every variant.
    classifier = fitted(tiny_llama)
    text = "where is my card"
    spans = [[(0, 5), (9, 11), (12, 16)]]
    found = classifier.explain([text], method="shapley", spans=spans)[0]
    assert found.base_value == pytest.approx(classifier.decision_function(["is"])[0], abs=1e-5)
    assert [span.text for span in found.spans] == ["where", "my", "card"]
    additive = classifier.explain([text], method="additive", spans=spans)[0]
    words = classifier.explain([text], method="additive")[0]
    assert [span.value for span in additive.spans] == pytest.approx([words.spans[i].value for i in (0, 2, 3)])
    assert total(additive) == pytest.approx(additive.logit, abs=1e-6)


def test_phrases_are_sums_of_their_words(classifier: PLRClassifier) -> None:
    text = "My card hasn't arrived, and I need it today."
    words, phrases = (classifier.explain([text], method="additive", by=by)[0].spans for by in ("word", "phrase"))
    for phrase in phrases:
        own = [word.value for word in words if phrase.start <= word.start and word.end <= phrase.end]
        assert phrase.value == pytest.approx(sum(own))
    assert [phrase.text for phrase in phrases] == ["My card hasn't arrived,", "and I need it today."]


def test_intervals_are_those_of_classifiers_fitted_to_resampled_rows(
    classifier: PLRClassifier, of_three: PLRClassifier
) -> None:
    for model in (classifier, of_three):
        found = model.explain(TEXTS, method="additive", stability=True)
        plain = model.explain(TEXTS, method="additive")
        for one, other in zip(found, plain, strict=True):
            assert [span.value for span in one.spans] == pytest.approx([span.value for span in other.spans])
            assert all(span.low < span.high for span in one.spans)
            inside = [span.low - 1e-9 <= span.value <= span.high + 1e-9 for span in one.spans]
            assert np.mean(inside) >= 0.5
            assert all(span.stable == (span.low > 0 if span.value > 0 else span.high < 0) for span in one.spans)
    assert found == model.explain(TEXTS, method="additive", stability=True)
    assert found != model.explain(TEXTS, method="additive", stability=True, random_state=1)


def test_a_long_text(classifier: PLRClassifier) -> None:
    text = " ".join(f"word{i % 17}" for i in range(120))
    for method in ("additive", "shapley"):
        found = classifier.explain([text], method=method)[0]
        assert len(found.spans) == 120
        assert total(found) == pytest.approx(found.logit, abs=1e-5)


def test_two_thousand_words(tiny_llama: TinyModel, tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "long.gguf", n_ctx=16384)
    classifier = fitted(tiny)
    text = " ".join(f"w{i % 17}" for i in range(2000))
    for method in ("auto", "additive", "shapley"):
        [found] = classifier.explain([text], method=method, budget=None if method == "additive" else 6)
        assert len(found.spans) == 2000
        assert total(found) == pytest.approx(found.logit, abs=1e-5)
        assert all(math.isfinite(span.value) for span in found.spans)


def test_right_to_left_and_combining_characters(classifier: PLRClassifier) -> None:
    text = "שָׁלוֹם، عَلَيْكُم e\u0301te\u0301 क्षत्रिय 🏳️\u200d🌈"
    for method in ("auto", "additive", "occlusion", "shapley"):
        [found] = classifier.explain([text], method=method)
        assert [span.text for span in found.spans] == ["שָׁלוֹם", "،", "عَلَيْكُم", "e\u0301te\u0301", "क्षत्रिय", "🏳️\u200d🌈"]
        assert all(span.text == text[span.start : span.end] for span in found.spans)


def test_one_word_has_what_its_removal_does(classifier: PLRClassifier) -> None:
    [found] = classifier.explain(["card"])
    assert found.spans[0].value == pytest.approx(found.logit - classifier.intercept_[0])
    assert found.spans[0].stderr is None
    assert found.base_value == pytest.approx(classifier.intercept_[0])


def test_surrogate_values_of_a_short_text_are_weighted_least_squares(classifier: PLRClassifier) -> None:
    text = "where is my card"
    n = 4
    subsets = [one for one in itertools.product([False, True], repeat=n) if 0 < sum(one) < n]
    removed = 1.0 - np.array(subsets)
    logits = classifier.decision_function([without(text, one) for one in subsets])
    fall = classifier.decision_function([text])[0] - logits
    # Sizes have the distribution s^2, the noise a variance in proportion to what is taken out.
    weights = np.array([sum(one) ** 2 / math.comb(n, sum(one)) / (n - sum(one)) for one in subsets])
    expected = np.linalg.solve(removed.T * weights @ removed, removed.T * weights @ fall)
    [found] = classifier.explain([text], budget=24)
    np.testing.assert_allclose([span.value for span in found.spans], expected, atol=1e-5)
    assert total(found) == pytest.approx(found.logit, abs=1e-9)
    assert all(span.stderr is None for span in found.spans)


def test_surrogate_estimates_come_nearer_with_the_budget(classifier: PLRClassifier) -> None:
    text = "where is my new card now please"
    exact = np.array([span.value for span in classifier.explain([text], budget=128)[0].spans])
    errors: dict[int, list[float]] = {}
    for budget, seed in itertools.product([12, 100], range(8)):
        [found] = classifier.explain([text], budget=budget, random_state=seed)
        assert found.method == "surrogate"
        assert total(found) == pytest.approx(found.logit, abs=1e-9)
        values, stderr = np.array([(span.value, span.stderr) for span in found.spans]).T
        errors.setdefault(budget, []).append(float(np.abs(values - exact).mean()))
        assert (stderr > 0).all()
    assert np.mean(errors[100]) < 0.7 * np.mean(errors[12])


def test_the_same_again_and_others_in_the_batch_change_nothing(classifier: PLRClassifier) -> None:
    alone = [classifier.explain([text])[0] for text in TEXTS]
    together = classifier.explain(TEXTS)
    for one, other in zip(alone, together, strict=True):
        assert [span.value for span in one.spans] == pytest.approx([span.value for span in other.spans], abs=1e-5)
    assert classifier.explain(TEXTS) == together


@pytest.mark.parametrize("between", [" ", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", " \t "])
def test_white_space_of_every_kind_belongs_to_the_word_after_it(classifier: PLRClassifier, between: str) -> None:
    text = between.join(["where", "is", "my", "card"]) + between
    [found] = classifier.explain([text], method="additive")
    assert [span.text for span in found.spans] == ["where", "is", "my", "card"]
    assert found.base_value == pytest.approx(classifier.intercept_[0] + found.prompt_value, abs=1e-6)


def test_a_single_token_at_an_attention_sink_says_nothing(tiny_llama: TinyModel) -> None:
    # Without a prompt the one token that is left is pooled, though it is at position 0.
    classifier = fitted(tiny_llama, prompt=None)
    intercept = classifier.intercept_[0]
    assert len(tiny_llama.tokenize("a")) == len(tiny_llama.tokenize("b")) == 1
    [logit] = classifier.decision_function(["a b"])
    assert classifier.decision_function(["a"])[0] != pytest.approx(intercept, abs=1e-3)
    for method, expected in (
        ("occlusion", [logit - intercept] * 2),
        ("surrogate", [logit - intercept] * 2),
        ("shapley", [(logit - intercept) / 2] * 2),
    ):
        [found] = classifier.explain(["a b"], method=method)
        assert [span.value for span in found.spans] == pytest.approx(expected, abs=1e-5)
    assert classifier.counterfactual(["a b"])[0].removed == ()  # what would be left says nothing


def test_intervals_do_not_depend_on_how_many_texts_are_held_at_once(
    of_three: PLRClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = of_three.explain(TEXTS, method="additive", stability=True)
    monkeypatch.setattr("fastplr.explaining.N_TEXTS_OF_REFITS", 2)
    in_parts = of_three.explain(TEXTS, method="additive", stability=True)
    for one, other in zip(whole, in_parts, strict=True):
        for name in ("value", "low", "high"):
            values = [[getattr(span, name) for span in some.spans] for some in (one, other)]
            assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_stable_is_the_sign_of_the_value_over_the_whole_interval() -> None:
    def stable(value: float, low: float | None, high: float | None) -> bool:
        return Span(0, 1, "a", value, None, low, high).stable

    assert stable(0.3, 0.1, 0.5)
    assert stable(-0.3, -0.5, -0.1)
    assert not stable(0.3, -0.1, 0.5)
    assert not stable(-0.3, 0.1, 0.5)
    assert stable(0.3, None, None)


def test_on_a_terminal_the_facts_are_bold_and_the_text_has_colours(classifier: PLRClassifier) -> None:
    from rich.console import Console

    from fastplr.explanation_text import as_lines

    text = "my \x1b[31mcard\x1b]0;title\x07 has\n\tnot"
    spans = (Span(0, 2, "my", 1.0), Span(8, 12, text[8:12], -1.0), Span(22, 25, text[22:25], 0.9, None, -1.0, 2.0))
    [real] = classifier.explain(["my card"])
    lines = as_lines(dataclasses.replace(real, text=text, spans=spans))
    styles = {lines.plain[one.start : one.end]: str(one.style) for one in lines.spans}
    facts = next(iter(styles))
    assert lines.plain.startswith(facts)
    assert styles[facts] == "bold"
    assert styles["my"].startswith("bold black on")
    assert styles["card"].startswith("italic black on")
    assert styles[text[22:25]] == "dim"
    assert str(lines.style) == ""
    console = Console(force_terminal=True, color_system="truecolor", file=io.StringIO())
    console.print(lines)
    shown = console.file.getvalue()
    assert "\x1b[31m" not in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown


def test_interrupting_leaves_a_classifier_that_works(classifier: PLRClassifier) -> None:
    before = classifier.explain(TEXTS[:2])
    long = [" ".join(f"w{i % 17}" for i in range(100))] * 40
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            classifier.explain(long, budget=4000)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, handler)
    assert classifier.explain(TEXTS[:2]) == before


def test_progress_counts_texts(tiny_llama: TinyModel, capsys: pytest.CaptureFixture[str]) -> None:
    classifier = fitted(tiny_llama)
    classifier.embedder_.set_params(progress=True)
    classifier.explain(TEXTS)
    shown = capsys.readouterr().err
    assert "explaining" in shown
    assert f"0/{len(TEXTS)}" in shown


def test_last_is_not_additive_and_says_what_is(tiny_llama: TinyModel) -> None:
    classifier = fitted(tiny_llama, pooling="last")
    with pytest.raises(InputError, match="occlusion"):
        classifier.explain(TEXTS, method="additive")
    assert len(classifier.explain(TEXTS[:1], method="shapley", budget=8)[0].spans) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": []}, "texts is empty"),
        ({"X": [""]}, r"texts\[0\]"),
        ({"X": "a text"}, "single str"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"by": "sentence"}, "by is 'sentence'"),
        ({"label": "no such"}, "label is 'no such'"),
        ({"budget": 0}, "budget is 0"),
        ({"budget": 2.5}, "budget is 2.5"),
        ({"budget": 20, "method": "occlusion"}, "budget is 20, but 'occlusion' computes what it computes"),
        ({"budget": 10**12}, "budget is 1000000000000: expected an int from 2 to 100000"),
        ({"random_state": 2**64}, "random_state is 18446744073709551616"),
        ({"method": np.array(["additive"])}, "method is array"),
        ({"replacement": "\ud800"}, "without NUL and lone surrogates"),
        ({"replacement": "\0"}, "without NUL and lone surrogates"),
        ({"spans": [None]}, r"spans\[0\] is None"),
        ({"spans": [5]}, r"spans\[0\] is 5"),
        ({"spans": ["ab"]}, r"spans\[0\] is 'ab'"),
        ({"replacement": "x " * 2000}, r"texts\[0\].* too long"),
        ({"random_state": -1}, "random_state is -1"),
        ({"stability": "yes"}, "stability is 'yes'"),
        ({"replacement": 3}, "replacement is 3"),
        ({"spans": [[(0, 2), (1, 3)]]}, r"spans\[0\]\[1\]"),
        ({"spans": [[(0, 99)]]}, "the length of the text"),
        ({"spans": [[(3, 3)]]}, r"expected 0 <= start < end"),
        ({"spans": [["ab"]]}, "expected a pair of ints"),
        ({"spans": [[], []]}, "of length 2"),
    ],
)
def test_bad_input(classifier: PLRClassifier, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        classifier.explain(**{"X": ["my card"], **arguments})


def test_intervals_need_training_rows(tiny_llama: TinyModel) -> None:
    with pytest.raises(InputError, match="keep_training"):
        fitted(tiny_llama, keep_training=False).explain(["my card"], stability=True)


def test_intervals_need_a_penalty(tiny_llama: TinyModel) -> None:
    classifier = fitted(tiny_llama)
    classifier.C_ = math.inf
    with pytest.raises(InputError, match="C is infinite: stability"):
        classifier.explain(["my card"], stability=True)


@pytest.mark.parametrize("text", [None, b"bytes", "\ud800"])
def test_words_of_what_is_no_text(text: Any) -> None:
    for function in (words_of, phrases_of):
        with pytest.raises(InputError, match="text is"):
            function(text)


def test_page_escapes_what_texts_hold(classifier: PLRClassifier) -> None:
    evil = "<script>alert('x')</script> & \"my\" card"
    found = classifier.explain([evil, "card"], method="additive")
    page = as_page(found, truth=["<i>", "'x'"])
    assert page.count("<script") == 1  # the page's own
    assert "<i>" not in page
    assert "&lt;" in page
    assert "<script" not in found[0]._repr_html_()
    assert json.loads(json.dumps(found[0].to_dict()))["spans"][0]["text"] == "<"
