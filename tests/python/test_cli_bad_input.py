"""The command line says in one line what it cannot do."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastplr
from cli_tools import FIT, Run
from fastplr.cli import main
from fastplr.cli.wording import in_options
from fastplr.tables import write_table
from tiny_models import TinyModel

# -- what cannot be done --


def check_error(err: str, *parts: str) -> None:
    assert err.startswith("fastplr: error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def test_errors_of_the_data_are_one_line_and_leave_no_file(
    run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    out = tmp_path / "a.plr"
    rest = ("-o", out, "--model", tiny_llama.path)
    missing_column = run("fit", train_csv, "--text", "txt", "--label", "label", *rest, code=1)
    check_error(missing_column, "no column 'txt'", "'id', 'text', 'label'", "Did you mean 'text'?")
    check_error(run(*FIT, tmp_path / "none.csv", *rest, code=1), "none.csv: no such file")
    write_table(tmp_path / "blank.csv", {"text": ["a", " ", "b"], "label": ["x", "y", "x"]})
    check_error(run(*FIT, tmp_path / "blank.csv", *rest, code=1), "no text in column 'text': row 2 (line 3)")
    write_table(tmp_path / "one.csv", {"text": ["a", "b"], "label": ["x", "x"]})
    check_error(run(*FIT, tmp_path / "one.csv", *rest, code=1), "'x'")
    assert not out.exists()


def test_errors_of_the_model(run: Run, train_csv: Path, fitted: Path, tiny_spm: TinyModel, tmp_path: Path) -> None:
    fit = (*FIT, train_csv, "-o", tmp_path / "a.plr", "--model")
    check_error(run(*fit, "smolm2-135m", code=1), "smollm2-135m")
    check_error(run(*fit, train_csv, code=1), "train.csv")  # no GGUF file
    predict = (train_csv, "--text", "text")
    check_error(run("predict", tmp_path / "none.plr", *predict, code=1), "none.plr")
    check_error(run("predict", tiny_spm.path, *predict, code=1), tiny_spm.path.name)
    check_error(run("predict", fitted, *predict, "--model", tiny_spm.path, code=1), "model")
    check_error(run("info", train_csv, code=1), "train.csv")
    (tmp_path / "cut.plr").write_bytes(fitted.read_bytes()[:-100])
    check_error(run("predict", tmp_path / "cut.plr", *predict, code=1), "cut.plr", "cut short")
    check_error(run("info", tmp_path / "cut.plr", code=1), "no usable classifier file", "cut short")


def test_outputs_are_checked_before_the_work(run: Run, train_csv: Path, fitted: Path, tmp_path: Path) -> None:
    check_error(run(*FIT, train_csv, "-o", train_csv, code=1), "is an input as well")
    check_error(run(*FIT, train_csv, "-o", tmp_path, code=1), "is a directory")
    check_error(run(*FIT, train_csv, "-o", tmp_path / "no" / "a.plr", code=1), "there is no folder")
    predict = ("predict", fitted, train_csv, "--text", "text", "-o")
    check_error(run(*predict, tmp_path / "out.xlsx", code=1), "the ending '.xlsx'")
    check_error(run(*predict, fitted, code=1), "the ending '.plr'")
    check_error(run("embed", train_csv, "--text", "text", "-o", tmp_path / "e.npz", code=1), "the ending '.npz'")


def test_a_classifier_goes_to_a_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The table is not there: that is not even looked at.
    assert "a classifier goes to a file" in run(*FIT, "none.csv", "-o", "-", code=2)
    for device in ("/dev/null", "/dev/stdout", "/dev/fd/1"):
        if Path(device).exists():
            check_error(run(*FIT, "none.csv", "-o", device, code=1), f"{device} is a device or a pipe")
    assert list(tmp_path.iterdir()) == []


def test_errors_speak_of_rows_and_options(
    run: Run, fitted: Path, tiny_llama: TinyModel, tiny_spm: TinyModel, tmp_path: Path
) -> None:
    write_table(tmp_path / "long.csv", {"text": ["two\nlines", "texts[0] " * 20_000], "label": ["a", "b"]})
    rest = ("--model", tiny_llama.path, "-o")
    for command in (
        (*FIT, tmp_path / "long.csv", *rest, tmp_path / "a.plr"),
        ("embed", tmp_path / "long.csv", "--text", "text", *rest, tmp_path / "e.npy"),
        ("predict", fitted, tmp_path / "long.csv", "--text", "text"),
    ):
        err = run(*command, code=1)
        check_error(err, "long.csv, row 2 (line 4): the text 'texts[0] texts[0]", "(--on-long truncate cuts")
    full = "word " * 20_000
    err = run("embed", tmp_path / "long.csv", "--text", "text", *rest, tmp_path / "e.npy", "--prefix", full, code=1)
    check_error(err, "no room for the text of row 1 (line 2)")
    write_table(tmp_path / "kinds.jsonl", {"text": ["a", "b", "c"], "label": [1, 0, True]})
    err = run(*FIT, tmp_path / "kinds.jsonl", *rest, tmp_path / "a.plr", code=1)
    check_error(err, "row 1 (line 1): the label is 1 (int) and the label of row 3 (line 3) is True (bool)")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("too long (on_long='truncate' cuts)", "too long (--on-long truncate cuts)"),
        ("another variant (allow_variant=True accepts it)", "another variant (--allow-variant accepts it)"),
        ("not at hand (model=... names it)", "not at hand (--model names it)"),
        ("the on_long of a text", "the on_long of a text"),
    ],
)
def test_arguments_are_shown_as_options(message: str, shown: str) -> None:
    assert in_options(message) == shown


def test_a_missing_model_is_asked_for_by_its_option(
    run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(tiny_llama.path.read_bytes())
    run(*FIT, train_csv, "-o", tmp_path / "a.plr", "--model", model, "--C", "1", "-q")
    model.unlink()
    err = run("predict", tmp_path / "a.plr", train_csv, "--text", "text", code=1)
    check_error(err, "--model names it")
    assert "model=" not in err


def test_texts_longer_than_the_context(run: Run, tiny_llama: TinyModel, tmp_path: Path, capsys: Any) -> None:
    write_table(tmp_path / "long.csv", {"text": ["short", "word " * 20_000]})
    embed = (
        "embed",
        tmp_path / "long.csv",
        "--text",
        "text",
        "--model",
        tiny_llama.path,
        "-o",
        tmp_path / "e.npy",
    )
    check_error(run(*embed, code=1))
    assert not (tmp_path / "e.npy").exists()
    assert main([*map(str, embed), "--on-long", "truncate"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastplr: warning: ")
    assert err.count("\n") == 1
    assert np.isfinite(np.load(tmp_path / "e.npy")).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "t.csv"], "Missing option"),
        (["fit", "t.csv", "--text", "a", "--label", "a", "-o", "f"], "--text and --label are both 'a'"),
        (
            [*FIT, "t.csv", "-o", "f", "--layer", "top"],
            "'top': expected a whole number or middle or auto",
        ),
        ([*FIT, "t.csv", "-o", "f", "--C", "0"], "expected a number above 0, inf or auto"),
        ([*FIT, "t.csv", "-o", "f", "--C", "nan"], "expected a number above 0, inf or auto"),
        ([*FIT, "t.csv", "-o", "f", "--threads", "0"], "--threads"),
        ([*FIT, "t.csv", "-o", "f", "--pooling", "max"], "'max' is not one of"),
        (["fitt"], "No such command 'fitt'"),
        (["info"], "Missing argument"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run: Run, arguments: list[str], message: str) -> None:
    assert message in run(*arguments, code=2)


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback(run: Run, before: bool) -> None:
    command = ["info", "none.gguf"]
    err = run(*(["--debug", *command] if before else [*command, "--debug"]), code=1)
    assert err.startswith("Traceback")
    assert "fastplr: error: " in err
    assert "Traceback" not in run(*command, code=1)


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, run: Run, fitted: Path) -> None:
    class Interrupted(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Interrupted())))
    predict = ("predict", fitted, "-", "--text", "text")
    hint = "; with --cache, what was embedded would have been kept"
    assert run(*predict, code=130) == f"\nfastplr: interrupted{hint}\n"
    assert run(*predict, "--cache", code=130) == "\nfastplr: interrupted\n"


@pytest.mark.parametrize("cache", ["--cache", "--no-cache"])
def test_ctrl_c_during_the_estimate_says_what_is_saved(
    monkeypatch: pytest.MonkeyPatch, run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path, cache: str
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    saved = tmp_path / "a.plr"
    fit = (*FIT, train_csv, "-o", saved, "--model", tiny_llama.path, cache)
    with monkeypatch.context() as patch:
        patch.setattr("fastplr.report.Report.compute", interrupted)
        assert run(*fit, code=130) == (
            f"\nfastplr: interrupted; {saved} is saved and can predict; the same command again makes the estimate for "
            "'fastplr report'\n"
        )
    assert "p_fraud" in run("predict", saved, train_csv, "--text", "text")
    assert "Not computed" in run("report", saved)
    run(*fit)
    assert "What to expect on new texts" in run("report", saved)


def test_ctrl_c_while_a_command_begins(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastplr.cli.app.cli.main", interrupted)
    assert run("--help", code=130) == "fastplr: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_reader_who_leaves_is_no_error(fitted: Path, new_csv: Path) -> None:
    arguments = [sys.executable, "-m", "fastplr", "predict", str(fitted), str(new_csv), "--text", "text"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert err == b""
    assert process.returncode == 141


def test_help_of_every_command(run: Run) -> None:
    top = run("--help")
    for command in ("fit", "predict", "embed", "models", "info", "convert", "demo"):
        assert f"  {command} " in top
        assert "--debug" in run(command, "--help") or command == "models"
    assert fastplr.__version__ in run("--version")
