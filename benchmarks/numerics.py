"""How far features move with what should not matter, and with the tensor type; writes docs/numerics.md.

    python benchmarks/numerics.py

Over the demonstration messages with an instruction before them, default model and layer. Differences between two runs
of the same engine come from two places: the order of additions in float32, and, with quantised weights, the rounding
of activations to 8 bits in blocks, which turns the last bits of its input into steps.
"""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path

import numpy as np

import fastplr
from fastplr import _core
from fastplr.demo import load_demo

MODEL = "smollm2-135m"
TYPES = ("f32", "f16", "q8_0", "q4_0")
PREFIX = "Is the customer of this bank reporting fraud, complaining, or asking a question? "
TARGET = Path(__file__).resolve().parents[1] / "docs" / "numerics.md"


def embed(
    model: _core.Model,
    texts: list[str],
    *,
    layer: int | None = None,
    pooling: str = "mean",
    alone: bool = False,
    **settings: object,
) -> np.ndarray:
    """Features at `layer`, default the middle one, each text in a call of its own if `alone`."""
    layer = model.n_layers // 2 if layer is None else layer
    engine = _core.Embedder(model, **{"n_threads": 2, **settings})
    out = np.empty((len(texts), model.n_embd), dtype=np.float32)
    pieces = [slice(i, i + 1) for i in range(len(texts))] if alone else [slice(None)]
    for piece in pieces:
        engine.embed(texts[piece], out[piece], layers=[layer], poolings=[pooling], prefix=PREFIX)
    return out


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine distance of each row of `a` to the same row of `b`, after taking the mean of `b`'s rows from both.

    Hidden states of one model point nearly the same way, so that without this step every distance looks small.
    """
    a, b = (np.asarray(rows, dtype=np.float64) - b.mean(axis=0, dtype=np.float64) for rows in (a, b))
    return 1 - (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def flips(features: np.ndarray, reference: np.ndarray, labels: list[str]) -> tuple[float, int, int]:
    """Largest change of a probability, number of changed labels and number of texts.

    A classifier fitted on every second text's reference features is given those of the other texts, then theirs here.
    """
    train, test = slice(0, None, 2), slice(1, None, 2)
    centre, scale = reference[train].mean(axis=0), reference[train].std(axis=0)
    classifier = fastplr.LogisticRegression("auto", n_threads=2).fit((reference[train] - centre) / scale, labels[train])
    before, after = (classifier.predict_proba((rows[test] - centre) / scale) for rows in (reference, features))
    changed = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
    return float(np.abs(after - before).max()), changed, len(before)


def main() -> None:
    texts, labels = load_demo()
    paths = {kind: str(fastplr.Embedder(f"{MODEL}:{kind}").resolve().path) for kind in TYPES}
    models = {kind: _core.Model(path) for kind, path in paths.items()}
    plain = {kind: embed(model, texts) for kind, model in models.items()}

    rows: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for kind, model in models.items():
        variations = {
            "the same call again": {},
            "one thread instead of two": {"n_threads": 1},
            "batches of 64 tokens instead of 512": {"n_batch": 64},
            "each text alone instead of in a batch": {"alone": True},
            "prompt computed for every text instead of shared": {"share_prefix": False},
            "prompt not shared, each text alone": {"share_prefix": False, "alone": True},
        }
        rows += [(kind, what, embed(model, texts, **how), plain[kind]) for what, how in variations.items()]
    for kind in TYPES[1:]:
        by_ggml = _core.Model(paths[kind], kernels=False)
        rows += [
            (kind, f"`kernels=False`: {what}", embed(by_ggml, texts, **how), embed(by_ggml, texts))
            for what, how in (
                ("each text alone", {"alone": True}),
                ("prompt computed for every text", {"share_prefix": False}),
            )
        ]
    rows += [(kind, "against F32 weights of the same source", plain[kind], plain["f32"]) for kind in TYPES[1:]]

    table = [
        "| weights | what differs | mean cosine distance | max | largest change of a probability | labels changed |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for kind, what, features, reference in rows:
        distance = np.maximum(distances(features, reference), 0.0)
        change, n_changed, n = flips(features, reference, labels)
        cells = (kind.upper(), what, f"{distance.mean():.1e}", f"{distance.max():.1e}", f"{change:.4f}")
        table.append(f"| {' | '.join(cells)} | {n_changed} of {n} |")
    info = models["f32"]
    elsewhere = [
        "| weights | layer | pooling | mean cosine distance | max |",
        "|---|--:|---|--:|--:|",
    ]
    for kind in ("f16", "q4_0"):
        for layer in (info.n_layers // 4, info.n_layers // 2, info.n_layers, -1):
            for pooling in ("mean", "last"):
                where = {"layer": layer, "pooling": pooling}
                together, alone = (embed(models[kind], texts, alone=way, **where) for way in (False, True))
                distance = np.maximum(distances(alone, together), 0.0)
                cells = (kind.upper(), str(layer), pooling, f"{distance.mean():.1e}", f"{distance.max():.1e}")
                elsewhere.append(f"| {' | '.join(cells)} |")
    text = f"""# Numerics

How far features move with what should not matter, and with the type of the weights. Written by
`python benchmarks/numerics.py` on {date.today():%d %B %Y} ({platform.machine()}, {len(texts)} demonstration
messages after an instruction, {MODEL}, layer {info.n_layers // 2}, 2 threads). The source of the model is 4-bit: its
F32 file holds the same values, and Q8_0 and Q4_0 are rounded once more.

Cosine distances are taken after subtracting the mean feature vector: hidden states of one model point nearly the same
way, and without this step every distance would look small. The last two columns are of a classifier fitted on half of
the messages.

{chr(10).join(table)}

The kernels compute a text's states to the same bits whatever shares its batch: each row's sums have an order of their
own, and what a token does not see is not gone through (docs/kernels.md). Matrices of floats are ggml's, which
multiplies by a single row in another order than by several. Of models with a sliding window (Gemma 3) it holds for
texts that are not longer than the window: blocks of keys begin where the first token of a tile sees. ggml's kernels
for quantised weights, and its attention, add up in an order that depends on the batch; rounding to 8 bits makes steps
of last bits.
`tests/python/test_numerics.py` holds these rows to bounds.

Elsewhere in the model, each text alone instead of in a batch (-1 is the state after the output norm):

{chr(10).join(elsewhere)}

"""
    TARGET.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
