"""docs/benchmarks.md out of the results of a run: no number in it comes from anywhere else.

python -m harness.document RESULTS.json OUT.md        (in benchmarks/; the benchmark calls it itself)
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.corpus import FORMS
from harness.results import Results, RowResult
from harness.roofline import ROWS, operations_per_second
from harness.targets import TARGETS

__all__ = ["render", "table"]

MIB = 2**20


def render(results: Results) -> str:
    """The document, in Markdown."""
    parts = [
        _head(results),
        _targets(results),
        _speed(results, "SmolLM2-135M", "smollm2"),
        _speed(results, "all-MiniLM-L6-v2", "minilm"),
        _long(results),
        _memory(results),
        _profile(results),
        _roofline(results),
        _how(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; the first `left` columns are words, the others numbers."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _head(results: Results) -> str:
    facts = {
        "date": results.date,
        **results.machine,
        "threads": f"{results.n_threads} for every rival, all on the same cores ({', '.join(map(str, results.cores))})",
        "versions": ", ".join(f"{name} {version}" for name, version in _versions(results).items()),
        "duration": f"{results.minutes:.0f} minutes",
        **({"measured later": results.amended} if results.amended else {}),
    }
    quick = "**A quick check that everything works, with few texts and one round: its figures mean nothing.**\n\n"
    lengths = [
        (weights, corpus, FORMS[form], str(len(counts)), f"{statistics.mean(counts):.1f}", str(max(counts)))
        for (weights, form, corpus), counts in ((key.split("/"), counts) for key, counts in results.lengths.items())
    ]
    return (
        "# Benchmarks\n\n"
        "Written by `python -m pytest benchmarks/bench_rivals.py`; not edited. Timings depend on the machine:\n"
        "read the ratios, which were measured side by side in one run.\n\n"
        + (quick if results.quick else "")
        + table(["", ""], facts.items(), left=2)
        + "\n\nTokens of a text, prompt and special tokens included:\n\n"
        + table(["tokenizer", "corpus", "form", "texts", "mean tokens", "longest"], sorted(lengths), left=3)
    )


def _versions(results: Results) -> dict[str, str]:
    versions = dict(results.fastplr)
    for row in results.rows:
        versions.update(row.versions)
    return versions


def _targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        reached = target.reached(results)
        what = "×" if not target.memory else "× the memory"
        prototype = f" [{target.prototype}]" if target.prototype else ""
        bound = f"{target.sign} {target.bound}{what}{prototype}"
        if reached is None:
            rows.append((target.what, "not measured", bound, "not measured", ""))
            continue
        spread = "" if target.memory else f" ({reached.low:.2f} to {reached.high:.2f})"
        ratio = f"{reached.ratio:.2f}×{spread}"
        rows.append((target.what, reached.rival.title, bound, ratio, "yes" if reached.met else "no"))
    return (
        "## What was to be reached\n\n"
        "Ratios of medians over the rounds, in parentheses the least and the most of a round; in brackets what a\n"
        "naive prototype had reached.\n\n" + table(["", "rival", "to reach", "reached", "met"], rows, left=2)
    )


def _speed(results: Results, title: str, models: str) -> str:
    sections = []
    for form, form_title in FORMS.items():
        rows = [row for row in results.rows if row.id.startswith(models) and row.form == form and row.corpus == "main"]
        if rows:
            sections.append(f"### {title}, {form_title}\n\n{_speed_table(rows)}")
    return f"## {title}\n\n" + "\n\n".join(sections) if sections else ""


def _speed_table(rows: Sequence[RowResult]) -> str:
    head = [
        "model",
        "rival",
        "texts/s",
        "least to most",
        "rounds",
        "tokens/s",
        "peak memory, MiB",
        "load, s",
        "cosine, mean",
        "cosine, least",
    ]
    return table(head, [_speed_line(row) for row in rows], left=2)


def _speed_line(row: RowResult) -> list[str]:
    if row.trouble is not None or not row.seconds:
        reason = row.trouble or "not measured"
        return [row.model, f"{row.title}: {'not here' if not row.installed else 'failed'}: {reason}", *[""] * 8]
    rates = [row.n_texts / seconds for seconds in row.seconds]
    return [
        row.model,
        row.title,
        f"{row.n_texts / row.median_seconds:.1f}",
        f"{min(rates):.1f} to {max(rates):.1f}",
        str(len(row.seconds)),
        f"{row.n_tokens / row.median_seconds:.0f}" if row.n_tokens else "",
        "" if row.peak_bytes is None else f"{row.peak_bytes / MIB:.0f}",
        "" if row.load_seconds is None else f"{row.load_seconds:.2f}",
        "" if row.cosine_mean is None else f"{row.cosine_mean:.5f}",
        "" if row.cosine_min is None else f"{row.cosine_min:.5f}",
    ]


def _long(results: Results) -> str:
    rows = [row for row in results.rows if row.corpus == "long"]
    lines = []
    for row in rows:
        short = results.row(row.id.removesuffix("/long"))
        if row.trouble is not None or not row.seconds:
            lines.append([row.model, f"{row.title}: {row.trouble or 'not measured'}", "", "", "", ""])
            continue
        rate = row.n_texts / row.median_seconds
        tokens = row.n_tokens / row.median_seconds
        few = "" if short is None else f"{short.n_tokens / short.median_seconds:.0f}"
        lines.append([row.model, row.title, str(row.n_texts), f"{rate:.1f}", f"{tokens:.0f}", few])
    head = ["model", "rival", "texts", "texts/s", "tokens/s", "tokens/s, smaller corpus"]
    return "## More texts, no prompt, one round\n\n" + table(head, lines, left=2) if rows else ""


def _memory(results: Results) -> str:
    rows = [row for row in results.rows if row.corpus == "memory"]
    lines = [
        [row.model, f"{row.title}: {row.trouble}", ""]
        if row.trouble is not None
        else [row.model, row.title, "" if row.peak_bytes is None else f"{row.peak_bytes / MIB:.0f}"]
        for row in rows
    ]
    note = (
        "The most memory (VmHWM) that a process of its own has while it loads the model and embeds, less what it\n"
        "had after its imports. `-b` and `-c` are libllama's batch and context; without `-c` the context is as\n"
        "long as the model was trained with, which is the example's default.\n\n"
    )
    return (
        "## Memory, batches of 512 tokens\n\n" + note + table(["model", "rival", "MiB"], lines, left=2) if rows else ""
    )


def _profile(results: Results) -> str:
    if not results.profile_note:
        return ""
    title = f"## Where the time goes\n\n{results.profile_note}"
    if not results.profiles:
        return title
    last = results.profiles[-1]
    kinds = list(dict.fromkeys(kind for profile in reversed(results.profiles) for kind in profile.shares))
    lines = [["all", *(cell for one in results.profiles for cell in (f"{one.ms_per_text:.2f}", "")), ""]]
    for kind in kinds:
        shares = [one.shares.get(kind, (0.0, []))[0] for one in results.profiles]
        cells = [
            cell
            for one, share in zip(results.profiles, shares, strict=True)
            for cell in (f"{share * one.ms_per_text:.2f}", f"{share:.1%}")
        ]
        lines.append([kind, *cells, ", ".join(f"`{symbol}`" for symbol in last.shares.get(kind, (0.0, []))[1])])
    head = ["", *(cell for one in results.profiles for cell in (f"{one.title}, ms", "share")), "most of it"]
    return f"{title}\n\n" + table(head, lines)


def _roofline(results: Results) -> str:
    if results.peak_gops is None:
        return ""
    lines = []
    for row_id in ROWS:
        row, speed = results.row(row_id), operations_per_second(results, row_id)
        if row is not None and speed is not None:
            lines.append([row.model, row.title, f"{speed:.0f}", f"{speed / results.peak_gops:.0%}"])
    return (
        "## Distance to the roofline\n\n"
        f"`vpdpbusd`, on registers alone, makes {results.peak_gops:.0f} GOP/s on {results.n_threads} threads of this "
        "machine. The matrix\nproducts of each row's blocks, two operations a weight and token, over the row's whole "
        "time, without a prompt:\n\n" + table(["model", "rival", "GOP/s", "of the peak"], lines, left=2)
    )


def _how() -> str:
    text = (Path(__file__).parent / "how_it_was_measured.md").read_text("utf-8").rstrip()
    return f"## How it was measured\n\n{text}"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(render(Results.read(Path(sys.argv[1]))), "utf-8")
