"""How long choosing layer, pooling and penalty takes beside the embedding that it needs; writes docs/choice_time.md.

    python benchmarks/choice_time.py [--tasks NAME ...] [--rounds 3]

Nothing is cached: every fit embeds its texts. Tasks of the core suite, 50 and 75 rows a class.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
from pathlib import Path

import fastplr
from accuracy.draws import core_tasks, draw
from harness.document import table
from harness.machine import describe_machine

DOCUMENT = Path(__file__).parents[1] / "docs" / "choice_time.md"
ROWS = (50, 75)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    n_threads = int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
    os.environ["FASTPLR_CACHE_MB"] = "64"
    fastplr.fit(["one text", "another"] * 4, [0, 1] * 4, progress=False, n_threads=n_threads)  # loads the model
    lines: list[tuple[str, int, int, float, float]] = []
    for task in core_tasks(wanted.tasks):
        for n in ROWS:
            rows = draw(task, n, 0)
            embedding, choosing = [], []
            for number in range(wanted.rounds):
                # Another prompt each time: nothing is known from the round before.
                prompt = fastplr.Prompt(task.prompt.prefix + " " * number, task.prompt.suffix)
                report = fastplr.fit(
                    rows.texts, rows.labels, prompt=prompt, on_long="truncate", progress=False, n_threads=n_threads
                ).report_
                embedding.append(report["embed_seconds"])
                choosing.append(report["solve_seconds"])
            lines.append((task.name, len(task.labels), n, statistics.median(embedding), statistics.median(choosing)))
            print(*lines[-1], flush=True)
    if wanted.tasks is None:
        DOCUMENT.write_text(_document(lines, n_threads), "utf-8")
        print(f"written: {DOCUMENT}")


def _document(lines: list[tuple[str, int, int, float, float]], n_threads: int) -> str:
    head = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "fastplr": fastplr.__version__,
        "threads": str(n_threads),
    }
    few = [choosing / embedding for _, n_classes, _, embedding, choosing in lines if n_classes <= 3]
    rows = [
        (name, str(n_classes), str(n), f"{embedding:.2f}", f"{choosing:.2f}", f"{100 * choosing / embedding:.1f} %")
        for name, n_classes, n, embedding, choosing in lines
    ]
    titles = ["task", "classes", "rows a class", "embedding, s", "choosing and fitting, s", "share"]
    return "\n\n".join(
        [
            "# What the choice costs",
            "Written by `python benchmarks/choice_time.py`; not edited.",
            table(["", ""], head.items(), left=2),
            "Time of `fastplr.fit` with its defaults, medians of the rounds: the embedding pass, and all else (the "
            "choice of layer, pooling and penalty, the fit, the temperature). To reach, before the kernels made "
            "embedding several times faster: at most 15 % for 2 and "
            f"3 classes. Reached: {100 * statistics.mean(few):.1f} % on average, at most {100 * max(few):.1f} %.",
            table(titles, rows),
        ]
    ) + "\n"  # fmt: skip


if __name__ == "__main__":
    main()
