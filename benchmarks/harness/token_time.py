"""Time for a token and for a text by width of the weights: what is measured, and the section of docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fastplr
from fastplr import Embedder
from fastplr.demo import load_demo
from fastplr.feature_cache import feature_cache
from fastplr.model_info import read_model_info
from fastplr.study.plan import ModelVariant, variant
from harness.build_folder import find_built
from harness.document import table
from harness.machine import describe_machine, revision
from harness.worker_process import RivalUnavailable, WorkerProcess

__all__ = [
    "HEADING",
    "ROWS",
    "Measured",
    "Row",
    "TimeRow",
    "kept_section",
    "measure",
    "picture",
    "put_section",
    "section",
]

PROGRAM = "benchmarks/libllama/stock/token-times"
HEADING = "## Time for a token by width of the weights"
N_ROUNDS = 7
#: Of Buckmann & Hill 2024 (arXiv 2408.03414): generating a token takes so many times as long in 8 bits as in 4.
PAPER = 1.30


@dataclass(frozen=True)
class Load:
    """How much of a model is measured at once.

    Attributes:
        n_generated: Tokens generated.
        n_prompt: Tokens of a prompt.
        n_texts: Texts embedded and classified.
    """

    n_generated: int
    n_prompt: int
    n_texts: int


MODELS = {
    "smollm2-135m": (("2", "4", "8", "16", "32"), Load(192, 512, 200)),
    "qwen2.5-coder-1.5b": (("2", "4", "8", "16"), Load(12, 96, 24)),
}
WHAT = {
    "generate": "libllama, a generated token",
    "prompt": "libllama, a token of a prompt",
    "embed": "fastplr, a token at full depth",
    "classify": "fastplr, a classified text",
}


@dataclass(frozen=True)
class Row:
    """One thing to measure."""

    model: str
    bits: str
    n_threads: int
    what: str

    @property
    def id(self) -> str:
        """Of the test."""
        return f"{self.model}-{self.bits}-{self.n_threads}-{self.what}"


ROWS = [
    Row(model, bits, n_threads, what)
    for model, (widths, _) in MODELS.items() for bits in widths for n_threads in (1, 2) for what in WHAT
]  # fmt: skip


@dataclass
class TimeRow:
    """What was measured of a row: seconds for one token or text, a value a round."""

    row: Row
    seconds: list[float] = field(default_factory=list)


@dataclass
class Measured:
    """A whole run.

    Attributes:
        rows: All rows.
        files: Of each model and width its bits a weight, size, and what multiplies by most of its weights.
        drift: By number of threads, seconds of one and the same piece of work at the beginning of each round.
        about: Date, machine, revision.
    """

    rows: list[TimeRow]
    files: dict[str, dict[str, Any]]
    drift: dict[str, list[float]]
    about: dict[str, str]

    def save(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Measured:
        """What :meth:`save` wrote."""
        found = json.loads(path.read_text("utf-8"))
        rows = [TimeRow(Row(**one["row"]), one["seconds"]) for one in found.pop("rows")]
        return cls(rows, **found)

    def seconds(self, model: str, bits: str, n_threads: int, what: str) -> list[float]:
        """Of a row; empty where it was not measured."""
        wanted = Row(model, bits, n_threads, what)
        return next((one.seconds for one in self.rows if one.row == wanted), [])


class TokenTimes(WorkerProcess):
    """The program (``libllama/token_times.cpp``)."""

    def __init__(self, path: Path, n_threads: int) -> None:
        program = find_built(PROGRAM)
        if program is None:
            raise RivalUnavailable(f"no {PROGRAM} in a build folder: build it with FASTPLR_BUILD_BENCHMARKS=ON")
        super().__init__([str(program), str(path), str(n_threads)], n_threads)

    def load(self) -> float:
        """See WorkerProcess."""
        return float(self._ask(b"load\n")["seconds"])

    def embed(self, groups: Any) -> Any:
        """It does not."""
        raise NotImplementedError

    def seconds_of(self, what: str, n_tokens: int) -> float:
        """For one token."""
        return float(self._ask(f"{what} {n_tokens}\n".encode())["seconds"]) / n_tokens


def measure(rows: list[Row], folder: Path, *, n_rounds: int = N_ROUNDS, say: Callable[[str], None]) -> Measured:
    """Measure `rows`, round after round, each of them once a round; models are made in `folder` where they need one."""
    widths = list(dict.fromkeys((row.model, row.bits) for row in rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastplr.QuantizationWarning)  # the table says what files hold
        variants = {key: variant(*key, folder, progress=False) for key in widths}
    workers: dict[tuple[Path, int], TokenTimes] = {}
    tasks = {row: _task(row, variants[row.model, row.bits], workers) for row in rows}
    measured = Measured(
        [TimeRow(row) for row in rows],
        {f"{model} {bits}": _about(one) for (model, bits), one in variants.items()},
        {str(n_threads): [] for n_threads in sorted({row.n_threads for row in rows})},
        {"date": time.strftime("%Y-%m-%d"), "revision": revision(), **describe_machine()},
    )
    first = {n_threads: next(row for row in rows if str(row.n_threads) == n_threads) for n_threads in measured.drift}
    for task in tasks.values():
        task()  # loads and warms
    for number in range(n_rounds):
        say(f"round {number + 1} of {n_rounds}")
        for n_threads, seconds in measured.drift.items():
            seconds.append(tasks[first[n_threads]]())
        for one in measured.rows:
            one.seconds.append(tasks[one.row]())
    for worker in workers.values():
        worker.close()
    return measured


def _about(one: ModelVariant) -> dict[str, Any]:
    info = read_model_info(one.path)
    main = max(info.tensor_mix, key=lambda share: share.n_elements)
    return {
        "bits_per_weight": info.bits_per_weight,
        "made_from": one.made_from,
        "file_size": info.file_size,
        "mix": ", ".join(
            f"{share.type} {100 * share.n_elements / info.n_parameters:.0f} %"
            for share in info.tensor_mix if share.n_elements > 0.005 * info.n_parameters
        ),
        "kernel": fastplr._core.kernel_of_type(main.type),
        "libllama_kernel": _kernel_of_ggml(main.type),
    }  # fmt: skip


def _kernel_of_ggml(type_name: str) -> str:
    """What multiplies by matrices of a type where fastplr's kernels are off (read once a process)."""
    code = f"from fastplr import _core; print(_core.kernel_of_type({type_name!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "FASTPLR_KERNELS": "off"}, capture_output=True, check=True
    )
    return found.stdout.decode().strip()


