"""Which explanations to trust: fastplr's beside shap's and lime's, on the same classifiers.

    python benchmarks/explanations.py [--tasks NAME ...]

On each of the 17 core tasks a classifier of 75 rows a class, and 30 test texts: faithfulness at 50 and at 200
evaluations a text, paired; rank correlation of word values between classifiers of two draws and between two seeds;
then, on one task, all that and time at everybody's defaults; and the strongest words of two test files. Goes on where
it was stopped (results/explanations/runs.jsonl; delete it after a change) and writes docs/explanation_quality.md.
Rivals: `.[bench-explanations]`.
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
WORD_TASKS = ("sst2", "fpb")

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
    predicted = probabilities_of(first)(texts).argmax(axis=1).tolist()
    found = []
    for name in METHODS:
        for budget in BUDGETS.get(name, RIVAL_BUDGETS):
            run = _quality(name, budget, texts, predicted, (first, second))
            found.append({"task": task.name, "method": name, "budget": budget, **run})
            print(f"{task.name}: {name}, {budget}:", *(f"{np.mean(one):.3f}" for one in run.values()), flush=True)
    return found


def _quality(
    name: str,
    budget: int | None,
    texts: list[str],
    predicted: list[int],
    classifiers: tuple[fastplr.PLRClassifier, fastplr.PLRClassifier],
) -> dict[str, list[float]]:
    def values_of(number: int, seed: int) -> list[Any]:
        return word_values(name, classifiers[number], texts, predicted, budget, seed)

    values = values_of(0, 0)
    comprehensive, sufficient = faithfulness(probabilities_of(classifiers[0]), texts, predicted, values)
    return {
        "comprehensiveness": comprehensive.tolist(),
        "sufficiency": sufficient.tolist(),
        "seeds": _correlations(texts, values, values_of(0, 1)),
        "draws": _correlations(texts, values, values_of(1, 1)),
        "draws_of_one_seed": _correlations(texts, values, values_of(1, 0)),
    }


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
    """Seconds of everybody's defaults."""
    texts = texts_of(task)
    classifier = classifier_of(task, 0)
    predicted = probabilities_of(classifier)(texts).argmax(axis=1).tolist()
    found = []
    for name in METHODS:
        seconds = []
        for _ in range(1 if name in RIVALS else 5):
            fastplr.feature_cache.feature_cache.clear()
            classifier.embedder_.set_params(cache=False)
            start = time.perf_counter()
            word_values(name, classifier, texts, predicted, None, 0)
            seconds.append(time.perf_counter() - start)
        found.append({"task": task.name, "method": name, "seconds": seconds})
        print(f"{task.name}: {name}: {np.median(seconds):.2f} s", flush=True)
    return found


def long_text_of(task: Task) -> list[Run]:
    """Seconds of a text of 2,000 words."""
    words = " ".join(text for text, _ in task.test).split()[:2000]
    classifier = classifier_of(task, 0)
    classifier.embedder_.set_params(cache=False)
    found = []
    for method in ("additive", "surrogate"):
        start = time.perf_counter()
        [explained] = classifier.explain([" ".join(words)], method=method)
        found.append(
            {"task": task.name, "method": method, "n_words": len(explained.spans), "truncated": explained.truncated,
             "seconds": time.perf_counter() - start}
        )  # fmt: skip
    return found


def defaults_of(task: Task) -> list[Run]:
    """Faithfulness and stability of everybody's defaults."""
    texts = texts_of(task)
    classifiers = classifier_of(task, 0), classifier_of(task, 1)
    predicted = probabilities_of(classifiers[0])(texts).argmax(axis=1).tolist()
    return [
        {"task": task.name, "method": name, **_quality(name, None, texts, predicted, classifiers)} for name in METHODS
    ]


def words_of_task(task: Task) -> list[Run]:
    """The strongest words of the whole test file."""
    start = time.perf_counter()
    words = classifier_of(task, 0).overview([text for text, _ in task.test])
    strongest = {str(label): [dict(vars(one)) for one in some] for label, some in words.strongest(10).items()}
    return [
        {"task": task.name, "method": words.method, "n_texts": words.n_texts, "words": strongest,
         "seconds": time.perf_counter() - start}
    ]  # fmt: skip


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
        [speed_task] = core_tasks([SPEED_TASK])
        measure("speed", speed_task, speed_of)
        measure("long", speed_task, long_text_of)
        measure("defaults", speed_task, defaults_of)
        for task in core_tasks(list(WORD_TASKS)):
            measure("words", task, words_of_task)
        write_document(runs, DOCUMENT)
        print(f"written: {DOCUMENT}")


if __name__ == "__main__":
    main()
