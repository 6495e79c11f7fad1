"""The texts: drawn from the labelled tasks by a fixed seed, stratified by length, each with its task's prompt."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

from fastplr import Prompt

__all__ = ["FORMS", "Corpus", "Group", "NoTasks", "draw_corpus", "tasks_folder"]

SEED = 20261122

#: How a prompt stands around a text: its own task's, or (one-) for all texts the one that is of middle length.
FORMS = {
    "none": "no prompt",
    "paper": "the paper's prompt around the text",
    "instruction": "an instruction before the text",
    "one-paper": "one prompt of the paper's form around all texts",
    "one-instruction": "one instruction before all texts",
}


class NoTasks(Exception):
    """The folder of the labelled tasks is not there."""


@dataclass(frozen=True)
class Group:
    """Texts that share a prompt."""

    prefix: str
    suffix: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Texts by task, as (task name, texts), in the order in which they are embedded."""

    texts: tuple[tuple[str, tuple[str, ...]], ...]
    prompts: dict[str, dict[str, Prompt]]

    @property
    def n_texts(self) -> int:
        """Number of texts, over all tasks."""
        return sum(len(texts) for _, texts in self.texts)

    def groups(self, form: str) -> list[Group]:
        """The texts in one of the FORMS: one group a task where prompts are the tasks' own, else one."""
        all_texts = tuple(text for _, texts in self.texts for text in texts)
        if form == "none":
            return [Group("", "", all_texts)]
        style = form.removeprefix("one-")
        if form != style:
            prompts = [prompts[style] for prompts in self.prompts.values()]
            prompts.sort(key=lambda prompt: len(prompt.prefix + prompt.suffix))
            middle = prompts[len(prompts) // 2]
            return [Group(middle.prefix, middle.suffix, all_texts)]
        own = {task: self.prompts[task][form] for task, _ in self.texts}
        return [Group(own[task].prefix, own[task].suffix, texts) for task, texts in self.texts]

    def first(self, n_texts: int) -> Corpus:
        """At most `n_texts` of the texts, as many of each task as can be."""
        per_task = max(1, n_texts // len(self.texts))
        return Corpus(tuple((task, texts[:per_task]) for task, texts in self.texts), self.prompts)


def tasks_folder() -> Path:
    """FASTPLR_TASKS, else ../shared/data/tasks beside the repository. Raises NoTasks where there are no tasks."""
    beside = Path(__file__).parents[2].parent / "shared" / "data" / "tasks"
    folder = Path(os.environ.get("FASTPLR_TASKS") or beside)
    if not (folder / "tasks.json").is_file():
        raise NoTasks(f"no labelled tasks in {folder}: set FASTPLR_TASKS to the folder with tasks.json")
    return folder


def draw_corpus(n_texts: int, folder: Path | None = None) -> Corpus:
    """`n_texts` texts of the 17 tasks of the core suite, as many of each as can be.

    Within a task texts are sorted by length and cut into as many strata as texts are wanted; one is drawn from each, so
    that short and long texts have the shares that they have in the task. Then they are shuffled.

    Raises:
        NoTasks: The folder of the tasks is not there.
    """
    folder = folder or tasks_folder()
    described = json.loads((folder / "tasks.json").read_text("utf-8"))["tasks"]
    tasks = [task for task in described if task["suite"] == "core17"]
    rng = random.Random(SEED)
    drawn = []
    for number, task in enumerate(tasks):
        wanted = n_texts * (number + 1) // len(tasks) - n_texts * number // len(tasks)
        rows = sorted(set(_read_texts(folder / task["name"])), key=lambda text: (len(text), text))
        bounds = [len(rows) * stratum // wanted for stratum in range(wanted + 1)] if wanted else []
        texts = [rows[rng.randrange(low, high)] for low, high in itertools.pairwise(bounds)]
        rng.shuffle(texts)
        if texts:
            drawn.append((task["name"], tuple(texts)))
    styles = ("paper", "instruction")
    prompts = {task["name"]: {style: Prompt.from_task(task, style=style) for style in styles} for task in tasks}
    return Corpus(tuple(drawn), prompts)


def _read_texts(task_folder: Path) -> list[str]:
    texts = []
    for name in ("train.csv", "test.csv"):
        with (task_folder / name).open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    return texts
