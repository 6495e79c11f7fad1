"""fastplr study on tiny models and made-up tasks: what is measured, kept, summed up and shown."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss

import fastplr
from chat_server import ChatServer, Said
from cli_tools import Run
from fastplr import InputError, Prompt, ZeroShotClassifier
from fastplr.cli import main
from fastplr.demo import load_demo
from fastplr.study import (
    Cell,
    Results,
    StudyOptions,
    make_plan,
    read_csv_task,
    read_tasks,
    run_units,
)
from fastplr.study.methods import METHODS
from fastplr.study.plan import ModelVariant
from fastplr.study.tasks import WORDINGS, prompt_of
from tiny_models import TinyModel

OPTIONS = ("--rows", "3", "5", "--seeds", "2", "--test-rows", "12", "--few-shot-rows", "6", "--k", "2")


def write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """A table of texts and labels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def described(name: str, labels: list[str]) -> dict[str, Any]:
    letters = dict(zip(labels, "abcdef", strict=False))
    options = ", ".join(f"({letter}) {label}" for label, letter in letters.items())
    return {
        "name": name, "title": f"The task {name}", "suite": "made up", "labels": labels, "prefix": "A message: ",
        "suffix": f" Is it {options}? Answer:", "option_letters": letters,
        "label_words": {label: label.split()[0] for label in labels},
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _variants_are_kept_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FASTPLR_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of the demonstration's messages: all its labels, and the first label against the others."""
    texts, given = load_demo()
    root = tmp_path_factory.mktemp("tasks")
    names = sorted(set(given))
    tasks = {"three": (names, given), "two": ([names[0], "other"], [n if n == names[0] else "other" for n in given])}
    for name, (_, labels) in tasks.items():
        (root / name).mkdir()
        for part, rows in (("train", range(0, len(texts), 2)), ("test", range(1, len(texts), 2))):
            write_rows(root / name / f"{part}.csv", ((texts[row], labels[row]) for row in rows))
    entries = [described(name, labels) for name, (labels, _) in tasks.items()]
    (root / "tasks.json").write_text(json.dumps({"tasks": entries}))
    return root


@pytest.fixture(scope="module")
def measured(folder: Path, tiny_llama: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of both tasks in two widths and two wordings."""
    out = tmp_path_factory.mktemp("study")
    arguments = [
        "study",
        "--tasks",
        folder,
        "--model",
        tiny_llama.path,
        "--bits",
        "4",
        "8",
        "--wording",
        "paper",
        "words",
    ]
    assert main([str(word) for word in [*arguments, *OPTIONS, "-o", out, "--json", out / "all.json", "-q"]]) == 0
    return out


def rows_of(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "all.json").read_text("utf-8"))


def test_every_cell_is_measured_once(measured: Path) -> None:
    rows = rows_of(measured)
    found = Counter((row["task"], row["bits"], row["wording"], row["method"]) for row in rows)
    for task in ("two", "three"):
        assert found.pop((task, "", "", "tf-idf")) == 4
        for bits in ("4", "8"):
            for wording in ("paper", "words"):
                for method in ("plr-e", "plr-e final", "plr-l"):
                    assert found.pop((task, bits, wording, method)) == 4  # two numbers of rows, two draws
                for method in ("zero-shot", "zero-shot calibrated", "few-shot"):
                    assert found.pop((task, bits, wording, method)) == 1
    assert not found
    assert {row["n_test"] for row in rows if row["method"] == "few-shot"} == {6}
    assert {row["n_test"] for row in rows if row["method"] != "few-shot"} == {12}
    for row in rows:
        assert 0 <= row["balanced_accuracy"] <= 1
        assert row["log_loss"] >= 0


def test_zero_shot_is_what_the_classifier_says(measured: Path, folder: Path, tiny_llama: TinyModel) -> None:
    task = next(task for task in read_tasks(folder) if task.name == "three")
    tested = task.tested(12)
    row = next(
        row for row in rows_of(measured)
        if (row["task"], row["bits"], row["wording"], row["method"]) == ("three", "8", "words", "zero-shot")
    )  # fmt: skip
    variant = fastplr.model_store.variant_of(fastplr.model_store.resolve(tiny_llama.path), "Q8_0")
    classifier = ZeroShotClassifier(variant.path, prompt=prompt_of(task, "words"))
    predicted = classifier.predict([text for text, _ in tested])
    assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score([label for _, label in tested], predicted))


def test_plr_e_is_what_the_classifier_says(measured: Path, folder: Path, tiny_llama: TinyModel) -> None:
    task = next(task for task in read_tasks(folder) if task.name == "three")
    tested, drawn = task.tested(12), task.draw(5, 1)
    row = next(
        row for row in rows_of(measured)
        if (row["task"], row["bits"], row["wording"], row["method"], row["n_per_class"], row["seed"])
        == ("three", "8", "paper", "plr-e", 5, 1)
    )  # fmt: skip
    variant = fastplr.model_store.variant_of(fastplr.model_store.resolve(tiny_llama.path), "Q8_0")
    train = [task.train[number] for number in drawn]
    classifier = fastplr.fit(
        [text for text, _ in train],
        [label for _, label in train],
        model=variant.path,
        random_state=1,
        cv=5,
        prompt=prompt_of(task, "paper"),
    )
    assert (row["layer"], row["pooling"]) == (classifier.layer_, classifier.pooling_)
    p = classifier.predict_proba([text for text, _ in tested])
    labels = [label for _, label in tested]
    assert row["log_loss"] == pytest.approx(log_loss(labels, p, labels=classifier.classes_), abs=1e-4)


def test_a_stopped_study_goes_on(folder: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    arguments = ["study", "--tasks", folder, "--model", tiny_llama.path, "--bits", "8", *OPTIONS, "-q"]
    settings = ["--methods", "zero-shot", "plr-l", "-o", tmp_path / "out", "--json", tmp_path / "out.json"]
    words = [str(word) for word in [*arguments, *settings]]
    assert main([*words, "--only", "two"]) == 0
    first = json.loads((tmp_path / "out.json").read_text())
    assert {row["task"] for row in first} == {"two"}
    assert main(words) == 0
    both = json.loads((tmp_path / "out.json").read_text())
    assert {row["task"] for row in both} == {"two", "three"}
    again = [row for row in both if row["task"] == "two"]
    assert again == first  # seconds too: nothing was measured anew


def test_an_interrupt_keeps_the_units_before_it(folder: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    info = fastplr.read_model_info(tiny_llama.path)
    variants = [ModelVariant("tiny", "source", tiny_llama.path, info.sha256, info, "")]
    methods = ("zero-shot", "plr-l")
    options = StudyOptions(("tiny",), ("source",), n_per_class=(3,), n_seeds=1, n_test=8, methods=methods)
    plan = make_plan(read_tasks(folder), variants, options)
    results = Results(tmp_path / "results.sqlite")
    left = plan.left(results)
    assert len(left) == 2

    def stop(number: int, unit: object) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_units(left, variants, options, results, progress=False, on_unit=stop)
    results.close()
    kept = Results(tmp_path / "results.sqlite")
    assert {row["task"] for row in kept.rows()} == {left[0].task.name}
    assert [unit.task.name for unit in plan.left(kept)] == [left[1].task.name]
    kept.close()


def test_report_and_markdown(measured: Path) -> None:
    page = (measured / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "<svg" in page
    assert "Content-Security-Policy" in page
    text = (measured / "report.md").read_text("utf-8")
    for heading in (
        "Models, widths and wordings",
        "Means:",
        "Learning curves:",
        "Rows until PLR-E passes:",
        "By task:",
    ):
        assert f"## {heading}" in text
        assert heading in page
    rows = rows_of(measured)
    own = [row for row in rows if (row["bits"], row["wording"], row["method"]) == ("4", "paper", "zero-shot")]
    mean = np.mean([row["balanced_accuracy"] for row in own])
    assert f"| zero-shot, 4 bits | {mean:.3f} |" in text


def test_plan_computes_nothing(
    folder: Path, tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "study",
        "--tasks",
        folder,
        "--model",
        tiny_llama.path,
        "--bits",
        "8",
        *OPTIONS,
        "-o",
        tmp_path,
        "--plan",
    ]
    assert main([str(word) for word in arguments]) == 0
    said = capsys.readouterr().err
    assert "8 bits: 2 passes, " in said
    assert "seconds, and some more for solving" in said
    assert not (tmp_path / "report.html").exists()
    kept = Results(tmp_path / "results.sqlite")
    assert kept.rows() == []
    kept.close()


def test_two_bits_that_do_not_fit_are_named_for_what_they_are(
    folder: Path, tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["study", "--tasks", folder, "--only", "two", "--model", tiny_llama.path, "--bits", "2", "--methods",
                 "zero-shot", "--test-rows", "6", "-o", tmp_path]  # fmt: skip
    assert main([str(word) for word in arguments]) == 0
    assert "rows of the model do not fit it" in capsys.readouterr().err
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "2 bits: " in text
    assert "Q4_0" in text


def test_a_plain_table(run: Run, tiny_llama: TinyModel, tmp_path: Path) -> None:
    texts, labels = load_demo()
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("message", "kind"), *zip(texts, labels, strict=True)])
    settings = ("--text", "message", "--label", "kind", "--model", tiny_llama.path, "--bits", "8", *OPTIONS, "-q")
    assert "--instruction" in run("study", "--tasks", path, *settings, code=2)
    question = "What is the customer doing?"
    run("study", "--tasks", path, "--instruction", question, "--methods", "plr-l", *settings, "-o", tmp_path / "out")
    assert "rows" in (tmp_path / "out" / "report.md").read_text("utf-8")
    task = read_csv_task(path, "message", "kind", question)
    assert len(task.train) + len(task.test) == len(texts)
    assert not set(task.train) & set(task.test)
    assert Counter(label for _, label in task.train).keys() == set(labels)
    prompt = prompt_of(task, "paper")
    assert question in prompt.suffix
    assert list(prompt.answers) == sorted(set(labels))


def test_a_model_elsewhere_is_asked_and_its_replies_are_kept(
    folder: Path, tiny_llama: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def answer(body: dict[str, Any], number: int) -> Said:
        if number == 20:
            return Said(status=401, reply="no")
        return Said("b" if number % 3 == 0 else "a" if number % 3 == 1 else "I cannot say")

    with ChatServer(answer) as server:
        arguments = ["study", "--tasks", folder, "--only", "two", "--model", tiny_llama.path, "--bits", "8",
                     "--methods", "plr-l", "--rows", "5", "--seeds", "1", "--test-rows", "24", "-q",
                     "-o", tmp_path, "--json", tmp_path / "all.json", "--endpoint-model", "large",
                     "--endpoint-url", server.base_url, "--endpoint-prices", "1", "2"]  # fmt: skip
        words = [str(word) for word in arguments]
        assert main(words) == 1  # refused at the 21st text: 16 are kept
        n_asked = len(server.bodies)
        assert main(words) == 0
        assert len(server.bodies) - n_asked == 24 - 16
    (row,) = [row for row in json.loads((tmp_path / "all.json").read_text()) if row["method"] == "endpoint"]
    assert row["model"] == "large"
    assert row["n_unknown"] > 0
    assert row["cost_of_this_run"] > 0
    assert "log_loss" not in row
    report = (tmp_path / "report.md").read_text("utf-8")
    assert "| endpoint | " in report
    assert f"large, two, wording 'paper': {row['n_unknown']} of 24 replies were no answer" in report


def test_an_encoder_has_plr_e_alone(folder: Path, tiny_bert: TinyModel, tmp_path: Path) -> None:
    arguments = ["study", "--tasks", folder, "--only", "two", "--model", tiny_bert.path, "--bits", "32", *OPTIONS, "-q"]
    assert main([str(word) for word in [*arguments, "-o", tmp_path, "--json", tmp_path / "all.json"]]) == 0
    rows = json.loads((tmp_path / "all.json").read_text())
    assert {row["method"] for row in rows} == {"plr-e", "plr-e final", "tf-idf"}
    said = (tmp_path / "report.md").read_text("utf-8")
    assert "plr-l, zero-shot, zero-shot calibrated, few-shot; it is an encoder, which says nothing." in said


def test_what_leaves_nothing_to_measure_is_refused(
    folder: Path, tiny_bert: TinyModel, tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, more, said in (
        (tiny_bert, ("--methods", "zero-shot"), "zero-shot; it is an encoder"),
        (tiny_llama, ("--methods", "plr-e", "--rows", "1000"), "1000 rows of each class"),
        (tiny_llama, ("--methods", "few-shot", "--k", "5000"), "few-shot with 5000 examples"),
    ):
        words = ["study", "--tasks", folder, "--model", model.path, "--bits", "32", *more, "-q", "-o", tmp_path]
        assert main([str(word) for word in words]) == 1
        error = capsys.readouterr().err
        assert "there is nothing to measure: " in error
        assert said in error
    assert not (tmp_path / "report.md").exists()


def test_texts_without_a_word_stop_tf_idf_alone(
    tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, ((chr(0x1F600 + n), "ab"[n % 2]) for n in range(40)))
    words = ["study", "--tasks", path, "--instruction", "Which?", "--model", tiny_llama.path, "--bits", "8", "--rows",
             "5", "--seeds", "1", "-q", "-o", tmp_path / "out", "--json", tmp_path / "all.json", "--methods", "tf-idf",
             "plr-e", "zero-shot"]  # fmt: skip
    assert main([str(word) for word in words]) == 1
    assert "TF-IDF finds no word of two letters in 10 training rows" in capsys.readouterr().err
    assert {row["method"] for row in json.loads((tmp_path / "all.json").read_text())} == {"plr-e", "zero-shot"}


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_an_answer_that_begins_another_stops_its_wording_alone(
    tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: tuple[str, ...]
) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, ((f"message {n}", ("not", "not good")[n % 2]) for n in range(40)))
    words = ["study", "--tasks", path, "--instruction", "Which?", "--model", tiny_llama.path, "--bits", "8",
             "--methods", "zero-shot", "--wording", "words", "paper", "-o", tmp_path / "out", "--json",
             tmp_path / "all.json", *quiet]  # fmt: skip
    assert main([str(word) for word in words]) == 1
    assert "1 of 2 could not be measured: rows, " in capsys.readouterr().err
    assert [row["wording"] for row in json.loads((tmp_path / "all.json").read_text())] == ["paper"]


def test_quick_is_little(folder: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    arguments = ["study", "--tasks", folder, "--model", tiny_llama.path, "--quick", "-o", tmp_path, "-q", "--json"]
    assert main([str(word) for word in [*arguments, tmp_path / "all.json", "--rows", "5", "--k", "2"]]) == 0
    rows = json.loads((tmp_path / "all.json").read_text())
    assert {row["seed"] for row in rows} == {0, 1}
    assert {row["n_per_class"] for row in rows if row["method"] == "plr-e"} == {5}


def test_what_changed_is_measured_anew_and_only_it_is_shown(tiny_llama: TinyModel, tmp_path: Path) -> None:
    texts, labels = load_demo()
    path = tmp_path / "rows.csv"

    def study(question: str, rows: slice, *more: object) -> list[dict[str, Any]]:
        write_rows(path, list(zip(texts, labels, strict=True))[rows])
        words = ["study", "--tasks", path, "--instruction", question, "--model", tiny_llama.path, "--bits", "8",
                 "--methods", "zero-shot", "--test-rows", "20", "-q", "-o", tmp_path / "out", "--json",
                 tmp_path / "all.json", *more]  # fmt: skip
        assert main([str(word) for word in words]) == 0
        return json.loads((tmp_path / "all.json").read_text())

    (first,) = study("What does the customer want?", slice(None))
    (other,) = study("Which animal is it?", slice(None))
    assert other["source"] != first["source"]
    assert other["log_loss"] != first["log_loss"]
    (fewer,) = study("What does the customer want?", slice(0, 60))
    assert fewer["source"] not in (first["source"], other["source"])
    (again,) = study("What does the customer want?", slice(None))
    assert again == first
    (small,) = study("What does the customer want?", slice(None), "--test-rows", "10")
    assert small["n_test"] == 10  # and the 20 of before are not shown beside it


def test_two_models_of_one_name_are_refused(folder: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    other = tmp_path / tiny_llama.path.name
    other.write_bytes(tiny_llama.path.read_bytes())
    words = ["study", "--tasks", folder, "--model", tiny_llama.path, other, "--bits", "source", "-o", tmp_path / "out"]
    assert main([str(word) for word in [*words, "-q"]]) == 1


def test_a_task_that_fails_does_not_stop_the_others(
    folder: Path, tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "tasks"
    shutil.copytree(folder, root)
    entries = json.loads((root / "tasks.json").read_text())["tasks"]
    entries[0]["option_letters"] = {}  # nothing to answer with
    entries[1]["option_letters"] = dict.fromkeys(entries[1]["labels"], "a")  # answers that cannot be told apart
    (root / "tasks.json").write_text(json.dumps({"tasks": entries}))
    words = [
        "study",
        "--tasks",
        root,
        "--model",
        tiny_llama.path,
        "--bits",
        "8",
        *OPTIONS,
        "-q",
        "-o",
        tmp_path / "out",
    ]
    assert main([str(word) for word in [*words, "--json", tmp_path / "all.json"]]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{entries[1]['name']}, " in said
    rows = json.loads((tmp_path / "all.json").read_text())
    assert {row["method"] for row in rows if row["task"] == entries[0]["name"]} == {"plr-e", "plr-e final", "tf-idf"}
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert f"Not measured: {entries[0]['name']}, wording 'paper': methods that ask for an answer" in text
    assert f"Not measured: {entries[1]['name']}, " in text
    assert "## By task" in text


def test_tasks_of_unequal_size(folder: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    root = tmp_path / "tasks"
    shutil.copytree(folder, root)
    with (root / "two" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {row["label"] for row in rows}
    few = [row for label in labels for row in [one for one in rows if one["label"] == label][:6]]
    write_rows(root / "two" / "train.csv", ((row["text"], row["label"]) for row in few))
    sizes = ("--rows", "3", "5", "12", "--seeds", "2", "--test-rows", "12")
    words = [
        "study",
        "--tasks",
        root,
        "--model",
        tiny_llama.path,
        "--bits",
        "8",
        "--methods",
        "plr-l",
        "zero-shot",
        *sizes,
    ]
    words += ["-q", "-o", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "Not measured: two: 12 rows of each class; it has 6 of" in text
    means = text.partition("## Means")[2].partition("## ")[0]
    assert "from 5 rows of each class" in means
    assert "| plr-l |" in means
    curves = text.partition("## Learning curves")[2].partition("## ")[0]
    assert "12 rows a class" not in curves
    assert "| plr-l |" in curves


def test_few_shot_is_compared_on_the_same_rows(measured: Path, folder: Path) -> None:
    (task,) = read_tasks(folder, ["three"])
    assert task.tested(12)[:6] == task.tested(6)
    rows = rows_of(measured)
    few = next(row for row in rows if row["method"] == "few-shot")
    assert few["balanced_accuracy_of_few_shot_rows"] == few["balanced_accuracy"]
    assert all("balanced_accuracy_of_few_shot_rows" in row for row in rows)


def test_texts_that_are_there_twice_do_not_leak(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [(f"text {n % 10}", "a" if n % 10 < 5 else "b") for n in range(40)] + [("both", "a"), ("both", "b")]
    write_rows(path, rows)
    task = read_csv_task(path, "text", "label", "Which?")
    assert len(task.train) + len(task.test) == 10
    assert not set(task.train) & set(task.test)
    assert task.remark == "31 rows whose text is there before, 1 texts with several labels"


def test_draws_are_nested_and_differ_by_seed(folder: Path) -> None:
    (task,) = read_tasks(folder, ["three"])
    small, large, other = task.draw(3, 0), task.draw(6, 0), task.draw(6, 1)
    assert set(small) < set(large)
    assert large != other
    assert Counter(task.train[row][1] for row in large) == dict.fromkeys(task.labels, 6)
    assert task.draw(10_000, 0) is None
    assert task.tested(5) == task.tested(5)
    assert len(task.tested(5)) == 5
    assert sorted(task.tested(10_000)) == sorted(task.test)


@pytest.mark.parametrize("wording", WORDINGS)
def test_wordings_ask_for_the_same_labels(folder: Path, wording: str) -> None:
    (task,) = read_tasks(folder, ["three"])
    prompt = prompt_of(task, wording)
    assert list(prompt.answers) == list(task.labels)
    assert (prompt.suffix + prompt.cue).rstrip().endswith("Answer:")
    assert "(a)" in prompt.render("x")


def test_bad_tasks(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tasks.json cannot be read"):
        read_tasks(tmp_path)
    (tmp_path / "tasks.json").write_text("[]")
    with pytest.raises(InputError, match="describes no tasks"):
        read_tasks(tmp_path)
    entry = described("two", ["a", "b"])
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": [entry]}))
    with pytest.raises(InputError, match=r"train\.csv"):
        read_tasks(tmp_path)
    (tmp_path / "two").mkdir()
    for part in ("train", "test"):
        (tmp_path / "two" / f"{part}.csv").write_text("text,label\nsome,a\nmore,c\n")
    with pytest.raises(InputError, match=r"row 2 of .*train\.csv has the label 'c', .* expected one of 'a', 'b'"):
        read_tasks(tmp_path)
    del entry["option_letters"]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": [entry]}))
    with pytest.raises(InputError, match=r"the task 'two' in .* has no 'option_letters'"):
        read_tasks(tmp_path)
    entry["option_letters"] = {"a": "a", "c": "b"}
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": [entry]}))
    with pytest.raises(InputError, match=r"has option_letters for \['a', 'c'\]: expected \['a', 'b'\]"):
        read_tasks(tmp_path)
    for entries in ([], [described("two", ["a", "b"])] * 2):
        (tmp_path / "tasks.json").write_text(json.dumps({"tasks": entries}))
        with pytest.raises(InputError, match="expected some, each with its own name"):
            read_tasks(tmp_path)
    with pytest.raises(InputError, match="no task 'four' in"):
        read_tasks(folder, ["four"])
    one = tmp_path / "one.csv"
    one.write_text("text,label\nsome,a\nmore,b\nthird,b\n")
    with pytest.raises(InputError, match="one row of the label 'a'"):
        read_csv_task(one, "text", "label", "Which?")
    one.write_text("text,label\nsome,a\nmore,a\n")
    with pytest.raises(InputError, match="has 1 labels: expected 2 to 26"):
        read_csv_task(one, "text", "label", "Which?")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": ("3",)}, "bits is '3': expected one of 2, 4, 8"),
        ({"wordings": ("mine",)}, "wording is 'mine'"),
        ({"methods": ("magic",)}, "method is 'magic'"),
        ({"n_per_class": (0,)}, "rows is 0"),
        ({"n_seeds": 0}, "seeds is 0"),
        ({"n_test": 0}, "test rows is 0"),
        ({"n_seeds": 10**20}, "seeds is 1.*: expected 1 to 1,000"),
        ({"methods": ("endpoint",)}, "no endpoint is named"),
    ],
)
def test_bad_options(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StudyOptions(("smollm2-135m",), **settings)


def test_results_of_another_file(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    path.write_text("this is no database, and it is long enough to look like none")
    with pytest.raises(InputError, match="cannot be used for the results of a study"):
        Results(path)
    assert path.read_text().startswith("this is no database")
    path = tmp_path / "mine.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    with pytest.raises(InputError, match="no file of a study"):
        Results(path)


def test_results_are_kept_all_or_none(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.sqlite")
    cells = [Cell("t", "m", "4", "paper", "plr-e", n, 0, 10, "") for n in (5, 10)]
    results.put([(cells[0], {"accuracy": 0.5})])
    with pytest.raises(TypeError):
        results.put([(cells[1], {"accuracy": 0.5}), (cells[0], {"accuracy": object()})])
    results.close()
    results = Results(tmp_path / "r.sqlite")
    assert cells[0] in results
    assert cells[1] not in results
    assert results.rows()[0]["accuracy"] == 0.5
    results.close()


def test_methods_are_named_alike() -> None:
    assert set(StudyOptions(("m",)).methods) == set(METHODS)
    assert Prompt.from_task(described("x", ["a", "b"])).answers == {"a": "a", "b": "b"}
