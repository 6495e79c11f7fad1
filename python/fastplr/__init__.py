"""fastplr: from tens of labelled texts to a private, fast, explainable classifier.

Penalised logistic regression (PLR) on the hidden states of a small quantised language model (Buckmann & Hill 2024,
arXiv 2408.03414), computed natively on this machine.

>>> import fastplr
>>> classifier = fastplr.fit(["great", "awful", ...], ["good", "bad", ...])  # doctest: +SKIP
>>> fastplr.predict(classifier, ["not bad at all"])  # doctest: +SKIP
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from fastplr._cpu_check import require_cpu

logging.getLogger("fastplr").addHandler(logging.NullHandler())  # whoever wants llama.cpp's log asks for it
require_cpu()  # before anything loads the extension

from fastplr._version import __version__
from fastplr.errors import (
    AnswerWarning,
    CacheWarning,
    ClassifierFileError,
    ContextMemoryError,
    EndpointError,
    FastplrError,
    InputError,
    ModelError,
    ModelMemoryError,
    ModelMismatch,
    NotConverged,
    QuantizationWarning,
    TruncationWarning,
    UnsupportedArchitecture,
    UnsupportedCPU,
)

if TYPE_CHECKING:
    from fastplr.classifier import PLRClassifier, classifier_file_info, fit, load, predict
    from fastplr.counterfactual import Counterfactual
    from fastplr.embedder import Embedder
    from fastplr.endpoint import EndpointClassifier
    from fastplr.explanation import Explanation, Span
    from fastplr.influence import TrainingRow
    from fastplr.label_logits import LabelLogits
    from fastplr.label_logits_classifier import LabelLogitsClassifier
    from fastplr.logistic_regression import LogisticRegression, PathResult
    from fastplr.model_info import ModelInfo, read_model_info
    from fastplr.overview import Effect, Overview
    from fastplr.prompt import Prompt
    from fastplr.quantization import QuantizedModel, quantize
    from fastplr.zero_shot import FewShotClassifier, ZeroShotClassifier

__all__ = [
    "AnswerWarning",
    "CacheWarning",
    "ClassifierFileError",
    "ContextMemoryError",
    "Counterfactual",
    "Effect",
    "Embedder",
    "EndpointClassifier",
    "EndpointError",
    "Explanation",
    "FastplrError",
    "FewShotClassifier",
    "InputError",
    "LabelLogits",
    "LabelLogitsClassifier",
    "LogisticRegression",
    "ModelError",
    "ModelInfo",
    "ModelMemoryError",
    "ModelMismatch",
    "NotConverged",
    "Overview",
    "PLRClassifier",
    "PathResult",
    "Prompt",
    "QuantizationWarning",
    "QuantizedModel",
    "Span",
    "TrainingRow",
    "TruncationWarning",
    "UnsupportedArchitecture",
    "UnsupportedCPU",
    "ZeroShotClassifier",
    "__version__",
    "classifier_file_info",
    "fit",
    "load",
    "predict",
    "quantize",
    "read_model_info",
]

# scikit-learn takes a second to import: what needs it is imported when it is first named, so that the command line
# answers at once, to Ctrl-C too.
_NAMES_IN = {
    "fastplr.classifier": ("PLRClassifier", "classifier_file_info", "fit", "load", "predict"),
    "fastplr.counterfactual": ("Counterfactual",),
    "fastplr.embedder": ("Embedder",),
    "fastplr.endpoint": ("EndpointClassifier",),
    "fastplr.explanation": ("Explanation", "Span"),
    "fastplr.influence": ("TrainingRow",),
    "fastplr.label_logits": ("LabelLogits",),
    "fastplr.label_logits_classifier": ("LabelLogitsClassifier",),
    "fastplr.logistic_regression": ("LogisticRegression", "PathResult"),
    "fastplr.model_info": ("ModelInfo", "read_model_info"),
    "fastplr.overview": ("Effect", "Overview"),
    "fastplr.prompt": ("Prompt",),
    "fastplr.quantization": ("QuantizedModel", "quantize"),
    "fastplr.zero_shot": ("FewShotClassifier", "ZeroShotClassifier"),
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
