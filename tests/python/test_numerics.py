"""The bounds that docs/numerics.md states, on the default model: what should not matter moves features by no more."""

from __future__ import annotations

import numpy as np
import pytest

from fastplr import Embedder, _core
from fastplr.demo import load_demo
from native_embedding import native_embed

pytestmark = [pytest.mark.model, pytest.mark.slow]

PREFIX = "Is the customer of this bank reporting fraud, complaining, or asking a question? "
TEXTS = load_demo()[0][::4]
# Largest cosine distance, mean feature vector taken off: a few times the figures of the table.
BOUNDS = {"f16": 3e-5, "q4_0": 5e-3}
VARIATIONS = {
    "batches of 128 tokens": {"n_batch": 128},
    "each text alone": {"alone": True},
    "prompt not shared": {"share_prefix": False},
    "prompt not shared, each text alone": {"share_prefix": False, "alone": True},
}


@pytest.fixture(scope="module", params=BOUNDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str) -> _core.Model:
    return _core.Model(str(Embedder(f"smollm2-135m:{kind}").resolve().path), max_layer=15)


def embed(model: _core.Model, *, alone: bool = False, **settings: object) -> np.ndarray:
    engine = _core.Embedder(model, **{"n_threads": 2, **settings})
    calls = [[text] for text in TEXTS] if alone else [TEXTS]
    return np.concatenate([native_embed(engine, call, [15], prefix=PREFIX)[0] for call in calls])[:, 0, 0]


@pytest.fixture(scope="module")
def reference(model: _core.Model) -> np.ndarray:
    return embed(model)


def test_the_same_call_gives_the_same_bits_with_any_number_of_threads(
    model: _core.Model, reference: np.ndarray
) -> None:
    np.testing.assert_array_equal(embed(model), reference)
    np.testing.assert_array_equal(embed(model, n_threads=1), reference)


@pytest.mark.parametrize("variation", VARIATIONS)
def test_what_should_not_matter(model: _core.Model, kind: str, reference: np.ndarray, variation: str) -> None:
    a, b = (rows - reference.mean(axis=0) for rows in (embed(model, **VARIATIONS[variation]), reference))
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    assert (1 - cosine).max() < BOUNDS[kind]