def _task(row: Row, one: ModelVariant, workers: dict[tuple[Path, int], TokenTimes]) -> Callable[[], float]:
    """What gives the seconds for one token or text. `workers` are those that were started, by file and threads."""
    load = MODELS[row.model][1]
    if row.what in ("generate", "prompt"):
        if (one.path, row.n_threads) not in workers:
            workers[one.path, row.n_threads] = TokenTimes(one.path, row.n_threads)
            workers[one.path, row.n_threads].load()
        worker = workers[one.path, row.n_threads]
        n_tokens = load.n_generated if row.what == "generate" else load.n_prompt
        return lambda: worker.seconds_of(row.what, n_tokens)
    texts, labels = load_demo()
    some = texts[: load.n_texts]
    if row.what == "embed":
        embedder = Embedder(one.path, layer=-1, pooling="last", n_threads=row.n_threads, progress=False)
        n_tokens = sum(embedder._native_engine([-1]).count_tokens(text) for text in some)
        return lambda: _timed(embedder.embed, some) / n_tokens
    rows = [number for label in sorted(set(labels)) for number in _first(labels, label, 10)]
    classifier = fastplr.fit(
        [texts[number] for number in rows], [labels[number] for number in rows], model=one.path, layer="middle",
        prompt="What does the customer of this bank want?", n_threads=row.n_threads, progress=False,
    )  # fmt: skip
    return lambda: _timed(classifier.predict, some) / len(some)


def _first(labels: list[str], label: str, n: int) -> list[int]:
    return [number for number, own in enumerate(labels) if own == label][-n:]


def _timed(work: Callable[[list[str]], object], texts: list[str]) -> float:
    """Seconds of `work`. Two models are kept loaded at most: a text beforehand loads this one again."""
    work(["The model is loaded."])
    feature_cache.clear()
    started = time.perf_counter()
    work(texts)
    return time.perf_counter() - started


def ratio(above: list[float], below: list[float]) -> tuple[float, float, float] | None:
    """Ratio of the medians, and its 95 % interval over resampled rounds (of both at once: they were interleaved)."""
    if not above or len(above) != len(below):
        return None
    rng = np.random.default_rng(0)
    rounds = rng.integers(0, len(above), (2000, len(above)))
    found = np.median(np.array(above)[rounds], axis=1) / np.median(np.array(below)[rounds], axis=1)
    low, high = np.quantile(found, [0.025, 0.975])
    return statistics.median(above) / statistics.median(below), float(low), float(high)


