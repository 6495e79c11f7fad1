"""Fixtures that many test files share: tiny models, and the real task data where it is there."""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_tools import FIT, Run
from fastplr.cli import main
from fastplr.demo import load_demo
from fastplr.feature_stores import close_stores
from fastplr.tables import write_table
from tiny_models import TinyModel, write_tiny_bert, write_tiny_llama

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _features_of_the_user_are_left_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test keeps on disk without naming a folder goes to one of its own, in its child processes too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FASTPLR_CACHE_DIR", str(tmp_path_factory.mktemp("features") / "of-fixtures"))
        yield
        close_stores()


@pytest.fixture(autouse=True)
def _features_on_disk(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test finds on disk what another one kept."""
    monkeypatch.setenv("FASTPLR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "features" / uuid.uuid4().hex))
    yield
    close_stores()


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Llama, 4 layers, width 64, F32, byte-level BPE, no BOS: position 0 is the text's own first token."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "llama.gguf")


@pytest.fixture(scope="session")
def tiny_llama_bos(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The same model (same weights) whose file asks for BOS: position 0 belongs to no text."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "llama-bos.gguf", add_bos=True)


@pytest.fixture(scope="session")
def tiny_spm(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Llama with a SentencePiece vocabulary: BOS, a space put before the text, bytes for rare characters."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "spm.gguf", tokenizer="spm")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """BERT encoder, 3 layers, width 64, F32, WordPiece, mean pooling in its metadata."""
    return write_tiny_bert(tmp_path_factory.mktemp("tiny") / "bert.gguf")


@dataclass(frozen=True)
class TaskRows:
    """A labelled task: ``task`` is its entry in tasks.json (title, labels, prefix, suffix, ...)."""

    task: dict[str, Any]
    train_texts: list[str]
    train_labels: list[str]
    test_texts: list[str]
    test_labels: list[str]

    def draw(self, *, n_per_class: int, n_test: int, seed: int) -> tuple[list[str], list[str], list[str], list[str]]:
        """Texts and labels of ``n_per_class`` training rows a class, then of ``n_test`` test rows.

        Raises:
            ValueError: fewer rows than asked for.
        """
        rng = np.random.default_rng(seed)
        train: list[int] = []
        for label in self.task["labels"]:
            of_class = [i for i, row_label in enumerate(self.train_labels) if row_label == label]
            train += rng.choice(of_class, n_per_class, replace=False).tolist()
        rng.shuffle(train)
        test = rng.choice(len(self.test_texts), n_test, replace=False).tolist()
        return (
            [self.train_texts[i] for i in train],
            [self.train_labels[i] for i in train],
            [self.test_texts[i] for i in test],
            [self.test_labels[i] for i in test],
        )


@pytest.fixture(scope="session")
def tasks_dir() -> Path:
    """Folder of the labelled tasks: FASTPLR_TASKS, else ../shared/data/tasks; skips the test without."""
    folder = Path(os.environ.get("FASTPLR_TASKS") or REPOSITORY.parent / "shared" / "data" / "tasks")
    if not (folder / "tasks.json").is_file():
        pytest.skip(f"no labelled tasks in {folder}; set FASTPLR_TASKS to their folder")
    return folder


@pytest.fixture(scope="session")
def load_task(tasks_dir: Path) -> Callable[[str], TaskRows]:
    """``load_task(name)`` reads one task, for instance ``load_task("sst2")``."""
    tasks = {task["name"]: task for task in json.loads((tasks_dir / "tasks.json").read_text("utf-8"))["tasks"]}

    def load(name: str) -> TaskRows:
        train_texts, train_labels = _read_rows(tasks_dir / name / "train.csv")
        test_texts, test_labels = _read_rows(tasks_dir / name / "test.csv")
        return TaskRows(tasks[name], train_texts, train_labels, test_texts, test_labels)

    return load


def _read_rows(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


# -- the command line --


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("info", FILE)`` gives standard output, ``run(..., code=1)`` standard error of a failure."""

    def run_command(*arguments: object, code: int = 0) -> str:
        found = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert found == code, err
        if code:
            assert out == ""
            return err
        return out

    return run_command


@pytest.fixture
def train_csv(tmp_path: Path) -> Path:
    texts, labels = load_demo()
    write_table(tmp_path / "train.csv", {"id": range(60), "text": texts[:60], "label": labels[:60]})
    return tmp_path / "train.csv"


@pytest.fixture
def new_csv(tmp_path: Path) -> Path:
    texts, labels = load_demo()
    texts[61] += '\na second line, with "quotes"'
    write_table(tmp_path / "new.csv", {"id": range(8), "text": texts[60:68], "label": labels[60:68]})
    return tmp_path / "new.csv"


@pytest.fixture
def fitted(run: Run, train_csv: Path, tiny_llama: TinyModel) -> Path:
    path = train_csv.with_name("fitted.plr")
    run(*FIT, train_csv, "-o", path, "--model", tiny_llama.path, "--C", "0.1", "--quiet")
    return path
