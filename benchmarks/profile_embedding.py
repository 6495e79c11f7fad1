"""Where the time goes when texts with a shared instruction are embedded to half depth, by kind of work.

    python benchmarks/profile_embedding.py

Needs `perf`, and an extension with symbols (FASTPLR_BUILD_BENCHMARKS=ON); says so where one is missing.
"""

import os
import sys

from harness.corpus import NoTasks, draw_corpus
from harness.machine import pin_to_cores
from harness.measure import N_TEXTS
from harness.profile import NoProfile, profile


def main() -> None:
    n_threads = int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
    pin_to_cores(n_threads)
    try:
        found = profile(draw_corpus(N_TEXTS["main"]), n_threads=n_threads)
    except (NoProfile, NoTasks) as reason:
        sys.exit(f"no profile: {reason}")
    print(f"{found.ms_per_text:.2f} ms a text")
    for kind, (share, symbols) in found.shares.items():
        print(f"{share:6.1%}  {kind:30}  {', '.join(symbols)}")


if __name__ == "__main__":
    main()
