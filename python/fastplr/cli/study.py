"""``fastplr study``: zero-shot, few-shot and penalised logistic regression compared on one's own tasks and models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastplr.cli.options import debug_option, quiet_option, threads_option
from fastplr.model_store import DEFAULT_MODEL

if TYPE_CHECKING:
    from fastplr.study import Plan, StudyOptions, StudyTask
    from fastplr.study.plan import ModelVariant, Unit

#: What --quick measures: a look at six tasks at most.
QUICK = {"n_per_class": (10, 50), "n_seeds": 2, "n_test": 100, "n_few_shot": 50}
QUICK_TASKS, QUICK_HOURS = 6, 0.12


class ListOptions(click.Command):
    """A command whose repeatable options take several values at once: ``--rows 5 10`` is ``--rows 5 --rows 10``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = {name for one in self.params if isinstance(one, click.Option) and one.multiple for name in one.opts}
        spread: list[str] = []
        current = ""
        for word in args:
            if word.startswith("-") and word != "-":
                current = word if word in lists else ""
                if not current:
                    spread.append(word)
            elif current:
                spread += [current, word]
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=ListOptions)
@click.option("--tasks", metavar="DIR|CSV", type=click.Path(), required=True,
              help="A folder with tasks.json and NAME/train.csv, NAME/test.csv, or one table"
              " (half of its rows are tested on).")  # fmt: skip
@click.option("--text", "text_column", metavar="COLUMN", default="text", show_default=True, help="Texts of one table.")
@click.option(
    "--label", "label_column", metavar="COLUMN", default="label", show_default=True, help="Labels of one table."
)
@click.option("--instruction", metavar="TEXT", help="Of one table: the question that the labels answer.")
@click.option("--model", "models", metavar="NAME|PATH", multiple=True, help=f"[default: {DEFAULT_MODEL}]")
@click.option("--bits", metavar="2|4|8|16|32|source", multiple=True, help="Of the weights.  [default: 4]")
@click.option("--wording", "wordings", metavar="NAME", multiple=True,
              help="Of the prompts: paper, words, instruction, question, short.  [default: paper]")  # fmt: skip
@click.option("--methods", metavar="NAME", multiple=True, help="[default: all; see docs/study.md]")
@click.option("--rows", metavar="N", type=int, multiple=True,
              help="Rows of each class to learn from.  [default: 5 10 20 50 75 100 150]")  # fmt: skip
@click.option("--seeds", metavar="N", type=int, help="Draws of the rows.  [default: 5]")
@click.option("--only", metavar="TASK", multiple=True, help="Tasks, or suites of tasks.  [default: all]")
@click.option("--test-rows", metavar="N", type=int, help="Test rows of a task at most.  [default: 500]")
@click.option("--few-shot-rows", metavar="N", type=int, help="Test rows of few-shot at most.  [default: 200]")
@click.option("--k", metavar="N", type=int, default=8, show_default=True, help="Examples of few-shot.")
@click.option("-o", "--output", metavar="DIR", type=click.Path(), default="study", show_default=True,
              help="Folder for results and report; a study that was stopped goes on there.")  # fmt: skip
@click.option("--json", "json_output", metavar="OUT", type=click.Path(), help="Write all results as JSON too.")
@click.option("--cache/--no-cache", default=False, show_default=True,
              help="Keep features on disk, so that even a stopped pass over a task goes on where it was.")  # fmt: skip
