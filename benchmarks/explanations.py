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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import fastplr
from accuracy.draws import Task, core_tasks, draw
from explaining.document import write_document
from explaining.faithfulness import faithfulness
from explaining.methods import METHODS, RIVALS, probabilities_of, word_values
from fastplr.explanation import words_of
from harness.machine import pin_to_cores, revision

RESULTS = Path(__file__).parent / "results" / "explanations"
DOCUMENT = Path(__file__).parents[1] / "docs" / "explanation_quality.md"
N_PER_CLASS, N_TEXTS, N_THREADS = 75, 30, 2
BUDGETS: dict[str, tuple[int | None, ...]] = {
    "fastplr": (None, 50, 200),
    "fastplr occlusion": (None,),
    "fastplr additive": (None,),
}
RIVAL_BUDGETS = (50, 200)
SPEED_TASK = "sst2"

Run = dict[str, Any]


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


def quality_of(task: Task) -> list[Run]:
    """Faithfulness and stability on one task."""
    texts = texts_of(task)
    first, second = (classifier_of(task, seed) for seed in (0, 1))
    probabilities = probabilities_of(first)
    predicted = probabilities(texts).argmax(axis=1).tolist()
    found = []
    for name in METHODS:
        for budget in BUDGETS.get(name, RIVAL_BUDGETS):

            def values_of(
                classifier: fastplr.PLRClassifier, seed: int, name: str = name, budget: int | None = budget
            ) -> list[Any]:
                return word_values(name, classifier, texts, predicted, budget, seed)

            values = values_of(first, 0)
            comprehensive, sufficient = faithfulness(probabilities, texts, predicted, values)
            stability = {
                "seeds": _correlations(texts, values, values_of(first, 1)),
                "draws": _correlations(texts, values, values_of(second, 1)),
                "draws_of_one_seed": _correlations(texts, values, values_of(second, 0)),
            }
            found.append(
                {"task": task.name, "method": name, "budget": budget, "comprehensiveness": comprehensive.tolist(),
                 "sufficiency": sufficient.tolist(), **stability}
            )  # fmt: skip
            means = [np.mean(one) for one in (comprehensive, sufficient, *stability.values())]
            print(f"{task.name}: {name}, {budget}:", *(f"{mean:.3f}" for mean in means), flush=True)
    return found


def _correlations(texts: list[str], a: list[Any], b: list[Any]) -> list[float]:
    """Spearman's, text by text, over words that have a letter or a digit (lime gives others no value).

    Of a text whose values are all one it is 0; texts of fewer than three such words are left out.
    """
    found = []
    for text, x, y in zip(texts, a, b, strict=True):
        said = [any(one.isalnum() for one in text[start:end]) for start, end in words_of(text)]
        if sum(said) >= 3:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(spearmanr(x[said], y[said]).statistic)
    return np.nan_to_num(found).tolist()


def speed_of(task: Task) -> list[Run]:
    """Seconds and faithfulness of everybody's defaults."""
    texts = texts_of(task)
    classifier = classifier_of(task, 0)
    probabilities = probabilities_of(classifier)
    predicted = probabilities(texts).argmax(axis=1).tolist()
    found = []
    for name in METHODS:
        seconds = []
        for _ in range(1 if name in RIVALS else 5):
            fastplr.feature_cache.feature_cache.clear()
            classifier.embedder_.set_params(cache=False)
            start = time.perf_counter()
            values = word_values(name, classifier, texts, predicted, None, 0)
            seconds.append(time.perf_counter() - start)
        comprehensive, sufficient = faithfulness(probabilities, texts, predicted, values)
        found.append(
            {"task": task.name, "method": name, "seconds": seconds, "comprehensiveness": comprehensive.tolist(),
             "sufficiency": sufficient.tolist()}
        )  # fmt: skip
        print(f"{task.name}: {name}: {np.median(seconds):.2f} s", flush=True)
    return found


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", help="for a look at some; the document is of all")
    asked = parser.parse_args()
    pin_to_cores(N_THREADS)
    warnings.simplefilter("ignore", fastplr.TruncationWarning)
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / "runs.jsonl"
    runs = [json.loads(line) for line in kept.read_text("utf-8").splitlines()] if kept.is_file() else []

    def measure(part: str, task: Task, runs_of: Callable[[Task], list[Run]]) -> None:
        if any(run["task"] == task.name and run["part"] == part for run in runs):
            return
        new = [{**run, "part": part, "revision": revision()} for run in runs_of(task)]
        with kept.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(run) + "\n" for run in new)
        runs.extend(new)

    for task in core_tasks(asked.tasks):
        measure("quality", task, quality_of)
    if asked.tasks is None:
        measure("speed", core_tasks([SPEED_TASK])[0], speed_of)
        write_document(runs, DOCUMENT)
        print(f"written: {DOCUMENT}")


if __name__ == "__main__":
    main()
