"""The models, as GGUF files for the engines that read those, and as float32 folders and ONNX files for the others."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fastplr import FastplrError, model_store
from harness.worker_process import BENCHMARKS, RivalUnavailable

__all__ = ["MODELS", "Model", "float32_folder", "gguf_path", "onnx_file"]


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        title: As the document names it.
        spec: As fastplr names it.
        weights: The model whose weights it has, by whatever type: a key of the float32 folders.
        n_layers: Number of blocks.
        encoder: Whether it is a BERT-style encoder.
    """

    title: str
    spec: str
    weights: str
    n_layers: int
    encoder: bool = False


MODELS = {
    "smollm2-q4_1": Model("SmolLM2-135M as shipped (Q4_1)", "smollm2-135m:source", "smollm2", 30),
    "smollm2-q4_0": Model("SmolLM2-135M Q4_0", "smollm2-135m:q4_0", "smollm2", 30),
    "smollm2-q8_0": Model("SmolLM2-135M Q8_0", "smollm2-135m:q8_0", "smollm2", 30),
    "smollm2-f16": Model("SmolLM2-135M F16", "smollm2-135m:f16", "smollm2", 30),
    "minilm-f32": Model("all-MiniLM-L6-v2 F32", "minilm-l6-v2", "minilm", 6, encoder=True),
    "minilm-q8_0": Model("all-MiniLM-L6-v2 Q8_0", "minilm-l6-v2:q8_0", "minilm", 6, encoder=True),
    "gemma3": Model("Gemma 3 270M Q4_K_M", "gemma3-270m", "gemma3", 18),
}


def gguf_path(key: str) -> Path:
    """The GGUF file of one of the MODELS, fetched or made where it is not here.

    Raises:
        RivalUnavailable: It cannot be had, with the reason (a licence that was not accepted, for instance).
    """
    try:
        return model_store.resolve(MODELS[key].spec, progress=False).path
    except FastplrError as error:
        raise RivalUnavailable(str(error)) from error


def float32_folder(weights: str) -> Path:
    """The weights in float32, as a folder that transformers loads.

    SmolLM2: what the GGUF file as shipped holds, dequantised (made once, kept in fastplr's cache folder). MiniLM: the
    published folder, out of its package.

    Raises:
        RivalUnavailable: A package for it is missing, with the reason.
    """
    if weights == "minilm":
        return Path(_output_of("minilm-folder"))
    return _made("dequantise", gguf_path("smollm2-q4_1"), f"{weights}-float32")


def onnx_file(*, int8: bool) -> Path:
    """MiniLM as an ONNX file, exported from its float32 folder; with `int8` quantised dynamically. Errors as above."""
    exported = _made("export-onnx", float32_folder("minilm"), "minilm-float32.onnx")
    return _made("quantise-onnx", exported, "minilm-int8.onnx") if int8 else exported


def _made(what: str, source: Path, name: str) -> Path:
    """What ``harness.prepare`` makes of `source`, kept under a name that says which source it is of."""
    stamp = f"{source.resolve()} {source.stat().st_mtime_ns} {source.stat().st_size}"
    digest = hashlib.sha256(stamp.encode()).hexdigest()[:12]
    target = model_store.home() / "benchmarks" / digest / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-"))
        try:
            _output_of(what, str(source), str(scratch / name))
            (scratch / name).replace(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _output_of(*arguments: str) -> str:
    """What ``python -m harness.prepare`` prints: in its own process, since it imports what only some rivals need."""
    command = [sys.executable, "-m", "harness.prepare", *arguments]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RivalUnavailable(lines[-1] if lines else f"harness.prepare ended with status {done.returncode}")
    return done.stdout.strip()
