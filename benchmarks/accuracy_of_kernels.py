"""What the kernels cost in accuracy: the 17 core tasks, 75 rows a class, by file and by who computes.

    python benchmarks/accuracy_of_kernels.py

The classifier at the middle layer, penalty by cross-validation; the same draws for all, scored on whole test files.
Features beside those of the F16 file computed by ggml. Writes docs/kernel_accuracy.md; about half an hour. Goes on
where it was stopped (features are kept in results/kernel_accuracy; delete its folder `kernels` after a change).
"""

from __future__ import annotations

import argparse
import datetime
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fastplr
from accuracy.draws import Task, core_tasks, draw
from accuracy.scores import scores_of
from harness.document import table
from harness.machine import describe_machine, revision

RESULTS = Path(__file__).parent / "results" / "kernel_accuracy"
DOCUMENT = Path(__file__).parents[1] / "docs" / "kernel_accuracy.md"
N_PER_CLASS, N_SEEDS = 75, 5
FILES = {"F16": "smollm2-135m:f16", "Q8_0": "smollm2-135m:q8_0", "Q4_1, as shipped": "smollm2-135m:source",
         "Q4_0": "smollm2-135m:q4_0"}  # fmt: skip
COMPUTED = {"ggml": False, "kernels": True, "kernels, 8bit": "8bit"}
Features = npt.NDArray[np.float32]


def embedder(file: str, by: str, task: Task) -> fastplr.Embedder:
    """The middle layer, texts' means."""
    kept = RESULTS / ("ggml" if by == "ggml" else "kernels")
    return fastplr.Embedder(
        FILES[file], prompt=task.prompt, on_long="truncate", cache=kept, kernels=COMPUTED[by], progress=False
    )


def accuracies(file: str, by: str, tasks: list[Task]) -> tuple[list[float], list[Features]]:
    """Balanced accuracy of every task and draw; features of the test texts."""
    found, features = [], []
    for task in tasks:
        ours = embedder(file, by, task)
        texts, labels = [text for text, _ in task.test], [label for _, label in task.test]
        test = ours.embed(texts)
        features.append(test)
        for seed in range(N_SEEDS):
            drawn = draw(task, N_PER_CLASS, seed)
            train = ours.embed(drawn.texts)
            mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-12
            solver = fastplr.LogisticRegression(C="auto", random_state=seed)
            solver.fit((train - mean) / scale, np.array(drawn.labels))
            found.append(scores_of(labels, list(solver.predict((test - mean) / scale)))["balanced_accuracy"])
        print(f"{file}, {by}: {task.name}", flush=True)
    return found, features


def cosines(found: list[Features], expected: list[Features]) -> npt.NDArray[np.float64]:
    """Of every text, after taking off the mean of its task."""
    all_of = []
    for a, b in zip(found, expected, strict=True):
        mean = b.mean(axis=0)
        x, y = (a - mean).astype(np.float64), (b - mean).astype(np.float64)
        all_of.append((x * y).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)))
    return np.concatenate(all_of)


def main() -> None:
    """See above."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    tasks = core_tasks()
    warnings.simplefilter("ignore", fastplr.TruncationWarning)
    rows = []
    expected: list[Features] = []
    for file in FILES:
        by_ggml: npt.NDArray[np.float64] | None = None
        for by in ("ggml", "kernels, 8bit") if file == "F16" else ("ggml", "kernels"):
            found, features = accuracies(file, by, tasks)
            expected = expected or features
            scores = np.array(found)
            by_ggml = scores if by_ggml is None else by_ggml
            change = scores - by_ggml
            near = cosines(features, expected)
            error = change.std(ddof=1) / np.sqrt(len(change))
            against = "" if by == "ggml" else f"{change.mean():+.4f} ± {error:.4f}"
            lowest = np.quantile(near, 0.01)
            rows.append([file, by, f"{scores.mean():.4f}", against, f"{near.mean():.5f}", f"{lowest:.5f}"])
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        **describe_machine(),
        "revision": revision(),
        "draws": f"{len(tasks)} tasks, {N_SEEDS} each, {N_PER_CLASS} rows a class",
    }
    head = ["file", "computed by", "balanced accuracy", "against ggml", "cosine, mean", "cosine, lowest 1 %"]
    parts = [
        "# What the kernels cost in accuracy\n\nWritten by `python benchmarks/accuracy_of_kernels.py`; not edited. "
        "SmolLM2-135M at its middle layer, an instruction before each text, the same draws for all. ± is the "
        "standard error of the mean difference over tasks and draws. Cosines are with the features of F16 by ggml, "
        "after the mean of the task's test texts was taken off.",
        table(["", ""], facts.items(), left=2),
        table(head, rows, left=2),
    ]
    DOCUMENT.write_text("\n\n".join(parts) + "\n", "utf-8")
    print(f"written: {DOCUMENT}")


if __name__ == "__main__":
    main()
