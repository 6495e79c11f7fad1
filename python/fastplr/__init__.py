"""fastplr: from tens of labelled texts to a private, fast, explainable classifier.

Penalised logistic regression (PLR) on the hidden states of a small quantised language model (Buckmann & Hill 2024,
arXiv 2408.03414), computed natively on this machine.

>>> import fastplr
>>> classifier = fastplr.fit(["great", "awful", ...], ["good", "bad", ...])  # doctest: +SKIP
>>> fastplr.predict(classifier, ["not bad at all"])  # doctest: +SKIP
"""

import logging

from fastplr._cpu_check import require_cpu

logging.getLogger("fastplr").addHandler(logging.NullHandler())  # whoever wants llama.cpp's log asks for it
require_cpu()  # before anything loads the extension

from fastplr._version import __version__
from fastplr.classifier import PLRClassifier, classifier_file_info, fit, load, predict
from fastplr.embedder import Embedder
from fastplr.errors import (
    CacheWarning,
    ClassifierFileError,
    ContextMemoryError,
    FastplrError,
    InputError,
    ModelError,
    ModelMemoryError,
    ModelMismatch,
    NotConverged,
    TruncationWarning,
    UnsupportedArchitecture,
    UnsupportedCPU,
)
from fastplr.logistic_regression import LogisticRegression, PathResult
from fastplr.model_info import ModelInfo, read_model_info
from fastplr.prompt import Prompt

__all__ = [
    "CacheWarning",
    "ClassifierFileError",
    "ContextMemoryError",
    "Embedder",
    "FastplrError",
    "InputError",
    "LogisticRegression",
    "ModelError",
    "ModelInfo",
    "ModelMemoryError",
    "ModelMismatch",
    "NotConverged",
    "PLRClassifier",
    "PathResult",
    "Prompt",
    "TruncationWarning",
    "UnsupportedArchitecture",
    "UnsupportedCPU",
    "__version__",
    "classifier_file_info",
    "fit",
    "load",
    "predict",
    "read_model_info",
]
