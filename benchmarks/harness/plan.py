"""What is measured: which rival, on which model, over which texts, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.models import MODELS, float32_folder, gguf_path, onnx_file
from harness.worker_process import PythonWorker, WorkerProcess
from rivals.libllama import LibllamaWorker

__all__ = ["N_ROUNDS", "ROWS", "Definition", "Engine", "Row"]

N_ROUNDS = 5

#: Layer and pooling, as fastplr.Embedder has them.
Definition = tuple[int, str]
FINAL: Definition = (-1, "mean_all")


@dataclass(frozen=True)
class Engine:
    """A rival on a model, in one process.

    Attributes:
        key: Short name, unique among the engines of a model.
        title: As the document names it.
        model: A key of MODELS.
        start: Starts the process, given the number of threads.
        definition: What its features are; None where they are not compared.
        float32: Whether it computes with float32 weights and activations.
    """

    key: str
    title: str
    model: str
    start: Callable[[int], WorkerProcess]
    definition: Definition | None
    float32: bool = False


@dataclass(frozen=True)
class Row:
    """A line of the tables.

    Attributes:
        engine: What computes.
        form: One of corpus.FORMS.
        corpus: "main" (300 texts, rounds interleaved), "long" (2,000 texts, once) or "memory" (some 100 texts, once, in
            a process for itself).
        needed: Whether a target rests on it: then it runs in every round, however slow it is.
    """

    engine: Engine
    form: str
    corpus: str = "main"
    needed: bool = False

    @property
    def id(self) -> str:
        """Unique name."""
        parts = [self.engine.model, self.engine.key, self.form]
        return "/".join(parts if self.corpus == "main" else [*parts, self.corpus])


def _fastplr(key: str, depth: str, *, n_batch: int | None = None, pooling: str = "mean") -> Engine:
    model = MODELS[key]
    titles = {
        "full": f"fastplr, layer {model.n_layers}",
        "half": f"fastplr, layer {model.n_layers // 2}",
        "final": "fastplr, final states",
    }
    layer = {"full": model.n_layers, "half": model.n_layers // 2, "final": -1}[depth]
    definition = FINAL if depth == "final" else (layer, pooling)
    settings = {"model": model.spec, "layer": definition[0], "pooling": definition[1], "n_batch": n_batch}
    return Engine(
        f"fastplr-{depth}" + (f"-{n_batch}" if n_batch else "") + "-all" * (pooling == "mean_all"),
        titles[depth]
        + (f", batches of {n_batch}" if n_batch else "")
        + ", all tokens pooled" * (pooling == "mean_all"),
        key,
        lambda n_threads: PythonWorker("rivals.fastplr_embedder", "Fastplr", settings, n_threads),
        definition,
        float32=key.endswith("f32"),
    )


def _libllama(key: str, *, n_batch: int | None = None, n_ctx: int | None = None, which: str = "stock") -> Engine:
    title = "libllama (llama-embedding)"
    if n_batch:
        title = f"libllama, -b {n_batch}" + (f" -c {n_ctx}" if n_ctx else "")
    if which == "patched":
        title += ", with fastplr's patches"
    return Engine(
        "libllama" + "".join(f"-{number}" for number in (n_batch, n_ctx) if number) + "-patched" * (which == "patched"),
        title,
        key,
        lambda n_threads: LibllamaWorker(str(gguf_path(key)), n_threads, n_batch, n_ctx, which),
        FINAL,
        float32=key.endswith("f32"),
    )


def _llama_cpp_python(key: str) -> Engine:
    return Engine(
        "llama-cpp-python",
        "llama-cpp-python, create_embedding",
        key,
        lambda n_threads: PythonWorker(
            "rivals.llama_cpp_python", "LlamaCppPython", {"model": str(gguf_path(key))}, n_threads
        ),
        FINAL,
        float32=key.endswith("f32"),
    )


#: Rivals that take the model as transformers saves it: module, class and title.
OF_TRANSFORMERS = {
    "transformers-float32": ("transformers_float32", "TransformersFloat32", "transformers + PyTorch, float32"),
    "transformers-int8": ("transformers_int8", "TransformersInt8", "transformers + PyTorch, dynamic int8"),
    "openvino-int8": ("openvino_int8", "OpenVinoInt8", "OpenVINO, int8 weights and activations"),
}


def _transformers(name: str, key: str) -> Engine:
    module, adapter, title = OF_TRANSFORMERS[name]
    folder = MODELS[key].weights
    return Engine(
        name,
        title,
        key,
        lambda n_threads: PythonWorker(f"rivals.{module}", adapter, {"folder": str(float32_folder(folder))}, n_threads),
        FINAL,
        float32=name == "transformers-float32",
    )


def _sentence_transformers(key: str) -> Engine:
    return Engine(
        "sentence-transformers",
        "sentence-transformers, encode",
        key,
        lambda n_threads: PythonWorker(
            "rivals.sentence_transformers_encode",
            "SentenceTransformers",
            {"folder": str(float32_folder("minilm"))},
            n_threads,
        ),
        FINAL,
        float32=True,
    )


def _onnx_runtime(key: str, *, int8: bool) -> Engine:
    return Engine(
        "onnxruntime-int8" if int8 else "onnxruntime-float32",
        "ONNX Runtime, dynamic int8" if int8 else "ONNX Runtime, float32",
        key,
        lambda n_threads: PythonWorker(
            "rivals.onnx_runtime",
            "OnnxRuntime",
            {"model": str(onnx_file(int8=int8)), "folder": str(float32_folder("minilm"))},
            n_threads,
        ),
        FINAL,
        float32=not int8,
    )


#: Of prompts, for SmolLM2.
FORMS = ("none", "paper", "instruction")


def _smollm2() -> list[Row]:
    rows: list[Row] = []
    key = "smollm2-q4_0"
    full, half, libllama = _fastplr(key, "full"), _fastplr(key, "half"), _libllama(key)
    for form in FORMS:
        rows.append(Row(libllama, form, needed=True))
        rows.append(Row(half, form, needed=True))
        rows.append(Row(full, form, needed=form == "none"))
    rows.append(Row(_fastplr(key, "final"), "none"))
    # What follows the text is not computed where only the text's own tokens are pooled.
    all_pooled = _fastplr(key, "half", pooling="mean_all")
    rows.append(Row(all_pooled, "paper", needed=True))
    for form, ours in (("one-paper", all_pooled), ("one-instruction", half)):
        rows += [Row(libllama, form, needed=True), Row(ours, form, needed=True)]
    patched = _libllama(key, which="patched")
    others = [patched, _llama_cpp_python(key), *(_transformers(name, key) for name in OF_TRANSFORMERS)]
    for engine in others:
        rows += [Row(engine, form, needed=engine.key.endswith("int8") and form == "none") for form in FORMS]
    for key in ("smollm2-q4_1", "smollm2-q8_0", "smollm2-f16"):
        rows += [Row(_libllama(key), "none", needed=key != "smollm2-f16"), Row(_llama_cpp_python(key), "none")]
        rows += [Row(_fastplr(key, "full"), "none", needed=key != "smollm2-f16"), Row(_fastplr(key, "half"), "none")]
    return rows


def _minilm() -> list[Row]:
    key = "minilm-f32"
    engines = [
        _fastplr(key, "final"),
        _libllama(key),
        _llama_cpp_python(key),
        _sentence_transformers(key),
        _onnx_runtime(key, int8=False),
        *(_transformers(name, key) for name in OF_TRANSFORMERS),
        _onnx_runtime(key, int8=True),
    ]
    rows = [Row(engine, "none", needed=engine.float32 or engine.key.endswith("int8")) for engine in engines]
    rows += [Row(engine, "paper") for engine in engines]
    key = "minilm-q8_0"
    rows.append(Row(_fastplr(key, "final"), "none", needed=True))
    return rows + [Row(engine, "none") for engine in (_libllama(key), _llama_cpp_python(key))]


def _long() -> list[Row]:
    key = "smollm2-q4_0"
    engines = [_libllama(key), _fastplr(key, "full"), _fastplr(key, "half")]
    return [Row(engine, "none", "long") for engine in engines]


def _memory() -> list[Row]:
    return [
        Row(engine, "none", "memory", needed=True)
        for key in ("smollm2-q4_0", "gemma3")
        for engine in (
            _fastplr(key, "half", n_batch=512),
            _libllama(key, n_batch=512, n_ctx=512),
            _libllama(key, n_batch=512),
        )
    ]


#: Every row, in the order of the first round.
ROWS: list[Row] = [*_memory(), *_smollm2(), *_minilm(), *_long()]
