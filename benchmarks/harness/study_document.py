"""docs/study.md out of the results of the parts of benchmarks/study.py: no number in it comes from anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from scipy.stats import t as student

from fastplr.study.document import learning_curves, tables
from fastplr.study.methods import METHODS
from fastplr.study.summary import number_of_bits
from fastplr.study.tasks import WORDINGS
from harness.document import table
from harness.machine import describe_machine, revision
from harness.study_rows import AT, ON_FEW, Parts, Row, asked_of_the_largest, by_task, chance_of, chosen, mean_of_tasks
from harness.study_words import in_words
from harness.token_time import PAPER, WHAT, Measured, ratio

__all__ = ["difference", "write_document"]

TITLES = {
    "core17": "17 tasks, SmolLM2-135M in 4 and 8 bits, the paper's prompt",
    "instruction": "The same in 4 bits with all words before the text, as fastplr is used",
    "words": "The paper's prompt, answered with words instead of letters, 17 tasks",
    "bits": "Widths from 2 to 16 bits, six tasks",
    "wordings": "Wordings of the prompt, six tasks",
    "qwen-0.5b": "Qwen2.5-Coder-0.5B, six tasks",
    "qwen-1.5b": "Qwen2.5-Coder-1.5B in true 2 bits, 4 and 8, three tasks",
    "qwen-1.5b-words": "Qwen2.5-Coder-1.5B asked for words instead of letters, three tasks",
    "qwen-1.5b-chat": "Qwen2.5-Coder-1.5B as a chat model behind an endpoint, three tasks",
    "gemma-270m": "Gemma 3 270M, six tasks (only on request, since its licence has to be accepted)",
    "minilm": "all-MiniLM-L6-v2: the one model here whose source has full precision",
}

#: Parts about the model and the tasks of "core17", of which tables of means are enough here.
BRIEF = ("instruction", "words", "bits", "wordings")

SERVER = (
    ", with `python -m llama_cpp.server --model MODEL --port PORT --n_ctx 4096 --interrupt_requests False` beside it"
    " (`benchmarks/study.py` starts it)"
)
#: What the study does with the methods of fastplr.study.
DETAILS = {
    "in this document": "few-shot has 8 examples, one draw of them, and the first 200 of the test rows; methods that"
    " learn choose by five folds, half of what `fastplr.fit` does by default; what is said to be calibrated is so by"
    " texts without content (zero-shot) or by held-out rows (PLR)",
}


def difference(above: Iterable[Row], below: Iterable[Row], metric: str = "balanced_accuracy") -> str:
    """Mean over the tasks that both have of the one less the other, with the 95 % interval over tasks (Student)."""
    one, other = by_task(above, metric), by_task(below, metric)
    tasks = sorted(set(one) & set(other))
    found = np.array([one[task] - other[task] for task in tasks])
    if not tasks:
        return "not measured"
    text = f"{found.mean():+.3f}"
    if len(tasks) > 1:
        half = student.ppf(0.975, len(tasks) - 1) * found.std(ddof=1) / math.sqrt(len(tasks))
        text += f" ({found.mean() - half:+.3f} to {found.mean() + half:+.3f}, {len(tasks)} tasks)"
    return text


def write_document(
    parts: Parts, commands: Mapping[str, str], folder: Path, times: Measured | None = None,
    dates: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write study.md and its pictures into `folder`.

    Args:
        parts: Rows of each part that was measured.
        commands: What ``fastplr study`` was asked for, of each part that there can be.
        folder: Where to.
        times: Those of benchmarks/bench_token_time.py.
        dates: When each part was measured.
    """
    missing = [part for part in commands if not parts.get(part)]
    parts = {part: parts.get(part, ()) for part in commands}
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    lines = [
        "# The study of the paper, repeated",
        "Written by `python benchmarks/study.py`; not edited. Every result, to four digits, is in"
        " [study.csv.gz](study.csv.gz) (`n_per_class` of few-shot is its number of examples, of all classes together).",
        f"Written {time.strftime('%Y-%m-%d')}, {machine}, revision {revision()}; each part below says when it was"
        " measured.",
        _what_it_is(),
        "\n".join(f"- **{name}**: {what}." for name, what in {**METHODS, **DETAILS}.items()),
        "Wordings of the prompt:",
        "\n".join(f"- **{name}**: {what}." for name, what in WORDINGS.items()),
        *(f"**Not measured yet**: {TITLES[part]}." for part in missing),
        "## What follows, in words",
        *in_words(parts, times),
        "## What follows, in numbers",
        *_conclusions(parts, times),
    ]
    for part, rows in parts.items():
        if not rows:
            continue
        lines += [
            f"## {TITLES[part]}",
            f"`fastplr study --tasks ../shared/data/tasks {commands[part]} -o study`"
            + (SERVER if "--endpoint-model" in commands[part] else "")
            + (f" (measured {dates[part]})" if dates else ""),
            *filter(None, [_files(rows)]),
        ]
        drawing = learning_curves(rows)
        if drawing is not None and part in ("core17", "instruction"):
            with matplotlib.rc_context({"svg.hashsalt": "fastplr"}):  # the same file each time
                drawing.savefig(folder / f"study_{part}.svg", metadata={"Creator": None, "Date": None})
            lines.append(f"![Learning curves](study_{part}.svg)")
        for title, remark, head, body in tables(rows):
            if part not in BRIEF or title.startswith(("Models", "Means")):
                lines += [f"### {title}", remark, table(head, body)]
    (folder / "study.md").write_text("\n\n".join(lines) + "\n", "utf-8")


