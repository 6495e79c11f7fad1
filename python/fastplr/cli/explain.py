"""``fastplr explain``: what the words of texts say for a classifier's decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastplr.cli.options import cache_option, debug_option, json_option, quiet_option, threads_option
from fastplr.cli.output import print_json


@click.command()
@click.argument("classifier", metavar="FILE", type=click.Path())
@click.argument("table", metavar="[CSV]", type=click.Path(), required=False)
@click.option(
    "--text", metavar="TEXT|COLUMN", required=True,
    help="A text, or with a table the column that holds the texts.",
)  # fmt: skip
@click.option("--label", "label_column", metavar="COLUMN", help="The column with the right labels, to see errors by.")
@click.option(
    "--of", "of_label", metavar="LABEL", help="The label to explain.  [default: the second of two, else the predicted]"
)
@click.option(
    "--method", type=click.Choice(["auto", "additive", "occlusion", "surrogate", "shapley"]), default="auto",
    show_default=True, help="How values come about; see docs/explanations.md.",
)  # fmt: skip
@click.option(
    "--by", type=click.Choice(["word", "phrase"]), default="word", show_default=True, help="What gets values."
)
@click.option(
    "--budget",
    type=int,
    metavar="N",
    help="Variants of a text that may be computed.  [default: see docs/explanations.md]",
)
@click.option("--stability", is_flag=True, help="Intervals over classifiers fitted to resampled training texts.")
@click.option("--html", metavar="OUT", type=click.Path(), help="Write a page with all texts and a filter.")
@click.option(
    "--model", metavar="NAME|PATH", help="The model, where it is not found under the name the classifier knows."
)
@click.option("--allow-variant", is_flag=True, help="Accept another variant of the same model.")
@click.option(
    "--on-long", type=click.Choice(["error", "truncate"]),
    help="What to do with a text longer than the model's context.  [default: as when it was fitted]",
)  # fmt: skip
@json_option
@threads_option
@cache_option(False)
@quiet_option
@debug_option
def explain(
    classifier: str,
    table: str | None,
    text: str,
    label_column: str | None,
    of_label: str | None,
    method: Literal["auto", "additive", "occlusion", "surrogate", "shapley"],
    by: Literal["word", "phrase"],
    budget: int | None,
    stability: bool,
    html: str | None,
    model: str | None,
    allow_variant: bool,
    on_long: str | None,
    as_json: bool,
    threads: int | None,
    cache: bool,
    quiet: bool,
) -> None:
    """Show what each word of a text says for the decision of a fitted classifier.

    \b
    fastplr explain reviews.plr --text "Not bad at all."
    fastplr explain reviews.plr new.csv --text text --label label --html why.html

    FILE is a classifier that 'fastplr fit' saved. On a terminal words are coloured: blue and bold speak for the label,
    orange and italic against it, dim ones are not stable. Elsewhere the ten strongest are listed below each text.
    """
    import fastplr
    from fastplr.explanation_page import as_page
    from fastplr.explanation_text import print_explanations
    from fastplr.tables import check_output, read_table

    if label_column is not None and table is None:
        raise click.UsageError("--label names a column of a table; give a table")
    if as_json and html is not None:
        raise click.UsageError("--json prints on standard output; give it without --html")
    if html is not None:
        check_output(html, inputs=(classifier, *([table] if table else [])))
    texts, truth = [text], None
    if table is not None:
        rows = read_table(table, [text, *([label_column] if label_column else [])])
        texts = rows.texts(text)
        truth = list(rows.columns[label_column]) if label_column else None
    fitted = fastplr.load(classifier, model=model, allow_variant=allow_variant)
    fitted.embedder_.set_params(progress=False if quiet else None, n_threads=threads, cache=cache)
    if on_long is not None:
        fitted.embedder_.set_params(on_long=on_long)
    named = {str(one): one for one in fitted.classes_.tolist()}
    label = None if of_label is None else named.get(of_label, of_label)
    found = fitted.explain(texts, method=method, label=label, by=by, budget=budget, stability=stability)
    if as_json:
        print_json([one.to_dict() for one in found])
    elif html is not None:
        Path(html).write_text(as_page(found, truth=truth, title=f"Why: {Path(classifier).name}"), "utf-8")
    else:
        print_explanations(found, truth)
