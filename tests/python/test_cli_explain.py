"""``fastplr explain``: the explanations of the Python API, as text, JSON and a page."""

from __future__ import annotations

import html
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
        (["--replacement", "...", "--seed", "3"], {"replacement": "...", "random_state": 3}),
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
    assert strongest.strip().startswith(f"“{first.text}” {first.value:+.2f}")
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


def test_notes_of_a_table_on_paper_and_in_json(run: Run, fitted: Path, train_csv: Path, tmp_path: Path) -> None:
    rows = [row["text"] for row in csv_rows(train_csv.read_text("utf-8"))]
    classifier = fastplr.load(fitted)
    flips, influences = classifier.counterfactual(rows), classifier.influence(rows, n=3)
    options = ["--text", "text", "--method", "additive", "--flip", "--influence"]
    entries = json.loads(run("explain", fitted, train_csv, *options, "--json"))
    assert [one["counterfactual"]["words"] for one in entries] == [one.words for one in flips]
    assert [[row["row"] for row in one["influence"]] for one in entries] == [
        [row.row for row in one] for one in influences
    ]
    out = run("explain", fitted, train_csv, *options, "--training", train_csv)
    run("explain", fitted, train_csv, *options, "--training", train_csv, "--stability", "--html", tmp_path / "why.html")
    page = html.unescape((tmp_path / "why.html").read_text("utf-8"))
    for flip, some in zip(flips, influences, strict=True):
        for shown in (out, page):
            if flip.removed:
                assert f"{', '.join(f'“{word}”' for word in flip.words)}: {flip.becomes}" in shown
            for row in some:
                assert f"Training text {row.row + 1} ({row.label}) speaks" in shown
                assert " ".join(rows[row.row].split())[:70] in shown
    assert "Words that speak most for each class" in page


def test_overview(run: Run, fitted: Path, train_csv: Path) -> None:
    texts = [row["text"] for row in csv_rows(train_csv.read_text("utf-8"))]
    expected = fastplr.load(fitted).overview(texts, method="additive")
    options = ["--text", "text", "--method", "additive", "--overview"]
    assert run("explain", fitted, train_csv, *options).rstrip() == expected.format().rstrip()
    assert json.loads(run("explain", fitted, train_csv, *options, "--json")) == json.loads(
        json.dumps(expected.to_dict())
    )


def test_picture(run: Run, fitted: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, begins in (("why.svg", b"<?xml"), ("why.png", b"\x89PNG"), ("why.PDF", b"%PDF")):
        run("explain", fitted, "--text", "My $card$ has not arrived", "--picture", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", ""], "texts[0] is empty"),
        (["--text", "a", "--label", "label"], "--label names a column of a table"),
        (["--text", "a", "--json", "--html", "x.html"], "--json prints on standard output"),
        (["--text", "a", "--of", "nobody"], "expected one of"),
        (["--text", "a", "--budget", "0"], "budget"),
        (["--text", "a", "--picture", "why.gif"], "expected .svg, .png or .pdf"),
        (["--text", "a", "--picture", "why.svg", "--json"], "--picture is of one text"),
        (["--text", "a", "--overview"], "--overview is of a table"),
        (["--text", "a", "--training", "x.csv"], "--training goes with --influence"),
        (["--text", "a", "--html", "no/such/folder.html"], "folder"),
    ],
)
def test_bad_input(fitted: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from fastplr.cli import main

    assert main(["explain", str(fitted), *options]) != 0
    assert message in capsys.readouterr().err
