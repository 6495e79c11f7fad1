"""Embedders that work at once on the same cores: a thread that waits sleeps, it does not take the others' time.

By processor time, which other processes of the machine hardly change. Each bound is far from both sides: with threads
that spin where they wait, llama.cpp's own way, two embedders at once took several times the processor time of two runs
one after the other and of two single threads; as it is, about the same (`benchmarks/tuning.py barrier` has figures).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tiny_models import write_tiny_llama

ROUNDS = 3

# Each line that it reads names engines, of one thread or of two, that work at once: "1", "2", "2 2". It answers with
# the processor seconds that they took together.
WORKER = """
import sys, threading, time
import numpy as np
from fastplr import _core
texts = [f"number {i}: " + "the film is slow and boring " * (i % 5) for i in range(128)]
def engine(n_threads):
    return _core.Embedder(_core.Model(sys.argv[1]), n_threads=n_threads)
def work(engine, n_runs):
    out = np.empty((len(texts), 1, 1, engine.model.n_embd), dtype=np.float32)
    for _ in range(n_runs):
        engine.embed(texts, out, layers=[-1], poolings=["mean"])
engines = {"1": [engine(1)], "2": [engine(2), engine(2)]}
for some in engines.values():
    for one in some:
        work(one, 1)
print("ready", flush=True)
for line in sys.stdin:
    chosen = [engines[name][place] for place, name in enumerate(line.split())]
    workers = [threading.Thread(target=work, args=(one, 4)) for one in chosen]
    started = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(time.process_time() - started, flush=True)
"""

Processes = list["subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    # wide enough that threads compute for longer than the system takes to wake one
    model = write_tiny_llama(tmp_path_factory.mktemp("contention") / "wide.gguf", n_embd=128, n_ff=256)
    command = [sys.executable, "-c", WORKER, str(model.path)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    try:
        assert [read_line(process) for process in both] == ["ready\n"] * 2
        yield both
    finally:
        for process in both:
            process.kill()
            process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def processor_seconds(engines: str, processes: Processes) -> float:
    """What runs of `engines` take that all of `processes` begin at the same moment."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(engines + "\n")
    return sum(float(read_line(process)) for process in processes)


@pytest.mark.skipif(sys.platform != "linux", reason="threads that wait sleep on Linux only (a futex)")
@pytest.mark.parametrize("what", ["two processes", "two embedders of one process"])
def test_two_at_once_take_the_processor_time_of_two_one_after_the_other(processes: Processes, what: str) -> None:
    one_thread = min(processor_seconds("1", processes[:1]) for _ in range(ROUNDS))
    alone = max(processor_seconds("2", processes[:1]) for _ in range(ROUNDS))
    if what == "two processes":
        together = min(processor_seconds("2", processes) for _ in range(ROUNDS))
    else:
        together = min(processor_seconds("2 2", processes[:1]) for _ in range(ROUNDS))
    assert together < 1.6 * 2 * alone
    assert together < 3 * 2 * one_thread
