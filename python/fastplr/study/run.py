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

from fastplr.errors import TruncationWarning
from fastplr.study import methods
from fastplr.study.features import Pass, one_pass
from fastplr.study.plan import ENDPOINT, FEW_SHOT, Endpoint, ModelVariant, StudyOptions, Unit
from fastplr.study.results import Cell, Results
from fastplr.study.scores import scores_of, scores_of_labels
from fastplr.study.tasks import Row, prompt_of
from fastplr.threads import default_threads

__all__ = ["run"]

Floats = npt.NDArray[np.float64]
#: Texts that an endpoint is asked about before what it said is kept.
N_ASKED = 16
_LEARNING: dict[str, Callable[..., methods.Found]] = {
    "plr-e": methods.plr_e,
    "plr-e final": methods.plr_e_final,
    "plr-l": methods.plr_l,
}


def run(
    units: Sequence[Unit], variants: Sequence[ModelVariant], options: StudyOptions, results: Results, *,
    cache: Any = None, progress: bool | None = None, on_unit: Callable[[int, Unit], object] | None = None,
) -> None:  # fmt: skip
    """Measure the cells of `units` and put them into `results`.

    Args:
        units: What is left to do.
        variants: The models that the units number.
        options: How much.
        results: Where results go, after each unit.
        cache: Where features are kept on disk, as in :class:`fastplr.Embedder`.
        progress: Whether to show bars. Default: only on a terminal.
        on_unit: Called before each unit with its number.
    """
    n_threads = default_threads() if options.n_threads is None else options.n_threads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        warnings.filterwarnings("ignore", message=r"cv=\d+ folds", category=UserWarning)  # few rows are meant
        for number, unit in enumerate(units):
            if on_unit is not None:
                on_unit(number, unit)
            if unit.cells[0].method == ENDPOINT:
                assert options.endpoint is not None
                _of_endpoint(unit, options.endpoint, results, progress)
            elif unit.model is None:
                results.put(_without_model(unit, n_threads))
            else:
                _with_model(unit, variants[unit.model], results, n_threads, cache=cache, progress=progress)


def _codes(rows: Sequence[Row], labels: Sequence[str]) -> npt.NDArray[np.int32]:
    return np.array([labels.index(label) for _, label in rows], dtype=np.int32)


def _measured(found: methods.Found, codes: npt.NDArray[np.int32], more: Mapping[str, Any]) -> dict[str, Any]:
    log_p, about = found
    return {**scores_of(log_p, codes.astype(np.int64)), **about, **more}


def _without_model(unit: Unit, n_threads: int) -> list[tuple[Cell, dict[str, Any]]]:
    task = unit.task
    found = []
    for cell in unit.cells:
        train = [task.train[row] for row in task.draw(cell.n_per_class, cell.seed) or []]
        test = task.tested(cell.n_test)
        started = time.perf_counter()
        made = methods.tf_idf(train, test, task.labels, seed=cell.seed, n_threads=n_threads)
        more = {"solve_seconds": time.perf_counter() - started}
        found.append((cell, _measured(made, _codes(test, task.labels), more)))
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
    question = json.dumps(prompt.to_dict())
    known = results.replies(endpoint.model, question)
    missing = [text for text in dict.fromkeys(text for text, _ in test) if text not in known]
    for first in range(0, len(missing), N_ASKED):
        some = missing[first : first + N_ASKED]
        labels = ["" if label is None else str(label) for label in asked.predict(some)]
        results.put_replies(endpoint.model, question, dict(zip(some, labels, strict=True)))
        known.update(zip(some, labels, strict=True))
    labels = list(unit.task.labels)
    predicted = np.array([labels.index(known[text]) if known[text] in labels else -1 for text, _ in test])
    about = {"n_unknown": int((predicted < 0).sum()), "cost": asked.usage_.cost, "requests": asked.usage_.requests}
    results.put([(cell, {**scores_of_labels(predicted, _codes(test, labels).astype(np.int64)), **about})])


def _with_model(
    unit: Unit, variant: ModelVariant, results: Results, n_threads: int, *, cache: Any, progress: bool | None
) -> None:
    task, prompt = unit.task, prompt_of(unit.task, unit.wording)
    answers = prompt.answers
    assert answers is not None
    labels = [str(label) for label in answers]
    if unit.needs_pass:
        drawn = unit.drawn()
        test = task.tested(max(cell.n_test for cell in unit.cells if cell.method != FEW_SHOT))
        rows = [*(task.train[row] for row in drawn), *test]
        made = one_pass(
            variant.path, [text for text, _ in rows], prompt, n_threads=n_threads, cache=cache, progress=progress
        )
        results.put(_of_pass(unit, variant, made, drawn, rows, labels, n_threads))
    for cell in unit.cells:
        if cell.method == FEW_SHOT:
            test = task.tested(cell.n_test)
            few = methods.few_shot(
                variant.path, prompt, task.train, test, labels, k=cell.n_per_class, seed=cell.seed,
                n_threads=n_threads, progress=progress,
            )  # fmt: skip
            results.put([(cell, _measured(few, _codes(test, labels), _about(variant)))])


def _about(variant: ModelVariant) -> dict[str, Any]:
    return {"bits_per_weight": variant.info.bits_per_weight, "file_size": variant.info.file_size}


def _of_pass(
    unit: Unit,
    variant: ModelVariant,
    made: Pass,
    drawn: list[int],
    rows: Sequence[Row],
    labels: list[str],
    n_threads: int,
) -> list[tuple[Cell, dict[str, Any]]]:
    codes = _codes(rows, labels)
    place = {row: number for number, row in enumerate(drawn)}
    test = list(range(len(drawn), len(rows)))
    of_pass = {"pass_seconds": made.seconds, "pass_tokens": made.n_tokens, **_about(variant)}
    found: list[tuple[Cell, dict[str, Any]]] = []
    for cell in unit.cells:
        if cell.method in _LEARNING:
            train = [place[row] for row in unit.task.draw(cell.n_per_class, cell.seed) or []]
            one = _LEARNING[cell.method](
                made, train, test, codes, n_classes=len(labels), seed=cell.seed, n_threads=n_threads
            )
        elif cell.method == "zero-shot":
            one = methods.zero_shot(made, test)
        elif cell.method == "zero-shot calibrated":
            shares = methods.no_content(os.fspath(variant.path), prompt_of(unit.task, unit.wording), labels, n_threads)
            one = methods.zero_shot_calibrated(made, test, shares)
        else:
            continue
        found.append((cell, _measured(one, codes[test], of_pass)))
    return found