def _what_it_is() -> str:
    return (
        "Buckmann & Hill 2024 (arXiv 2408.03414) compare penalised logistic regression on the embedding of Llama 2 7B"
        " in 4 bits (PLR-E), the same on the logits of the answers (PLR-L), zero-shot prompting and GPT-4 on 17 tasks."
        " Neither Llama 2 7B nor GPT-4 could be had here, nor the paper's text, so that its tasks are not known; what"
        " is repeated is the design, with models that can be had as packages and 17 tasks of the same shape. Its"
        " means, quoted second-hand, are 0.80 for PLR-E and 0.77 for GPT-4; they are not comparable with the figures"
        " below. All decoders here are 4 or 5 bits at their source: a file of 8 or 16 bits made from one holds what"
        ' the 4 bits left, so that "8 bits against 4" is here the error that a second rounding adds, not what the'
        " first one cost. Only all-MiniLM-L6-v2 comes in 32 bits."
    )


def _conclusions(parts: Parts, times: Measured | None) -> list[str]:
    core, instruction = parts["core17"], parts["instruction"]
    four, eight = chosen(core, bits="4"), chosen(core, bits="8")
    plr = chosen(four, method="plr-e")
    at_75 = chosen(plr, n_per_class=AT)
    found = [
        "Differences of balanced accuracy unless it says otherwise, means over tasks, with 95 % intervals over"
        " tasks.",
        "**PLR-E against prompting the same model** (core17, 4 bits, the paper's prompt):",
        table(
            ["rows of each class", "over zero-shot", "over zero-shot calibrated", "over few-shot", "over PLR-L",
             "over TF-IDF"],
            [
                [
                    str(n),
                    *(
                        difference(chosen(plr, n_per_class=n), chosen(four, method=method))
                        for method in ("zero-shot", "zero-shot calibrated")
                    ),
                    difference(chosen(plr, n_per_class=n), chosen(four, method="few-shot"), ON_FEW),
                    difference(chosen(plr, n_per_class=n), chosen(four, method="plr-l", n_per_class=n)),
                    difference(chosen(plr, n_per_class=n), chosen(core, method="tf-idf", n_per_class=n)),
                ]
                for n in sorted({row["n_per_class"] for row in plr})
            ],
        ),
        "**The same against prompting that answers with words** instead of letters (PLR-E with the paper's prompt):",
        table(
            ["rows of each class", "over zero-shot", "over zero-shot calibrated", "over few-shot"],
            [
                [
                    str(n),
                    difference(chosen(plr, n_per_class=n), chosen(parts["words"], method="zero-shot")),
                    difference(chosen(plr, n_per_class=n), chosen(parts["words"], method="zero-shot calibrated")),
                    difference(chosen(plr, n_per_class=n), chosen(parts["words"], method="few-shot"), ON_FEW),
                ]
                for n in sorted({row["n_per_class"] for row in plr})
            ],
        ),
        f"**All words before the text** (as fastplr is used) against the paper's prompt around it, PLR-E from {AT}"
        f" rows: "
        + difference(chosen(instruction, method="plr-e", n_per_class=AT), at_75) + ".",
        "**8 bits against 4** (core17): zero-shot "
        + difference(chosen(eight, method="zero-shot"), chosen(four, method="zero-shot"))
        + f"; PLR-L from {AT} rows "
        + difference(chosen(eight, method="plr-l", n_per_class=AT), chosen(four, method="plr-l", n_per_class=AT))
        + "; PLR-E "
        + difference(chosen(eight, method="plr-e", n_per_class=AT), at_75) + ".",
        *_two_bits(parts),
        *_models(parts),
        *_largest(parts),
        *(_wordings(parts["wordings"]) if parts["wordings"] else []),
        *(_solving(core) if core else []),
        *_times(times),
    ]  # fmt: skip
    return found


