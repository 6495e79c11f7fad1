"""Running a study: unit after unit, each result kept as soon as it is there."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastplr.errors import FastplrError, TruncationWarning
from fastplr.study import methods
from fastplr.study.features import Pass, one_pass
from fastplr.study.plan import ENDPOINT, FEW_SHOT, LEARNING, Endpoint, ModelVariant, StudyOptions, Unit
from fastplr.study.results import Cell, Results
from fastplr.study.scores import scores_of, scores_of_labels
from fastplr.study.tasks import Row, prompt_of
from fastplr.threads import default_threads

__all__ = ["run_units"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
#: Texts that an endpoint is asked about before what it said is kept.
N_ASKED = 16
_OF_FEATURES: dict[str, Callable[..., methods.Found]] = {
    "plr-e": methods.plr_e,
    "plr-e final": methods.plr_e_final,
    "plr-l": methods.plr_l,
}


def run_units(
    units: Sequence[Unit], variants: Sequence[ModelVariant], options: StudyOptions, results: Results, *,
    cache: Any = None, progress: bool | None = None, on_unit: Callable[[int, Unit], object] | None = None,
) -> list[str]:  # fmt: skip
    """Measure the cells of `units` and put them into `results`. A unit that fails does not stop the others.

    Args:
        units: What is left to do.
        variants: The models that the units number.
        options: How much.
        results: Where results go, after each unit.
        cache: Where features are kept on disk, as in :class:`fastplr.Embedder`.
        progress: Whether to show bars. Default: only on a terminal.
        on_unit: Called before each unit with its number.

    Returns:
        What failed, in words.
    """
    n_threads = default_threads() if options.n_threads is None else options.n_threads
    failed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # counted in the results
        warnings.filterwarnings("ignore", message=r"cv=\d+ folds", category=UserWarning)  # few rows are meant
        for number, unit in enumerate(units):
            if on_unit is not None:
                on_unit(number, unit)
            try:
                if unit.cells[0].method == ENDPOINT:
                    assert options.endpoint is not None
                    _of_endpoint(unit, options.endpoint, results, progress)
                elif unit.model is None:
                    results.put(_without_model(unit, options, n_threads))
                else:
                    _with_model(unit, variants[unit.model], options, results, n_threads, cache=cache, progress=progress)
            except FastplrError as error:
                first = unit.cells[0]
                where = ", ".join(
                    filter(None, (first.task, first.model, first.bits and f"{first.bits} bits", first.wording))
                )
                failed.append(f"{where}: {error}")
    return failed


def _codes(rows: Sequence[Row], labels: Sequence[str]) -> Codes:
    return np.array([labels.index(label) for _, label in rows], dtype=np.int32)


def _measured(
    found: methods.Found, codes: Codes, unit: Unit, cell: Cell, n_few: int, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores of the test rows, and balanced accuracy on those that few-shot is tested on: the first ones."""
    log_p, about = found
    about = {"n_labels": len(unit.task.labels), **about}
    scores = scores_of(log_p, codes.astype(np.int64))
    on_few = scores_of_labels(log_p[:n_few].argmax(axis=1), codes[:n_few].astype(np.int64))["balanced_accuracy"]
    if cell.method in LEARNING:
        about = {**about, "share_of_pool": cell.n_per_class / min(unit.task.n_of_class.values())}
    return {**scores, "balanced_accuracy_of_few_shot_rows": on_few, **about, **more}


def _without_model(unit: Unit, options: StudyOptions, n_threads: int) -> list[tuple[Cell, dict[str, Any]]]:
    task = unit.task
    found = []
    for cell in unit.cells:
        train = [task.train[row] for row in task.draw(cell.n_per_class, cell.seed) or []]
        test = task.tested(cell.n_test)
        started = time.perf_counter()
        made = methods.tf_idf(train, test, task.labels, seed=cell.seed, n_threads=n_threads)
        more = {"solve_seconds": time.perf_counter() - started}
        found.append((cell, _measured(made, _codes(test, task.labels), unit, cell, options.n_few_shot, more)))
    return found


