"""The command line does what the Python API does."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastplr
from cli_tools import FIT, Run, csv_rows
from fastplr.tables import read_table, write_table
from tiny_models import TinyModel

# -- fit and predict --


def test_fit_and_predict_agree_with_python(
    run: Run, train_csv: Path, new_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    options = ["--instruction", "Which desk?", "--layer", "3", "--pooling", "mean_all", "--C", "0.1"]
    options += ["--class-weight", "balanced", "--threads", "1"]
    out = run(*FIT, train_csv, "-o", tmp_path / "a.plr", "--model", tiny_llama.path, *options)
    assert "60 in 3 classes: complaint" in out
    assert "layer 3, mean_all pooling" in out

    train, new = read_table(train_csv), read_table(new_csv)
    classifier = fastplr.fit(
        train.texts("text"),
        train.labels("label"),
        model=tiny_llama.path,
        prompt=fastplr.Prompt(instruction="Which desk?"),
        layer=3,
        pooling="mean_all",
        C=0.1,
        class_weight="balanced",
        n_threads=1,
    )
    probabilities = classifier.predict_proba(new.texts("text"))
    rows = csv_rows(run("predict", tmp_path / "a.plr", new_csv, "--text", "text"))
    assert list(rows[0]) == ["text", "label", "p_complaint", "p_fraud", "p_service", "familiarity"]
    assert [row["text"] for row in rows] == new.texts("text")
    assert [row["label"] for row in rows] == classifier.predict(new.texts("text")).tolist()
    found = np.array([[float(row[f"p_{label}"]) for label in classifier.classes_] for row in rows])
    np.testing.assert_allclose(found, probabilities, rtol=1e-4, atol=1e-6)


def test_fit_reports_as_json(run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    out = run(*FIT, train_csv, "-o", tmp_path / "a.plr", "--model", tiny_llama.path, "--json")
    report = json.loads(out)
    labels = [row["label"] for row in csv_rows(train_csv.read_text("utf-8"))]
    assert {entry["label"]: entry["count"] for entry in report["classes"]} == {
        label: labels.count(label) for label in set(labels)
    }
    assert report["layer"] == tiny_llama.n_layer // 2
    assert report["pooling"] == "mean"
    assert report["n_folds"] == 10
    assert 0 <= report["estimate"]["accuracy"]["value"] <= 1
    assert report["file_bytes"] == (tmp_path / "a.plr").stat().st_size


def test_fit_says_how_the_penalty_was_chosen_and_quiet_says_nothing(
    run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    fit = (*FIT, train_csv, "-o", tmp_path / "a.plr", "--model", tiny_llama.path)
    out = run(*fit)
    assert re.search(r"^C +[0-9.e-]+, by 10 folds$", out, re.MULTILINE)
    assert re.search(r"^estimate +balanced accuracy 0\.\d\d \(0\.\d\d to [01]\.\d\d\)", out, re.MULTILINE)
    assert run(*fit, "--C", "1", "--quiet") == ""
    assert json.loads(run(*fit, "--C", "inf", "--json"))["C"] == "inf"


def test_prompt_options(run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    fit = (*FIT, train_csv, "-o", tmp_path / "a.plr", "--model", tiny_llama.path, "--C", "1", "--quiet")
    for options, prefix, suffix in (
        (["--prefix", "Text:", "--suffix", " Desk:"], "Text:", " Desk:"),
        (["--instruction", "Which desk?"], "Which desk? ", ""),
        ([], "", ""),
    ):
        run(*fit, *options)
        prompt = fastplr.classifier_file_info(tmp_path / "a.plr")["prompt"]
        assert (prompt["prefix"], prompt["suffix"]) == (prefix, suffix)
    assert "--instruction and --prefix" in run(*fit, "--prefix", "a", "--instruction", "b", code=2)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_predict_writes_every_format_and_keeps_columns(
    run: Run, fitted: Path, new_csv: Path, tmp_path: Path, ending: str
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"out{ending}"
    assert run("predict", fitted, new_csv, "--text", "text", "-o", out, "--keep", "id", "--keep", "label") == ""
    table, given = read_table(out), read_table(new_csv)
    assert list(table.columns) == [
        "id",
        "input_label",
        "text",
        "label",
        "p_complaint",
        "p_fraud",
        "p_service",
        "familiarity",
    ]
    assert table.columns["id"] == given.columns["id"]
    assert table.columns["input_label"] == given.columns["label"]
    assert table.columns["text"] == given.columns["text"]
    assert table.columns["label"] == fastplr.predict(fitted, given.texts("text")).tolist()


def test_tables_come_from_standard_input_too(
    run: Run, fitted: Path, new_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file = run("predict", fitted, new_csv, "--text", "text")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(new_csv.read_bytes())))
    assert run("predict", fitted, "-", "--text", "text") == from_file
    lines = "".join(json.dumps({"text": text}) + "\n" for text in read_table(new_csv).texts("text"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert run("predict", fitted, "-", "--text", "text", "--format", "jsonl") == from_file


def test_labels_that_are_numbers_come_back_as_numbers(
    run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    texts = read_table(train_csv).texts("text")
    write_table(tmp_path / "train.jsonl", {"text": texts, "label": [i % 2 for i in range(len(texts))]})
    run(*FIT, tmp_path / "train.jsonl", "-o", tmp_path / "a.plr", "--model", tiny_llama.path, "--C", "1", "-q")
    run("predict", tmp_path / "a.plr", train_csv, "--text", "text", "-o", tmp_path / "out.jsonl")
    predicted = read_table(tmp_path / "out.jsonl")
    assert set(map(repr, predicted.columns["label"])) <= {"0", "1"}
    assert list(predicted.columns) == ["text", "label", "p_0", "p_1", "familiarity"]


def test_labels_that_differ_only_in_kind_have_a_column_each(
    run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    texts = read_table(train_csv).texts("text")
    labels = [[1, "1", "'1'"][i % 3] for i in range(len(texts))]
    write_table(tmp_path / "train.jsonl", {"text": texts, "label": labels})
    run(*FIT, tmp_path / "train.jsonl", "-o", tmp_path / "a.plr", "--model", tiny_llama.path, "--C", "1", "-q")
    rows = csv_rows(run("predict", tmp_path / "a.plr", train_csv, "--text", "text"))
    assert list(rows[0]) == ["text", "label", "p_1", "p_'1'", "p_\"'1'\"", "familiarity"]
    found = np.array([[float(p) for p in list(row.values())[2:-1]] for row in rows])
    np.testing.assert_allclose(found, fastplr.load(tmp_path / "a.plr").predict_proba(texts), rtol=1e-4, atol=1e-6)


def test_kept_columns_never_replace_each_other(run: Run, fitted: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", {"text": ["a"], "label": ["given"], "input_label": ["given before"]})
    keep = ("--keep", "label", "--keep", "input_label", "--keep", "label")
    (row,) = csv_rows(run("predict", fitted, tmp_path / "t.csv", "--text", "text", *keep))
    assert list(row)[:4] == ["input_label", "input_input_label", "text", "label"]
    assert [row["input_label"], row["input_input_label"]] == ["given", "given before"]


def test_predict_writes_json_lines_on_request(run: Run, fitted: Path, new_csv: Path, tmp_path: Path) -> None:
    predict = ("predict", fitted, new_csv, "--text", "text")
    lines = [json.loads(line) for line in run(*predict, "--json").splitlines()]
    texts = read_table(new_csv).texts("text")
    names = ["text", "label", "p_complaint", "p_fraud", "p_service", "familiarity"]
    assert [list(line) for line in lines] == [names] * len(texts)
    assert [line["text"] for line in lines] == texts
    assert [line["label"] for line in lines] == fastplr.predict(fitted, texts).tolist()
    found = [[line["p_complaint"], line["p_fraud"], line["p_service"]] for line in lines]
    np.testing.assert_allclose(found, fastplr.load(fitted).predict_proba(texts), rtol=1e-4, atol=1e-6)
    for name in ("out.csv", "out.txt", "out"):
        assert run(*predict, "--json", "-o", tmp_path / name) == ""
        assert [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines()] == lines
    assert "contradict" in run(*predict, "--json", "--output-format", "csv", code=2)


def test_the_output_format_can_be_named(run: Run, fitted: Path, new_csv: Path, tmp_path: Path) -> None:
    predict = ("predict", fitted, new_csv, "--text", "text")
    run(*predict, "-o", tmp_path / "out.txt", "--output-format", "tsv")
    run(*predict, "-o", tmp_path / "out.tsv")
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "out.tsv").read_bytes()
    assert run(*predict, "--output-format", "jsonl") == run(*predict, "--json")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
def test_predict_to_the_device_of_standard_output(run: Run, fitted: Path, new_csv: Path) -> None:
    arguments = [sys.executable, "-m", "fastplr", "predict", str(fitted), str(new_csv), "--text", "text"]
    out = subprocess.run([*arguments, "-o", "/dev/stdout", "--output-format", "csv"], capture_output=True, check=True)
    assert out.stdout.decode() == run("predict", fitted, new_csv, "--text", "text")


# -- embed --


def test_embed_agrees_with_python_in_every_format(
    run: Run, new_csv: Path, tiny_llama: TinyModel, tmp_path: Path
) -> None:
    embed = (
        "embed",
        new_csv,
        "--text",
        "text",
        "--model",
        tiny_llama.path,
        "--layer",
        "-1",
        "--pooling",
        "last",
    )
    embedder = fastplr.Embedder(tiny_llama.path, layer=-1, pooling="last", prompt="Which desk?")
    expected = embedder.embed(read_table(new_csv).texts("text"))
    for name in ("e.npy", "e.csv", "e.jsonl"):
        assert run(*embed, "--instruction", "Which desk?", "-o", tmp_path / name) == ""
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), expected, rtol=1e-5, atol=1e-6)
    assert np.load(tmp_path / "e.npy").dtype == np.float32
    table = read_table(tmp_path / "e.csv")
    assert len(table.columns) == 1 + tiny_llama.n_embd
    column = np.array(table.columns["embedding_5"], dtype=np.float32)
    np.testing.assert_allclose(column, expected[:, 5], rtol=1e-5, atol=1e-6)
    lists = np.array(read_table(tmp_path / "e.jsonl").columns["embedding"])
    np.testing.assert_allclose(lists, expected, rtol=1e-5, atol=1e-6)
    on_stdout = csv_rows(run(*embed, "-o", "-"))
    assert [row["text"] for row in on_stdout] == table.columns["text"]


def test_embed_reports_as_json(run: Run, new_csv: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    embed = ("embed", new_csv, "--text", "text", "--model", tiny_llama.path, "--pooling", "last", "--json", "-o")
    report = json.loads(run(*embed, tmp_path / "e.npy"))
    assert (report["n_texts"], report["n_features"]) == np.load(tmp_path / "e.npy").shape
    assert report["layer"] == tiny_llama.n_layer // 2
    assert report["pooling"] == "last"
    assert report["model"]["source_sha256"] == hashlib.sha256(tiny_llama.path.read_bytes()).hexdigest()
    assert report["output"] == str(tmp_path / "e.npy")
    run(*embed, tmp_path / "e.txt", "--output-format", "csv")
    assert len(read_table(tmp_path / "e.txt", format="csv").columns) == 1 + tiny_llama.n_embd
    assert "expected a file" in run(*embed, "-", code=2)


# -- models, info, demo --


def test_models(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTPLR_HOME", str(tmp_path))
    listed = json.loads(run("models", "list", "--json"))
    assert [entry["name"] for entry in listed if entry["default"]] == ["smollm2-135m"]
    assert not any(entry["pulled"] for entry in listed)
    assert "smollm2-135m  (92.9 MB to fetch)" in run("models", "list")
    assert "fastplr models pull smollm2-135m" in run("models", "path", "smollm2-135m", code=1)
    assert "did you mean 'smollm2-135m'" in run("models", "path", "smolm2-135m", code=1)
    assert "gemma3-270m" in run("models", "pull", "gemma3-270m", code=1)  # its licence is not accepted
    assert list(tmp_path.rglob("*.gguf")) == []


def test_info_of_a_model_and_of_a_classifier(run: Run, tiny_llama: TinyModel, fitted: Path) -> None:
    model = json.loads(run("info", tiny_llama.path, "--json"))
    assert model["architecture"] == "llama"
    assert model["n_embd"] == tiny_llama.n_embd
    assert "llama" in run("info", tiny_llama.path)
    classifier = json.loads(run("info", fitted, "--json"))
    assert classifier["labels"] == ["complaint", "fraud", "service"]
    assert classifier["C"] == pytest.approx(0.1)
    out = run("info", fitted)
    assert "'complaint', 'fraud', 'service'" in out
    assert classifier["model"]["source_sha256"] in out
    assert "60 texts: 'complaint' 17, 'fraud' 21, 'service' 22" in out
    assert "on-long error" in out
    norms = ", ".join(f"{norm:.4g}" for norm in classifier["coef_norm"])
    assert f"3 x {tiny_llama.n_embd}, norm {norms}\n" in out
    assert ", ".join(f"{value:.4g}" for value in classifier["intercept"]) + "\n" in out
    scale = fastplr.load(fitted).scale_
    assert f"scale {scale.min():.4g} to {scale.max():.4g}\n" in out
    assert max(map(len, out.splitlines())) < 200


def test_info_shows_the_estimate(run: Run, train_csv: Path, tiny_llama: TinyModel, tmp_path: Path) -> None:
    fit = (*FIT, train_csv, "-o", tmp_path / "a.plr", "--model", tiny_llama.path, "--on-long", "truncate")
    score = json.loads(run(*fit, "--json"))["estimate"]["balanced_accuracy"]
    out = run("info", tmp_path / "a.plr")
    assert f"balanced accuracy {score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})" in out
    assert "on-long truncate" in out


def test_demo(run: Run, tiny_llama: TinyModel) -> None:
    result = json.loads(run("demo", "--model", tiny_llama.path, "--json", "--threads", "1"))
    assert result["n_train"] == 120
    assert result["report"]["layer"] in (1, 2, 3)
    out = run("demo", "--model", tiny_llama.path, "--threads", "1")
    score = result["report"]["estimate"]["balanced_accuracy"]
    assert (
        f"from these 120 alone: balanced accuracy {score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})"
        in out
    )
    assert f"accuracy on the held-out messages: {result['accuracy']:.3f}" in out
    assert "time: embedding 120 texts" in out
