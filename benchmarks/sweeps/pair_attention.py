"""Tokens of a batch where attention is computed for every pair of them: the encoder of T5."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fastplr import _core
from harness.corpus import Group
from harness.worker_process import RivalUnavailable
from sweeps.constants import REPOSITORY, constant, where
from sweeps.section import Section, Setting, Table, compared
from sweeps.timing import Case, libllama, native

__all__ = ["sweep"]

LENGTHS_OF = "smollm2-q4_0"
N_TEXTS = 102
SIZES = (32, 64, 128, 256, 512)
N_CTX = 512
#: The encoder of google/flan-t5-small but for its vocabulary.
FLAN_T5_SMALL = {"n_embd": 512, "n_layer": 8, "n_head": 6, "key_length": 64, "n_ff": 1024}
TENSOR_TYPES = ("F16", "Q8_0")


def sweep(setting: Setting) -> Section:
    """fastplr up to its limit, libllama with fastplr's patches beyond it."""
    limit = constant("kMaxBatchOfPairs")
    section = Section(
        "Tokens of a batch of T5",
        f"""`kMaxBatchOfPairs` is {limit} (`{where("kMaxBatchOfPairs")}`): more are not computed at once whatever
        `n_batch` says, so that larger batches are measured with libllama, fastplr's patches included, which packs
        texts by the same rule. The model has the shape of Flan-T5 small's encoder, random weights, and a vocabulary
        of some hundred pieces; texts are cut to about as many tokens as SmolLM2 makes of the whole ones.""",
    )
    table = Table(
        "", ["weights", "batch", "engine", "texts/s", "least to most", "CPU, ms a text", "peak, MiB"], [], left=3
    )
    setting.say("batches of T5")
    with tempfile.TemporaryDirectory() as folder:
        for tensor_type in TENSOR_TYPES[: 1 if setting.quick else None]:
            path = Path(folder) / f"flan-t5-small-random-{tensor_type}.gguf"
            try:
                _write_model(path, tensor_type)
                texts = _cut_texts(path, setting.model_path(LENGTHS_OF), setting.texts(N_TEXTS))
            except (ImportError, RivalUnavailable) as error:
                section.findings.append(f"Not measured: {error}.")
                return section
            groups = (Group("", "", texts),)
            layer = FLAN_T5_SMALL["n_layer"]
            cases = [
                Case((tensor_type, str(size), "fastplr"), (native(path, layer=layer, n_batch=size),), groups)
                for size in SIZES
                if size <= limit
            ]
            cases += [
                Case(
                    (tensor_type, str(size), "libllama"),
                    (libllama(path, N_CTX, N_CTX, "--sort", "--budget", str(size)),),
                    groups,
                )
                for size in SIZES
            ]
            timings = setting.time(cases)
            section.keep(timings)
            for label, timing in timings.items():
                table.rows.append([*label, timing.rate, timing.spread, timing.cpu_per_text, timing.peak])
            for engine in ("fastplr", "libllama"):
                of_engine = {label[1]: timing for label, timing in timings.items() if label[2] == engine}
                section.findings += compared(f"{tensor_type}, {engine}", of_engine, str(limit))
    section.tables.append(table)
    return section


def _write_model(path: Path, tensor_type: str) -> None:
    """Raises ImportError without the package gguf, or without the tests, which have the writer."""
    tests = str(REPOSITORY / "tests" / "python")
    if tests not in sys.path:
        sys.path.append(tests)
    from tiny_models import write_tiny_t5

    write_tiny_t5(path, architecture="t5encoder", n_ctx=N_CTX, tensor_type=tensor_type, **FLAN_T5_SMALL)


def _cut_texts(path: Path, other: Path, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The vocabulary of `path` knows few words, so that its tokens are shorter than those of `other`."""
    n_tokens, n_wanted = (_count_tokens(model, texts) for model in (path, other))
    share = min(1.0, n_wanted / n_tokens)
    cut = []
    for text in texts:
        words = text.split()
        cut.append(" ".join(words[: max(1, round(share * len(words)))]))
    return tuple(cut)


def _count_tokens(path: Path, texts: tuple[str, ...]) -> int:
    engine = _core.Embedder(_core.Model(str(path), max_layer=1), n_threads=1)
    return sum(engine.count_tokens(text) for text in texts)
