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
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import fastplr
from accuracy.draws import Task, core_tasks, draw
from explaining.document import write_document
from explaining.faithfulness import faithfulness
from explaining.methods import METHODS, probabilities_of, word_values
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


class Prepared:
    """A task's texts and classifiers of two draws, made when they are first needed."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.texts = texts_of(task)

    @cached_property
    def classifiers(self) -> tuple[fastplr.PLRClassifier, fastplr.PLRClassifier]:
        return classifier_of(self.task, 0), classifier_of(self.task, 1)

    @cached_property
    def predicted(self) -> list[int]:
        found: list[int] = probabilities_of(self.classifiers[0])(self.texts).argmax(axis=1).tolist()
        return found


def quality_of(prepared: Prepared, name: str, budget: int | None) -> Run:
    """Faithfulness and stability of one method on one task."""

    def values_of(number: int, seed: int) -> list[Any]:
        classifier = prepared.classifiers[number]
        return word_values(name, classifier, prepared.texts, prepared.predicted, budget, seed)

    texts, values = prepared.texts, values_of(0, 0)
    comprehensive, sufficient = faithfulness(
        probabilities_of(prepared.classifiers[0]), texts, prepared.predicted, values
    )
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


def seconds_of(prepared: Prepared, name: str) -> Run:
    """Seconds of a method's defaults, without features on disk or in memory."""
    classifier = prepared.classifiers[0]
    classifier.embedder_.set_params(cache=False)
    predicted = prepared.predicted
    seconds = []
    for _ in range(1 if name.startswith("lime") else 3):
        fastplr.feature_cache.feature_cache.clear()
        start = time.perf_counter()
        word_values(name, classifier, prepared.texts, predicted, None, 0)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def long_text_of(prepared: Prepared, name: str) -> Run:
    """Seconds of a text of 2,000 words."""
    words = " ".join(text for text, _ in prepared.task.test).split()[:2000]
    classifier = prepared.classifiers[0]
    start = time.perf_counter()
    [explained] = classifier.explain([" ".join(words)], method=name.partition(" ")[2] or "auto")
    seconds = time.perf_counter() - start
    return {"n_words": len(explained.spans), "truncated": explained.truncated, "seconds": seconds}


def strongest_words_of(prepared: Prepared) -> Run:
    """Of the whole test file."""
    start = time.perf_counter()
    words = prepared.classifiers[0].overview([text for text, _ in prepared.task.test])
    strongest = {str(label): [dict(vars(one)) for one in some] for label, some in words.strongest(10).items()}
    return {"n_texts": words.n_texts, "words": strongest, "seconds": time.perf_counter() - start}


def plan(names: list[str] | None) -> Iterator[tuple[dict[str, Any], Callable[[], Run]]]:
    """What there is to measure: a name for it, and what measures it."""
    for task in core_tasks(names):
        prepared = Prepared(task)
        for name in METHODS:
            for budget in BUDGETS.get(name, RIVAL_BUDGETS):
                what = {"part": "quality", "task": task.name, "method": name, "budget": budget}
                yield what, partial(quality_of, prepared, name, budget)
    if names is not None:
        return
    [prepared] = map(Prepared, core_tasks([SPEED_TASK]))
    for name in METHODS:
        yield {"part": "speed", "task": SPEED_TASK, "method": name}, partial(seconds_of, prepared, name)
    for name in ("fastplr", "fastplr additive"):
        yield {"part": "long", "task": SPEED_TASK, "method": name}, partial(long_text_of, prepared, name)
    [prepared] = map(Prepared, core_tasks([SPEED_TASK]))
    for name in METHODS:
        yield {"part": "defaults", "task": SPEED_TASK, "method": name}, partial(quality_of, prepared, name, None)
    for task in core_tasks(list(WORD_TASKS)):
        yield {"part": "words", "task": task.name}, partial(strongest_words_of, Prepared(task))


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
    for what, measure in plan(asked.tasks):
        if any(what.items() <= run.items() for run in runs):
            continue
        run = {**what, **measure(), "revision": revision()}
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        runs.append(run)
        means = [f"{np.mean(value):.3f}" for key, value in run.items() if key not in what and is_numeric(value)]
        print(*(str(value) for value in what.values()), *means, flush=True)
    if asked.tasks is None:
        write_document(runs, DOCUMENT)
        print(f"written: {DOCUMENT}")


def is_numeric(value: Any) -> bool:
    """Whether it is a number or a list of numbers."""
    return np.asarray(value).dtype.kind in "fi"


if __name__ == "__main__":
    main()
