"""What becomes of a decision when the words that are said to carry it are taken out, or are all that is left.

DeYoung et al. 2020 (ERASER, arXiv 1911.03429), section 4: comprehensiveness p(x) - p(x without the top words) and
sufficiency p(x) - p(the top words alone), of the predicted class, averaged over shares of the words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fastplr.explanation import words_of

__all__ = ["SHARES", "faithfulness"]

Floats = npt.NDArray[np.float64]
SHARES = (0.1, 0.2, 0.5)


def faithfulness(
    probabilities: Callable[[Sequence[str]], Floats],
    texts: list[str],
    predicted: list[int],
    values: Sequence[Floats],
) -> tuple[Floats, Floats]:
    """Comprehensiveness (higher is better) and sufficiency (lower is better) of each text."""
    variants: list[str] = []
    for text, value in zip(texts, values, strict=True):
        words = words_of(text)
        order = np.argsort(-value, kind="stable")
        for share in SHARES:
            top = set(order[: math.ceil(share * len(words))].tolist())
            variants.append(" ".join(text[a:b] for k, (a, b) in enumerate(words) if k not in top))
            variants.append(" ".join(text[a:b] for k, (a, b) in enumerate(words) if k in top))
    whole = probabilities(texts)
    changed = probabilities(variants).reshape(len(texts), len(SHARES), 2, -1)
    own = np.array([whole[index, label] for index, label in enumerate(predicted)])
    left = np.array([changed[index, :, :, label] for index, label in enumerate(predicted)])
    drop = own[:, None, None] - left
    return drop[:, :, 0].mean(axis=1), drop[:, :, 1].mean(axis=1)
