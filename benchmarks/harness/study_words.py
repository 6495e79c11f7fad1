"""What docs/study.md says in words, by the numbers of the study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fastplr.study.summary import crossings
from harness.study_rows import AT, ON_FEW, Parts, Row, asked_of_the_largest, by_task, chance_of, chosen, mean_of_tasks
from harness.token_time import WHAT, Measured, ratio

__all__ = ["in_words"]


def in_words(parts: Parts, times: Measured | None) -> list[str]:
    """The answers to the questions of the study, by the numbers of the next section."""
    return [
        *_prompting_in_words(parts["core17"]),
        *_rows_in_words(parts["core17"], "SmolLM2-135M"),
        *_rows_in_words(parts["qwen-1.5b"], "Qwen2.5-Coder-1.5B, which can be prompted,"),
        *_largest_in_words(parts),
        *_two_bits_in_words(parts["qwen-1.5b"]),
        *_cost_in_words(times),
    ]


def _prompting_in_words(rows: Sequence[Row]) -> list[str]:
    four = chosen(rows, bits="4")
    if not four:
        return []
    others = {
        "zero-shot": chosen(four, method="zero-shot"),
        "zero-shot calibrated": chosen(four, method="zero-shot calibrated"),
        "few-shot": chosen(four, method="few-shot"),
        "PLR-L": chosen(four, method="plr-l", n_per_class=AT),
        "TF-IDF": chosen(rows, method="tf-idf", n_per_class=AT),
    }
    said = ", ".join(f"{name} {mean_of_tasks(own):.3f}" for name, own in others.items() if own)
    own = chosen(four, method="plr-e", n_per_class=AT)
    guesses = abs(mean_of_tasks(others["zero-shot"]) - chance_of(four)) < 0.01
    note = (
        " A model of this size cannot be prompted: asked for a letter it gives nearly all texts one and the same"
        " answer, so that the differences say little of prompting. What it knows of a text is in its states."
    )
    return [
        f"**Is PLR-E better than prompting the same model?** With SmolLM2-135M in 4 bits, from {AT} rows of each class,"
        f" PLR-E has a balanced accuracy of {mean_of_tasks(own):.3f} on the mean of {len(by_task(own, 'n_test'))}"
        f" tasks; {said}; always the same label has {chance_of(four):.3f}." + (note if guesses else "")
    ]


def _rows_in_words(rows: Sequence[Row], name: str) -> list[str]:
    """From how many rows on PLR-E is above the others, and what more rows bring."""
    four = [row for row in rows if row["bits"] in ("4", "")]
    means = {
        n: mean_of_tasks(chosen(four, method="plr-e", n_per_class=n))
        for n in sorted({row["n_per_class"] for row in four if row["method"] == "plr-e"})
    }
    passed = []
    for method, words in (("zero-shot", "zero-shot"), ("few-shot", "few-shot"), ("plr-l", "PLR-L"),
                          ("tf-idf", "TF-IDF with logistic regression")):  # fmt: skip
        metric = ON_FEW if method == "few-shot" else "balanced_accuracy"
        curve = []
        for n in means:
            own = chosen(four, method="plr-e", n_per_class=n)
            learns = {"n_per_class": n} if method in ("plr-l", "tf-idf") else {}
            other = chosen(four, method=method, **learns)
            if by_task(own, metric).keys() == by_task(other, metric).keys():
                curve.append((n, mean_of_tasks(own, metric) - mean_of_tasks(other, metric)))
        if curve:
            found = crossings(curve, 0.0)
            passed.append(f"{words} from {found}" if found is not None else f"{words} never")
    if not passed:
        return []
    n_tasks = len(by_task(four, "n_test"))
    return [
        f"**How many rows does {name} need?** On the mean of {n_tasks} tasks its PLR-E in 4 bits is not below, in"
        f" balanced accuracy, from so many rows of each class on ({min(means)} are the fewest that were tried): "
        + ", ".join(passed)
        + ". It reaches "
        + ", ".join(f"{value:.3f} with {n}" for n, value in means.items())
        + "."
    ]


def _largest_in_words(parts: Parts) -> list[str]:
    default, asked = asked_of_the_largest(parts)
    tasks = sorted(
        set(by_task(default, "macro_f1")).intersection(*(by_task(own, "macro_f1") for own in asked.values()))
    )
    if not asked or not tasks:
        return []
    own = mean_of_tasks([row for row in default if row["task"] in tasks], "macro_f1")
    means = {
        name: mean_of_tasks([row for row in rows if row["task"] in tasks], "macro_f1") for name, rows in asked.items()
    }
    zero = {name: mean for name, mean in means.items() if "few-shot" not in name and "PLR-E" not in name}
    best = max(zero, key=zero.__getitem__)
    by_form = [by_task(asked[name], "macro_f1") for name in zero]
    picked = float(np.mean([max(of_form[task] for of_form in by_form) for task in tasks]))
    few = max((name for name in means if "few-shot" in name), key=means.__getitem__, default=None)
    plr_e = max((name for name in means if "PLR-E" in name), key=means.__getitem__, default=None)
    text = (
        f"**Is the small model with labels better than the largest one prompted?** Than zero-shot, on the mean of"
        f" {len(tasks)} tasks: fastplr's default has a macro-F1 of {own:.3f}, the best of {len(zero)} forms of"
        f" zero-shot prompting of Qwen2.5-Coder-1.5B {zero[best]:.3f} ({best}), {own - zero[best]:+.3f}; so few tasks"
        " say little, and the intervals below are wide. The best form differs from task to task: who picked it for"
        f" each of them by the test rows would have {picked:.3f}."
    )
    if few is not None:
        text += f" Few-shot prompting has {means[few]:.3f} ({few})."
    if few is not None and plr_e is not None and means[plr_e] > means[few]:
        text += f" Who can run that model does best with PLR-E on it: {means[plr_e]:.3f}."
    return [text]


def _two_bits_in_words(rows: Sequence[Row]) -> list[str]:
    lost, left = {}, {}
    tasks: set[str] = set()
    for method, settings in (("plr-e", {"n_per_class": AT}), ("zero-shot", {}), ("few-shot", {}),
                             ("plr-l", {"n_per_class": AT})):  # fmt: skip
        two, four = (chosen(rows, method=method, bits=bits, **settings) for bits in ("2", "4"))
        tasks = set(by_task(two, "n_test")) & set(by_task(four, "n_test"))
        if not tasks:
            return []
        lost[method], left[method] = mean_of_tasks(four) - mean_of_tasks(two), mean_of_tasks(two)
    held = {row["bits"]: row["bits_per_weight"] for row in rows if "bits_per_weight" in row}
    by_bits = [by_task(chosen(rows, method="zero-shot", bits=bits), "balanced_accuracy") for bits in ("4", "2")]
    of_task = {task: by_bits[0][task] - by_bits[1][task] for task in sorted(tasks)}
    worst = max(of_task, key=of_task.__getitem__)
    answer = "Yes" if lost["plr-e"] >= lost["zero-shot"] else "No"
    parts = [f"{name} {lost[name]:.3f} (to {left[name]:.3f})" for name in ("zero-shot", "few-shot", "plr-l")]
    return [
        f"**Do 2 bits hurt PLR-E as they hurt zero-shot?** {answer}, as far as {len(tasks)} tasks tell: from 4 bits"
        f" ({held['4']:.2f} a weight) to Q2_K ({held['2']:.2f}) Qwen2.5-Coder-1.5B loses {lost['plr-e']:.3f} of"
        f" balanced accuracy with PLR-E from {AT} rows of each class (to {left['plr-e']:.3f}), and with"
        f" {', '.join(parts)}; always the same label has {chance_of(rows):.3f}, so that zero-shot has little left to"
        f" lose; it loses most with {worst}, {of_task[worst]:.3f}. Intervals are below."
    ]


def _cost_in_words(times: Measured | None) -> list[str]:
    if times is None:
        return []
    found: dict[str, list[float]] = defaultdict(list)
    for model in dict.fromkeys(one.row.model for one in times.rows):
        for what in WHAT:
            ratios = [ratio(*(times.seconds(model, bits, n, what) for bits in ("8", "4"))) for n in (1, 2)]
            found[what] += [one[0] for one in ratios if one is not None]
    parts = [
        f"{WHAT[what]} {np.exp(np.mean(np.log(some))):.2f} ({min(some):.2f} to {max(some):.2f})"
        for what, some in found.items()
    ]
    return [
        "**Do 8 bits cost 30 % more time than 4, as in the paper?** It depends on what is done with them. Times"
        " as long in 8 bits as in 4, geometric mean over two models, one and two threads, least and most of them"
        f" (intervals are below, and wide where two threads were disturbed): {'; '.join(parts)}. Generating"
        " reads all weights for each token, so that more bytes cost time. Of a prompt libllama computes many tokens at"
        " once, with products that ggml has in a fast form for 4 bits and not for 8. fastplr's kernels compute in"
        " integers of 8 bits whatever the file holds."
    ]
