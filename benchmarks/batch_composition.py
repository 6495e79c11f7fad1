"""How far features and probabilities move with the texts that share a batch: one text a batch against full batches.

    python benchmarks/batch_composition.py [MODEL]

Prints, over the demonstration messages at the default layer: the relative distance of the two feature vectors, the
largest change of a feature in standard deviations over the messages, the change of the probabilities of a classifier,
and how many labels change.
"""

import sys

import numpy as np

import fastplr
from fastplr.demo import load_demo
from fastplr.feature_cache import feature_cache


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
    texts, labels = load_demo()
    embedder = fastplr.Embedder(model)
    together = embedder.embed(texts)
    feature_cache.clear()
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    distance = np.linalg.norm(alone - together, axis=1) / np.linalg.norm(together, axis=1)
    in_deviations = np.abs(alone - together) / together.std(axis=0)

    centre, scale = together[::2].mean(axis=0), together[::2].std(axis=0)
    classifier = fastplr.LogisticRegression("auto").fit((together[::2] - centre) / scale, labels[::2])
    before = classifier.predict_proba((together[1::2] - centre) / scale)
    after = classifier.predict_proba((alone[1::2] - centre) / scale)
    flips = int(np.sum(before.argmax(axis=1) != after.argmax(axis=1)))

    print(f"{model}, layer {embedder.layer_number('middle')}, {len(texts)} texts, one a batch against full batches")
    print(f"relative distance of features: mean {distance.mean():.1e}, max {distance.max():.1e}")
    print(f"largest change of a feature: {in_deviations.max():.2f} standard deviations")
    print(f"change of probabilities: mean {np.abs(after - before).mean():.1e}, max {np.abs(after - before).max():.1e}")
    print(f"labels that change: {flips} of {len(before)}")


if __name__ == "__main__":
    main()
