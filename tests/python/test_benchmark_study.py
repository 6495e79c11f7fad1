"""The document of benchmarks/study.py, from made-up results."""

from __future__ import annotations

import gzip
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.chat_server import chat_server
from harness.study_document import TITLES, difference, write_document
from harness.token_time import HEADING, Measured, Row, TimeRow, kept_section, put_section, ratio, section
from study import PARTS, write_csv


def made_up(method: str, bits: str, n_per_class: int, value: float, task: str = "a", seed: int = 0) -> dict[str, Any]:
    scores = dict.fromkeys(("balanced_accuracy", "macro_f1", "accuracy", "log_loss", "calibration_error"), value)
    more = {"solve_seconds": 1.0} if n_per_class else {}
    return {
        "task": task, "model": "m", "bits": bits, "wording": "paper", "method": method, "n_per_class": n_per_class,
        "seed": seed, "n_test": 10, "pass_seconds": 4.0, "bits_per_weight": 5.0, **scores, **more,
        "balanced_accuracy_of_few_shot_rows": value, "n_labels": 2, "calibration_error_by_chance": 0.05,
    }  # fmt: skip


def core() -> list[dict[str, Any]]:
    rows = []
    for task, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2)):
        for bits in ("4", "8"):
            for method in ("zero-shot", "zero-shot calibrated", "few-shot"):
                rows.append(made_up(method, bits, 8 if method == "few-shot" else 0, 0.4 + shift, task))
            for method in ("plr-l", "plr-e"):
                rows += [
                    made_up(method, bits, n, 0.6 + shift + n / 1000, task, seed) for n in (20, 75) for seed in (0, 1)
                ]
    return rows


def test_differences_are_paired_over_tasks() -> None:
    above = [made_up("x", "4", 0, value, task) for task, value in (("a", 0.5), ("b", 0.9), ("only", 0.0))]
    below = [made_up("y", "4", 0, value, task) for task, value in (("a", 0.4), ("b", 0.7))]
    half = 12.7062 * np.std([0.1, 0.2], ddof=1) / np.sqrt(2)
    assert difference(above, below) == f"+0.150 ({0.15 - half:+.3f} to {0.15 + half:+.3f}, 2 tasks)"
    assert difference(above, []) == "not measured"


