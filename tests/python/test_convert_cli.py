"""``fastplr convert``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fastplr
from bert_folders import BertFolder, write_bert_folder
from fastplr.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> BertFolder:
    return write_bert_folder(tmp_path / "tiny-bert", extra={"pooler.dense.bias": (64,)})


def test_convert_writes_a_file_and_says_what_it_is(
    folder: BertFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "tiny.gguf"
    assert main(["convert", str(folder.path), "-o", str(target)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "3 of width 64" in out
    assert "pooler.dense.bias" in out
    assert fastplr.read_model_info(target).name == "tiny-bert"
    assert main(["info", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "bert"


def test_convert_options(folder: BertFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tiny.gguf"
    command = ["convert", str(folder.path), "-o", str(target), "--type", "f16", "--name", "mine"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    info = fastplr.read_model_info(target)
    assert found["source_sha256"] == info.metadata["fastplr.source_sha256"]
    assert found["n_parameters"] == info.n_parameters
    assert (info.name, info.quantization) == ("mine", "F16")
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "tiny.gguf' exists; it is replaced only where that is asked for (--overwrite)" in err
    assert main([*command, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_convert_names_an_architecture_it_cannot(
    folder: BertFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.change_json("config.json", architectures=["MPNetModel"], model_type="mpnet")
    assert main(["convert", str(folder.path), "-o", str(tmp_path / "tiny.gguf")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("fastplr: error: ")
    assert "MPNetModel" in err
    assert "BertModel" in err
