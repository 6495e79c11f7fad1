"""The saved classifier: nothing is lost, and damage is found."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import fastplr
from fastplr import ClassifierFileError, InputError, PLRClassifier, Prompt, _core, classifier_file
from fastplr.feature_cache import feature_cache
from labelled_texts import train_and_test
from tiny_models import TinyModel

TRAIN, LABELS, TEST = train_and_test(3, n_train=24)
PROMPT = Prompt("Message to a bank: ", " Topic?", cue=" Answer:", answers={"fraud": "f", 2: "b", True: "ü"})


@pytest.fixture(scope="module")
def classifier(tiny_llama: TinyModel) -> PLRClassifier:
    return fastplr.fit(TRAIN, LABELS, model=tiny_llama.path, prompt=PROMPT, layer=3, pooling="last", C="auto", cv=3)


@pytest.fixture(scope="module")
def saved(classifier: PLRClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "c.plr"
    classifier.save(path)
    return path


def written_report(classifier: PLRClassifier) -> Any:
    """What a file can hold of what its report knows so far."""
    return json.loads(json.dumps(classifier.report_.known(), default=lambda value: value.tolist()))


def assert_same(found: PLRClassifier, expected: PLRClassifier) -> None:
    for name in ("classes_", "mean_", "scale_", "coef_", "intercept_", "log_prior_ratio_"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name, strict=True)
    for name in ("layer_", "pooling_", "C_", "temperature_", "model_identity_", "on_long"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.training_.keys() == expected.training_.keys()
    for name, value in expected.training_.items():
        np.testing.assert_array_equal(found.training_[name], value, err_msg=name, strict=True)
    assert written_report(found) == written_report(expected)
    assert found.prompt == Prompt.coerce(expected.prompt)


# -- nothing is lost -----------------------------------------------------------------------------------------------


def test_round_trip_is_exact(classifier: PLRClassifier, saved: Path) -> None:
    loaded = PLRClassifier.load(saved)
    assert_same(loaded, classifier)
    before = classifier.predict_proba(TEST)
    feature_cache.clear()  # so that both embed
    np.testing.assert_array_equal(loaded.predict_proba(TEST), before)
    np.testing.assert_array_equal(loaded.decision_function(TEST), classifier.decision_function(TEST))
    np.testing.assert_array_equal(fastplr.predict(saved, TEST), classifier.predict(TEST))


def test_saving_what_was_loaded_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    fastplr.load(saved).save(tmp_path / "again.plr")
    assert (tmp_path / "again.plr").read_bytes() == saved.read_bytes()


def test_a_loaded_classifier_can_be_fitted_again(saved: Path, classifier: PLRClassifier) -> None:
    again = fastplr.load(saved).fit(TRAIN, LABELS)
    np.testing.assert_array_equal(again.predict_proba(TEST), classifier.predict_proba(TEST))


def test_a_clone_of_a_loaded_classifier_makes_the_choice_anew(tiny_llama: TinyModel, tmp_path: Path) -> None:
    fitted = fastplr.fit(TRAIN, LABELS, model=tiny_llama.path, cv=3, speed=True)
    fitted.save(tmp_path / "c.plr")
    loaded = fastplr.load(tmp_path / "c.plr")
    assert (loaded.layer, loaded.pooling, loaded.C) == ("auto", "auto", "auto")
    assert loaded.get_params() == {**fitted.get_params(), "model": loaded.model, "prompt": loaded.prompt}
    np.testing.assert_array_equal(loaded.predict_proba(TEST), fitted.predict_proba(TEST))
    again = clone(loaded).fit(TRAIN, LABELS)
    assert len(again.report_["candidates"]) == len(fitted.report_["candidates"]) > 1
    np.testing.assert_allclose(again.predict_proba(TEST), fitted.predict_proba(TEST), atol=1e-5)


@pytest.mark.parametrize(
    "parameters",
    [
        {"C": math.inf},
        {"C": 0.5, "layer": "middle", "pooling": "last"},
        {"C": 0.5, "layer": np.int64(-1)},
        {"C": np.float32(0.5), "class_weight": "balanced"},
        {"C": 0.1, "class_weight": {0: 2.0, np.int64(1): np.float64(0.5)}},
        {"C": "auto", "Cs": np.array([0.1, 1.0]), "cv": 2, "random_state": 5},
        {"C": "auto", "Cs": (0.1, 1.0), "cv": "loo"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::fastplr.NotConverged")
def test_parameters_of_the_fit_are_kept(tiny_llama: TinyModel, tmp_path: Path, parameters: dict[str, Any]) -> None:
    texts, labels, _ = train_and_test(2, n_train=12)
    codes = [int(label == labels[0]) for label in labels]
    fastplr.fit(texts, codes, model=tiny_llama.path, **({"cv": 3} | parameters)).save(tmp_path / "c.plr")
    loaded = fastplr.load(tmp_path / "c.plr")
    for name, value in parameters.items():
        np.testing.assert_equal(getattr(loaded, name), list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    "labels",
    [
        ["nein", "日本 \n\t'\"", ""],
        [0, -1, 10**15],
        [2**70, -1, 0],
        [0.1, math.inf, -1e-300],
        ["1", 1, 1.5],
        [True, "True", 7],
        np.array([1, 2, 3], dtype=np.int8),
        np.array([0.1, 0.2, 0.3], dtype=np.float32),
        np.array(["a", "b", "c"], dtype="<U20"),
    ],
    ids=repr,
)
def test_labels_keep_kind_and_dtype(tiny_llama: TinyModel, tmp_path: Path, labels: Any) -> None:
    code = {name: k for k, name in enumerate(sorted(set(LABELS)))}
    y = [labels[code[name]] for name in LABELS]
    y = np.array(y, dtype=labels.dtype) if isinstance(labels, np.ndarray) else y
    classifier = fastplr.fit(TRAIN, y, model=tiny_llama.path, C=1.0, cv=3)
    classifier.save(tmp_path / "c.plr")
    loaded = fastplr.load(tmp_path / "c.plr")
    assert_same(loaded, classifier)
    assert [type(label) for label in loaded.classes_.tolist()] == [
        type(label) for label in classifier.classes_.tolist()
    ]


def test_bool_labels(tiny_llama: TinyModel, tmp_path: Path) -> None:
    texts, labels, _ = train_and_test(2, n_train=12)
    fastplr.fit(texts, [label == labels[0] for label in labels], model=tiny_llama.path, C=1.0, cv=3).save(
        tmp_path / "c"
    )
    classes = fastplr.load(tmp_path / "c").classes_
    np.testing.assert_array_equal(classes, np.array([False, True]), strict=True)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([("a", 1), ("b", 2)], "tuple"),
        ([b"a", b"b"], "bytes"),
        (np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]"), "datetime64"),
        (["a", "b\ud800"], "surrogate"),
        (["a", "b\0"], "NUL"),
    ],
    ids=["tuple", "bytes", "datetime64", "surrogate", "NUL"],
)
def test_labels_that_a_file_cannot_hold_are_refused(
    tiny_llama: TinyModel, tmp_path: Path, labels: Any, kind: str
) -> None:
    texts, _, _ = train_and_test(2, n_train=12)
    classifier = fastplr.fit(texts, [*labels] * 6, model=tiny_llama.path, C=1.0, cv=3)
    assert classifier.predict(texts).shape == (12,)
    with pytest.raises(InputError, match=f"label.*{kind}"):
        classifier.save(tmp_path / "c.plr")
    assert list(tmp_path.iterdir()) == []


def test_info_shows_all_of_it_without_the_model(classifier: PLRClassifier, saved: Path) -> None:
    info = fastplr.classifier_file_info(saved)
    assert json.loads(json.dumps(info)) == info
    assert info["format_version"] == 2
    assert info["temperature"] == classifier.temperature_
    assert info["n_training_rows"] == 24
    assert info["created_with"] == f"fastplr {fastplr.__version__}"
    assert info["labels"] == sorted(set(LABELS))
    assert info["prompt"]["prefix"] == PROMPT.prefix
    assert info["prompt"]["suffix"] == PROMPT.suffix
    assert info["prompt"]["answers"] == [["fraud", "f"], [2, "b"], [True, "ü"]]
    assert (info["layer"], info["pooling"], info["on_long"], info["n_features"]) == (3, "last", "error", 64)
    assert info["C"] == classifier.C_
    assert info["lambda"] == 1 / classifier.C_
    assert info["model"] == {"name": str(classifier.model), **classifier.model_identity_}
    assert info["report"] == written_report(classifier)
    np.testing.assert_allclose(info["coef_norm"], np.linalg.norm(classifier.coef_, axis=1))
    assert info["intercept"] == classifier.intercept_.tolist()


def test_the_file_is_plain_gguf_for_an_independent_reader(classifier: PLRClassifier, saved: Path) -> None:
    reader = gguf.GGUFReader(saved)
    fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert json.loads(fields.pop("fastplr.annotations"))["report"] == written_report(classifier)
    assert len(fields.pop("fastplr.checksum")) == 64
    assert fields == {
        "general.architecture": "fastplr-classifier",
        "fastplr.format_version": 2,
        "fastplr.created_with": f"fastplr {fastplr.__version__}",
        "fastplr.model.name": str(classifier.model),
        "fastplr.model.source_sha256": classifier.model_identity_["source_sha256"],
        "fastplr.model.tensor_type": "",
        "fastplr.model.llama_cpp_commit": "",
        "fastplr.prompt.prefix": PROMPT.prefix,
        "fastplr.prompt.suffix": PROMPT.suffix,
        "fastplr.layer": 3,
        "fastplr.pooling": "last",
        "fastplr.on_long": "error",
        "fastplr.labels": sorted(set(LABELS)),
        "fastplr.label_kinds": ["str"] * 3,
        "fastplr.label_dtype": classifier.classes_.dtype.str,
        "fastplr.C": classifier.C_,
        "fastplr.temperature": classifier.temperature_,
    }
    expected = {"mean": classifier.mean_, "scale": classifier.scale_, "coef": classifier.coef_}
    expected["intercept"] = classifier.intercept_
    expected |= {f"training.{name}": value for name, value in classifier.training_.items()}
    assert [tensor.name for tensor in reader.tensors] == list(expected)
    end = reader.data_offset
    for tensor in reader.tensors:
        np.testing.assert_array_equal(
            np.asarray(tensor.data).reshape(expected[tensor.name].shape), expected[tensor.name]
        )
        assert tensor.data.dtype == expected[tensor.name].dtype
        assert tensor.data_offset == end  # nothing hides between or after the tensors
        end += -(-tensor.n_bytes // 32) * 32
    assert saved.stat().st_size == end


# -- damage is found -----------------------------------------------------------------------------------------------


def test_a_file_cut_short_is_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    cut = tmp_path / "part.plr"
    for length in [*range(0, 64), *range(64, len(whole) - 31, 97), len(whole) - 32]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ClassifierFileError, match=r"part\.plr"):
            fastplr.load(cut)


def test_damaged_bytes_of_the_numbers_are_found(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    damaged = tmp_path / "damaged.plr"
    for tensor in gguf.GGUFReader(saved).tensors:
        step = 1 if tensor.n_bytes < 600 else 13  # prime to the size of a number
        for position in range(tensor.data_offset, tensor.data_offset + tensor.n_bytes, step):
            flipped = bytes([whole[position] ^ (1 << (position % 8))])
            damaged.write_bytes(whole[:position] + flipped + whole[position + 1 :])
            with pytest.raises(ClassifierFileError):
                _core.read_classifier(str(damaged))


@settings(max_examples=300, deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_any_byte_may_change_and_nothing_else_comes_of_it(
    saved: Path, classifier: PLRClassifier, fraction: float, value: int
) -> None:
    damaged = bytearray(saved.read_bytes())
    damaged[int(fraction * len(damaged))] = value
    path = saved.with_name("damaged.plr")
    path.write_bytes(damaged)
    try:
        loaded = fastplr.load(path)
    except ClassifierFileError:
        return
    assert_same(loaded, classifier)
    assert loaded.get_params() == fastplr.load(saved).get_params()


def test_a_newer_format_is_refused_by_its_number(saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    key = b"fastplr.format_version"
    start = data.index(key) + len(key)
    assert data[start : start + 8] == struct.pack("<II", gguf.GGUFValueType.UINT32, 2)
    newer = tmp_path / "newer.plr"
    newer.write_bytes(data[: start + 4] + struct.pack("<I", 12) + data[start + 8 :])
    with pytest.raises(ClassifierFileError, match="format version 12, this fastplr reads up to 2: install a newer"):
        fastplr.load(newer)


@pytest.mark.parametrize("name", ["mean", "scale", "coef", "intercept"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(saved: Path, tmp_path: Path, name: str, value: float) -> None:
    (tensor,) = (tensor for tensor in gguf.GGUFReader(saved).tensors if tensor.name == name)
    data = bytearray(saved.read_bytes())
    data[tensor.data_offset : tensor.data_offset + 8] = struct.pack("<d", value)
    (tmp_path / "c.plr").write_bytes(data)
    with pytest.raises(ClassifierFileError, match=f"{name} holds {value}"):
        fastplr.load(tmp_path / "c.plr")
    broken = fastplr.load(saved)
    setattr(broken, f"{name}_", np.full_like(getattr(broken, f"{name}_"), value))
    with pytest.raises(InputError, match=f"{name} holds {value}"):
        broken.save(tmp_path / "new.plr")
    assert not (tmp_path / "new.plr").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": "not JSON"},
        {"annotations": "[]"},
        {"annotations": '{"report": []}'},
        {"annotations": '{"parameters": 3}'},
        {"annotations": '{"prompt": {"suffix": 5}}'},
        {"label_kinds": ["str", "tuple", "str"]},
        {"label_kinds": ["int", "int", "int"]},
        {"label_kinds": ["bool", "bool", "bool"]},
        {"label_dtype": "nonsense"},
        {"label_dtype": "<f8"},
    ],
    ids=str,
)
def test_what_only_python_reads_is_checked_too(classifier: PLRClassifier, tmp_path: Path, change: Any) -> None:
    data = classifier_file.to_native(classifier)
    data |= {"labels": ["a", "b", "c"], "label_kinds": ["str"] * 3, "label_dtype": "<U1", "annotations": "{}"}
    path = tmp_path / "c.plr"
    _core.save_classifier(data, str(path))
    assert fastplr.load(path).classes_.tolist() == ["a", "b", "c"]
    _core.save_classifier(data | change, str(path))  # with a good checksum
    for read in (fastplr.load, fastplr.classifier_file_info):
        with pytest.raises(ClassifierFileError, match=r"c\.plr"):
            read(path)