@click.option(
    "--plan", "only_plan", is_flag=True, help="Print what there is to compute and how long that takes, and stop."
)
@click.option("--quick", is_flag=True, help="A look within ten minutes: few rows of six tasks at most.")
@click.option("--endpoint-model", metavar="NAME", help="A large model elsewhere to ask too: texts are sent to it.")
@click.option("--endpoint-url", metavar="URL", help="Where it is, if not at OpenAI; the key is in OPENAI_API_KEY.")
@click.option(
    "--endpoint-prices",
    metavar="IN OUT",
    nargs=2,
    type=float,
    help="Of a million tokens read and written, to count the cost.",
)
@threads_option
@quiet_option
@debug_option
def study(
    tasks: str,
    text_column: str,
    label_column: str,
    instruction: str | None,
    models: tuple[str, ...],
    bits: tuple[str, ...],
    wordings: tuple[str, ...],
    methods: tuple[str, ...],
    rows: tuple[int, ...],
    seeds: int | None,
    only: tuple[str, ...],
    test_rows: int | None,
    few_shot_rows: int | None,
    k: int,
    output: str,
    json_output: str | None,
    cache: bool,
    only_plan: bool,
    quick: bool,
    endpoint_model: str | None,
    endpoint_url: str | None,
    endpoint_prices: tuple[float, float] | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Compare methods on labelled tasks.

    One pass of each model over a task feeds zero-shot, PLR-L and PLR-E at all numbers of rows and all draws. What is
    measured is kept task by task; the same command goes on after it was stopped, and measures anew what changed: rows,
    prompts, model files. Model files of other widths are made first, with --plan too.
    """
    from fastplr.errors import InputError
    from fastplr.study import Endpoint, Results, StudyOptions, check_names, estimate, make_plan, run_units, variant
    from fastplr.study.plan import ENDPOINT, TF_IDF
    from fastplr.tables import check_output

    given = {
        "n_per_class": tuple(sorted(set(rows))), "n_seeds": seeds, "n_test": test_rows, "n_few_shot": few_shot_rows,
        "bits": tuple(dict.fromkeys(bits)), "wordings": tuple(dict.fromkeys(wordings)),
        "methods": tuple(dict.fromkeys(methods)),
    }  # fmt: skip
    settings = {**(QUICK if quick else {}), **{name: value for name, value in given.items() if value not in (None, ())}}
    names = tuple(dict.fromkeys(models)) or (DEFAULT_MODEL,)
    endpoint = None if endpoint_model is None else Endpoint(endpoint_model, endpoint_url, endpoint_prices)
    options = StudyOptions(models=names, k=k, endpoint=endpoint, n_threads=threads, **settings)  # type: ignore[arg-type]
    chosen = _tasks_of(tasks, only, text_column, label_column, instruction)
    if quick:
        chosen = chosen[:QUICK_TASKS]

    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output} cannot be a folder for results: {error.strerror or error}") from error
    if json_output is not None:
        check_output(json_output, devices=False)
    progress = False if quiet else None
    if set(options.methods) <= {ENDPOINT, TF_IDF}:
        names = ()  # nothing is asked of a model of this machine
    variants = [variant(model, one, folder / "models", progress=progress) for model in names for one in options.bits]
    check_names(variants)
    plan = make_plan(chosen, variants, options)
    if not plan.cells:
        raise InputError(f"there is nothing to measure: {'; '.join(plan.left_out) or 'no task, or no method'}")
    results = Results(folder / "results.sqlite")
    failed: list[str] = []
    try:
        left = plan.left(results)
        if only_plan or quick or not quiet:
            expected = estimate(left, variants, options)
            if quick and not only_plan:
                plan, left, expected = _within_ten_minutes(plan, left, expected)
            if only_plan or not quiet:
                _print_plan(expected, plan.left_out)
        if only_plan:
            return

        def tell(number: int, unit: Unit) -> None:
            if not quiet:
                first = unit.cells[0]
                what = ", ".join(filter(None, (first.model, first.bits and f"{first.bits} bits", first.wording)))
                click.echo(f"{number + 1} of {len(left)}: {unit.task.name} {what}", err=True)

        try:
            failed = run_units(left, variants, options, results, cache=cache or None, progress=progress, on_unit=tell)
        finally:  # of what there is, where it is stopped
            found = results.rows(plan.cells)
            _write_reports(found, _about(variants, options, (*plan.left_out, *failed), found), folder, json_output)
    finally:
        results.close()
    if not quiet:
        for line in _unknown(found):
            click.echo(line, err=True)
        click.echo(f"written: {folder / 'report.html'}, {folder / 'report.md'}, {folder / 'results.sqlite'}")
    if failed:
        raise InputError(f"{len(failed)} of {len(left)} could not be measured: {'; '.join(failed[:3])}")


def _tasks_of(
    tasks: str, only: tuple[str, ...], text_column: str, label_column: str, instruction: str | None
) -> list[StudyTask]:
    from fastplr.errors import InputError
    from fastplr.study import read_csv_task, read_tasks

    source = Path(tasks)
    if source.is_dir():
        return read_tasks(source, only)
    if not source.exists():
        raise InputError(f"no tasks in {tasks!r}: there is no such folder or table")
    if only:
        raise click.UsageError("--only chooses among the tasks of a folder, and --tasks names one table")
    if instruction is None:
        raise click.UsageError("--tasks names a table: expected --instruction with the question that its labels answer")
    return [read_csv_task(source, text_column, label_column, instruction)]


def _within_ten_minutes(
    plan: Plan, left: list[Unit], expected: list[dict[str, Any]]
) -> tuple[Plan, list[Unit], list[dict[str, Any]]]:
    """As many tasks, from the first on, as fit; one at least."""
    hours: dict[str, float] = {}
    for row in expected:
        hours[row["task"]] = hours.get(row["task"], 0.0) + row.get("hours", 0.0)
    names = list(hours)
    kept = [name for n, name in enumerate(names) if n == 0 or sum(hours[one] for one in names[: n + 1]) < QUICK_HOURS]
    if len(kept) == len(names):
        return plan, left, expected
    dropped = [name for name in names if name not in kept]
    note = f"{', '.join(dropped)}: left out to end within ten minutes"
    units = tuple(unit for unit in plan.units if unit.task.name not in dropped)
    return (
        replace(plan, units=units, left_out=(*plan.left_out, note)),
        [unit for unit in left if unit.task.name not in dropped],
        [row for row in expected if row["task"] not in dropped],
    )


def _write_reports(rows: list[dict[str, Any]], about: list[str], folder: Path, json_output: str | None) -> None:
    from fastplr.study import as_html, as_markdown
    from fastplr.tables import atomic_output

    title = "fastplr study"
    for name, text in (("report.md", as_markdown(rows, title, about)), ("report.html", as_html(rows, title, about))):
        with atomic_output(folder / name) as file:
            file.write(text.encode("utf-8"))
    if json_output is not None:
        with atomic_output(json_output) as file:
            file.write(json.dumps(rows, indent=1).encode("utf-8"))


def _about(
    variants: Sequence[ModelVariant], options: StudyOptions, left_out: Sequence[str], rows: list[dict[str, Any]]
) -> list[str]:
    """What stands at the top of a report."""
    from fastplr import __version__

    n_cut = sum({(row["task"], row["model"], row["wording"]): row.get("n_cut", 0) for row in rows}.values())
    said = [
        f"fastplr {__version__}, {datetime.now(timezone.utc):%Y-%m-%d}. Up to {options.n_test} test rows of a task"
        f" (few-shot: the first {options.n_few_shot} of them, {options.k} examples, one draw), {options.n_seeds} draws"
        f" of training rows.",
        *(one.describe() for one in variants),
    ]
    if n_cut:
        said.append(f"{n_cut} texts were longer than a model's context, and cut.")
    return [*said, *_unknown(rows), *(f"Not measured: {what}." for what in left_out)]


def _unknown(rows: list[dict[str, Any]]) -> list[str]:
    """Replies that were no answer, task by task."""
    return [
        f"{row['model']}, {row['task']}, wording {row['wording']!r}: {row['n_unknown']} of {row['n_test']} replies were"
        " no answer, and count as wrong."
        for row in rows
        if row.get("n_unknown")
    ]


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} hours"
    return f"{60 * hours:.0f} minutes" if hours >= 1 / 30 else f"{max(1.0, 3600 * hours):.0f} seconds"


def _print_plan(rows: list[dict[str, Any]], left_out: Sequence[str]) -> None:
    for what in left_out:
        click.echo(f"not measured: {what}", err=True)
    if not rows:
        click.echo("nothing is left to measure by a model", err=True)
    for model, bits in dict.fromkeys((row["model"], row["bits"]) for row in rows):
        own = [row for row in rows if (row["model"], row["bits"]) == (model, bits)]
        if "hours" in own[0]:
            click.echo(
                f"{model}, {bits} bits: {len(own)} {'pass' if len(own) == 1 else 'passes'},"
                f" {sum(row['n_tokens'] for row in own):,} tokens at {own[0]['tokens_per_second']:,.0f} a second:"
                f" {_duration(sum(row['hours'] for row in own))}, and some more for solving",
                err=True,
            )
        else:
            click.echo(f"{model}: {sum(row['n_requests'] for row in own):,} texts are sent to the endpoint", err=True)