def _times(times: Measured | None) -> list[str]:
    """Whether 8 bits take 30 % more time than 4."""
    head = "**Does 8 bits instead of 4 cost 30 % of time?** "
    if times is None:
        return [head + "Not measured yet."]
    lines = []
    for model in dict.fromkeys(one.row.model for one in times.rows):
        for what, words in WHAT.items():
            found = [ratio(*(times.seconds(model, bits, n, what) for bits in ("8", "4"))) for n in (1, 2)]
            shown = ["" if one is None else f"{one[0]:.2f} ({one[1]:.2f} to {one[2]:.2f})" for one in found]
            lines.append([model, words, *shown])
    return [
        f"{head}The paper's figure is {PAPER:.2f} for generating a token. Times as long in 8 bits as in 4 on this"
        f" machine, with"
        " 95 % intervals ([benchmarks.md](benchmarks.md) has all widths):",
        table(["model", "time for", "1 thread", "2 threads"], lines, left=2),
    ]


def _two_bits(parts: Parts) -> list[str]:
    qwen, mini = parts["qwen-1.5b"], parts["minilm"]
    lines = []
    for name, settings in (("zero-shot", {}), ("plr-l", {"n_per_class": AT}), ("plr-e", {"n_per_class": AT})):
        own = {bits: chosen(qwen, method=name, bits=bits, **settings) for bits in ("2", "4", "8")}
        lines.append([name, difference(own["2"], own["4"]), difference(own["8"], own["4"])])
    ladder = {bits: chosen(mini, method="plr-e", bits=bits, n_per_class=AT) for bits in ("32", "8", "4")}
    return [
        f"**True 2 bits** (Qwen2.5-Coder-1.5B, {len({row['task'] for row in qwen})} tasks; methods that learn, from"
        f" {AT} rows):",
        table(["method", "2 bits less 4", "8 bits less 4"], lines),
        f"**From full precision** (all-MiniLM-L6-v2, core17, PLR-E from {AT} rows): 8 bits less 32 "
        + difference(ladder["8"], ladder["32"]) + ", 4 bits less 32 " + difference(ladder["4"], ladder["32"]) + ".",
    ]  # fmt: skip


def _largest(parts: Parts) -> list[str]:
    """The default fastplr against the largest model, on the tasks and rows that both have, in macro-F1."""
    default, asked = asked_of_the_largest(parts)
    means = {name: by_task(rows, "macro_f1") for name, rows in asked.items()}
    own = by_task(default, "macro_f1")
    tasks = sorted(set(own).intersection(*means.values())) if means else []
    head = (
        f"**fastplr's default** (SmolLM2-135M in 4 bits, words before the text, {AT} rows of each class) against"
        " the largest model here, Qwen2.5-Coder-1.5B-Instruct (a model for code), in macro-F1 on the same test rows, of"
        " few-shot the first 200 of them"
    )
    if not tasks:
        return [f"{head}: not measured."]
    lines = [
        [name, *(f"{of_task[task]:.3f}" for task in tasks), difference(default, asked[name], "macro_f1")]
        for name, of_task in means.items()
    ]
    lines.append(["fastplr's default", *(f"{own[task]:.3f}" for task in tasks), ""])
    return [
        f"{head}. As a chat it is asked through an endpoint with its own chat template (`EndpointClassifier`,"
        " llama-cpp-python's server), what it says is free, and what is no answer counts as wrong:",
        table(["asked for", *tasks, "fastplr's default less this"], lines),
    ]


