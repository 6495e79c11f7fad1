"""How well familiarity tells texts of other tasks from those of the task fitted on; writes docs/familiarity.md.

    python benchmarks/familiarity.py [--tasks NAME ...]

Each of the 17 core tasks: fitted on 75 rows a class; 200 of its own test texts, 12 test texts of every other task, and
some lines that are no English sentences.
"""

from __future__ import annotations

import argparse
import datetime
import os
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

import fastplr
from accuracy.draws import core_tasks, draw
from harness.document import table
from harness.machine import describe_machine

DOCUMENT = Path(__file__).parents[1] / "docs" / "familiarity.md"
N_OWN, N_OF_EACH_OTHER = 200, 12
NO_SENTENCES = (
    "mov eax, 0x83; jmp table",
    "def f(x): return x*2",
    "SELECT * FROM users WHERE id=3;",
    "<div class='a'>x</div>",
    "asdkjh qwe zzz 123 !!!",
    "0 1 1 2 3 5 8 13 21 34",
    "Le chat est assis sur le tapis.",
    "Der schnelle braune Fuchs springt.",
    "import numpy as np\nx = np.zeros(3)",
    "lorem ipsum dolor sit amet consectetur",
    "??",
    '{"a": [1,2,3], "b": null}',
)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+")
    wanted = parser.parse_args()
    n_threads = int(os.environ.get("FASTPLR_BENCH_THREADS", "2"))
    everything = core_tasks()
    lines = []
    for task in everything:
        if wanted.tasks and task.name not in wanted.tasks:
            continue
        rng = np.random.default_rng(0)
        own = [task.test[i][0] for i in rng.permutation(len(task.test))[:N_OWN]]
        others = [
            other.test[i][0]
            for other in everything
            if other.name != task.name
            for i in rng.permutation(len(other.test))[:N_OF_EACH_OTHER]
        ]
        rows = draw(task, 75, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastplr.TruncationWarning)
            classifier = fastplr.fit(
                rows.texts, rows.labels, prompt=task.prompt, on_long="truncate", progress=False, n_threads=n_threads
            )
            found = [classifier.familiarity(texts) for texts in (own, others, NO_SENTENCES)]
        lines.append((task.name, classifier.layer_, classifier.pooling_, *_numbers(*found)))
        print(*lines[-1], flush=True)
    if wanted.tasks is None:
        DOCUMENT.write_text(_document(lines), "utf-8")
        print(f"written: {DOCUMENT}")


def _numbers(own: np.ndarray, others: np.ndarray, no_sentences: np.ndarray) -> list[float]:
    """Area under the curve for both kinds of strangers, then the shares below 0.05 of all three."""
    areas = [
        roc_auc_score([1] * len(own) + [0] * len(strange), np.concatenate([own, strange]))
        for strange in (others, no_sentences)
    ]
    return [*areas, *((shares < 0.05).mean() for shares in (own, others, no_sentences))]


def _document(lines: list[tuple]) -> str:
    head = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "fastplr": fastplr.__version__,
    }
    means = ("mean", "", "", *np.mean([line[3:] for line in lines], axis=0))
    rows = [(*map(str, line[:3]), *(f"{value:.2f}" for value in line[3:])) for line in [*lines, means]]
    titles = [
        "task",
        "layer",
        "pooling",
        "area, other tasks",
        "area, no sentences",
        "own < 0.05",
        "others < 0.05",
        "no sentences < 0.05",
    ]
    return "\n\n".join(
        [
            "# Familiarity",
            "Written by `python benchmarks/familiarity.py`; not edited.",
            table(["", ""], head.items(), left=2),
            f"Classifiers fitted on 75 rows a class of each task; {N_OWN} of its test texts against {N_OF_EACH_OTHER} "
            f"of each other task, and against {len(NO_SENTENCES)} lines of code, numbers, other languages. Area: under "
            "the receiver operating characteristic (0.5: cannot tell; 1: always tells). Then the shares of texts whose "
            "familiarity is below 0.05, where 0.05 of its own are expected. Tasks are alike to a degree (several are "
            "tweets, several are about money), so that 1 is out of reach.",
            table(titles, rows, left=3),
        ]
    ) + "\n"  # fmt: skip


if __name__ == "__main__":
    main()
