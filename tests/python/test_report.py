"""The report of a fit: computed on demand, kept in files, shown as text, page and picture."""

from __future__ import annotations

import gc
import json
import math
import pickle
import warnings
import weakref
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fastplr
from fastplr import InputError, PLRClassifier
from fastplr.cli import main
from fastplr.report import Report
from fastplr.tables import write_table
from labelled_texts import train_and_test
from tiny_models import TinyModel

LATER = {"estimate", "per_class", "confusions", "disputed", "learning_curve"}


@pytest.fixture(scope="module")
def fitted(tiny_llama: TinyModel) -> PLRClassifier:
    train, labels, _ = train_and_test(3, n_train=60)
    return fastplr.fit(train, labels, model=tiny_llama.path)


class _WellFormed(HTMLParser):
    """Counts what is opened and not closed again."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_what_takes_time_is_computed_when_it_is_asked_for(tiny_llama: TinyModel) -> None:
    train, labels, _ = train_and_test(2)
    report = fastplr.fit(train, labels, model=tiny_llama.path).report_
    assert not LATER & set(report.known())
    assert set(report) >= LATER
    assert "not computed so far: estimate, per_class" in repr(report)
    first = report["per_class"]
    assert report["per_class"] is first
    assert set(report.known()) & LATER == LATER - {"learning_curve"}  # what comes with it
    with pytest.raises(KeyError):
        report["nothing"]


@pytest.mark.parametrize("progress", [True, False, None])
def test_bars_count_folds_and_fits_where_they_are_wanted(
    tiny_llama: TinyModel, capsys: pytest.CaptureFixture[str], progress: bool | None
) -> None:
    train, labels, _ = train_and_test(2)
    report = fastplr.fit(train, labels, model=tiny_llama.path, progress=progress).report_
    capsys.readouterr()
    report.compute()
    shown = capsys.readouterr().err
    if progress:
        assert "estimate on new texts" in shown
        assert "/5 [" in shown
        assert "learning curve" in shown
        assert "/80 [" in shown
    else:
        assert shown == ""  # which is no terminal


def test_features_of_all_candidates_are_let_go_when_everything_is_computed(tiny_llama: TinyModel) -> None:
    train, labels, _ = train_and_test(2)
    classifier = fastplr.fit(train, labels, model=tiny_llama.path)
    held = classifier.report_._later[0][1].__self__.fit.among.features
    assert held.shape == (len(train), 3, 2, 64)
    features = weakref.ref(held)
    del held
    classifier.report_.compute()
    gc.collect()
    assert features() is None


def test_everything_is_plain_and_kept_in_the_file(fitted: PLRClassifier, tmp_path: Path) -> None:
    everything = fitted.report_.compute()
    assert json.loads(json.dumps(everything)) == everything
    fitted.save(tmp_path / "a.plr")
    loaded = fastplr.load(tmp_path / "a.plr")
    assert dict(loaded.report_) == everything
    assert loaded.report_.format() == fitted.report_.format()
    assert dict(pickle.loads(pickle.dumps(fitted)).report_) == everything


def test_a_file_saved_before_says_that_there_is_no_estimate(tiny_llama: TinyModel, tmp_path: Path) -> None:
    train, labels, _ = train_and_test(2)
    fastplr.fit(train, labels, model=tiny_llama.path).save(tmp_path / "a.plr")
    report = fastplr.load(tmp_path / "a.plr").report_
    assert "estimate" not in report
    assert "Not computed" in report.format()
    assert "Not computed" in report.to_html()


def test_the_text_says_what_the_values_are(fitted: PLRClassifier) -> None:
    text, report = fitted.report_.format(), fitted.report_
    score = report["estimate"]["balanced_accuracy"]
    assert f"balanced accuracy  {score['value']:.2f}" in text
    assert f"layer {fitted.layer_} of 4, {fitted.pooling_} pooling" in text
    for one in report["per_class"]:
        assert f"{one['label']}" in text
    words = " ".join(text.split())
    assert f"50 more labels: balanced accuracy {report['learning_curve']['gain']['value']:+.3f}" in words
    assert max(map(len, text.splitlines())) < 160


def test_a_page_is_well_formed_and_holds_no_markup_of_others(tiny_llama: TinyModel) -> None:
    pytest.importorskip("matplotlib")
    train, labels, _ = train_and_test(2)
    names = {label: f"<b onclick='x()'>{label}&" for label in labels}
    wrong = [names[label] for label in labels]
    wrong[0], wrong[1] = wrong[1], wrong[0]  # to have some disputed
    texts = [f"<script>alert({i})</script> {text}" for i, text in enumerate(train)]
    page = fastplr.fit(texts, wrong, model=tiny_llama.path).report_.to_html(texts)
    assert "<script" not in page
    assert "<b onclick" not in page
    assert "<svg" in page
    parser = _WellFormed()
    parser.feed(page)
    assert any("<b onclick='x()'>" in text for text in parser.texts)


def test_texts_on_a_page_are_those_fitted_on(fitted: PLRClassifier) -> None:
    with pytest.raises(InputError, match="there are 1 texts: expected the 60 training texts"):
        fitted.report_.to_html(["a"])


def test_pictures_show_the_values(fitted: PLRClassifier) -> None:
    pytest.importorskip("matplotlib")
    by_penalty, by_layer, by_rows = fitted.report_.plot().axes
    best = fitted.report_["candidates"][0]
    np.testing.assert_allclose(by_penalty.lines[0].get_xydata(), np.column_stack([best["Cs"], best["curve"]]))
    assert by_layer.get_xlabel() == "layer"
    drawn = {bars.get_label(): bars.lines[0] for bars in by_layer.containers}
    assert len(drawn) == len(by_layer.get_legend().get_texts())
    for label, line in drawn.items():
        pooling, by = label.split(", by ")
        own = [
            one["log_loss"]
            for one in fitted.report_["candidates"]
            if (one["pooling"], one["confirmed"]) == (pooling, by == "folds")
        ]
        assert list(line.get_ydata()) == own
        assert (line.get_linestyle(), line.get_markerfacecolor() == "white") == ("None", by == "leave-one-out")
    assert {label.split(", by ")[1] for label in drawn} == {"folds", "leave-one-out"}
    curve = fitted.report_["learning_curve"]
    np.testing.assert_allclose(by_rows.lines[-1].get_ydata(), [curve["now"], curve["with_more"]])


def test_command_line(tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, labels, test = train_and_test(3, n_train=60)
    write_table(tmp_path / "train.csv", {"text": train, "label": labels})
    write_table(tmp_path / "new.csv", {"text": test})
    saved, page = tmp_path / "a.plr", tmp_path / "a.html"

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    columns = ("--text", "text", "--label", "label")
    prior = [word for label in ("complaint=2", "fraud=1", "service=1") for word in ("--class-prior", label)]
    said = run("fit", tmp_path / "train.csv", *columns, "-o", saved, "--model", tiny_llama.path, *prior)
    loaded = fastplr.load(saved)
    score = loaded.report_["estimate"]["balanced_accuracy"]
    assert f"balanced accuracy {score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})" in said
    assert "the best of 6 by held-out log-loss" in said
    assert loaded.class_prior == {"complaint": 2.0, "fraud": 1.0, "service": 1.0}

    assert run("report", saved) == loaded.report_.format()
    assert json.loads(run("report", saved, "--json")) == loaded.report_.known()
    run("report", saved, "-o", page, "--table", tmp_path / "train.csv", "--text", "text")
    assert page.read_text("utf-8") == loaded.report_.to_html(train)
    for ending in (".svg", ".png"):
        pytest.importorskip("matplotlib")
        run("report", saved, "-o", tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").stat().st_size > 1000

    rows = run("predict", saved, tmp_path / "new.csv", "--text", "text").splitlines()
    assert rows[0] == "text,label,p_complaint,p_fraud,p_service,familiarity"
    shares = [float(row.rpartition(",")[2]) for row in rows[1:]]
    np.testing.assert_allclose(shares, loaded.familiarity(test), rtol=1e-2)


def test_no_report_saves_the_time(tiny_llama: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, labels, _ = train_and_test(2)
    write_table(tmp_path / "train.csv", {"text": train, "label": labels})
    arguments = [
        "fit",
        str(tmp_path / "train.csv"),
        "--text",
        "text",
        "--label",
        "label",
        "-o",
        str(tmp_path / "a.plr"),
    ]
    assert main([*arguments, "--model", str(tiny_llama.path), "--no-report"]) == 0
    assert "estimate" not in capsys.readouterr().out
    assert "estimate" not in fastplr.load(tmp_path / "a.plr").report_


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "a.doc"], "'a.doc' ends in '.doc': expected .html, .svg, .png or .pdf"),
        (["--table", "t.csv"], "--table and --text belong together"),
        (["--text", "text"], "--table and --text belong together"),
        (["--table", "t.csv", "--text", "text"], "--table is for a page; give -o FILE.html"),
        (["--json", "-o", "a.html"], "--json prints on standard output"),
    ],
)
def test_what_cannot_be_shown(
    fitted: PLRClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    fitted.save(tmp_path / "a.plr")
    assert main(["report", str(tmp_path / "a.plr"), *arguments]) != 0
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"classes": 3},
        {"classes": [], "model": {}, "layer": 1},
        {"estimate": {}, "classes": [], "model": {"name": "m"}, "layer": 1, "n_layers": 2, "pooling": "mean"},
    ],
)
def test_a_report_of_another_kind_is_the_files_fault(
    fitted: PLRClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str], written: dict[str, object]
) -> None:
    path = tmp_path / "a.plr"
    fitted.save(path)
    other = fastplr.load(path)
    other.report_ = Report(written)
    other.save(path)
    assert main(["report", str(path)]) == 1
    err = capsys.readouterr().err
    assert "fastplr: error: the report in" in err
    assert "is damaged, or of another version" in err


@pytest.mark.parametrize("value", ["spam", "spam=x", "=", "spam="])
def test_shares_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    arguments = ["fit", str(tmp_path / "t.csv"), "--text", "t", "--label", "l", "-o", "o", "--class-prior", value]
    assert main(arguments) == 2
    assert "expected LABEL=SHARE, such as spam=0.1" in capsys.readouterr().err


def test_without_a_penalty_there_is_no_curve_and_still_a_page(tiny_llama: TinyModel) -> None:
    pytest.importorskip("matplotlib")
    train, labels, _ = train_and_test(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastplr.NotConverged)
        report = fastplr.fit(train, labels, model=tiny_llama.path, C=math.inf).report_
        assert "C inf" in report.format()
        assert "<svg" in report.to_html()
