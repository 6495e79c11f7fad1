"""Features are computed once for each text, layer, pooling and prompt, in this process and, with cache=, ever after."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import fastplr
from fastplr import Embedder, InputError, PLRClassifier, Prompt, TruncationWarning, _core
from fastplr.feature_cache import FeatureCache, feature_cache
from fastplr.feature_keys import FeatureKeys
from fastplr.feature_store import FeatureStore
from fastplr.feature_stores import default_folder, store_for
from labelled_texts import NO_CHOICE, train_and_test
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny_llama

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = ["the film is good", "a slow and boring story", "the profit rose to EUR 13.1 mn", "café 日本", "a", "b c"]
POOLINGS = ("mean", "mean_all", "last")

pytestmark = pytest.mark.usefixtures("_nothing_is_remembered")


@pytest.fixture
def _nothing_is_remembered() -> None:
    feature_cache.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture
def model(tiny_llama: TinyModel, folder: Path) -> Embedder:
    return Embedder(tiny_llama.path, n_threads=1, cache=folder)


def n_tokens(tiny: TinyModel, texts: Iterable[str]) -> int:
    return sum(len(tiny.tokenize(text)) for text in texts)


def n_computed(model: Embedder, texts: list[str] = TEXTS, *, layers: object = None, pooling: object = None) -> int:
    return model._embed_counted(texts, layers, pooling, None)[1]


# -- in memory --------------------------------------------------------------------------------------------------------


def test_the_cache_keeps_to_its_memory_and_forgets_the_oldest() -> None:
    cache = FeatureCache(max_bytes=10_000)
    keys = [bytes([i]) for i in range(100)]
    for i, key in enumerate(keys):
        cache.put([key], np.full((1, 64), i, dtype=np.float32), [i % 2 == 0])
    rows = cache.get(keys)
    known = [i for i, row in enumerate(rows) if row is not None]
    assert known == list(range(100 - len(known), 100))
    assert 0 < len(known) * 64 * 4 <= 10_000
    assert all(rows[i].features[0] == i and rows[i].cut == (i % 2 == 0) for i in known)


@pytest.mark.parametrize("how", ["computed", "read from disk"])
def test_of_a_corpus_that_would_push_out_the_rest_a_part_is_kept_in_memory(
    model: Embedder, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    others, row = ["what was there before", "and this"], np.empty(64, dtype=np.float32)
    memory = FeatureCache(max_bytes=8 * FeatureCache.bytes_of(row))
    monkeypatch.setattr("fastplr.embedder.feature_cache", memory)
    if how == "read from disk":
        model.embed(TEXTS)
        memory.clear()
    model.embed(others)
    for texts in (TEXTS, TEXTS[::-1], [f"{text}!" for text in TEXTS]):
        model.embed(texts)
        assert n_computed(model.set_params(cache=None), others) == 0
        model.set_params(cache=folder)
    assert store_for(folder).info().n_entries == len({*TEXTS, *others, *(f"{text}!" for text in TEXTS)})


def test_reading_a_corpus_from_disk_takes_no_memory_for_its_features(tmp_path: Path) -> None:
    tiny = write_tiny_llama(tmp_path / "wide.gguf", n_embd=512)
    model = Embedder(tiny.path, n_threads=1, layer=1, cache=tmp_path)
    texts = [f"text {i}" for i in range(20_000)]  # 41 MB of features
    keys = FeatureKeys(
        model.resolve(), prefix="", suffix="", n_ctx=0, accelerated=False, kernels=bool(_core.kernels_name())
    )
    store = store_for(tmp_path)
    for start in range(0, len(texts), 1000):
        some = texts[start : start + 1000]
        values = np.arange(start, start + 1000, dtype=np.float32)[:, None].repeat(512, axis=1)
        store.put([keys.of(text, 1, "mean") for text in some], values, [False] * 1000)
    out = np.memmap(tmp_path / "out", dtype=np.float32, mode="w+", shape=(len(texts), 512))
    memory = FeatureCache(max_bytes=1 << 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastplr.embedder.feature_cache", memory)
        tracemalloc.start()
        _, computed = model._embed_counted(texts, None, None, out)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert computed == 0
    assert np.array_equal(out[:, 7], np.arange(len(texts)))
    assert peak < 20e6


# -- on disk ----------------------------------------------------------------------------------------------------------


def test_what_was_computed_once_is_read_by_a_later_run(model: Embedder, tiny_llama: TinyModel) -> None:
    first, computed = model._embed_counted(TEXTS, None, None, None)
    assert computed == n_tokens(tiny_llama, TEXTS)
    feature_cache.clear()
    again, computed = clone(model)._embed_counted([*TEXTS[::-1], TEXTS[2]], None, None, None)
    assert computed == 0
    np.testing.assert_array_equal(again, first[[5, 4, 3, 2, 1, 0, 2]])
    want = [expected_embedding(tiny_llama, text, layer=2, pooling="mean") for text in TEXTS]
    np.testing.assert_allclose(first, want, atol=F16_ATTENTION)


def test_what_only_memory_knows_reaches_the_disk(model: Embedder, tiny_llama: TinyModel, folder: Path) -> None:
    clone(model).set_params(cache=None).embed(TEXTS[:4])
    assert n_computed(model, TEXTS[1:]) == n_tokens(tiny_llama, TEXTS[4:])
    feature_cache.clear()
    assert n_computed(model, TEXTS[1:]) == 0
    assert n_computed(model, TEXTS[:1]) == n_tokens(tiny_llama, TEXTS[:1])  # nobody asked for it with the cache


def test_only_the_missing_texts_are_computed(model: Embedder, tiny_llama: TinyModel) -> None:
    model.embed(TEXTS[1:4])
    feature_cache.clear()
    assert n_computed(model, [*TEXTS, *TEXTS]) == n_tokens(tiny_llama, [TEXTS[0], *TEXTS[4:]])


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_run_over_several_layers_and_poolings_feeds_one_over_a_single_one_and_the_reverse(
    model: Embedder, tiny_llama: TinyModel, where: str
) -> None:
    def next_run() -> None:
        if where == "disk":
            feature_cache.clear()

    if where == "memory":
        model.set_params(cache=None)
    many = model.embed(TEXTS, layers=[3, 1, -1], pooling=["last", "mean"])
    for i, layer in enumerate([3, 1, -1]):
        for k, pooling in enumerate(["last", "mean"]):
            next_run()
            single, computed = model._embed_counted(TEXTS, layer, pooling, None)
            assert computed == 0
            np.testing.assert_array_equal(single, many[:, i, k])

    others = ["one", "two words", "three of them"]
    singles = {(layer, word): model.embed(others, layers=layer, pooling=word) for layer in (0, 4) for word in POOLINGS}
    next_run()
    many, computed = model._embed_counted(others, [4, 0], list(POOLINGS), None)
    assert computed == 0
    for i, layer in enumerate([4, 0]):
        for k, pooling in enumerate(POOLINGS):
            np.testing.assert_array_equal(many[:, i, k], singles[layer, pooling])


def test_texts_that_lack_different_things_all_come_out_right(model: Embedder, tiny_llama: TinyModel) -> None:
    model.embed(TEXTS[:2], layers=1, pooling="last")
    model.embed(TEXTS[1:3], layers=[1, 3])
    model.embed(TEXTS[4:5], layers=[3, 1], pooling=["last", "mean"])
    feature_cache.clear()
    many, computed = model._embed_counted(TEXTS, [3, 1, 3], ["mean", "last"], None)
    assert computed == n_tokens(tiny_llama, [*TEXTS[:4], TEXTS[5]])
    for i, text in enumerate(TEXTS):
        for j, layer in enumerate([3, 1, 3]):
            for k, pooling in enumerate(["mean", "last"]):
                want = expected_embedding(tiny_llama, text, layer=layer, pooling=pooling)
                np.testing.assert_allclose(many[i, j, k], want, atol=F16_ATTENTION)


def test_anything_that_changes_the_features_is_computed_anew(
    model: Embedder, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    everything = n_computed(model)
    other = write_tiny_llama(tmp_path / "other.gguf", seed=5)
    for change in [
        {"layer": 1},
        {"pooling": "last"},
        {"prompt": "See:"},
        {"prompt": Prompt(suffix="See:")},
        {"n_ctx": 99},
        {"model": other.path},
    ]:
        changed = clone(model).set_params(**change)
        feature_cache.clear()
        assert n_computed(changed) >= everything, change
        feature_cache.clear()
        assert n_computed(changed) == 0, change
    for change in [{"n_batch": 7}, {"n_threads": 2}, {"on_long": "truncate"}, {"progress": False}]:
        feature_cache.clear()
        assert n_computed(clone(model).set_params(**change)) == 0, change


def test_features_of_another_llama_cpp_or_other_patches_are_not_served(
    model: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = n_computed(model)
    feature_cache.clear()
    assert n_computed(model) == 0
    monkeypatch.setattr(_core, "llama_cpp_sources", "of a later build")
    assert n_computed(model) == everything


STAMP = Path(__file__).resolve().parents[2] / "third_party" / "llama.cpp" / ".placed"


@pytest.mark.skipif(not STAMP.exists(), reason="no sources of llama.cpp here: fastplr was not built in this tree")
def test_the_build_knows_its_llama_cpp_by_all_that_was_placed() -> None:
    assert _core.llama_cpp_sources == hashlib.sha256(STAMP.read_bytes()).hexdigest()
    patches = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in STAMP.parent.glob("patches/*.patch")
    }
    assert len(patches) > 0
    assert json.loads(STAMP.read_text("utf-8"))["patches"] == patches


@given(
    prompts=st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), min_size=2, max_size=2, unique=True),
    text=st.text(max_size=5),
)
def test_no_two_prompts_share_a_key(tiny_llama: TinyModel, prompts: list[tuple[str, str]], text: str) -> None:
    resolved = fastplr.model_store.resolve(tiny_llama.path)
    keys = [
        FeatureKeys(resolved, prefix=prefix, suffix=suffix, n_ctx=0, accelerated=False, kernels=False).of(
            text, layer, "mean"
        )
        for prefix, suffix in prompts
        for layer in (1, 11, -1)
    ]
    assert len(set(keys)) == len(keys)


def test_a_copy_of_the_model_elsewhere_is_the_same_model(
    model: Embedder, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    model.embed(TEXTS)
    feature_cache.clear()
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_llama.path.read_bytes())
    assert n_computed(clone(model).set_params(model=copy)) == 0


def test_a_text_that_was_cut_is_no_answer_where_that_is_an_error(
    tiny_llama: TinyModel, folder: Path, model: Embedder
) -> None:
    texts = ["short", "the film " * 30]
    model.set_params(n_ctx=16, on_long="truncate")
    with pytest.warns(TruncationWarning, match="1 of 2"):
        first = model.embed(texts)
    feature_cache.clear()
    with pytest.warns(TruncationWarning, match="1 of 2"):
        again, computed = model._embed_counted(texts, None, None, None)
    assert computed == 0
    np.testing.assert_array_equal(again, first)
    model.set_params(on_long="error")
    with pytest.raises(InputError, match=r"texts\[1\] .* is too long"):
        model.embed(texts)
    assert n_computed(model, texts[:1]) == 0  # it was not cut


def test_the_texts_are_not_in_the_files(model: Embedder, folder: Path) -> None:
    model.set_params(prompt="A secret instruction: ").embed(["a text with Confidential words"])
    for path in folder.iterdir():
        content = path.read_bytes()
        for word in (b"Confidential", b"secret", "Confidential".encode("utf-16-le")):
            assert word not in content


def test_pieces_of_a_corpus_are_kept_too(model: Embedder) -> None:
    rows = np.vstack(list(model.embed_iter(iter(TEXTS), chunk_size=2)))
    feature_cache.clear()
    again, computed = model._embed_counted(TEXTS, None, None, None)
    assert computed == 0
    np.testing.assert_array_equal(again, rows)


def test_encoders_are_cached_as_well(tiny_bert: TinyModel, folder: Path) -> None:
    model = Embedder(tiny_bert.path, n_threads=1, layer=-1, cache=folder)
    first = model.embed(TEXTS[:3])
    feature_cache.clear()
    again, computed = model._embed_counted(TEXTS[:3], None, None, None)
    assert computed == 0
    np.testing.assert_array_equal(again, first)


# -- the parameter ----------------------------------------------------------------------------------------------------


def test_nothing_is_kept_on_disk_unless_asked_for(tiny_llama: TinyModel) -> None:
    for cache in (None, False):
        Embedder(tiny_llama.path, n_threads=1, cache=cache).embed(TEXTS)
    assert not default_folder().exists()
    Embedder(tiny_llama.path, n_threads=1, cache=True).embed(["something new"])
    assert store_for(True).info().n_entries == 1
    assert [path.parent for path in default_folder().glob("*.sqlite3")] == [default_folder()]


def test_the_default_folder_is_where_fastplr_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTPLR_CACHE_DIR")
    monkeypatch.setenv("FASTPLR_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "features"
    monkeypatch.setenv("FASTPLR_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert default_folder() == tmp_path / "elsewhere"


def test_one_folder_is_one_store_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_for("a") is store_for(tmp_path / "a") is store_for("~/a") is store_for("b/../a")
    assert store_for("a") is not store_for("b")


@pytest.mark.parametrize("cache", [1, 0, "", "  ", "a\0b", 2.5, ["x"]])
def test_other_values_are_refused(tiny_llama: TinyModel, cache: object) -> None:
    with pytest.raises(InputError, match=r"cache is .*: expected"):
        Embedder(tiny_llama.path, cache=cache).embed(TEXTS)
    with pytest.raises(InputError, match=r"cache is .*: expected"):
        Embedder(tiny_llama.path, cache=cache).embed_iter(TEXTS)


@pytest.mark.parametrize("size", ["much", "-1", "0", "nan", "inf"])
def test_a_size_that_is_no_number_is_refused(
    tiny_llama: TinyModel, size: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTPLR_CACHE_MB", size)
    with pytest.raises(InputError, match=r"FASTPLR_CACHE_MB is .*: expected a number of megabytes"):
        Embedder(tiny_llama.path, cache=folder).embed(TEXTS)


def test_the_size_can_be_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_for(folder).max_bytes == 2_000_000_000
    monkeypatch.setenv("FASTPLR_CACHE_MB", "1.5")
    assert store_for(folder).max_bytes == 1_500_000


def test_a_classifier_hands_it_on(tiny_llama: TinyModel, folder: Path, tmp_path: Path) -> None:
    train, labels, test = train_and_test(2, n_train=20)
    fitted = fastplr.fit(train, labels, model=tiny_llama.path, C=1.0, n_threads=1, cache=folder, **NO_CHOICE)
    assert store_for(folder).info().n_entries == len(set(train))
    feature_cache.clear()
    again = PLRClassifier(tiny_llama.path, C=1.0, n_threads=1, cache=str(folder), **NO_CHOICE).fit(train, labels)
    assert fitted.report_["n_tokens"] > again.report_["n_tokens"] == 0
    np.testing.assert_array_equal(again.coef_, fitted.coef_)
    fitted.predict(test)
    assert store_for(folder).info().n_entries == len({*train, *test})
    # A folder of this machine is no part of the classifier.
    fitted.save(tmp_path / "a.plr")
    assert str(folder).encode() not in (tmp_path / "a.plr").read_bytes()
    loaded = fastplr.load(tmp_path / "a.plr")
    assert loaded.cache is loaded.embedder_.cache is None


def test_the_key_is_the_same_in_every_process_and_version_of_python(tiny_llama: TinyModel, folder: Path) -> None:
    """A key that depended on the seed of hash(), say, would find nothing later. By definition, with hashlib alone."""
    resolved = fastplr.model_store.resolve(tiny_llama.path)
    setting = {
        "accelerated": False,
        "features_version": fastplr.feature_keys.FEATURES_VERSION,
        "file_sha256": resolved.file_sha256,
        "kernels": False,
        "llama_cpp_sources": _core.llama_cpp_sources,
        "n_ctx": 7,
        "prefix": "é",
        "recipe": {"cut": "None", "llama_cpp_commit": "None", "type": "None"},
        "source_sha256": resolved.source_sha256,
        "suffix": "s",
    }
    key = blake2b(json.dumps(setting).encode(), digest_size=32).digest()
    key = blake2b(b"3 last", key=key, digest_size=32).digest()
    key = blake2b("日本".encode(), key=key, digest_size=32).digest()
    keys = FeatureKeys(resolved, prefix="é", suffix="s", n_ctx=7, accelerated=False, kernels=False)
    assert keys.of("日本", 3, "last") == key
    assert FeatureStore(folder).get([key]) == [None]
