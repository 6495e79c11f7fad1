"""``fastplr fit``: a classifier from a table of labelled texts."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from fastplr.cli.options import (
    cache_option,
    debug_option,
    json_option,
    layer_option,
    model_option,
    on_long_option,
    parse_penalty,
    parse_shares,
    prompt_of,
    prompt_options,
    quiet_option,
    table_argument,
    table_options,
    threads_option,
)
from fastplr.cli.output import format_bytes, format_estimate, print_json, print_pairs
from fastplr.cli.wording import rows_named


@click.command()
@table_argument
@table_options
@click.option("--label", "label_column", metavar="COLUMN", required=True, help="Column that holds the labels.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(), required=True, help="Where to save the classifier.")
@model_option
@prompt_options
@layer_option("auto", "middle", "auto")
@click.option(
    "--pooling", type=click.Choice(["mean", "mean_all", "last", "auto"]), default="auto", show_default=True,
    help="How the hidden states of a text's tokens become one vector.",
)  # fmt: skip
@click.option(
    "--C",
    "C",
    metavar="C|auto",
    callback=parse_penalty,
    default="auto",
    show_default=True,
    help="Inverse penalty: small is simple; inf is no penalty; auto is by cross-validation.",
)
@click.option("--speed", is_flag=True, help="Prefer the shallowest layer that is about as good as the best.")
@click.option("--class-weight", type=click.Choice(["balanced"]), help="Let rare classes count as much as others.")
@click.option(
    "--class-prior", metavar="LABEL=SHARE", multiple=True, callback=parse_shares,
    help="Share of a label where predictions will be made, if not that of the table; one for each label.",
)  # fmt: skip
@click.option(
    "--report/--no-report", "with_report", default=True, show_default=True,
    help="Estimate how good the classifier is on new texts, for 'fastplr report'.",
)  # fmt: skip
@on_long_option
@threads_option
@cache_option(True)
@json_option
@quiet_option
@debug_option
def fit(
    table: str,
    text_column: str,
    table_format: str | None,
    delimiter: str | None,
    label_column: str,
    output: str,
    model: str,
    instruction: str | None,
    prefix: str | None,
    suffix: str | None,
    layer: int | str,
    pooling: str,
    C: float | str,
    speed: bool,
    class_weight: str | None,
    class_prior: dict[Any, float] | None,
    with_report: bool,
    on_long: str,
    threads: int | None,
    cache: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fit a classifier on a table of labelled texts.

    CSV is a .csv, .tsv, .jsonl or .parquet file with a column of texts and a column of labels, or - for
    standard input. A good --instruction says what the text is and what the labels are.
    """
    import fastplr
    from fastplr.tables import STANDARD_STREAM, check_output, read_table

    if text_column == label_column:
        raise click.UsageError(f"--text and --label are both {text_column!r}; expected two columns")
    prompt = prompt_of(instruction, prefix, suffix)
    if output == STANDARD_STREAM:
        raise click.UsageError("-o -: a classifier goes to a file; expected the name of one")
    check_output(output, inputs=(table, model), devices=False)
    rows = read_table(table, [text_column, label_column], format=table_format, delimiter=delimiter)
    with rows_named(rows):
        labels = rows.labels(label_column)
        if class_prior is not None:  # the labels of some tables are no text
            as_written = {str(label): label for label in labels}
            class_prior = {as_written.get(name, name): share for name, share in class_prior.items()}
        classifier = fastplr.fit(
            rows.texts(text_column),
            labels,
            model=model,
            prompt=prompt,
            layer=layer,
            pooling=pooling,
            C=C,
            speed=speed,
            class_weight=class_weight,
            class_prior=class_prior,
            on_long=on_long,
            n_threads=threads,
            cache=cache,
            progress=False if quiet else None,
        )
    classifier.save(output)
    if with_report:
        if not quiet and sys.stderr.isatty():
            click.echo("estimating how good it is on new texts ('--no-report' does without) ...", err=True)
        try:
            classifier.report_.compute()
            classifier.save(output)
        except KeyboardInterrupt:
            click.echo(err=True)
            raise click.Abort(
                f"{output} is saved and can predict; the same command again makes the estimate for 'fastplr report'"
            ) from None
    report = classifier.report_.known()
    if as_json:
        print_json({**report, "file": output, "file_bytes": os.path.getsize(output)})  # noqa: PTH202
    elif not quiet:
        print_pairs(_summary(report, output, C == "auto"))


def _summary(report: dict[str, Any], output: str, chose_penalty: bool) -> list[tuple[str, str]]:
    classes = ", ".join(f"{entry['label']} {entry['count']}" for entry in report["classes"])
    representation = f"{report['model']['name']}, layer {report['layer']}, {report['pooling']} pooling"
    if len(report["candidates"]) > 1:
        representation += f": the best of {len(report['candidates'])} by held-out log-loss"
    penalty = f"{report['C']:.4g}" + (f", by {report['n_folds']} folds" if report["n_folds"] and chose_penalty else "")
    solving = f"{report['solve_seconds']:.2f} s" + ("" if report["converged"] else " (not converged)")
    embedding = f"{report['embed_seconds']:.1f} s for {report['n_tokens']:,} tokens"
    if report["n_tokens"] == 0:
        embedding = f"{report['embed_seconds']:.1f} s: all known from an earlier run"
    return [
        ("texts", f"{report['n_texts']} in {len(report['classes'])} classes: {classes}"),
        ("model", representation),
        ("C", penalty),
        ("embedding", embedding),
        ("solving", solving),
        *([("estimate", format_estimate(report["estimate"]))] if "estimate" in report else []),
        ("saved", f"{output} ({format_bytes(os.path.getsize(output))})"),  # noqa: PTH202
    ]