def _models(parts: Parts) -> list[str]:
    """Models of several sizes on the tasks that all of them have, 300 test rows each, the paper's prompt."""
    names = {"SmolLM2-135M": "bits", "Gemma 3 270M": "gemma-270m", "Qwen2.5-Coder-0.5B": "qwen-0.5b",
             "Qwen2.5-Coder-1.5B": "qwen-1.5b"}  # fmt: skip
    there = {name: parts[part] for name, part in names.items() if parts[part]}
    if len(there) < 2:
        return []
    tasks = set.intersection(*({row["task"] for row in rows if row["model"]} for rows in there.values()))
    lines = []
    for name, rows in there.items():
        for bits in ("4", "8"):
            own = [row for row in rows if row["bits"] == bits and row["task"] in tasks]
            if own:
                cells = [mean_of_tasks(chosen(own, method=method, n_per_class=AT)) for method in ("plr-e", "plr-l")]
                cells += [
                    mean_of_tasks(chosen(own, method=one)) for one in ("few-shot", "zero-shot calibrated", "zero-shot")
                ]
                lines.append([name, bits, *(f"{cell:.3f}" for cell in cells)])
    rows = next(iter(there.values()))
    chance = chance_of([row for row in rows if row["task"] in tasks])
    return [
        f"**Sizes of models**, balanced accuracy, mean over {', '.join(sorted(tasks))}, the paper's prompt with"
        f" letters; always the same label has {chance:.3f}:",
        table(["model", "bits", f"PLR-E, {AT} rows", f"PLR-L, {AT} rows", "few-shot", "zero-shot calibrated",
               "zero-shot"], lines),
    ]  # fmt: skip


def _wordings(rows: Sequence[Row]) -> list[str]:
    lines = []
    for method, settings in (
        ("zero-shot", {}),
        ("few-shot", {}),
        ("plr-l", {"n_per_class": AT}),
        ("plr-e", {"n_per_class": AT}),
    ):
        own = chosen(rows, method=method, **settings)
        means = {
            word: by_task(chosen(own, wording=word), "balanced_accuracy") for word in {row["wording"] for row in own}
        }
        if not means:
            continue
        tasks = set.intersection(*(set(of_word) for of_word in means.values()))
        spread = [max(m[task] for m in means.values()) - min(m[task] for m in means.values()) for task in sorted(tasks)]
        lines.append([method, f"{np.mean(spread):.3f}", f"{max(spread):.3f}"])
    n = len({row["wording"] for row in rows if row["method"] == "plr-e"})
    return [
        f"**The wording of the prompt** (SmolLM2-135M): between the best and the worst of {n} wordings of a task lie,"
        " in balanced accuracy, the following; to PLR-E they are one fewer, since `paper` and `words` differ in the"
        " answer alone. Zero-shot moves little because it guesses.",
        table(["method", "mean over tasks", "most"], lines),
    ]


def _solving(rows: Sequence[Row]) -> list[str]:
    """What solving takes beside the pass that feeds it."""
    lines = []
    for bits in ("4", "8"):
        own = chosen(rows, bits=bits)
        passes = {row["task"]: row["pass_seconds"] for row in own if "pass_seconds" in row}
        for methods in (("plr-e",), ("plr-e", "plr-l"), ("plr-e", "plr-l", "plr-e final")):
            solving = sum(row["solve_seconds"] for row in own if row["method"] in methods)
            lines.append([bits, ", ".join(methods), f"{sum(passes.values()):.0f}", f"{solving:.0f}",
                          f"{solving / sum(passes.values()):.2f}"])  # fmt: skip
    return [
        "**Time**: one pass a task feeds all methods; solving all rows and draws takes",
        table(["bits", "methods", "seconds of passes", "seconds of solving", "ratio"], lines, left=2),
    ]


def _files(rows: Sequence[Row]) -> str:
    held = {(row["model"], row["bits"]): row["bits_per_weight"] for row in rows if "bits_per_weight" in row}
    ordered = sorted(held.items(), key=lambda one: (one[0][0], number_of_bits(one[0][1])))
    held_by = [f"{model} asked for in {bits} bits holds {value:.2f}" for (model, bits), value in ordered]
    return "; ".join(held_by) + " bits a weight." if held_by else ""
