"""The study of docs/study.md: `fastplr study`, part by part, on the labelled tasks.

    python benchmarks/study.py [PART ...]            all of it takes some three hours on two cores

Each part is one command of the product, kept in results/study/PART (a part that was stopped goes on there; delete its
folder after a change). docs/study.md, its pictures and docs/study.csv.gz are written from the parts that
are there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import shlex
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from fastplr import model_store
from fastplr.cli import main as fastplr
from harness.chat_server import chat_server
from harness.corpus import tasks_folder
from harness.machine import pin_to_cores
from harness.study_document import write_document
from harness.token_time import Measured

RESULTS = Path(__file__).parent / "results" / "study"
DOCS = Path(__file__).parents[1] / "docs"

SIX = ("fpb", "sst2", "ag_news", "tweet_sentiment", "ade", "clickbait")
THREE = ("fpb", "sst2", "ade")
FEWER = ("--rows", "10", "20", "50", "75", "--seeds", "3", "--test-rows", "300")

#: Of the server on this machine that a part asks as one would ask a large model.
PORT = 8791

#: What `fastplr study` is asked for.
PARTS: dict[str, tuple[str, ...]] = {
    "core17": ("--only", "core17", "--bits", "4", "8"),
    "instruction": ("--only", "core17", "--bits", "4", "--wording", "instruction", "--methods", "plr-e", "plr-l",
                    "zero-shot", "zero-shot calibrated"),
    "words": ("--only", "core17", "--bits", "4", "--wording", "words"),
    "bits": ("--only", *SIX, "--bits", "2", "4", "8", "16", *FEWER),
    "wordings": ("--only", *SIX, "--bits", "4", "--wording", "paper", "words", "instruction", "question", "short",
                 *FEWER),
    "qwen-0.5b": ("--only", *SIX, "--model", "qwen2.5-coder-0.5b", "--bits", "4", "8", *FEWER),
    "qwen-1.5b": ("--only", *THREE, "--model", "qwen2.5-coder-1.5b", "--bits", "2", "4", "8", *FEWER),
    "qwen-1.5b-words": ("--only", *THREE, "--model", "qwen2.5-coder-1.5b", "--bits", "4", "8", "--wording", "words",
                        "--methods", "zero-shot", "zero-shot calibrated", "few-shot", "--test-rows", "300"),
    "qwen-1.5b-chat": ("--only", *THREE, "--wording", "paper", "words", "--methods", "endpoint", "--test-rows", "300",
                       "--endpoint-model", "qwen2.5-coder-1.5b:q8_0", "--endpoint-url", f"http://127.0.0.1:{PORT}/v1"),
    "gemma-270m": ("--only", *SIX, "--model", "gemma3-270m", "--bits", "4", *FEWER),
    "minilm": ("--only", "core17", "--model", "minilm-l6-v2", "--bits", "32", "8", "4", "--wording", "short",
               "--methods", "plr-e", "--rows", "20", "75", "--test-rows", "500"),
}  # fmt: skip

#: Run only when asked for by name: its licence has to be accepted (fastplr models pull gemma3-270m --accept-licence).
OPT_IN = ("gemma-270m",)


def rows_of(part: str) -> list[dict[str, Any]]:
    """Everything that was measured in a part."""
    found: list[dict[str, Any]] = json.loads((RESULTS / part / "all.json").read_text("utf-8"))
    tasks = json.loads((tasks_folder() / "tasks.json").read_text("utf-8"))["tasks"]
    n_labels = {task["name"]: len(task["labels"]) for task in tasks}
    return [{"n_labels": n_labels[row["task"]], **row} for row in found]


def date_of(part: str) -> str:
    """When the last result of a part was put there."""
    return time.strftime("%Y-%m-%d", time.localtime((RESULTS / part / "results.sqlite").stat().st_mtime))


#: What the file of raw results holds.
COLUMNS = (
    "part", "task", "model", "bits", "wording", "method", "n_per_class", "seed", "n_test", "balanced_accuracy",
    "macro_f1", "accuracy", "log_loss", "calibration_error", "calibration_error_by_chance",
    "balanced_accuracy_of_few_shot_rows",
    "n_labels", "n_unknown", "layer", "pooling", "C", "solve_seconds", "pass_seconds", "pass_tokens", "n_cut",
    "bits_per_weight",
)  # fmt: skip


def write_csv(parts: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One line for each thing that was measured, numbers to four digits, compressed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in ({"part": part, **row} for part, some in parts.items() for row in some):
        writer.writerow({name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()})
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _endpoint(part: str) -> AbstractContextManager[None]:
    """What has to run while a part is measured."""
    if "--endpoint-model" not in PARTS[part]:
        return nullcontext()
    os.environ.setdefault("OPENAI_API_KEY", "none")  # one has to be there, and this server asks for none
    model = model_store.resolve(PARTS[part][PARTS[part].index("--endpoint-model") + 1])
    return chat_server(model.path, RESULTS / f"{part}.log", port=PORT, n_threads=2)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="some parts only")
    asked = parser.parse_args().parts or [part for part in PARTS if part not in OPT_IN]
    pin_to_cores(2)
    for part in asked:
        folder = RESULTS / part
        words = ["study", "--tasks", str(tasks_folder()), *PARTS[part], "-o", str(folder)]
        print("fastplr", *words, flush=True)
        with _endpoint(part):
            if fastplr([*words, "--json", str(folder / "all.json")]) != 0:
                raise SystemExit(1)
    measured = [part for part in PARTS if (RESULTS / part / "all.json").is_file()]
    parts = {part: rows_of(part) for part in measured}
    write_csv(parts, DOCS / "study.csv.gz")
    times = RESULTS.parent / "token_time.json"  # of bench_token_time.py
    write_document(
        parts, {part: shlex.join(words) for part, words in PARTS.items()}, DOCS,
        Measured.load(times) if times.is_file() else None, {part: date_of(part) for part in measured},
    )  # fmt: skip
    print(f"written: {DOCS / 'study.md'}, of {', '.join(measured)}")


if __name__ == "__main__":
    main()
