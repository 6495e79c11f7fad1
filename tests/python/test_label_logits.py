"""Logits of answers, against a forward pass in NumPy: every architecture whose output head is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastplr import AnswerWarning, Embedder, InputError, LabelLogits, ModelError, Prompt, UnsupportedArchitecture, _core
from tiny_models import DECODERS, TinyModel, forward, write_tiny, write_tiny_bert, write_tiny_llama

TEXTS = ["the film is good", "not a good film at all", "caf\u00e9 13.1 %", "the film is good"]
ANSWERS = {"yes": "yes", "no": "no", "unclear": "hard to say"}
PROMPT = Prompt("Text: ", " Is it good?", cue=" Answer:", answers=ANSWERS)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def vocabulary_logits(tiny: TinyModel, ids: list[int]) -> np.ndarray:
    """float64 ``(n_tokens, n_vocab)``."""
    head = tiny.tensors.get("output.weight", tiny.tensors["token_embd.weight"])
    return forward(tiny, ids)[-1] @ head.T + tiny.tensors.get("output.bias", 0.0)


def expected_of(tiny: TinyModel, prompt: Prompt, text: str) -> np.ndarray:
    """Log-probabilities of the whole answers, token by token."""
    asked = tiny.tokenize(prompt.render(text) + prompt.cue)
    found = []
    for answer in prompt.answers.values():
        whole = tiny.tokenize(prompt.render(text) + prompt.cue + " " + answer)
        assert whole[: len(asked)] == asked
        log_p = log_softmax(vocabulary_logits(tiny, whole))
        found.append(sum(log_p[place - 1, whole[place]] for place in range(len(asked), len(whole))))
    return np.array(found)


@pytest.mark.parametrize("architecture", DECODERS)
def test_log_probabilities_are_those_of_the_architecture(architecture: str, tmp_path: Path) -> None:
    tiny = write_tiny(architecture, tmp_path / f"{architecture}.gguf")
    found = LabelLogits(tiny.path, prompt=PROMPT).log_probabilities(TEXTS)
    expected = np.array([expected_of(tiny, PROMPT, text) for text in TEXTS])
    n_tokens = np.array([len(tiny.tokenize(" " + answer)) for answer in ANSWERS.values()])
    assert n_tokens.max() > 1
    # As near as hidden states come (tiny_models/hidden_states.py), times the head, for each token of an answer.
    np.testing.assert_allclose(found, expected, atol=0.15)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_logits_differ_as_log_probabilities_do(tiny_llama: TinyModel) -> None:
    answers = LabelLogits(tiny_llama.path, prompt=PROMPT)
    logits, log_p = answers.transform(TEXTS), answers.log_probabilities(TEXTS)
    np.testing.assert_allclose(logits - logits[:, :1], log_p - log_p[:, :1], atol=1e-9)
    assert logits.shape == (4, 3)
    np.testing.assert_array_equal(logits[0], logits[3])
    assert (np.exp(log_p).sum(axis=1) < 1).all()


def test_probabilities_are_shares_of_the_whole_vocabulary(tiny_llama: TinyModel) -> None:
    prompt = Prompt("", " which?", answers={word: word for word in "abc"})
    answers = LabelLogits(tiny_llama.path, prompt=prompt)
    firsts = [first for (first,) in answers.answer_tokens]
    expected = log_softmax(vocabulary_logits(tiny_llama, tiny_llama.tokenize("some text which?")))[-1]
    np.testing.assert_allclose(answers.log_probabilities(["some text"])[0], expected[firsts], atol=0.05)


def test_softcapping(tmp_path: Path) -> None:
    import gguf

    tiny = write_tiny_llama(tmp_path / "gemma2.gguf", architecture="gemma3")
    reader = gguf.GGUFReader(tiny.path)
    writer = gguf.GGUFWriter(tmp_path / "capped.gguf", "gemma3")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value, kind = field.contents(), field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, sub)
    writer.add_final_logit_softcapping(2.0)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    single = Prompt("", " which?", answers={word: word for word in "abc"})
    plain = LabelLogits(tiny.path, prompt=single).transform(TEXTS)
    capped = LabelLogits(tmp_path / "capped.gguf", prompt=single)
    assert all(len(tokens) == 1 for tokens in capped.answer_tokens)
    np.testing.assert_allclose(capped.transform(TEXTS), 2.0 * np.tanh(plain / 2.0), atol=1e-6)
    assert np.abs(capped.transform(TEXTS) - plain).max() > 0.01


def test_answers_with_one_first_token_are_scored_whole_and_it_is_told(tiny_llama: TinyModel) -> None:
    prompt = Prompt("", " which?", answers={1: "good one", 2: "good two"})
    answers = LabelLogits(tiny_llama.path, prompt=prompt)
    tokens = answers.answer_tokens
    assert tokens[0][0] == tokens[1][0]
    with pytest.warns(AnswerWarning, match="same token .*' good one', ' good two'"):
        found = answers.log_probabilities(TEXTS[:2])
    expected = [expected_of(tiny_llama, prompt, text) for text in TEXTS[:2]]
    np.testing.assert_allclose(found, expected, atol=0.15)


def test_of_many_answers_with_one_first_token_three_are_named(tiny_llama: TinyModel) -> None:
    words = ("one", "two", "more", "less", "first")
    prompt = Prompt("", " which?", answers={word: f"good {word}" for word in words})
    with pytest.warns(AnswerWarning) as caught:
        LabelLogits(tiny_llama.path, prompt=prompt).transform(TEXTS)
    (told,) = caught
    assert "(' good one', ' good two', ' good more' and 2 more)" in str(told.message)


@pytest.mark.parametrize(
    ("cue", "gap"),
    [
        (" Answer:", " "),
        (" Answer: ", " "),
        (" Answer:\n", ""),
        (" Answer: (", ""),
        (" Answer: [", ""),
        (" Answer: {", ""),
        (' Answer: "', ""),
        (" Answer: '", ""),
        (" Answer: \u201c", ""),
        (" Answer: \u2018", ""),
        (" Antwort: \u201e", ""),
        (" R\u00e9ponse : \u00ab", ""),
        (" Answer: ( ", " "),
        (" (yes or no)", " "),
        (" so-called \u201cgood\u201d", " "),
        ("\u7b54\u6848", ""),  # ideographs
        ("\u7b54\u3048", ""),  # kana
        ("\u7b54\u6848\uff1a", ""),  # fullwidth colon
        ("\u7b54\u6848\u3002", ""),  # ideographic full stop
        ("\u7b54\u6848\uff1a ", " "),
        (" \ub2f5", " "),  # Hangul is written with blanks
    ],
)
def test_the_gap_before_an_answer(cue: str, gap: str) -> None:
    assert LabelLogits(prompt=Prompt("", cue=cue, answers={"a": "yes", "b": "no"})).answers == [gap + "yes", gap + "no"]


def test_no_gap_is_computed_after_a_bracket(tiny_llama: TinyModel) -> None:
    prompt = Prompt("", cue=" which? (", answers={"a": "a", "b": "b"})
    tokens = LabelLogits(tiny_llama.path, prompt=prompt).answer_tokens
    whole = [tiny_llama.tokenize(f"text which? ({word}") for word in "ab"]
    assert tokens == [ids[-len(own) :] for ids, own in zip(whole, tokens, strict=True)]


def test_a_blank_at_the_end_of_the_cue_belongs_to_the_answer(tiny_llama: TinyModel) -> None:
    def logits(cue: str, answers: dict[str, str]) -> np.ndarray:
        return LabelLogits(tiny_llama.path, prompt=Prompt("", cue=cue, answers=answers)).transform(TEXTS)

    expected = logits(" Answer:", {"a": "yes", "b": "no"})
    np.testing.assert_array_equal(logits(" Answer: ", {"a": "yes", "b": "no"}), expected)
    np.testing.assert_array_equal(logits(" Answer:", {"a": " yes", "b": " no"}), expected)
    assert np.abs(logits(" Answer:\n", {"a": "yes", "b": "no"}) - expected).max() > 1e-3


def test_cached_states_give_the_same(tiny_llama: TinyModel, tmp_path: Path) -> None:
    answers = LabelLogits(tiny_llama.path, prompt=PROMPT, cache=tmp_path)
    first = answers.transform(TEXTS)
    np.testing.assert_array_equal(answers.transform(TEXTS), first)
    states = answers.embedder().embed(TEXTS)
    np.testing.assert_array_equal(answers.of_states(TEXTS, states), first)
    with pytest.raises(InputError, match=r"states hold .* expected float32 \(4, 64\)"):
        answers.of_states(TEXTS, states[:2])


def test_an_estimator_like_others(tiny_llama: TinyModel) -> None:
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    answers = LabelLogits(tiny_llama.path, prompt=PROMPT)
    assert answers.labels == ["yes", "no", "unclear"]
    assert answers.answers == [" yes", " no", " hard to say"]
    assert answers.get_feature_names_out().tolist() == ["logit of yes", "logit of no", "logit of unclear"]
    piped = make_pipeline(clone(answers), StandardScaler()).fit(TEXTS)
    assert piped.transform(TEXTS).mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (None, "prompt is None: expected a fastplr.Prompt"),
        ("Is it good?", "expected a fastplr.Prompt"),
        (Prompt(cue=" Answer:"), "answers=None: expected an answer for each"),
        (Prompt(cue=" Answer:", answers={"yes": "yes"}), "two or more labels"),
        (Prompt("Is it good? ", answers={"a": "yes", "b": "no"}), "neither suffix nor cue"),
        (Prompt("Is it good? ", " \n ", answers={"a": "yes", "b": "no"}), "neither suffix nor cue"),
        (
            Prompt(cue=" Answer:", answers={"a": "yes", "b": "no", "c": "yes"}),
            r"answers\[0\] and answers\[2\] are both ' yes'",
        ),
        (Prompt(cue=" Answer:", answers={"a": "yes", "b": "yes indeed"}), "none is the beginning of another"),
    ],
)
def test_prompts_that_ask_for_nothing(tiny_llama: TinyModel, prompt: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelLogits(tiny_llama.path, prompt=prompt).transform(TEXTS)


def test_an_answer_that_runs_together_with_what_asks_for_it(tiny_llama: TinyModel) -> None:
    # "go" and "od" are one token: no token of the answer begins where the answer begins.
    engine = Embedder(tiny_llama.path, layer=-1)._native_engine([-1])
    with pytest.raises(InputError, match="'od' runs together with the end of what asks for it, ' go'"):
        _core.AnswerScorer(engine, prefix="", suffix=" go", answers=["od", "es"])
    with pytest.raises(InputError, match="1 answers: expected at least two"):
        _core.AnswerScorer(engine, prefix="", suffix=" go", answers=["od"])
    with pytest.raises(InputError, match=r"answers\[1\] is ' ': expected a visible text"):
        _core.AnswerScorer(engine, prefix="", suffix=" go", answers=[" od", " "])


def test_an_answer_that_the_context_cannot_hold(tiny_llama: TinyModel) -> None:
    prompt = Prompt("", cue=" which?", answers={"short": "yes", "long": "7 " * 100})
    with pytest.raises(InputError, match=r"the answer ' 7 7 .* is too long: \d+ tokens .*; the context holds 80"):
        LabelLogits(tiny_llama.path, prompt=prompt, n_ctx=80).transform(TEXTS)


def test_models_without_a_head_that_is_known(tmp_path: Path, tiny_llama: TinyModel) -> None:
    bert = write_tiny_bert(tmp_path / "bert.gguf")
    with pytest.raises(UnsupportedArchitecture, match=r"'bert' .* is an encoder"):
        LabelLogits(bert.path, prompt=PROMPT).transform(TEXTS)
    mamba = write_tiny("mamba", tmp_path / "mamba.gguf")
    with pytest.raises(UnsupportedArchitecture, match=r"'mamba' .* no output head that fastplr knows"):
        LabelLogits(mamba.path, prompt=PROMPT).transform(TEXTS)
    with pytest.raises(ModelError):
        LabelLogits(tmp_path / "none.gguf", prompt=PROMPT).transform(TEXTS)


def test_long_texts(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "tiny.gguf", n_ctx=64)
    long = "good film " * 60
    with pytest.raises(InputError, match=r"texts\[1\] .* is too long"):
        LabelLogits(tiny.path, prompt=PROMPT).transform(["short", long])
    with pytest.warns(UserWarning, match="1 of 2 texts are longer"):
        found = LabelLogits(tiny.path, prompt=PROMPT, on_long="truncate").transform(["short", long])
    assert np.isfinite(found).all()
