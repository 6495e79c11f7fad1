"""Time to embed 100 demonstration messages with the default model, by depth and by tensor type."""

import pytest

import fastplr
from fastplr.demo import load_demo
from fastplr.feature_cache import feature_cache


def embed_freshly(embedder: fastplr.Embedder, texts: list[str]) -> None:
    feature_cache.clear()
    embedder.embed(texts)


@pytest.mark.parametrize("layer", [8, 15, 22, 30, -1])
def test_depth(benchmark, n_threads, layer):
    texts = load_demo()[0][:100]
    embedder = fastplr.Embedder(layer=layer, n_threads=n_threads)
    embed_freshly(embedder, texts)  # loads the model
    benchmark.pedantic(embed_freshly, args=(embedder, texts), rounds=5)


@pytest.mark.parametrize("variant", ["source", "q4_0", "q8_0", "f16"])
def test_tensor_type(benchmark, n_threads, variant):
    texts = load_demo()[0][:100]
    embedder = fastplr.Embedder(f"smollm2-135m:{variant}", n_threads=n_threads)
    embed_freshly(embedder, texts)
    benchmark.pedantic(embed_freshly, args=(embedder, texts), rounds=5)
