"""``fastplr study``: zero-shot, few-shot and penalised logistic regression compared on one's own tasks and models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fastplr.cli.options import debug_option, quiet_option, threads_option
from fastplr.model_store import DEFAULT_MODEL

#: What --quick measures: a look at six tasks at most.
QUICK = {"n_per_class": (10, 50), "n_seeds": 2, "n_test": 100, "n_few_shot": 50}
QUICK_TASKS = 6


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
              help="A folder with tasks.json and NAME/train.csv, NAME/test.csv, or one table.")  # fmt: skip
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
    measured is kept at once; the same command goes on after it was stopped.
    """
    from fastplr.errors import InputError
    from fastplr.study import (
        Endpoint,
        Results,
        StudyOptions,
        as_html,
        as_markdown,
        estimate,
        read_csv_task,
        read_tasks,
        units,
        variant,
    )
    from fastplr.study import run as run_units
    from fastplr.tables import atomic_output, check_output

    source = Path(tasks)
    if source.is_dir():
        chosen = read_tasks(source, only)
    elif instruction is None:
        raise click.UsageError("--tasks names a table: expected --instruction with the question that its labels answer")
    else:
        chosen = [read_csv_task(source, text_column, label_column, instruction)]
    given = {
        "n_per_class": tuple(sorted(set(rows))), "n_seeds": seeds, "n_test": test_rows, "n_few_shot": few_shot_rows,
        "bits": tuple(dict.fromkeys(bits)), "wordings": tuple(dict.fromkeys(wordings)),
        "methods": tuple(dict.fromkeys(methods)),
    }  # fmt: skip
    settings = {**(QUICK if quick else {}), **{name: value for name, value in given.items() if value not in (None, ())}}
    names = tuple(dict.fromkeys(models)) or (DEFAULT_MODEL,)
    endpoint = None if endpoint_model is None else Endpoint(endpoint_model, endpoint_url, endpoint_prices)
    options = StudyOptions(models=names, k=k, endpoint=endpoint, n_threads=threads, **settings)  # type: ignore[arg-type]
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
    variants = [
        variant(model, one, folder / "models", progress=progress) for model in options.models for one in options.bits
    ]
    results = Results(folder / "results.sqlite")
    try:
        left = units(chosen, variants, options, results)
        if only_plan or not quiet:
            _print_plan(estimate(left, variants, options), len(left))
        if only_plan:
            return

        def tell(number: int, unit: object) -> None:
            if not quiet:
                one = left[number]
                of = (
                    ""
                    if one.model is None
                    else f", {variants[one.model].name}, {variants[one.model].bits} bits, {one.wording}"
                )
                click.echo(f"{number + 1} of {len(left)}: {one.task.name}{of}", err=True)

        run_units(left, variants, options, results, cache=cache or None, progress=progress, on_unit=tell)
        wanted = {task.name for task in chosen}
        found = [row for row in results.rows() if row["task"] in wanted]
    finally:
        results.close()
    about = [_about(one) for one in variants]
    title = "fastplr study"
    for name, text in (("report.md", as_markdown(found, title, about)), ("report.html", as_html(found, title, about))):
        with atomic_output(folder / name) as file:
            file.write(text.encode("utf-8"))
    if json_output is not None:
        with atomic_output(json_output) as file:
            file.write(json.dumps(found, indent=1).encode("utf-8"))
    if not quiet:
        click.echo(f"written: {folder / 'report.html'}, {folder / 'report.md'}, {folder / 'results.sqlite'}")


def _about(one: object) -> str:
    from fastplr.study.plan import ModelVariant

    assert isinstance(one, ModelVariant)
    mix = ", ".join(
        f"{share.type} {100 * share.n_elements / one.info.n_parameters:.0f} %" for share in one.info.tensor_mix
    )
    made = ""
    if one.source_bits_per_weight < min(16.0, one.info.bits_per_weight - 0.01):
        made = f", made from a file of {one.source_bits_per_weight:.2f}: with its quality at most"
    return f"{one.name}, {one.bits} bits: {one.info.bits_per_weight:.2f} bits a weight ({mix}){made}."


def _print_plan(rows: list[dict[str, object]], n_units: int) -> None:
    if not n_units:
        click.echo("nothing is left to measure", err=True)
        return
    for row in rows:
        click.echo(
            f"{row['model']}, {row['bits']} bits: {row['n_units']} passes, {row['n_tokens']:,} tokens at"
            f" {row['tokens_per_second']:,.0f} a second: {row['hours']:.2f} hours",
            err=True,
        )
