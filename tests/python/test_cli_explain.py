"""``fastplr explain``: the explanations of the Python API, as text, JSON and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fastplr
from cli_tools import Run, csv_rows


def test_one_text_as_json_is_what_python_says(run: Run, fitted: Path) -> None:
    text = "My card <b>hasn't</b> arrived"
    for options, settings in (
        ([], {}),
        (["--method", "additive", "--by", "phrase"], {"method": "additive", "by": "phrase"}),
        (["--budget", "20", "--of", "fraud", "--stability"], {"budget": 20, "label": "fraud", "stability": True}),
    ):
        [found] = json.loads(run("explain", fitted, "--text", text, "--json", *options))
        [expected] = fastplr.load(fitted).explain([text], **settings)
        assert found == json.loads(json.dumps(expected.to_dict()))


def test_without_a_terminal_the_strongest_words_are_listed(run: Run, fitted: Path) -> None:
    out = run("explain", fitted, "--text", "My card [bold]hasn't[/bold] arrived", "--method", "additive")
    facts, text, strongest, *_ = out.splitlines()
    assert "logit" in facts
    assert text == "My card [bold]hasn't[/bold] arrived"  # no markup of ours
    [one] = fastplr.load(fitted).explain([text], method="additive")
    first = max(one.spans, key=lambda span: abs(span.value))
    assert strongest.strip().startswith(f"{first.text} {first.value:+.2f}")
    assert "\x1b" not in out


def test_a_table_becomes_a_page_with_a_filter(run: Run, fitted: Path, train_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "why.html"
    run("explain", fitted, train_csv, "--text", "text", "--label", "label", "--method", "additive", "--html", out)
    page = out.read_text("utf-8")
    rows = csv_rows(train_csv.read_text("utf-8"))
    assert page.count("<article ") == len(rows)
    assert page.count("data-wrong='1'") == sum(
        label != row["label"]
        for label, row in zip(fastplr.load(fitted).predict([row["text"] for row in rows]), rows, strict=True)
    )
    assert "errors only" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", ""], "texts[0] is empty"),
        (["--text", "a", "--label", "label"], "--label names a column of a table"),
        (["--text", "a", "--json", "--html", "x.html"], "--json prints on standard output"),
        (["--text", "a", "--of", "nobody"], "expected one of"),
        (["--text", "a", "--budget", "0"], "budget"),
    ],
)
def test_bad_input(fitted: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from fastplr.cli import main

    assert main(["explain", str(fitted), *options]) != 0
    assert message in capsys.readouterr().err
