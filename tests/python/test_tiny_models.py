"""The tiny models and their NumPy forward pass must be right before anything is checked against them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tiny_models import (
    ARCHITECTURES,
    DECODERS,
    ENCODERS,
    RECURRENT,
    UNUSABLE,
    TinyModel,
    Vocabulary,
    bpe_vocabulary,
    forward,
    spm_vocabulary,
    unigram_vocabulary,
    wordpiece_vocabulary,
    write_tiny,
    write_tiny_bert,
    write_tiny_llama,
)
from tiny_models.encoder_states import alibi_slopes, relative_bucket
from tiny_models.operators import attend, gelu, layer_norm, rms_norm, rotate
from tiny_models.vocabulary import basic_words, pre_tokenize

TEXT = "The film isn't very good: caf\u00e9 13.1 %, \U0001f600 \u65e5\u672c."
VOCABULARIES = {
    "bpe": bpe_vocabulary(),
    "spm": spm_vocabulary(),
    "wordpiece": wordpiece_vocabulary(),
    "unigram": unigram_vocabulary(),
}


@pytest.fixture(params=ARCHITECTURES, scope="module")
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny(request.param, tmp_path_factory.mktemp("architectures") / f"{request.param}.gguf")


def random_texts(n_texts: int, characters: str) -> list[str]:
    generator = random.Random(0)
    return ["".join(generator.choices(characters, k=generator.randint(0, 40))) for _ in range(n_texts)]


def test_states_have_one_row_a_token_for_every_layer(tiny: TinyModel) -> None:
    ids = tiny.tokenize(TEXT)
    states = forward(tiny, ids)
    assert len(states) == tiny.n_layer + 2
    assert all(state.shape == (len(ids), tiny.n_embd) for state in states)
    assert all(np.isfinite(state).all() for state in states)


def test_every_block_changes_the_states_and_none_lets_them_explode(tiny: TinyModel) -> None:
    states = forward(tiny, tiny.tokenize(TEXT))
    for before, after in pairwise(states[: tiny.n_layer + 1]):
        assert np.sqrt(np.mean((after - before) ** 2)) > 0.05
    assert np.abs(states[-1]).max() < 100


def test_a_later_token_changes_no_earlier_state_of_a_causal_model(tiny: TinyModel) -> None:
    ids = tiny.tokenize(TEXT)
    changed = [*ids]
    changed[5] = ids[5] + 1
    before, after = forward(tiny, ids), forward(tiny, changed)
    for layer, (old, new) in enumerate(zip(before, after, strict=True)):
        if tiny.architecture in ENCODERS and layer > 0:
            assert np.abs(old[:5] - new[:5]).max() > 1e-6
        else:
            np.testing.assert_array_equal(old[:5], new[:5])
        assert np.abs(old[5] - new[5]).max() > 1e-3
    assert np.abs(before[-1][6:] - after[-1][6:]).max() > 1e-6


def test_the_order_of_tokens_matters(tiny: TinyModel) -> None:
    # Without positions, swapping two earlier tokens would leave the last state of a one-layer model as it is.
    ids = tiny.tokenize(TEXT)
    swapped = [ids[0], ids[2], ids[1], *ids[3:]]
    assert np.abs(forward(tiny, ids)[-1][-1] - forward(tiny, swapped)[-1][-1]).max() > 1e-6


def test_the_file_holds_the_tensors_that_the_forward_pass_uses(tiny: TinyModel) -> None:
    reader = gguf.GGUFReader(tiny.path)
    stored = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    assert stored.keys() == tiny.tensors.keys()
    for name, values in stored.items():
        np.testing.assert_array_equal(values.reshape(tiny.tensors[name].shape), tiny.tensors[name])
    assert reader.fields["general.architecture"].contents() == tiny.architecture
    assert reader.fields[f"{tiny.architecture}.block_count"].contents() == tiny.n_layer
    assert reader.fields["tokenizer.ggml.tokens"].contents() == tiny.vocabulary.tokens


def test_there_are_ten_architectures_and_a_recurrent_one_and_an_encoder() -> None:
    assert len(DECODERS) >= 10
    assert set(ARCHITECTURES) == {*DECODERS, *ENCODERS, *RECURRENT}


@pytest.mark.parametrize("architecture", UNUSABLE)
def test_unusable_models_differ_from_a_llama_by_name_only(architecture: str, tmp_path: Path) -> None:
    unusable = write_tiny(architecture, tmp_path / "unusable.gguf")
    assert unusable.tensors.keys() == write_tiny_llama(tmp_path / "llama.gguf").tensors.keys()
    reader = gguf.GGUFReader(unusable.path)
    assert reader.fields["general.architecture"].contents() == architecture


def test_the_seed_decides_the_file(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.gguf" for i in range(3)]
    for path, seed in zip(paths, [7, 7, 8], strict=True):
        write_tiny_llama(path, seed=seed)
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("tensor_type", "bits", "relative_step"),
    [("F16", 16, 0), ("Q8_0", 8.5, 1 / 254), ("Q4_0", 4.5, 1 / 8)],
)
def test_quantised_tensors_are_near_the_drawn_ones(
    tensor_type: str, bits: float, relative_step: float, tmp_path: Path
) -> None:
    full = write_tiny_llama(tmp_path / "full.gguf")
    small = write_tiny_llama(tmp_path / "small.gguf", tensor_type=tensor_type)
    name = "blk.1.ffn_down.weight"
    blocks = full.tensors[name].reshape(-1, 32)
    error = np.abs(small.tensors[name].reshape(-1, 32) - blocks)
    assert error.max() > 0
    # Half a step (Q4_0: a whole one at the end that is cut off); the scale is rounded to half precision.
    assert (error <= (relative_step + 2**-11) * np.abs(blocks).max(axis=1, keepdims=True)).all()
    stored = next(t for t in gguf.GGUFReader(small.path).tensors if t.name == name)
    assert 8 * stored.n_bytes / stored.n_elements == bits
    np.testing.assert_array_equal(small.tensors["output_norm.weight"], full.tensors["output_norm.weight"])


@pytest.mark.parametrize("layout", ["pairs", "halves"])
def test_rotary_scores_depend_on_the_distance_only(layout: str) -> None:
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 1, 1, 16))

    def score(query_position: int, key_position: int) -> float:
        def turned(x: np.ndarray, position: int) -> np.ndarray:
            return rotate(x, np.array([position]), layout=layout, freq_base=10_000.0, n_rotated=8)

        return float(np.sum(turned(q, query_position) * turned(k, key_position)))

    assert score(3, 1) == pytest.approx(score(103, 101), abs=1e-12)
    assert score(0, 0) == pytest.approx(float(np.sum(q * k)), abs=1e-12)
    assert abs(score(3, 1) - score(4, 1)) > 1e-3


def test_rotary_angles_follow_the_formula() -> None:
    # Two values at position 5 in the second of two pairs: angle 5 * 100^(-2/4) = 0.5.
    x = np.array([[[0.0, 0.0, 1.0, 0.0]]])
    turned = rotate(x, np.array([5]), layout="pairs", freq_base=100.0, n_rotated=4)[0, 0]
    np.testing.assert_allclose(turned, [0, 0, np.cos(0.5), np.sin(0.5)], atol=1e-15)
    x = np.array([[[0.0, 1.0, 0.0, 0.0, 9.0]]])
    turned = rotate(x, np.array([5]), layout="halves", freq_base=100.0, n_rotated=4)[0, 0]
    np.testing.assert_allclose(turned, [0, np.cos(0.5), 0, np.sin(0.5), 9.0], atol=1e-15)


def test_attention_equals_explicit_sums() -> None:
    rng = np.random.default_rng(1)
    q, k, v = rng.standard_normal((5, 4, 8)), rng.standard_normal((5, 2, 8)), rng.standard_normal((5, 2, 8))
    got = attend(q, k, v, np.tri(5, dtype=bool)).reshape(5, 4, 8)
    for token in range(5):
        for head in range(4):
            shared = head // 2
            weights = [np.exp(q[token, head] @ k[t, shared] / np.sqrt(8)) for t in range(token + 1)]
            want = sum(w * v[t, shared] for t, w in enumerate(weights)) / sum(weights)
            np.testing.assert_allclose(got[token, head], want, atol=1e-12)


def test_norms_and_gelu_have_their_defining_properties() -> None:
    x = np.random.default_rng(2).standard_normal((3, 64)) * 5 + 2
    one, zero = np.ones(64), np.zeros(64)
    np.testing.assert_allclose(np.mean(rms_norm(x, one, 0.0) ** 2, axis=1), 1)
    normed = layer_norm(x, one, zero, 0.0)
    np.testing.assert_allclose(normed.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(normed.var(axis=1), 1)
    # x * Phi(x), to the accuracy of the tanh form
    np.testing.assert_allclose(gelu(np.array([-1.0, 0.0, 1.0, 2.0])), [-0.158655, 0, 0.841345, 1.954500], atol=5e-4)


def test_a_windowed_layer_does_not_see_past_its_window(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "gemma3.gguf", architecture="gemma3", n_layer=2)
    n_window = DECODERS["gemma3"].n_window
    ids = list(range(300, 320))
    windowed, full = (
        np.abs(old - new).max(axis=1) > 1e-9
        for old, new in zip(forward(tiny, ids)[1:3], forward(tiny, [299, *ids[1:]])[1:3], strict=True)
    )
    assert windowed[:n_window].all()
    assert not windowed[n_window:].any()
    assert full.all()


def test_an_encoders_window_is_half_to_each_side(tmp_path: Path) -> None:
    tiny = write_tiny_bert(tmp_path / "model.gguf", architecture="modern-bert", n_layer=2, n_window=8)
    tiny.tensors["blk.0.attn_output.weight"][:] = 0  # the first block sees everything: let it not look
    ids = list(range(300, 320))
    changed = forward(tiny, [*ids[:10], 321, *ids[11:]])[2]
    sees = np.abs(forward(tiny, ids)[2] - changed).max(axis=1) > 1e-9
    assert np.flatnonzero(sees).tolist() == list(range(6, 15))


def test_alibi_slopes_are_those_of_the_paper() -> None:
    np.testing.assert_allclose(alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    np.testing.assert_allclose(alibi_slopes(16)[[0, 1, 15]], [2**-0.5, 2**-1, 2**-8])
    np.testing.assert_allclose(alibi_slopes(12), [*2.0 ** -np.arange(1, 9), *2.0 ** -np.arange(0.5, 4)])


def test_bos_and_plain_llama_have_the_same_weights(tiny_llama: TinyModel, tiny_llama_bos: TinyModel) -> None:
    assert tiny_llama_bos.tokenize("a film") == [0, *tiny_llama.tokenize("a film")]
    for name, values in tiny_llama.tensors.items():
        np.testing.assert_array_equal(values, tiny_llama_bos.tensors[name])


@pytest.mark.parametrize("pooling", ["none", "mean"])
def test_bert_states_its_pooling(pooling: str, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write_tiny_bert(tmp_path / "bert.gguf", pooling=pooling).path)
    assert reader.fields["bert.pooling_type"].contents() == {"none": 0, "mean": 1}[pooling]
    assert reader.fields["bert.attention.causal"].contents() is False


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
def test_vocabularies_have_distinct_tokens_and_arrays_of_one_length(vocabulary: Vocabulary) -> None:
    # llama.cpp aborts the process when two tokens are equal.
    assert len(set(vocabulary.tokens)) == len(vocabulary)
    assert len(vocabulary.types) == len(vocabulary.pieces) == len(vocabulary)
    assert vocabulary.scores is None or len(vocabulary.scores) == len(vocabulary)


@pytest.mark.parametrize("kind", ["bpe", "spm"])
@pytest.mark.parametrize("text", [TEXT, "", " ", "  two  spaces ", "a\n\n\tb\r\n", "\u0440\u0443\u0441 e\u0301", "13"])
def test_pieces_give_the_text_back(kind: str, text: str) -> None:
    vocabulary = VOCABULARIES[kind]
    own = [i for i in vocabulary.tokenize(text) if i not in vocabulary.special.values()]
    expected = text if kind == "bpe" or not text else " " + text
    assert b"".join(vocabulary.pieces[i] for i in own).decode() == expected


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_common_words_are_one_token_and_rare_characters_are_bytes(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]
    pieces = [vocabulary.pieces[i] for i in vocabulary.tokenize("see the film \u65e5")]
    assert b" the" in pieces
    assert b" film" in pieces
    assert pieces[-3:] == [b"\xe6", b"\x97", b"\xa5"]


def test_control_tokens_in_a_text_are_text() -> None:
    vocabulary = VOCABULARIES["bpe"]
    assert not {0, 1} & set(vocabulary.tokenize("<s> </s>"))


def test_pre_tokeniser_agrees_with_the_pattern_on_ascii() -> None:
    # Python's re has no \p{L}; on ASCII the published pattern can be written out.
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
    for text in random_texts(2000, "ab'stvel  \n\t.!1"):
        fragments = re.split(r"(\d)", text)
        expected = [word for f in fragments for word in ([f] if f.isdigit() else re.findall(pattern, f))]
        assert list(pre_tokenize(text)) == expected


def test_word_piece_takes_the_longest_start_and_drops_case_and_accents() -> None:
    vocabulary = VOCABULARIES["wordpiece"]
    names = [vocabulary.tokens[i] for i in vocabulary.tokenize("The FILMING, caf\u00e9 \u65e5!")]
    mark = "\u2581"
    expected = "[CLS] _the _film ing _, _c a f e [UNK] _! [SEP]"
    assert names == expected.replace("_", mark).split()
    assert basic_words("\u00c9cole\u200b-2") == ["ecole", "-", "2"]


def test_unigram_takes_the_likeliest_of_all_segmentations() -> None:
    vocabulary = VOCABULARIES["unigram"]
    scores = dict(zip(vocabulary.tokens, vocabulary.scores or [], strict=True))
    for text in ["the film", "operating", "a rate"]:
        mark = "\u2581" + text.replace(" ", "\u2581")
        every = []
        for cuts in product([False, True], repeat=len(mark) - 1):
            ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [len(mark)]
            pieces = [mark[start:end] for start, end in pairwise([0, *ends])]
            if all(piece in scores for piece in pieces):
                every.append((sum(scores[piece] for piece in pieces), pieces))
        assert len(every) > 5
        assert [vocabulary.tokens[i] for i in vocabulary.tokenize(text)] == [*max(every)[1], "</s>"]


def test_unigram_joins_spaces_and_unknown_characters() -> None:
    vocabulary = VOCABULARIES["unigram"]
    assert vocabulary.tokenize("  the   film ") == vocabulary.tokenize("the film")
    names = [vocabulary.tokens[i] for i in vocabulary.tokenize("\u65e5\u672c \U0001f600")]
    assert names == ["\u2581", "<unk>", "\u2581", "<unk>", "</s>"]


def test_relative_buckets_are_those_of_the_published_model() -> None:
    # With 32 buckets and a maximum distance of 128: 8 exact ones, then steps of a half power of two.
    before = [0, 1, 7, 8, 11, 12, 16, 23, 32, 45, 46, 64, 90, 91, 127, 128, 1000]
    expected = [0, 1, 7, 8, 8, 9, 10, 11, 12, 12, 13, 14, 14, 15, 15, 15, 15]
    assert relative_bucket(-np.array(before), 32).tolist() == expected
    assert relative_bucket(np.array(before[1:]), 32).tolist() == [16 + bucket for bucket in expected[1:]]


@pytest.mark.parametrize("task", ["sst2", "fpb"])
def test_task_rows_are_drawn_by_class(task: str, load_task: Callable[[str], Any]) -> None:
    rows = load_task(task)
    texts, labels, test_texts, test_labels = rows.draw(n_per_class=10, n_test=50, seed=0)
    assert sorted(labels) == sorted(rows.task["labels"] * 10)
    assert len(set(texts)) == len(texts)
    assert len(test_texts) == len(test_labels) == 50
    known = dict(zip(rows.train_texts, rows.train_labels, strict=True))
    assert [known[text] for text in texts] == labels
    assert rows.draw(n_per_class=10, n_test=50, seed=1)[0] != texts
