"""What version 2 of the classifier file added: temperature, prior ratio and training rows; and files of version 1."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGUFValueType
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import fastplr
from classifier_files import TRAINING, parts, write
from fastplr import ClassifierFileError, InputError, _core
from fastplr.calibration import log_probabilities
from labelled_texts import train_and_test
from tiny_models import TinyModel

F64, TEXT, ARRAY = GGUFValueType.FLOAT64, GGUFValueType.STRING, GGUFValueType.ARRAY


def example(n_classes: int = 3, n_features: int = 2, n_rows: int = 4, *, seed: int = 0) -> dict[str, Any]:
    """A classifier with `n_rows` training rows (0: none kept), of no model that there is."""
    random = np.random.default_rng(seed)
    n_logits = 1 if n_classes == 2 else n_classes
    training = {
        "features": random.normal(size=(n_rows, n_features)).astype(np.float32),
        "codes": (np.arange(n_rows) % n_classes).astype(np.int32),
        "weights": random.uniform(0.5, 2, n_rows),
        "held_out_logits": random.normal(size=(n_rows, n_logits)),
    }
    return {
        "model_name": "a model", "source_sha256": "a" * 64, "tensor_type": "Q4_0", "llama_cpp_commit": "0c1e57098",
        "prefix": "Is it «good»? ", "suffix": " Answer:", "layer": 2, "pooling": "mean", "on_long": "error",
        "labels": [str(k) for k in range(n_classes)], "label_kinds": ["int"] * n_classes, "label_dtype": "<i8",
        "mean": random.normal(size=n_features), "scale": random.uniform(0.5, 2, n_features),
        "coef": random.normal(size=(n_logits, n_features)), "intercept": random.normal(size=n_logits), "C": 0.25,
        "temperature": 1.7, "log_prior_ratio": random.normal(size=n_classes),
        "training": training if n_rows else None,
        "created_with": "a test", "annotations": "{}",
    }  # fmt: skip


def without_calibration(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"temperature": 1.0, "log_prior_ratio": np.zeros(0), "training": None}


def assert_same(found: dict[str, Any], expected: dict[str, Any], version: int = 2) -> None:
    """Bit by bit: NaN is equal to itself, and 0 is not -0."""
    assert found.keys() == expected.keys() | {"format_version"}
    assert found["format_version"] == version
    for name, value in expected.items():
        if name == "training" and value is not None:
            assert found[name].keys() == value.keys()
        pairs = [(found[name], value)]
        if name == "training" and value is not None:
            pairs = [(found[name][part], value[part]) for part in value]
        for one, other in pairs:
            if isinstance(other, np.ndarray):
                assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), name
            else:
                assert one == other, name


# -- nothing is lost -----------------------------------------------------------------------------------------------


@st.composite
def classifiers(draw: st.DrawFn) -> dict[str, Any]:
    n_classes, n_features, n_rows = draw(st.tuples(st.integers(2, 4), st.integers(1, 5), st.integers(0, 6)))
    data = example(n_classes, n_features, n_rows)
    positive = st.floats(0, exclude_min=True, allow_infinity=False)
    data["temperature"] = draw(positive)
    finite = {"allow_nan": False, "allow_infinity": False}
    if draw(st.booleans()):
        data["log_prior_ratio"] = draw(nps.arrays(np.float64, n_classes, elements=finite))
    else:
        data["log_prior_ratio"] = np.zeros(0)
    if n_rows:
        training = data["training"]
        shapes = {name: training[name].shape for name in TRAINING}
        training["features"] = draw(nps.arrays(np.float32, shapes["features"], elements=finite))
        training["codes"] = draw(nps.arrays(np.int32, n_rows, elements=st.integers(0, n_classes - 1)))
        training["weights"] = draw(nps.arrays(np.float64, n_rows, elements=st.floats(0, 1e300)))
        training["weights"][draw(st.integers(0, n_rows - 1))] = draw(st.floats(5e-324, 1e300))
        training["held_out_logits"] = draw(nps.arrays(np.float64, shapes["held_out_logits"], elements=finite))
        training["held_out_logits"][draw(nps.arrays(np.bool_, n_rows))] = np.nan
    return data


@settings(max_examples=200, deadline=None)
@given(data=classifiers())
def test_round_trip_is_exact_to_the_bit(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.plr"
    _core.save_classifier(data, str(path))
    assert_same(_core.read_classifier(str(path)), data)


@settings(max_examples=50, deadline=None)
@given(data=classifiers())
def test_an_independent_writer_and_reader_agree(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    entries, tensors = parts(data, 2)
    assert_same(_core.read_classifier(str(write(folder / "theirs.plr", entries, tensors))), data)

    _core.save_classifier(data, str(folder / "ours.plr"))
    reader = gguf.GGUFReader(folder / "ours.plr")
    for tensor in reader.tensors:
        expected = tensors.pop(tensor.name)
        assert tensor.data.dtype == expected.dtype, tensor.name
        assert tensor.data.tobytes() == expected.tobytes(), tensor.name
        assert math.prod(tensor.shape.tolist()) == expected.size
        assert tensor.shape[0] == expected.shape[-1], tensor.name
    assert tensors == {}
    fields = {key: field.contents() for key, field in reader.fields.items() if key.startswith("fastplr.")}
    assert fields == {key: value for key, (value, _, _) in entries.items()}


def test_training_rows_are_taken_as_they_are_or_not_at_all(tmp_path: Path) -> None:
    for name, dtype in (("features", np.float64), ("codes", np.int64), ("weights", np.float32)):
        data = example()
        data["training"][name] = data["training"][name].astype(dtype)
        with pytest.raises(InputError, match=f"training: {name} is no array of"):
            _core.save_classifier(data, str(tmp_path / "c.plr"))
    data = example(n_classes=3, n_features=2)
    with pytest.raises(InputError, match="coef: expected 2 columns"):
        _core.save_classifier(data | {"coef": data["coef"].T}, str(tmp_path / "c.plr"))
    assert list(tmp_path.iterdir()) == []


# -- version 1 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_file_of_version_1_is_read(tmp_path: Path, n_classes: int) -> None:
    data = without_calibration(example(n_classes))
    path = write(tmp_path / "one.plr", *parts(data, 1))
    found = _core.read_classifier(str(path))
    assert_same(found, data, version=1)
    _core.save_classifier(found, str(path))
    assert_same(_core.read_classifier(str(path)), data, version=2)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_of_version_1_predicts_softmax_of_its_logits(
    tiny_llama: TinyModel, tmp_path: Path, n_classes: int
) -> None:
    texts, labels, test = train_and_test(n_classes, n_train=12)
    classifier = fastplr.fit(texts, labels, model=tiny_llama.path, layer=2, pooling="mean", C=0.1, cv=3)
    classifier.save(tmp_path / "two.plr")
    data = without_calibration(_core.read_classifier(str(tmp_path / "two.plr")))
    del data["format_version"]
    old = fastplr.load(write(tmp_path / "one.plr", *parts(data, 1)))
    logits = old.decision_function(test)
    np.testing.assert_array_equal(logits, classifier.decision_function(test))
    odds = np.exp(logits) if n_classes == 3 else np.exp(np.stack([np.zeros_like(logits), logits], axis=1))
    np.testing.assert_allclose(old.predict_proba(test), odds / odds.sum(axis=1, keepdims=True), rtol=1e-12)


def test_what_version_1_did_not_have_is_not_read_from_it(tmp_path: Path) -> None:
    data = example()
    entries, tensors = parts(data, 2)
    entries["fastplr.format_version"] = (1, GGUFValueType.UINT32, None)
    with pytest.raises(ClassifierFileError, match="checksum"):
        _core.read_classifier(str(write(tmp_path / "c.plr", entries, tensors)))


# -- damage is found and named -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("temperature", (0.0, F64, None), "temperature is 0"),
        ("temperature", (-1.0, F64, None), "temperature is -1"),
        ("temperature", (math.nan, F64, None), "temperature is nan"),
        ("temperature", (math.inf, F64, None), "temperature is inf"),
        ("temperature", (1, GGUFValueType.UINT32, None), "temperature is uint32; expected float64"),
        ("temperature", (1.0, GGUFValueType.FLOAT32, None), "temperature is float32; expected float64"),
        ("temperature", ([1.0], ARRAY, F64), "temperature is an array; expected float64"),
        ("temperature", None, "temperature is missing"),
        ("temperature", (1.71, F64, None), "checksum does not match"),
        ("log_prior_ratio", ([0.0, 0.0], ARRAY, F64), "log_prior_ratio has 2 values; expected 3"),
        ("log_prior_ratio", ([0.0, math.nan, 0.0], ARRAY, F64), "log_prior_ratio holds nan"),
        ("log_prior_ratio", ([0.0, math.inf, 0.0], ARRAY, F64), "log_prior_ratio holds inf"),
        ("log_prior_ratio", ([0, 0, 0], ARRAY, GGUFValueType.UINT8), "log_prior_ratio holds uint8; expected float64"),
        ("log_prior_ratio", (0.0, F64, None), "log_prior_ratio is float64; expected an array"),
        ("log_prior_ratio", None, "checksum does not match"),
        ("format_version", (3, GGUFValueType.UINT32, None), "format version 3, this fastplr reads up to 2: install a"),
        ("format_version", (2**64 - 1, GGUFValueType.UINT64, None), f"format version {2**64 - 1}, this fastplr"),
    ],
)
def test_an_impossible_entry_is_named(tmp_path: Path, key: str, entry: Any, message: str) -> None:
    entries, tensors = parts(example(), 2)
    entries[f"fastplr.{key}"] = entry
    path = write(tmp_path / "bad.plr", {name: value for name, value in entries.items() if value}, tensors)
    with pytest.raises(ClassifierFileError, match=rf"bad\.plr.*{message}"):
        _core.read_classifier(str(path))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["features", "weights", "held_out_logits"])
def test_a_training_number_that_is_not_finite_is_named(tmp_path: Path, name: str, value: float) -> None:
    data = example()
    data["training"][name].flat[0] = value
    with pytest.raises(ClassifierFileError, match=f"training.{name} (holds|is NaN in a part of row 0)"):
        _core.read_classifier(str(write(tmp_path / "c.plr", *parts(data, 2))))
    with pytest.raises(InputError, match=f"training.{name} (holds|is NaN in a part of row 0)"):
        _core.save_classifier(data, str(tmp_path / "new.plr"))


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["mean", "scale", "coef", "intercept", *(f"training.{name}" for name in TRAINING)]),
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int32, np.int64]),
)
def test_a_tensor_has_one_shape_and_one_type(
    tmp_path_factory: pytest.TempPathFactory, name: str, shape: tuple[int, ...], dtype: Any
) -> None:
    entries, tensors = parts(example(), 2)
    expected = tensors[name]
    tensors[name] = np.ones(shape, dtype)

    def columns_first(of: tuple[int, ...]) -> list[int]:
        """As ggml has it, which drops dimensions of 1 at the end."""
        dims = [*of[::-1]]
        while len(dims) > 1 and dims[-1] == 1:
            dims.pop()
        return dims

    fits = columns_first(shape) == columns_first(expected.shape) and dtype == expected.dtype
    # A wrong number of rows or features shows in the tensors that have as many.
    message = "checksum" if fits else "has the shape|is of type"
    path = write(tmp_path_factory.getbasetemp() / "shape.plr", entries, tensors)
    with pytest.raises(ClassifierFileError, match=message):
        _core.read_classifier(str(path))


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=9)), min_size=1, max_size=3),
    cut=st.booleans(),
    inserted=st.booleans(),
)
def test_bytes_may_change_go_or_come_and_nothing_else_comes_of_it(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, bytes]], cut: bool, inserted: bool
) -> None:
    data = example()
    path = tmp_path_factory.getbasetemp() / "damaged.plr"
    _core.save_classifier(data, str(path))
    damaged = bytearray(path.read_bytes())
    for fraction, new in changes:
        start = int(fraction * len(damaged))
        damaged[start : start + (0 if inserted else len(new))] = new
    if cut:
        del damaged[int(changes[0][0] * len(damaged)) :]
    path.write_bytes(damaged)
    try:
        found = _core.read_classifier(str(path))
    except ClassifierFileError:
        return
    assert_same(found, data)


# -- probabilities -------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_classes=st.integers(2, 5),
    log_scale=st.floats(-5, 12),
    log_temperature=st.floats(-3, 3),
    ratio_scale=st.sampled_from([None, 0.0, 1.0, 50.0]),
)
def test_probabilities_are_those_of_the_calibration(
    seed: int, n_classes: int, log_scale: float, log_temperature: float, ratio_scale: float | None
) -> None:
    random = np.random.default_rng(seed)
    data = example(n_classes, n_features=3, n_rows=0, seed=seed)
    data["coef"] = data["coef"] * math.exp(log_scale)
    data["temperature"] = math.exp(log_temperature)
    ratio = np.zeros(0) if ratio_scale is None else ratio_scale * random.normal(size=n_classes)
    features = random.normal(size=(5, 3)).astype(np.float32)

    logits = _core.decision_function(data | {"temperature": 3.0, "log_prior_ratio": np.zeros(0)}, features)
    standardised = (features - data["mean"]) / data["scale"]
    by_hand = standardised @ data["coef"].T + data["intercept"]
    np.testing.assert_allclose(logits, by_hand, rtol=1e-11, atol=1e-11 * math.exp(max(log_scale, 0.0)))

    found = _core.predict_proba(data | {"log_prior_ratio": ratio}, features)
    expected = log_probabilities(logits, data["temperature"], ratio if len(ratio) else None)
    seen = expected > -690  # beyond, the probability is no normal number
    size = np.abs(logits / data["temperature"]).max() + (np.abs(ratio).max() if len(ratio) else 0) + 1
    np.testing.assert_allclose(np.log(found[seen]), expected[seen], rtol=0, atol=1e-14 * size)
    assert (found[~seen] < 1e-299).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)


def test_extreme_logits_give_numbers() -> None:
    for n_classes in (2, 3):
        data = example(n_classes, n_features=1, n_rows=0) | {"mean": np.zeros(1), "scale": np.ones(1)}
        data |= {"coef": np.full_like(data["coef"], -1e300), "log_prior_ratio": 1e308 * np.linspace(-1, 1, n_classes)}
        data["coef"][-1] = 1e300
        features = np.array([[1e8], [-1e8], [0.0], [1e-40]], dtype=np.float32)
        for temperature in (5e-324, 1.0, 1e308):
            found = _core.predict_proba(data | {"temperature": temperature}, features)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)
        with pytest.raises(InputError, match="the logit of row 0 is inf"):
            _core.predict_proba(data | {"coef": np.full_like(data["coef"], 1e308)}, features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"log_prior_ratio": np.zeros(2)}, "log_prior_ratio has 2 values, expected 3"),
        ({"log_prior_ratio": np.array([0, 0, np.inf])}, "log_prior_ratio holds inf"),
        ({"coef": np.zeros((1, 2))}, "coef has 2 values, expected 6"),
        ({"intercept": np.zeros(1)}, "intercept has 1 values, expected 3"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change: dict[str, Any], message: str) -> None:
    features = np.zeros((1, 2), dtype=np.float32)
    for function in (_core.decision_function, _core.predict_proba):
        with pytest.raises(InputError, match=message):
            function(example(n_rows=0) | change, features)


def test_labels_are_the_most_probable_ones_and_logits_stay_raw(tiny_llama: TinyModel, tmp_path: Path) -> None:
    texts, labels, test = train_and_test(2, n_train=12)
    plain = fastplr.fit(texts, labels, model=tiny_llama.path, layer=2, pooling="mean", C=0.1, cv=3, calibrate=False)
    plain.save(tmp_path / "plain.plr")
    data = _core.read_classifier(str(tmp_path / "plain.plr"))
    logits = plain.decision_function(test)
    middle = float(np.median(logits))
    changed = data | {"temperature": 4.0, "log_prior_ratio": np.array([middle / 4 + 1e-9, 0.0])}
    _core.save_classifier(changed, str(tmp_path / "changed.plr"))
    classifier = fastplr.load(tmp_path / "changed.plr")
    np.testing.assert_array_equal(classifier.decision_function(test), logits)
    probabilities = classifier.predict_proba(test)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-(logits - middle) / 4 + 1e-9)), rtol=1e-12)
    expected = [classifier.classes_[int(logit / 4 - (middle / 4 + 1e-9) > 0)] for logit in logits]
    assert classifier.predict(test).tolist() == expected
    assert len(set(expected)) == 2