def _of_endpoint(unit: Unit, endpoint: Endpoint, results: Results, progress: bool | None) -> None:
    """What is answered is kept, some texts at a time: it may have been paid for."""
    from fastplr.endpoint import EndpointClassifier

    prompt = prompt_of(unit.task, unit.wording)
    asked = EndpointClassifier(
        endpoint.model,
        prompt=prompt,
        base_url=endpoint.base_url,
        price_per_million=endpoint.price_per_million,
        on_unknown="none",
        progress=progress,
    )
    (cell,) = unit.cells
    test = unit.task.tested(cell.n_test)
    question = json.dumps([endpoint.base_url, prompt.to_dict()])
    known = results.replies(endpoint.model, question)
    missing = [text for text in dict.fromkeys(text for text, _ in test) if text not in known]
    for first in range(0, len(missing), N_ASKED):
        some = missing[first : first + N_ASKED]
        replies = ["" if label is None else str(label) for label in asked.predict(some)]
        results.put_replies(endpoint.model, question, dict(zip(some, replies, strict=True)))
        known.update(zip(some, replies, strict=True))
    labels = list(unit.task.labels)
    predicted = np.array([labels.index(known[text]) if known[text] in labels else -1 for text, _ in test])
    usage = asked.usage_
    about = {
        "n_labels": len(labels),
        "n_unknown": int((predicted < 0).sum()),
        "cost_of_this_run": usage.cost,
        "requests": usage.requests,
    }
    results.put([(cell, {**scores_of_labels(predicted, _codes(test, labels).astype(np.int64)), **about})])


def _with_model(
    unit: Unit, variant: ModelVariant, options: StudyOptions, results: Results, n_threads: int, *, cache: Any,
    progress: bool | None,
) -> None:  # fmt: skip
    task, prompt = unit.task, prompt_of(unit.task, unit.wording)
    labels = [str(label) for label in prompt.answers] if unit.asks and prompt.answers else list(task.labels)
    if unit.needs_pass:
        drawn = unit.drawn()
        test = task.tested(max(cell.n_test for cell in unit.cells if cell.method != FEW_SHOT))
        rows = [*(task.train[row] for row in drawn), *test]
        made = one_pass(
            variant.path, [text for text, _ in rows], prompt, with_answers=unit.asks, n_threads=n_threads, cache=cache,
            progress=progress,
        )  # fmt: skip
        results.put(_of_pass(unit, variant, made, drawn, rows, labels, options, n_threads))
    for cell in unit.cells:
        if cell.method == FEW_SHOT:
            test = task.tested(cell.n_test)
            few = methods.few_shot(
                variant.path, prompt, task.train, test, labels, k=cell.n_per_class, seed=cell.seed,
                n_threads=n_threads, progress=progress,
            )  # fmt: skip
            results.put([(cell, _measured(few, _codes(test, labels), unit, cell, cell.n_test, _about(variant)))])


def _about(variant: ModelVariant) -> dict[str, Any]:
    return {"bits_per_weight": variant.info.bits_per_weight, "file_size": variant.info.file_size}


def _of_pass(
    unit: Unit, variant: ModelVariant, made: Pass, drawn: list[int], rows: Sequence[Row], labels: list[str],
    options: StudyOptions, n_threads: int,
) -> list[tuple[Cell, dict[str, Any]]]:  # fmt: skip
    codes = _codes(rows, labels)
    place = {row: number for number, row in enumerate(drawn)}
    test = list(range(len(drawn), len(rows)))
    of_pass = {"pass_seconds": made.seconds, "pass_tokens": made.n_tokens, "n_cut": made.n_cut, **_about(variant)}
    found: list[tuple[Cell, dict[str, Any]]] = []
    for cell in unit.cells:
        if cell.method in _OF_FEATURES:
            train = [place[row] for row in unit.task.draw(cell.n_per_class, cell.seed) or []]
            one = _OF_FEATURES[cell.method](
                made, train, test, codes, n_classes=len(labels), seed=cell.seed, n_threads=n_threads
            )
        elif cell.method == "zero-shot":
            one = methods.zero_shot(made, test)
        elif cell.method == "zero-shot calibrated":
            prompt = prompt_of(unit.task, unit.wording)
            no_content = methods.log_of_no_content(os.fspath(variant.path), prompt, labels, n_threads)
            one = methods.zero_shot_calibrated(made, test, no_content)
        else:
            continue
        found.append((cell, _measured(one, codes[test], unit, cell, options.n_few_shot, of_pass)))
    return found
