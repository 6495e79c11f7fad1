"""Where the time of the embedding goes, by kind of work, as `perf` sees it: with ggml's kernels and with fastplr's.

The run is that of the "half depth, an instruction before the text" row. `perf` interrupts the process a thousand times
a second and notes the function that runs; functions are sorted into kinds of work by their names.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from harness.corpus import Corpus, draw_corpus
from harness.measure import FIRST_TEXT, N_TEXTS, QUICK_N_TEXTS
from harness.models import MODELS
from harness.results import Profile, Results
from harness.worker_process import PythonWorker, RivalFailed, RivalUnavailable

__all__ = ["KINDS", "NoProfile", "add_profile", "kind_of", "profile"]

MODEL = "smollm2-q4_0"
FORM = "instruction"

#: Kinds of work by the names of functions: the first that fits counts.
KINDS: list[tuple[str, re.Pattern[str]]] = [
    (
        "attention",
        re.compile(
            r"flash_attn|soft_?max|rope|sincosf|vec_(dot|mad)_f16|kq_mask|set_input_kq|simd_gemm|vec_scale"
            r"|kernels::(attend|multiply_floats|gather_(keys|mask)|mask_scores|exponentials|rescale|Attention|Tiles|Rope|turn)"
        ),
    ),
    (
        "norms and activation functions",
        re.compile(
            r"rms_norm|compute_forward_norm|vec_cvar|silu|swiglu|gelu|unary|forward_(add|mul)(_|$)"
            r"|kernels::(norm|activate|add\b|RowOperation)"
        ),
    ),
    (
        "matrix products",
        re.compile(
            r"gemm|gemv|mul_mat|sgemm|tinyblas|vec_dot|quantize_(row|mat)|from_float|repack::"
            r"|kernels::(multiply|unpack|quantise|Product)",
            re.IGNORECASE,
        ),
    ),
    (
        "waiting for the other thread",
        re.compile(r"barrier|ggml_graph_compute_(thread|secondary)|threadpool|sched_yield|futex|cpu_relax"),
    ),
    (
        "tokenisation",
        re.compile(r"tokeniz|unicode|llm_bigram|llama_vocab|llm_symbol|bpe|codepoint|_Hashtable<std::.*string|regex"),
    ),
    (
        "copies",
        re.compile(
            r"mem(cpy|move|set)|forward_(dup|cpy|cont|set_rows|get_rows|concat)|fp16_to_fp32|fp32_to_fp16|tensor_(get|set)"
        ),
    ),
]
REST = "the rest"


class NoProfile(Exception):
    """There is no profile; the message says why."""


def kind_of(symbol: str) -> str:
    """The kind of work of a function: one of the KINDS, or the rest."""
    return next((kind for kind, pattern in KINDS if pattern.search(symbol)), REST)


def profile(corpus: Corpus, *, n_threads: int, kernels: bool = True) -> Profile:
    """Of one run over the corpus, `kernels` as Embedder's.

    Raises:
        NoProfile: `perf` is not here or may not be used, or the extension was built without symbols.
    """
    if shutil.which("perf") is None:
        raise NoProfile("`perf` is not installed (Debian: `linux-perf`)")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        seconds = _record(corpus, data, n_threads, kernels)
        command = ["perf", "report", "-i", str(data), "--stdio", "-q", "--no-children", "-t", ";", "-s", "dso,symbol"]
        report = subprocess.run(command, capture_output=True, text=True, check=False)
    if report.returncode != 0:
        raise NoProfile(f"`perf report` failed: {report.stderr.strip()[-200:]}")
    title = "fastplr's kernels" if kernels else "ggml's kernels"
    return Profile(title, 1e3 * seconds / corpus.n_texts, sort_by_kind(report.stdout))


def _record(corpus: Corpus, data: Path, n_threads: int, kernels: bool) -> float:
    """Seconds of a run; of another one `perf` writes its samples to `data`."""
    model = MODELS[MODEL]
    settings = {"model": model.spec, "layer": model.n_layers // 2, "pooling": "mean", "kernels": kernels}
    try:
        worker = PythonWorker("harness.profiled_embedding", "ProfiledEmbedding", settings, n_threads)
    except RivalUnavailable as error:
        raise NoProfile(str(error)) from error
    try:
        worker.load()
        worker.embed(FIRST_TEXT)
        groups = corpus.groups(FORM)
        worker.embed(groups)
        seconds, _ = worker.embed(groups)  # `perf` slows down the many threads of short calls
        command = ["perf", "record", "-e", "cpu-clock", "-F", "999", "-p", str(worker.pid), "-o", str(data)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
            time.sleep(1)  # until it is attached
            if perf.poll() is not None:
                raise NoProfile(f"`perf record` failed: {perf.communicate()[1].strip()[-200:]}")
            worker.embed(groups)
            perf.send_signal(signal.SIGINT)
            perf.communicate()  # it writes the end of its file, and then says so
        return seconds
    except RivalFailed as error:
        raise NoProfile(str(error)) from error
    finally:
        worker.close()


def sort_by_kind(report: str) -> dict[str, tuple[float, list[str]]]:
    """Sort the lines "share%;library;[.] function" of a report into kinds. Raises NoProfile without symbols."""
    shares: dict[str, float] = defaultdict(float)
    symbols: dict[str, list[tuple[float, str]]] = defaultdict(list)
    nameless = 0.0
    for line in report.splitlines():
        fields = [field.strip() for field in line.split(";")]
        if len(fields) < 3 or not fields[0].endswith("%"):
            continue
        share = float(fields[0].removesuffix("%")) / 100
        library, where, name = (
            fields[1],
            fields[2][:3],
            fields[2][3:].replace("(anonymous namespace)::", "").partition("(")[0].strip(),
        )
        in_kernel = where == "[k]"
        if "_core" in library and name.startswith("0x"):
            nameless += share
        kind = REST if in_kernel and "futex" not in name else kind_of(name)
        shares[kind] += share
        short = name.partition("<")[0]  # without the arguments of a template
        symbols[kind].append((share, f"{short} (kernel)" if in_kernel else short))
    if nameless > 0.1:
        raise NoProfile(
            "fastplr's extension was built without symbols: build it with FASTPLR_BUILD_BENCHMARKS=ON"
            " (benchmarks/README.md)"
        )
    total = sum(shares.values())
    if not total:
        raise NoProfile("`perf` took no samples")
    return {
        kind: (share / total, [name for _, name in sorted(symbols[kind], reverse=True)[:3]])
        for kind, share in sorted(shares.items(), key=lambda item: -item[1])
    }


def add_profile(results: Results, *, quick: bool, n_threads: int) -> None:
    """Put profiles into `results`, or a note that says why there is none."""
    corpus = draw_corpus((QUICK_N_TEXTS if quick else N_TEXTS)["main"])
    model = MODELS[MODEL]
    try:
        results.profiles = [profile(corpus, n_threads=n_threads, kernels=kernels) for kernels in (False, True)]
        results.profile_note = (
            f"fastplr, {model.title}, layer {model.n_layers // 2}, {corpus.n_texts} texts, an instruction before"
            "\neach (shared), with `kernels=False` and as it is: milliseconds a text. A kind's milliseconds are its"
            "\nshare, in a run under `perf`, which makes waiting longer; functions are sorted by their names"
            "\n(`benchmarks/harness/profile.py`)."
        )
    except NoProfile as reason:
        results.profile_note = f"No profile: {reason}."
