"""Two processes that embed at once, on the same cores: what each loses.

    python benchmarks/contention.py [N_THREADS]

Every process embeds the demonstration messages again and again for some seconds, with as many threads as one alone
would take (default: the cores of this machine). Printed: texts a second of one process alone, of two at once together,
and their ratio; 1 is what the cores can give. A thread that waits by spinning takes the time that the thread it waits
for would need, and the ratio falls far below (``python benchmarks/tuning.py barrier`` shows it for such threads).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

SECONDS = 10.0
ROUNDS = 3
WORKER = f"""
import sys, time
import fastplr
from fastplr.demo import load_demo
from fastplr.feature_cache import feature_cache

texts = load_demo()[0]
embedder = fastplr.Embedder(n_threads=int(sys.argv[1]), progress=False)
embedder.embed(texts[:10])
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + {SECONDS}
start, n = time.monotonic(), 0
while time.monotonic() < end:
    feature_cache.clear()
    embedder.embed(texts[n % 150 : n % 150 + 50])
    n += 50
print(n / (time.monotonic() - start), flush=True)
"""


def texts_per_second(n_processes: int, n_threads: int) -> float:
    """Of all processes together."""
    command = [sys.executable, "-c", WORKER, str(n_threads)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(n_processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    return sum(float(worker.communicate(timeout=20 * SECONDS)[0]) for worker in workers)


def main() -> None:
    from fastplr.threads import default_threads

    n_threads = int(sys.argv[1]) if len(sys.argv) > 1 else default_threads()
    alone, together = [], []
    for _ in range(ROUNDS):
        alone.append(texts_per_second(1, n_threads))
        together.append(texts_per_second(2, n_threads))
        time.sleep(0.5)
    ratio = statistics.median(two / one for one, two in zip(alone, together, strict=True))
    print(f"{n_threads} threads a process, {default_threads()} cores, {ROUNDS} rounds of {SECONDS:.0f} s, medians")
    print(f"one process: {statistics.median(alone):.1f} texts/s")
    print(f"two at once: {statistics.median(together):.1f} texts/s together, {ratio:.2f} of one alone")


if __name__ == "__main__":
    main()
