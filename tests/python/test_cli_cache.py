"""``fastplr cache``, and what ``--cache`` and ``--no-cache`` do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastplr.cli import main
from fastplr.demo import load_demo
from fastplr.feature_cache import feature_cache
from fastplr.feature_stores import default_folder, store_for
from fastplr.tables import write_table
from tiny_models import TinyModel

Run = Callable[..., str]
FIT = ("fit", "--text", "text", "--label", "label", "--C", "0.1", "--layer", "middle", "--pooling", "mean")


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    feature_cache.clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """As in a process of its own; what it prints on standard output and, with `code`, on standard error."""

    def run_command(*arguments: object, code: int | None = None) -> str:
        feature_cache.clear()
        found = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert found == (code or 0), err
        if code is None:
            assert err == ""
            return out
        return out + err

    return run_command


@pytest.fixture
def table(tmp_path: Path) -> Path:
    texts, labels = load_demo()
    write_table(tmp_path / "train.csv", {"text": texts[:40], "label": labels[:40]})
    return tmp_path / "train.csv"


@pytest.fixture
def fit(table: Path, tiny_llama: TinyModel) -> tuple[object, ...]:
    return (*FIT, table, "-o", table.with_name("a.plr"), "--model", tiny_llama.path, "--threads", "1")


def n_tokens(run: Run, *arguments: object) -> int:
    return int(json.loads(run(*arguments, "--json"))["n_tokens"])


def test_fit_keeps_features_and_finds_them_again(run: Run, fit: tuple[object, ...]) -> None:
    assert n_tokens(run, *fit) > 40
    assert store_for(True).info().n_entries == 40
    assert n_tokens(run, *fit) == 0
    assert "all known from an earlier run" in run(*fit)
    assert n_tokens(run, *fit, "--layer", "1") > 40
    assert n_tokens(run, *fit, "--instruction", "Which desk?") > 40
    assert store_for(True).info().n_entries == 120


def test_no_cache_neither_reads_nor_writes(run: Run, fit: tuple[object, ...]) -> None:
    computed = n_tokens(run, *fit, "--no-cache")
    assert not default_folder().exists()
    run(*fit)
    assert n_tokens(run, *fit, "--no-cache") == computed > 40


def test_predict_and_embed_keep_features_where_that_is_asked_for(
    run: Run, fit: tuple[object, ...], table: Path, tiny_llama: TinyModel
) -> None:
    run(*fit, "--no-cache", "-q")
    predict = ("predict", table.with_name("a.plr"), table, "--text", "text")
    embed = ("embed", table, "--text", "text", "-o", table.with_name("out.npy"), "--model", tiny_llama.path)
    without = run(*predict), run(*embed)
    rows = np.load(table.with_name("out.npy"))
    assert not default_folder().exists()
    assert run(*predict, "--cache") == without[0]
    assert store_for(True).info().n_entries == 40
    run(*embed, "--cache")
    assert store_for(True).info().n_entries == 40  # the same layer, pooling and (no) prompt
    np.testing.assert_allclose(np.load(table.with_name("out.npy")), rows, atol=1e-3)
    assert run(*predict, "--cache") == without[0]


def test_info_says_what_is_there_and_clear_removes_it(run: Run, fit: tuple[object, ...]) -> None:
    path = default_folder() / "features-1.sqlite3"
    empty = {"path": str(path), "n_entries": 0, "n_bytes": 0, "max_bytes": 2_000_000_000}
    assert json.loads(run("cache", "info", "--json")) == empty
    assert "0 entries deleted" in run("cache", "clear")
    assert not default_folder().exists()
    run(*fit)
    found = json.loads(run("cache", "info", "--json"))
    assert found["n_entries"] == 40
    assert found["n_bytes"] == sum(file.stat().st_size for file in path.parent.glob("*.sqlite3*"))
    shown = run("cache", "info")
    assert str(path) in shown
    assert "entries  40 " in shown
    assert "of at most 2.0 GB" in shown
    cleared = json.loads(run("cache", "clear", "--json"))
    assert (cleared["path"], cleared["n_entries"]) == (str(path), 40)
    assert json.loads(run("cache", "info", "--json"))["n_entries"] == 0
    assert n_tokens(run, *fit) > 40


def test_another_folder_can_be_named(run: Run, tmp_path: Path) -> None:
    store_for(tmp_path / "other").put([bytes(32)], np.zeros((1, 4), np.float32), [False])
    assert json.loads(run("cache", "info", "--folder", tmp_path / "other", "--json"))["n_entries"] == 1
    assert run("cache", "clear", "--folder", tmp_path / "other").startswith("1 entries deleted, ")
    assert store_for(tmp_path / "other").info().n_entries == 0


def test_the_models_stay(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTPLR_CACHE_DIR")
    monkeypatch.setenv("FASTPLR_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").write_bytes(b"GGUF")
    store_for(True).put([bytes(32)], np.zeros((1, 4), np.float32), [False])
    assert f"freed in {tmp_path / 'features'}" in run("cache", "clear")
    assert (tmp_path / "models" / "a.gguf").exists()


def test_a_fit_whose_cache_cannot_be_used_says_so_in_one_line(
    run: Run, fit: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTPLR_CACHE_DIR", str(tmp_path / "file" / "features"))
    out = run(*fit, code=0)
    (warning,) = [line for line in out.splitlines() if "warning" in line]
    folder = tmp_path / "file" / "features"
    path = str(folder / "features-1.sqlite3")
    reason = f"the feature cache {path!r} cannot be used: {str(folder)!r} is not a folder"
    assert warning == f"fastplr: warning: {reason}; going on without it"
    assert (tmp_path / "a.plr").exists()
    assert "warning" not in run(*fit, "--no-cache")


def test_what_cannot_be_cleared_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "features-1.sqlite3").mkdir()
    for command in ("info", "clear"):
        err = run("cache", command, "--folder", tmp_path, code=1)
        assert err.startswith("fastplr: error: the feature cache ")
        assert "cannot be used: unable to open database file" in err


def test_a_folder_that_cannot_hold_a_cache_is_an_error_and_one_that_is_not_there_yet_none(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    for command in ("info", "clear"):
        assert "0 entries" in run("cache", command, "--folder", tmp_path / "not" / "yet").replace(
            "entries  0", "0 entries"
        )
        for folder in (file, file / "below"):
            assert f"{str(file)!r} is not a folder" in run("cache", command, "--folder", folder, code=1)
    if os.name == "posix" and os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "cannot be written" in run("cache", "info", "--folder", tmp_path / "closed", code=1)
    assert not (tmp_path / "not").exists()


def test_a_wrong_setting_is_an_error(run: Run, fit: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTPLR_CACHE_MB", "lots")
    assert "FASTPLR_CACHE_MB is 'lots': expected a number of megabytes" in run(*fit, code=1)
    assert "expected the path of a folder" in run("cache", "clear", "--folder", "", code=1)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL] if sys.platform != "win32" else [])
def test_a_fit_that_was_stopped_goes_on_where_it_was(
    run: Run, tiny_llama: TinyModel, tmp_path: Path, how: signal.Signals
) -> None:
    texts = [f"message number {i}: " + "the film is slow and boring " * 8 for i in range(3000)]
    write_table(tmp_path / "train.csv", {"text": texts, "label": [i % 2 for i in range(len(texts))]})
    fit = (*FIT, tmp_path / "train.csv", "-o", tmp_path / "a.plr", "--model", tiny_llama.path, "--threads", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "fastplr", *map(str, fit)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while store_for(True).info().n_entries < 100:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, how)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    if how == signal.SIGINT:
        assert err == "\nfastplr: interrupted\n"
        assert process.returncode == 128 + signal.SIGINT
    assert not (tmp_path / "a.plr").exists()
    n_kept = store_for(True).info().n_entries
    assert 100 <= n_kept < len(texts)  # it was stopped before its end
    in_all = sum(len(tiny_llama.tokenize(text)) for text in texts)
    computed = n_tokens(run, *fit)
    assert computed == pytest.approx(in_all * (len(texts) - n_kept) / len(texts), rel=0.02)