def test_the_document_says_what_there_is_and_what_there_is_not(tmp_path: Path) -> None:
    parts = {"core17": core()}
    write_document(parts, {part: " ".join(words) for part, words in PARTS.items()}, tmp_path)
    text = (tmp_path / "study.md").read_text("utf-8")
    assert "**Not measured yet**: Qwen2.5-Coder-1.5B in true 2 bits" in text
    assert "+0.275 (+0.275 to +0.275, 3 tasks)" in text  # PLR-E from 75 rows over zero-shot
    assert (
        "| 4 | plr-e | 12 | 12 | 1.00 |" in text
    )  # three passes of 4 seconds; 2 sizes, 2 draws, 3 tasks of one second
    assert "| 4 | plr-e, plr-l | 12 | 24 | 2.00 |" in text
    assert "![Learning curves](study_core17.svg)" in text
    assert (tmp_path / "study_core17.svg").is_file()
    assert "cost 30 % of time?** Not measured yet." in text
    assert "zero-shot from 20, few-shot from 20, PLR-L from 20. It reaches 0.720 with 20, 0.775 with 75." in text
    write_csv(parts, tmp_path / "study.csv.gz")
    lines = gzip.decompress((tmp_path / "study.csv.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 1 + len(core())
    assert lines[0].startswith("part,task,model,bits,wording,method,")


@pytest.mark.parametrize(("plr_e", "answer"), [(0.78, "No"), (0.7, "Yes")])
def test_whether_2_bits_hurt_is_said_in_words(tmp_path: Path, plr_e: float, answer: str) -> None:
    of_two = {"plr-e": plr_e, "zero-shot": 0.7, "few-shot": 0.65, "plr-l": 0.6}
    rows = [
        made_up(method, bits, 75 if method.startswith("plr") else 0, value, task)
        for method, two in of_two.items()
        for task in "ab"
        for bits, value in (("2", two), ("4", 0.8), ("8", 0.8))
    ]
    write_document({"qwen-1.5b": rows}, {part: " ".join(words) for part, words in PARTS.items()}, tmp_path)
    text = (tmp_path / "study.md").read_text("utf-8")
    assert f"as they hurt zero-shot?** {answer}, as far as 2 tasks tell" in text
    assert (
        f"loses {0.8 - plr_e:.3f} of balanced accuracy with PLR-E from 75 rows of each class (to {plr_e:.3f})" in text
    )
    assert "zero-shot 0.100 (to 0.700), few-shot 0.150 (to 0.650), plr-l 0.200 (to 0.600)" in text
    assert "always the same label has 0.500" in text


def test_the_default_is_set_beside_the_largest_model_on_the_tasks_that_both_have(tmp_path: Path) -> None:
    def of_chat(task: str, value: float) -> dict[str, Any]:
        row = {**made_up("endpoint", "", 0, value, task), "wording": "words"}
        del row["bits_per_weight"], row["log_loss"], row["pass_seconds"]
        return row

    default = [
        {**made_up("plr-e", "4", 75, value, task, seed), "wording": "instruction"}
        for task, value in (("a", 0.9), ("b", 0.8), ("c", 0.1))
        for seed in (0, 1)
    ]
    parts = {
        "core17": core(),
        "wordings": default,
        "qwen-1.5b": [made_up("zero-shot", "4", 0, value, task) for task, value in (("a", 0.8), ("b", 0.6))],
        "qwen-1.5b-chat": [of_chat("a", 0.7), of_chat("b", 0.6)],
    }
    write_document(parts, {part: " ".join(words) for part, words in PARTS.items()}, tmp_path)
    lines = (tmp_path / "study.md").read_text("utf-8").splitlines()
    start = lines.index("| asked for | a | b | fastplr's default less this |")
    [letters] = [line for line in lines[start:] if line.startswith("| zero-shot, letters, 4 bits")]
    assert letters.startswith("| zero-shot, letters, 4 bits | 0.800 | 0.600 | +0.150 (")
    [chat] = [line for line in lines[start:] if line.startswith("| zero-shot as a chat, words, 8 bits")]
    assert chat.startswith("| zero-shot as a chat, words, 8 bits | 0.700 | 0.600 | +0.200 (+0.200 to +0.200, 2 tasks)")
    assert "| fastplr's default | 0.900 | 0.800 |  |" in lines
    [said] = [line for line in lines if line.startswith("**Is the small model with labels better than the largest")]
    assert "fastplr's default has a macro-F1 of 0.850, the best of 2 forms" in said
    assert "0.700 (zero-shot, letters, 4 bits), +0.150" in said
    assert said.endswith("by the test rows would have 0.700.")
    assert not any("bits a weight." in line for line in lines[lines.index(f"## {TITLES['qwen-1.5b-chat']}") :])


def test_a_server_of_somebody_else_is_not_measured(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(RuntimeError, match=f"port {port} of this machine cannot be listened on"),
            chat_server(tmp_path / "no.gguf", tmp_path / "logs" / "no.log", port=port, n_threads=1),
        ):
            raise AssertionError


def test_a_server_that_ends_is_told_with_its_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with (
        pytest.raises(RuntimeError, match=r"no\.log has:"),
        chat_server(tmp_path / "no.gguf", tmp_path / "logs" / "no.log", port=port, n_threads=1),
    ):
        raise AssertionError


def test_ratios_of_times() -> None:
    found = ratio([1.3, 1.31, 1.29], [1.0, 1.01, 0.99])
    assert found is not None
    assert abs(found[0] - 1.3) < 1e-9
    assert found[1] <= found[0] <= found[2]
    assert ratio([], []) is None


def test_the_section_of_times_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    model = "smollm2-135m"
    rows = [TimeRow(Row(model, bits, 1, "generate"), [0.01 * int(bits)] * 3) for bits in ("2", "4", "8")]
    file = {
        "bits_per_weight": 4.5,
        "source_bits_per_weight": 5.0,
        "file_size": 10**8,
        "mix": "Q4_0 99 %",
        "kernel": "k",
        "libllama_kernel": "l",
    }
    measured = Measured(
        rows,
        {f"{model} {bits}": file for bits in ("2", "4", "8")},
        {"1": [1.0, 1.1, 0.9], "2": [2.0, 2.0, 3.0]},
        {"date": "today"},
    )
    measured.save(tmp_path / "m.json")
    text = section(Measured.load(tmp_path / "m.json"), "x.svg")
    assert "| smollm2-135m | libllama, a generated token | 1 | 2.00 (2.00 to 2.00) | 0.50 (0.50 to 0.50) |" in text
    assert "(1 thread 0.90 to 1.10; 2 threads 1.00 to 1.50)" in text
    document = tmp_path / "doc.md"
    document.write_text("# Benchmarks\n\nSome.\n\n## After\n\nMore.\n")
    put_section(document, text)
    put_section(document, text)
    found = document.read_text("utf-8")
    assert found.count(HEADING) == 1
    assert "## After" in found
    assert kept_section(document).startswith(HEADING)