def section(measured: Measured, picture_path: str) -> str:
    """The section of the document, heading included."""
    drift = "; ".join(
        f"{n} thread{'s' * (n != '1')} {min(some) / statistics.median(some):.2f} to"
        f" {max(some) / statistics.median(some):.2f}"
        for n, some in measured.drift.items()
    )
    n_rounds = len(next(iter(measured.drift.values())))
    about = ", ".join(f"{name} {value}" for name, value in measured.about.items())
    parts = [
        HEADING,
        f"`python -m pytest benchmarks/bench_token_time.py` ({about}). Medians of {n_rounds} rounds,"
        " interleaved. So much the machine drifted: the time for one and the same piece of work in each of them, by its"
        f" median ({drift}). libllama as published, by its own kernels: prompts of "
        + ", ".join(f"{one.n_prompt} tokens, {one.n_generated} generated ({name})" for name, (_, one) in MODELS.items())
        + "; fastplr on demonstration messages, classified at half depth with a shared instruction. All decoders here"
        " are 4 or 5 bits at their source: wider files show what a width costs, not what it is worth."
        " Qwen2.5-Coder-1.5B in 32 bits (7 GB) was not measured. ggml has repacked products, which compute several"
        " rows at once, for some types only; of Q8_0 it has none on x86-64.",
    ]  # fmt: skip
    for model in MODELS:
        lines = []
        for bits in MODELS[model][0]:
            file = measured.files.get(f"{model} {bits}")
            if file is None:
                continue
            cells = [
                bits,
                f"{file['bits_per_weight']:.2f}",
                f"{file['file_size'] / 1e6:.0f}",
                file["mix"],
                file["libllama_kernel"],
                file["kernel"],
            ]
            for what in WHAT:
                for n_threads in (1, 2):
                    seconds = measured.seconds(model, bits, n_threads, what)
                    cells.append(f"{1e3 * statistics.median(seconds):.3g}" if seconds else "")
            lines.append(cells)
        if lines:
            head = ["bits", "bits a weight", "MB", "mix", "libllama's kernel", "fastplr's kernel"]
            head += [f"{words}, {n} thread{'s' * (n > 1)}, ms" for words in WHAT.values() for n in (1, 2)]
            parts += [f"### {model}", table(head, lines, left=1)]
    lines = []
    for model, (widths, _) in MODELS.items():
        for what, words in WHAT.items():
            for n_threads in (1, 2):
                cells = [model, words, str(n_threads)]
                for above, below in (("8", "4"), ("2", "4")):
                    found = None
                    if {above, below} <= set(widths):
                        found = ratio(*(measured.seconds(model, bits, n_threads, what) for bits in (above, below)))
                    cells.append("" if found is None else f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})")
                if any(cells[3:]):
                    lines.append(cells)
    parts += [
        "Ratios, with 95 % intervals over resampled rounds; the paper's figure for generation, 8 bits to 4, is"
        f" {PAPER:.2f}.",
        table(["model", "time for", "threads", "8 bits to 4", "2 bits to 4"], lines, left=2),
        f"![Time for a token by width]({picture_path})",
    ]
    return "\n\n".join(parts) + "\n"


def picture(measured: Measured, path: Path) -> None:
    """Time for a generated token and for fastplr's token over bits a weight, as SVG."""
    from matplotlib.figure import Figure

    models = [model for model in MODELS if any(one.row.model == model for one in measured.rows)]
    figure = Figure(figsize=(5.5 * len(models), 4), layout="constrained")
    for place, model in enumerate(models):
        axes = figure.add_subplot(1, len(models), place + 1)
        for what, words in WHAT.items():
            if what == "classify":
                continue
            points = [
                (measured.files[f"{model} {bits}"]["bits_per_weight"], 1e3 * statistics.median(seconds))
                for bits in MODELS[model][0]
                if (seconds := measured.seconds(model, bits, 2, what))
            ]
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=words)
        axes.set(xscale="log", yscale="log", xlabel="bits a weight", ylabel="ms a token, 2 threads", title=model)
        axes.set_xticks([4, 8, 16, 32], ["4", "8", "16", "32"])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(fontsize=8)
    figure.savefig(path, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))


def put_section(document: Path, text: str) -> None:
    """Write the section into the document, in the place of an earlier one, else at its end."""
    whole = document.read_text("utf-8") if document.is_file() else "# Benchmarks\n"
    before, found, rest = whole.partition(HEADING + "\n")
    after = ""
    if found:
        place = rest.find("\n## ")
        after = rest[place + 1 :] if place >= 0 else ""
    document.write_text(f"{before.rstrip()}\n\n{text}" + (f"\n{after}" if after else ""), "utf-8")


def kept_section(document: Path) -> str:
    """The section as it stands in the document; empty where there is none."""
    if not document.is_file():
        return ""
    _, found, rest = document.read_text("utf-8").partition(HEADING + "\n")
    return HEADING + "\n" + rest.partition("\n## ")[0] if found else ""
