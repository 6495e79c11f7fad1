"""How deep a model is loaded, how often, and what is said of a prompt that cannot be shared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastplr import Embedder, Prompt, engine
from fastplr.feature_cache import feature_cache
from pooled_states import expected_embedding
from tiny_models import TinyModel, write_tiny, write_tiny_llama

F16_ATTENTION = 1.5e-2  # see test_embedder.py
TEXTS = ["the film is good", "a slow and boring story", "a"]
Loads = Callable[[], int]


@pytest.fixture(autouse=True)
def _nothing_is_loaded() -> Iterator[None]:
    engine.clear_engines()
    feature_cache.clear()
    yield
    engine.clear_engines()


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Llama of 20 layers."""
    return write_tiny_llama(tmp_path_factory.mktemp("deep") / "deep.gguf", n_layer=20, n_embd=32, n_ff=32)


@pytest.fixture
def loads(caplog: pytest.LogCaptureFixture) -> Loads:
    """Counts, by llama.cpp's own log, the models that were loaded since the last call."""
    caplog.set_level(logging.INFO, logger="fastplr.llama")

    def count() -> int:
        n = sum("loaded meta data" in record.getMessage() for record in caplog.records)
        caplog.clear()
        return n

    return count


def depth_loaded() -> int:
    (model,) = engine._models.values()
    return model.max_layer


# -- loading ----------------------------------------------------------------------------------------------------------


def test_one_request_loads_no_more_than_it_needs(deep: TinyModel, loads: Loads) -> None:
    for layer in (0, 1, 7, 19):
        engine.clear_engines()
        Embedder(deep.path, n_threads=1, layer=layer).fit()
        assert (loads(), depth_loaded()) == (1, layer)


def test_the_last_block_and_the_output_norm_are_one_depth(deep: TinyModel, loads: Loads) -> None:
    model = Embedder(deep.path, n_threads=1)
    model.embed(TEXTS, layers=20)
    model.embed(TEXTS, layers=-1)
    assert (loads(), depth_loaded()) == (1, -1)


@pytest.mark.parametrize(("first", "most"), [(1, 6), (10, 2)])
def test_a_search_through_ascending_layers_loads_a_few_times(
    deep: TinyModel, loads: Loads, first: int, most: int
) -> None:
    model = Embedder(deep.path, n_threads=1)
    for layer in [*range(first, 21), -1]:
        got = model.embed(TEXTS, layers=layer)
        want = [expected_embedding(deep, text, layer=layer, pooling="mean") for text in TEXTS]
        np.testing.assert_allclose(got, want, atol=F16_ATTENTION)
        if depth_loaded() != -1:
            assert layer <= depth_loaded() <= 2 * layer
    assert 2 <= loads() <= most


def test_a_search_through_descending_layers_loads_once(deep: TinyModel, loads: Loads) -> None:
    model = Embedder(deep.path, n_threads=1)
    for layer in range(18, 0, -1):
        model.embed(TEXTS, layers=layer)
    assert (loads(), depth_loaded()) == (1, 18)


@pytest.mark.parametrize("layers", [[2, 5, 9], [9, 5, 2], [0, 9, -1]])
def test_what_several_texts_lack_is_computed_with_one_load(deep: TinyModel, loads: Loads, layers: list[int]) -> None:
    """One text lacks the shallow layer, one all, one the deep ones: each of these gaps is computed apart."""
    model = Embedder(deep.path, n_threads=1)
    model.embed(TEXTS[:1], layers=layers[1:])
    model.embed(TEXTS[2:], layers=layers[:1])
    engine.clear_engines()
    loads()
    got = model.embed(TEXTS, layers=layers)[:, :, 0]
    assert loads() == 1
    want = [[expected_embedding(deep, text, layer=k, pooling="mean") for k in layers] for text in TEXTS]
    np.testing.assert_allclose(got, want, atol=F16_ATTENTION)


# -- prompts that cannot be shared ------------------------------------------------------------------------------------


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What is said of the prompt."""
    told = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "fastplr"]
    return [(level, message) for level, message in told if "prompt" in message]


@pytest.mark.parametrize(
    ("architecture", "kind"), [("bert", "an encoder"), ("t5", "an encoder"), ("mamba", "a recurrent model")]
)
def test_a_model_that_computes_the_prompt_with_every_text_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, architecture: str, kind: str
) -> None:
    caplog.set_level(logging.INFO, logger="fastplr")
    path = write_tiny(architecture, tmp_path / "model.gguf").path
    plain = Embedder(path, n_threads=1)
    plain.embed(TEXTS)
    plain.set_params(prompt=Prompt(suffix=" is it good")).embed(TEXTS)
    assert said(caplog) == []
    message = f"{path} is {kind} ({architecture}): the prompt before the texts is computed anew with each of them"
    for prompt in ("Read: ", "Say of ", Prompt("the film: ", " is it good")):
        plain.set_params(prompt=prompt).embed(TEXTS)
    assert said(caplog) == [(logging.INFO, message)]
    Embedder(path, n_threads=1, n_batch=100, prompt="Read: ").embed([*TEXTS, "new"])  # an engine of its own
    assert said(caplog) == [(logging.INFO, message)] * 2


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "phi3"])
def test_a_model_that_shares_the_prompt_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, architecture: str
) -> None:
    caplog.set_level(logging.INFO, logger="fastplr")
    Embedder(write_tiny(architecture, tmp_path / "model.gguf").path, n_threads=1, prompt="Read: ").embed(TEXTS)
    assert said(caplog) == []
