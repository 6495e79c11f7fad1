"""Which explanations to trust: fastplr's beside shap's and lime's, on the same classifiers.

    python benchmarks/explanations.py [--tasks NAME ...]

On each of the 17 core tasks a classifier of 75 rows a class, and 30 test texts: faithfulness at 50 and at 200
evaluations a text, paired; rank correlation of word values between classifiers of two draws and between two seeds;
then, on one task, time at everybody's defaults. Goes on where it was stopped (results/explanations/runs.jsonl;
delete it after a change) and writes docs/explanation_quality.md. Rivals: `.[bench-explanations]`.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import fastplr
from accuracy.draws import Task, core_tasks, draw
from explaining.document import write_document
from explaining.faithfulness import faithfulness
from explaining.methods import METHODS, RIVALS, probabilities_of, word_values
from harness.machine import pin_to_cores, revision

RESULTS = Path(__file__).parent / "results" / "explanations"
DOCUMENT = Path(__file__).parents[1] / "docs" / "explanation_quality.md"
N_PER_CLASS, N_TEXTS, N_THREADS = 75, 30, 2
BUDGETS = (50, 200)
SPEED_TASK = "sst2"


def classifier_of(task: Task, seed: int) -> fastplr.PLRClassifier:
    """Fitted to a draw."""
    drawn = draw(task, N_PER_CLASS, seed)
    return fastplr.fit(
        drawn.texts, drawn.labels, prompt=task.prompt, on_long="truncate", n_threads=N_THREADS, progress=False,
        cache=RESULTS / "features",
    )  # fmt: skip


def texts_of(task: Task) -> list[str]:
    """Test texts of at least two words and at most 80, drawn by a fixed seed."""
    rng = np.random.default_rng(0)
    fitting = [text for text, _ in task.test if 2 <= len(text.split()) <= 80]
    return [fitting[row] for row in sorted(rng.choice(len(fitting), N_TEXTS, replace=False))]


def runs_of(task: Task) -> list[dict[str, Any]]:
    """Everything that is measured on one task."""
    texts = texts_of(task)
    first, second = (classifier_of(task, seed) for seed in (0, 1))
    probabilities = probabilities_of(first)
    predicted = probabilities(texts).argmax(axis=1).tolist()
    found = []
    for name in METHODS:
        budgets = BUDGETS if name not in ("fastplr additive", "fastplr occlusion") else (None,)
        for budget in budgets:
            values = word_values(name, first, texts, predicted, budget, 0)
            comprehensive, sufficient = faithfulness(probabilities, texts, predicted, values)
            run = {
                "task": task.name, "method": name, "budget": budget, "comprehensiveness": comprehensive.tolist(),
                "sufficiency": sufficient.tolist(),
            }  # fmt: skip
            if budget in (None, BUDGETS[0]):
                other_draw = word_values(name, second, texts, predicted, budget, 0)
                other_seed = word_values(name, first, texts, predicted, budget, 1)
                run["draws"] = _correlations(values, other_draw)
                run["seeds"] = _correlations(values, other_seed)
            found.append(run)
            print(f"{task.name}: {name}, {budget}: {comprehensive.mean():.3f} {sufficient.mean():.3f}", flush=True)
    return found


def _correlations(a: list[Any], b: list[Any]) -> list[float]:
    """Spearman's, text by text; of a text whose values are all one it is 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [spearmanr(x, y).statistic if len(x) > 1 else np.nan for x, y in zip(a, b, strict=True)]
    return np.nan_to_num(found).tolist()


def speed_of(task: Task) -> list[dict[str, Any]]:
    """Seconds of everybody's defaults."""
    texts = texts_of(task)
    classifier = classifier_of(task, 0)
    predicted = probabilities_of(classifier)(texts).argmax(axis=1).tolist()
    found = []
    for name in METHODS:
        rounds = 1 if name in RIVALS else 3
        seconds = []
        for _ in range(rounds):
            fastplr.feature_cache.feature_cache.clear()
            classifier.embedder_.set_params(cache=False)
            start = time.perf_counter()
            word_values(name, classifier, texts, predicted, None, 0)
            seconds.append(time.perf_counter() - start)
        found.append({"task": task.name, "method": name, "seconds": seconds})
        print(f"{task.name}: {name}: {np.median(seconds):.2f} s", flush=True)
    return found


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*")
    asked = parser.parse_args()
    pin_to_cores(N_THREADS)
    warnings.simplefilter("ignore", fastplr.TruncationWarning)
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / "runs.jsonl"
    runs = [json.loads(line) for line in kept.read_text("utf-8").splitlines()] if kept.is_file() else []
    for task in core_tasks(asked.tasks):
        for part, measure in (("quality", runs_of), ("speed", speed_of)):
            if part == "speed" and task.name != SPEED_TASK:
                continue
            if any(run["task"] == task.name and run["part"] == part for run in runs):
                continue
            new = [{**run, "part": part, "revision": revision()} for run in measure(task)]
            with kept.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(run) + "\n" for run in new)
            runs += new
    if asked.tasks is None:
        write_document(runs, DOCUMENT)
        print(f"written: {DOCUMENT}")


if __name__ == "__main__":
    main()
