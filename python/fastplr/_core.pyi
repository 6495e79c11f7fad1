"""The native core. Not a public interface."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

llama_cpp_commit: str
llama_cpp_sources: str
classifier_format_version: int

class Model:
    def __init__(
        self,
        path: str,
        *,
        n_gpu_layers: int = 0,
        max_layer: int = -1,
        kernels: bool = True,
        floats_in_8_bits: bool = False,
        on_progress: Callable[[float], object] | None = None,
    ) -> None: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def max_layer(self) -> int: ...
    @property
    def n_bytes_loaded(self) -> int: ...
    @property
    def types_left_to_ggml(self) -> dict[str, int]: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_ctx_train(self) -> int: ...
    @property
    def is_encoder(self) -> bool: ...
    @property
    def architecture(self) -> str: ...

class EmbedSummary(TypedDict):
    n_tokens: int
    n_computed: int
    truncated: list[int]

class Embedder:
    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int = 0,
        n_batch: int = 512,
        n_threads: int = 0,
        share_prefix: bool = True,
        max_lanes: int = 0,
    ) -> None: ...
    @property
    def model(self) -> Model: ...
    @property
    def shares_prefix(self) -> bool: ...
    def embed(
        self,
        texts: Sequence[str],
        out: npt.NDArray[np.float32],
        *,
        layers: Sequence[int],
        poolings: Sequence[str],
        prefix: str = "",
        suffix: str = "",
        truncate: bool = False,
        indices: Sequence[int] = ...,
        on_progress: Callable[[int, int], object] | None = None,
        on_batch: Callable[[list[int], list[int]], object] | None = None,
    ) -> EmbedSummary: ...
    def count_tokens(self, text: str, *, prefix: str = "", suffix: str = "") -> int: ...

def check_texts(texts: Sequence[str], *, first: int = 0) -> None: ...
def set_log_level(level: int) -> None: ...
def accelerator_available() -> bool: ...
def kernels_name() -> str: ...
def available_cores() -> int: ...
def recorded_identity(path: str) -> dict[str, Any] | None: ...
def quantize_file(
    source: str,
    target: str,
    type_name: str,
    n_threads: int = 0,
    source_sha256: str = "",
    *,
    n_layers: int = 0,
    allow_requantize: bool = False,
    allow_fallback: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> None: ...
def rows_fit(source: str, type_name: str) -> bool: ...
def kernel_of_type(type_name: str) -> str: ...

class AnswerScorer:
    def __init__(self, embedder: Embedder, *, prefix: str, suffix: str, answers: Sequence[str]) -> None: ...
    @property
    def tokens(self) -> list[list[int]]: ...
    def logits(
        self,
        texts: Sequence[str],
        states: npt.NDArray[np.float32],
        *,
        truncate: bool = False,
        indices: Sequence[int] = ...,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> npt.NDArray[np.float64]: ...
    def log_normalisers(self, states: npt.NDArray[np.float32], *, n_threads: int = 0) -> npt.NDArray[np.float64]: ...

def save_classifier(data: dict[str, Any], path: str) -> None: ...
def read_classifier(path: str) -> dict[str, Any]: ...
def decision_function(data: dict[str, Any], features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]: ...
def predict_proba(data: dict[str, Any], features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]: ...

class _TensorTypeShare(TypedDict):
    type: str
    n_tensors: int
    n_elements: int
    n_bytes: int

class _ModelInfo(TypedDict):
    path: str
    file_size: int
    architecture: str
    name: str
    n_parameters: int
    n_layers: int
    n_embd: int
    n_ctx_train: int
    n_vocab: int
    is_encoder: bool
    tensor_mix: list[_TensorTypeShare]
    bits_per_weight: float
    license: str
    quantization: str
    metadata: dict[str, str]

def read_model_info(path: str) -> _ModelInfo: ...
def sha256_file(path: str) -> str: ...

class LogisticFit:
    @property
    def coefficients(self) -> npt.NDArray[np.float64]: ...
    @property
    def intercepts(self) -> npt.NDArray[np.float64]: ...
    @property
    def lambda_(self) -> float: ...
    @property
    def objective(self) -> float: ...
    @property
    def gap(self) -> float: ...
    @property
    def n_iter(self) -> int: ...
    @property
    def converged(self) -> bool: ...
    @property
    def form(self) -> Literal["gram", "primal"]: ...

def fit_logistic_path(
    features: npt.NDArray[Any],
    labels: npt.NDArray[np.int32],
    n_classes: int,
    *,
    weights: npt.NDArray[np.float64],
    lambdas: npt.NDArray[np.float64],
    tol: float,
    max_iter: int,
    fit_intercept: bool,
    solver: str,
    n_threads: int,
    polish: bool,
) -> list[LogisticFit]: ...
def approximate_leave_one_out(
    features: npt.NDArray[Any],
    labels: npt.NDArray[np.int32],
    n_classes: int,
    *,
    weights: npt.NDArray[np.float64],
    lambdas: npt.NDArray[np.float64],
    tol: float,
    max_iter: int,
    fit_intercept: bool,
    solver: str,
    n_threads: int,
) -> tuple[npt.NDArray[np.float64], int]: ...
def fit_cross_validated_logistic(
    features: npt.NDArray[Any],
    labels: npt.NDArray[np.int32],
    n_classes: int,
    *,
    weights: npt.NDArray[np.float64],
    lambdas: npt.NDArray[np.float64],
    folds: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    score_weights: npt.NDArray[np.float64],
    scoring: str,
    selection: str,
    tol: float,
    max_iter: int,
    fit_intercept: bool,
    solver: str,
    n_threads: int,
    polish: bool,
) -> tuple[LogisticFit, npt.NDArray[np.float64], int, int]: ...

class TextExplanation(TypedDict):
    spans: list[tuple[int, int]]
    values: npt.NDArray[np.float64]
    standard_errors: npt.NDArray[np.float64] | None
    logits: npt.NDArray[np.float64]
    base: npt.NDArray[np.float64]
    prompt: npt.NDArray[np.float64]
    truncated: bool

def words_of(text: str) -> list[tuple[int, int]]: ...
def phrases_of(text: str) -> list[tuple[int, int]]: ...
def explain(
    embedder: Embedder,
    classifier: dict[str, Any],
    texts: Sequence[str],
    *,
    spans: Sequence[Sequence[tuple[int, int]]],
    method: str,
    budget: int | None = None,
    seed: int = 0,
    replacement: str = "",
    truncate: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> list[TextExplanation]: ...

class FoundCounterfactual(TypedDict):
    spans: list[tuple[int, int]]
    removed: list[int]
    text_without: str
    logits: npt.NDArray[np.float64]
    logits_without: npt.NDArray[np.float64]
    smallest: bool
    n_tried: int
    truncated: bool

def find_counterfactuals(
    embedder: Embedder,
    classifier: dict[str, Any],
    texts: Sequence[str],
    *,
    spans: Sequence[Sequence[tuple[int, int]]],
    budget: int,
    replacement: str = "",
    truncate: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> list[FoundCounterfactual]: ...
def probabilities(data: dict[str, Any], logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...
