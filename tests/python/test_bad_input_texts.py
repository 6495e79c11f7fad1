"""Bad texts, parameters and model files: each gives its documented exception, with the value in the message."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from fastplr import Embedder, FastplrError, InputError, ModelError, UnsupportedArchitecture, _core
from tiny_models import TinyModel, write_tiny, write_tiny_llama


@pytest.fixture
def model(tiny_llama: TinyModel) -> Embedder:
    return Embedder(tiny_llama.path, n_threads=1)


# -- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts is empty: expected at least one text"),
        (np.array([], dtype=str), "texts is empty"),
        (iter(()), "texts is empty"),
        ("a film", "texts is a single str, 'a film': expected a list or a column"),
        (b"a film", "texts is a single bytes"),
        ({"a film": 1}, "texts is a single dict"),
        ({"a film", "b"}, "texts is a set, which has no order: expected a list or a column"),
        (frozenset(["a film"]), "texts is a frozenset, which has no order"),
        (None, "texts is None of type NoneType: expected a list or a column"),
        (7, "texts is 7 of type int"),
        (np.array([["a", "b"], ["c", "d"]]), r"texts has the shape \(2, 2\): expected one dimension"),
        (np.array("a film"), r"texts has the shape \(\)"),
        (pandas.DataFrame({"text": ["a", "b"]}), r"texts has the shape \(2, 1\)"),
    ],
)
def test_what_is_no_collection_of_texts_is_refused(model: Embedder, texts: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.embed(texts)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "is None of type NoneType: expected a str"),
        (3, "is 3 of type int: expected a str"),
        (math.nan, "is nan of type float: expected a str"),
        (b"film", "is b'film' of type bytes: expected a str"),
        (["film"], r"is \['film'\] of type list"),
        (pandas.NA, "is <NA> of type NAType"),
        ("", "is empty: expected at least one visible character"),
        (" ", "is blank"),
        ("\t\r\n\v\f", "is blank"),
        ("\u00a0\u2003\u3000\u2028\u202f\u205f\u1680\u0085", "is blank"),
        ("\u200b\u200d\u2060\ufeff", "is blank"),
        ("a\0b", "holds a NUL byte at byte 1"),
        ("\u00e9\0", "holds a NUL byte at byte 2"),
        ("film \ud83d", r"is not valid Unicode: the character '\\ud83d' at 5 is half of a surrogate pair"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"is not valid Unicode: the character '\\udce9' at 3"),
    ],
)
def test_a_text_that_is_none_is_named_with_its_place(model: Embedder, item: object, message: str) -> None:
    for texts in (["a film", item, "a film"], ("a film", item)):
        with pytest.raises(InputError, match=rf"texts\[1\] {message}"):
            model.embed(texts)
        with pytest.raises(InputError, match=rf"texts\[1\] {message}"):
            next(model.embed_iter(texts))


def test_a_number_in_a_column_is_named(model: Embedder) -> None:
    with pytest.raises(InputError, match=r"texts\[1\] is 4.5 of type float"):
        model.embed(pandas.Series(["a film", 4.5], index=[10, 20]))
    with pytest.raises(InputError, match=r"texts\[0\] is .*1.* of type int64"):
        model.embed(np.arange(1, 3))


def test_blanks_around_a_visible_character_are_a_text(model: Embedder) -> None:
    assert model.embed(["\u3000a\u200b", "\n.", "\u00ad-", "\U0001f600"]).shape == (4, 64)


def test_the_index_is_that_of_the_users_list_also_with_repeated_texts(model: Embedder) -> None:
    model.set_params(n_ctx=16)
    texts = ["a film"] * 3 + ["the profit " * 20] * 2
    with pytest.raises(InputError, match=r"texts\[3\] 'the profit the profit"):
        model.embed(texts)
    model.embed(["a film"])  # what is known already does not change the numbering
    with pytest.raises(InputError, match=r"texts\[3\] 'the profit"):
        model.embed(texts)


@pytest.mark.parametrize("add_bos", [False, True])
def test_a_text_without_tokens_is_named(tmp_path: Path, add_bos: bool) -> None:
    """llama.cpp drops, without a word, the bytes that a vocabulary has no token for."""
    tiny = write_tiny_llama(tmp_path / "ascii.gguf", without_bytes=bytes(range(128, 256)), add_bos=add_bos)
    model = Embedder(tiny.path, n_threads=1)
    with pytest.raises(InputError, match=r"texts\[2\] '\u65e5\u672c' has no tokens of its own in this model"):
        model.embed(["a film", "a film \u65e5", "\u65e5\u672c"])
    rows = model.embed(["a film", "\u65e5a\u672c film\u00e9"])
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-6)


def test_an_embedder_works_on_after_bad_input(model: Embedder) -> None:
    before = model.embed(["a film", "another"])
    for texts in ([], ["a", None], [""], ["word " * 2000]):
        with pytest.raises(InputError):
            model.embed(texts)
    np.testing.assert_array_equal(model.embed(["a film", "another"]), before)


def test_a_long_or_odd_text_is_cut_in_the_message(model: Embedder) -> None:
    with pytest.raises(InputError) as error:
        model.embed(["\u65e5" * 5000])
    assert len(str(error.value)) < 400
    assert "the context holds 512" in str(error.value)
    with pytest.raises(InputError) as error:
        model.embed(["a", ["x" * 5000]])
    assert len(str(error.value)) < 200


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [5, -2, 1.0, "last", None, True, np.float64(1), 2**70, [1]])
def test_a_layer_out_of_range_says_the_range(model: Embedder, layer: object) -> None:
    model.set_params(layer=layer)
    with pytest.raises(InputError, match=r"layer is .*: expected 0 to 4, -1 \(after the output norm\) or 'middle'"):
        model.embed(["a film"])
    with pytest.raises(InputError, match="layer is"):
        model.fit(["a film"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": [1, 5]}, "layer is 5: expected 0 to 4"),
        ({"layers": []}, "empty list"),
        ({"pooling": []}, "empty list"),
        ({"pooling": "max"}, "pooling is 'max': expected 'mean', 'mean_all', 'last'"),
        ({"pooling": ["mean", "MEAN"]}, "pooling is 'MEAN'"),
        ({"pooling": 3}, "pooling is 3"),
        ({"pooling": b"mean"}, "pooling is b'mean' of type bytes: expected one, or a list"),
    ],
)
def test_layers_and_poolings_asked_for_are_checked(model: Embedder, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.embed(["a film"], **asked)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("pooling", "cls", "pooling is 'cls'"),
        ("on_long", "cut", "on_long is 'cut': expected 'error' or 'truncate'"),
        ("n_ctx", 0, "n_ctx is 0: expected"),
        ("n_ctx", -5, "n_ctx is -5"),
        ("n_ctx", 513, "n_ctx is 513: expected 1 to 512, or None"),
        ("n_ctx", 2**31 - 1, "n_ctx is 2147483647: expected 1 to 512, or None"),
        ("n_ctx", 2**63, "n_ctx is 9223372036854775808: expected"),
        ("n_ctx", 1.5, "n_ctx is 1.5"),
        ("n_batch", 0, "n_batch is 0"),
        ("n_batch", 8193, "n_batch is 8193: expected 1 to 8192"),
        ("n_batch", 2**32, "n_batch is 4294967296"),
        ("n_batch", "512", "n_batch is '512'"),
        ("n_threads", 0, "n_threads is 0"),
        ("n_threads", -1, "n_threads is -1"),
        ("n_threads", 513, "n_threads is 513: expected 1 to 512"),
        ("n_threads", 2**40, "n_threads is 1099511627776"),
        ("n_threads", True, "n_threads is True"),
        ("n_gpu_layers", 2**40, "n_gpu_layers is 1099511627776"),
        ("n_gpu_layers", "all", "n_gpu_layers is 'all'"),
        ("prompt", 5, "prompt is 5 of type int"),
        ("prompt", "a\0b", "instruction has the character"),
        ("prompt", "\udcff", "instruction has the character"),
        ("model", 5, "not int: 5"),
        ("model", None, "not NoneType: None"),
        ("model", "", "empty"),
        ("model", "a\0b", "NUL"),
    ],
)
def test_a_parameter_out_of_range_is_named(model: Embedder, parameter: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        model.set_params(**{parameter: value}).embed(["a film"])
    assert isinstance(error.value, ValueError)


def test_a_context_of_any_length_takes_memory_only_as_texts_need_it(tmp_path: Path) -> None:
    # At 512 bytes a token, 2**28 tokens would need 137 GB.
    tiny = write_tiny_llama(tmp_path / "long.gguf", n_ctx=2**28)
    for n_ctx in (None, 2**28):
        assert Embedder(tiny.path, n_ctx=n_ctx, n_threads=1).embed(["a film"]).shape == (1, 64)


# -- model files ------------------------------------------------------------------------------------------------------


def refused(path: Path | str) -> str:
    """The message of the ModelError with which `path` is refused."""
    with pytest.raises(ModelError) as error:
        Embedder(path, n_threads=1).embed(["a film"])
    assert isinstance(error.value, FastplrError)
    return str(error.value)


def test_an_unknown_name_suggests_near_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTPLR_HOME", str(tmp_path))
    message = refused("smolm2-135m")
    assert "'smolm2-135m'" in message
    assert "smollm2-135m" in message


def test_a_path_to_nothing_and_a_directory_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    assert str(missing) in refused(missing)
    message = refused(tmp_path)
    assert str(tmp_path) in message
    assert "directory" in message


@pytest.mark.parametrize("content", [b"", b"GGU", b"not a model at all\n" * 100, b"GGUF", b"GGUF" + b"\xff" * 64])
def test_a_file_that_is_no_gguf_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert str(path) in refused(path)


@pytest.mark.parametrize("kept", [4, 8, 23, 24, 100, 0.1, 0.25, 0.5, 0.9, -4096, -1])
def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path: Path, tiny_llama: TinyModel, kept: float) -> None:
    whole = tiny_llama.path.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    assert str(path) in refused(path)


@pytest.mark.parametrize("architecture", ["foo", "clip"])
def test_architectures_without_hidden_states_are_named(tmp_path: Path, architecture: str) -> None:
    path = write_tiny(architecture, tmp_path / "model.gguf").path
    with pytest.raises(UnsupportedArchitecture, match=f"'{architecture}'") as error:
        Embedder(path, n_threads=1).embed(["a film"])
    assert isinstance(error.value, ModelError)
    assert str(path) in str(error.value)


def test_a_model_that_goes_missing_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "model.gguf").path
    model = Embedder(path, n_threads=1)
    model.embed(["a film"])
    path.unlink()
    with pytest.raises(ModelError, match=str(path)):
        model.embed(["another film"])


@pytest.mark.skipif(_core.accelerator_available(), reason="layers on an accelerator are no mistake here")
def test_layers_on_an_accelerator_are_refused_whatever_is_known_already(tiny_llama: TinyModel) -> None:
    Embedder(tiny_llama.path).embed(["the film"])
    with pytest.raises(InputError, match=r"n_gpu_layers is 1, but this build of fastplr finds no accelerator"):
        Embedder(tiny_llama.path, n_gpu_layers=1).embed(["the film"])


def test_layers_may_be_an_array(tiny_llama: TinyModel) -> None:
    model = Embedder(tiny_llama.path)
    got = model.embed(["the film"], layers=np.array([1, 2]), pooling=np.array(["mean", "last"]))
    np.testing.assert_array_equal(got, model.embed(["the film"], layers=[1, 2], pooling=["mean", "last"]))
