"""Zero-shot, few-shot and PLR-L, against what LabelLogits gives and against their definitions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from conftest import TaskRows
from fastplr import (
    AnswerWarning,
    FewShotClassifier,
    InputError,
    LabelLogits,
    LabelLogitsClassifier,
    ModelMismatch,
    PLRClassifier,
    Prompt,
    ZeroShotClassifier,
)
from tiny_models import TinyModel, write_tiny_llama

TEXTS = ["the film is good", "not a good film at all", "the company said", "it was in the market"]
LABELS = ["pos", "neg", "pos", "neg"]
PROMPT = Prompt("Text: ", " Is it good?", cue=" Answer:", answers={"pos": "yes", "neg": "no"})
THREE = Prompt("Text: ", cue=" Which?", answers={3: "c", 1: "a", 2: "b"})


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_zero_shot_is_the_softmax_of_the_answers(tiny_llama: TinyModel) -> None:
    zero = ZeroShotClassifier(tiny_llama.path, prompt=THREE)
    logits = LabelLogits(tiny_llama.path, prompt=THREE).transform(TEXTS)
    assert zero.classes_.tolist() == [1, 2, 3]
    expected = softmax(logits)[:, [1, 2, 0]]
    np.testing.assert_allclose(zero.predict_proba(TEXTS), expected, atol=1e-12)
    np.testing.assert_array_equal(zero.predict(TEXTS), np.array([1, 2, 3])[expected.argmax(axis=1)])
    np.testing.assert_allclose(np.exp(zero.decision_function(TEXTS)), expected, atol=1e-12)
    two = ZeroShotClassifier(tiny_llama.path, prompt=PROMPT)
    p = two.predict_proba(TEXTS)
    np.testing.assert_allclose(two.decision_function(TEXTS), np.log(p[:, 1] / p[:, 0]))


def test_answer_mass_is_the_probability_of_all_answers(tiny_llama: TinyModel) -> None:
    log_p = LabelLogits(tiny_llama.path, prompt=THREE).log_probabilities(TEXTS)
    found = ZeroShotClassifier(tiny_llama.path, prompt=THREE).answer_mass(TEXTS)
    np.testing.assert_allclose(found, np.exp(log_p).sum(axis=1))
    assert ((found > 0) & (found < 1)).all()


def test_contextual_calibration_divides_by_what_no_content_gives(tiny_llama: TinyModel) -> None:
    plain = ZeroShotClassifier(tiny_llama.path, prompt=PROMPT)
    empty = Prompt("", PROMPT.suffix, cue=PROMPT.cue, answers=PROMPT.answers)
    of_empty = ZeroShotClassifier(tiny_llama.path, prompt=empty).predict_proba(["Text: "])
    no_content = np.vstack([plain.predict_proba(["N/A", "[MASK]"]), of_empty]).mean(axis=0)
    expected = plain.predict_proba(TEXTS) / no_content
    expected /= expected.sum(axis=1, keepdims=True)
    found = ZeroShotClassifier(tiny_llama.path, prompt=PROMPT, calibration="contextual").predict_proba(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    with pytest.raises(InputError, match="calibration is 'batch': expected None or 'contextual'"):
        ZeroShotClassifier(tiny_llama.path, prompt=PROMPT, calibration="batch").predict(TEXTS)


def test_calibration_by_probabilities_too_small_for_a_float(
    tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An answer of some hundred tokens is less probable than the smallest float64.
    of_texts = {"N/A": [0.0, -2000.0], "[MASK]": [0.0, -2001.0]}
    monkeypatch.setattr(
        LabelLogits, "transform", lambda _, texts: np.array([of_texts.get(text, [0.0, -2000.0]) for text in texts])
    )
    prompt = Prompt("", " Is it good?", answers={"a": "yes", "b": "no"})
    zero = ZeroShotClassifier(tiny_llama.path, prompt=prompt, calibration="contextual")
    expected = [0.0, -2000.0 + np.log((1 + np.exp(-1)) / 2)]
    np.testing.assert_allclose(zero.log_of_no_content(prompt), expected, atol=1e-9)
    # As probable as without content, up to the second text: odds of 1 to 2 / (1 + 1/e).
    np.testing.assert_allclose(zero.predict_proba(["text"])[0, 1], 1 / (1 + (1 + np.exp(-1)) / 2), atol=1e-9)


def test_zero_shot_needs_no_fit_and_checks_labels(tiny_llama: TinyModel) -> None:
    zero = clone(ZeroShotClassifier(tiny_llama.path, prompt=PROMPT))
    assert set(zero.predict(TEXTS)) <= {"pos", "neg"}
    assert zero.fit(TEXTS, LABELS) is zero
    assert zero.fit() is zero
    assert 0 <= zero.score(TEXTS, LABELS) <= 1
    with pytest.raises(InputError, match="label is 'neutral': expected one of"):
        zero.fit(TEXTS, ["pos", "neg", "neutral", "pos"])
    with pytest.raises(InputError, match="prompt is None"):
        ZeroShotClassifier(tiny_llama.path).predict(TEXTS)
    for labels, message in ((5, "labels is 5 of type int"), ("pos", "labels is a single str"), ([[1]], r"labels\[0\]")):
        with pytest.raises(InputError, match=message):
            zero.fit(TEXTS, labels)


def test_classes_that_cannot_be_told_are_no_attribute() -> None:
    assert hasattr(ZeroShotClassifier(prompt=PROMPT), "classes_")
    without = ZeroShotClassifier()
    assert not hasattr(without, "classes_")
    with pytest.raises(AttributeError, match="classes_ cannot be told: prompt is None") as caught:
        _ = without.classes_
    assert isinstance(caught.value.__cause__, InputError)
    with pytest.raises(InputError, match="prompt is None"):
        without.fit(TEXTS, LABELS)


def test_few_shot_puts_examples_before_the_text(tiny_llama: TinyModel) -> None:
    few = FewShotClassifier(tiny_llama.path, prompt=PROMPT, k=2, separator="\n").fit(TEXTS, LABELS)
    (prompt,) = few.prompts_
    shown = "".join(f"Text: {text} Is it good? Answer: {PROMPT.answers[label]}\n" for text, label in few.examples_)
    assert prompt.prefix == shown + "Text: "
    assert sorted(label for _, label in few.examples_) == ["neg", "pos"]
    expected = ZeroShotClassifier(tiny_llama.path, prompt=prompt).predict_proba(TEXTS)
    np.testing.assert_allclose(few.predict_proba(TEXTS), expected, atol=1e-9)


def test_permutations_are_averaged(tiny_llama: TinyModel) -> None:
    few = FewShotClassifier(tiny_llama.path, prompt=PROMPT, k=4, permutations=3, random_state=1).fit(TEXTS, LABELS)
    assert len(few.prompts_) == 3
    assert len({prompt.prefix for prompt in few.prompts_}) > 1
    parts = [ZeroShotClassifier(tiny_llama.path, prompt=prompt).predict_proba(TEXTS) for prompt in few.prompts_]
    np.testing.assert_allclose(few.predict_proba(TEXTS), np.mean(parts, axis=0), atol=1e-9)
    again = clone(few).fit(TEXTS, LABELS)
    assert again.examples_ == few.examples_


def test_examples_are_balanced_as_far_as_rows_go(tiny_llama: TinyModel) -> None:
    texts = [f"text number {row}" for row in range(20)]
    labels = ["pos"] * 18 + ["neg"] * 2
    few = FewShotClassifier(tiny_llama.path, prompt=PROMPT, k=8).fit(texts, labels)
    drawn = [label for _, label in few.examples_]
    assert (drawn.count("neg"), drawn.count("pos")) == (2, 6)
    assert len({text for text, _ in few.examples_}) == 8


def test_examples_without_room_are_dropped_and_counted(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "tiny.gguf", n_ctx=100)
    settings = {"prompt": PROMPT, "k": 4}
    with pytest.warns(AnswerWarning, match=r"\d of 4 examples were dropped: the context holds 100 tokens"):
        few = FewShotClassifier(tiny.path, **settings).fit(TEXTS, LABELS)
    assert 1 <= len(few.examples_) < 4
    assert few.predict(TEXTS).shape == (4,)  # the longest text of fit has its room
    with pytest.raises(InputError, match="4 examples do not fit"):
        FewShotClassifier(tiny.path, on_full="error", **settings).fit(TEXTS, LABELS)
    small = write_tiny_llama(tmp_path / "small.gguf", n_ctx=24)
    with pytest.raises(InputError, match="0 would fit"):
        FewShotClassifier(small.path, **settings).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 5}, "k is 5, but there are 4 rows"),
        ({"k": 0}, "k is 0: expected an int"),
        ({"permutations": 0}, "permutations is 0"),
        ({"on_full": "cut"}, "on_full is 'cut': expected 'drop' or 'error'"),
        ({"separator": None}, "separator is None"),
        ({"random_state": "a"}, "random_state is 'a': expected an int of at least 0"),
        ({"random_state": -1}, "random_state is -1: expected an int of at least 0"),
        ({"random_state": 1.5}, "random_state is 1.5: expected an int of at least 0"),
        ({"random_state": True}, "random_state is True"),
        ({"prompt": Prompt(cue="?", answers={"pos": "yes", "other": "no"})}, "label is 'neg': expected one of"),
        ({"prompt": None}, "prompt is None"),
    ],
)
def test_few_shot_of_what_cannot_be(tiny_llama: TinyModel, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FewShotClassifier(tiny_llama.path, **{"prompt": PROMPT, "k": 2, **settings}).fit(TEXTS, LABELS)


def test_few_shot_without_a_seed(tiny_llama: TinyModel) -> None:
    few = FewShotClassifier(tiny_llama.path, prompt=PROMPT, k=2, random_state=None).fit(TEXTS, LABELS)
    assert len(few.examples_) == 2


def test_few_shot_before_fit(tiny_llama: TinyModel) -> None:
    with pytest.raises(NotFittedError):
        FewShotClassifier(tiny_llama.path, prompt=PROMPT).predict(TEXTS)


def test_plr_l_is_logistic_regression_on_standardised_logits(tiny_llama: TinyModel) -> None:
    texts = [f"{text} {word}" for text in TEXTS for word in ("film", "year", "times")]
    labels = [label for label in LABELS for _ in range(3)]
    found = LabelLogitsClassifier(tiny_llama.path, prompt=PROMPT, C=0.5).fit(texts, labels)
    features = StandardScaler().fit(LabelLogits(tiny_llama.path, prompt=PROMPT).transform(texts))
    z = features.transform(LabelLogits(tiny_llama.path, prompt=PROMPT).transform(texts))
    theirs = TheirRegression(C=0.5, tol=1e-10, max_iter=1000).fit(z, labels)
    np.testing.assert_allclose(found.predict_proba(texts), theirs.predict_proba(z), atol=1e-6)
    assert found.classes_.tolist() == ["neg", "pos"]
    assert found.predict(texts).tolist() == theirs.predict(z).tolist()
    weighted = LabelLogitsClassifier(tiny_llama.path, prompt=PROMPT, C=0.5, class_weight={"pos": 3.0, "neg": 1.0})
    theirs = TheirRegression(C=0.5, tol=1e-10, max_iter=1000, class_weight={"pos": 3.0, "neg": 1.0}).fit(z, labels)
    np.testing.assert_allclose(weighted.fit(texts, labels).predict_proba(texts), theirs.predict_proba(z), atol=1e-6)
    assert cross_val_score(LabelLogitsClassifier(tiny_llama.path, prompt=PROMPT, cv=3), texts, labels, cv=3).shape == (
        3,
    )


def test_plr_l_refuses_a_model_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    first, second = (write_tiny_llama(tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2))
    path = tmp_path / "model.gguf"
    shutil.copyfile(first.path, path)
    plr = LabelLogitsClassifier(path, prompt=PROMPT, C=1.0).fit(TEXTS, LABELS)
    p = plr.predict_proba(TEXTS)
    path.unlink()
    shutil.copyfile(second.path, path)
    for predict in (plr.predict, plr.predict_proba, plr.decision_function):
        with pytest.raises(ModelMismatch, match=rf"belongs to another model: .* {plr.model_sha256_[:12]}"):
            predict(TEXTS)
    path.unlink()
    shutil.copyfile(first.path, path)
    np.testing.assert_array_equal(plr.predict_proba(TEXTS), p)


@pytest.mark.model
def test_on_a_real_task_plr_e_is_better_than_prompting(load_task: Callable[[str], TaskRows]) -> None:
    rows = load_task("sst2")
    prompt = Prompt.from_task(rows.task)
    x, y, x_test, y_test = rows.draw(n_per_class=50, n_test=150, seed=0)
    plr = PLRClassifier(prompt=Prompt.from_task(rows.task, style="instruction"))
    scores = {
        "zero": ZeroShotClassifier(prompt=prompt).score(x_test, y_test),
        "few": FewShotClassifier(prompt=prompt, k=4).fit(x, y).score(x_test, y_test),
        "plr-e": plr.fit(x, y).score(x_test, y_test),
    }
    assert scores["plr-e"] > 0.75
    assert scores["plr-e"] > max(scores["zero"], scores["few"]) + 0.05
