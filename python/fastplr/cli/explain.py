"""``fastplr explain``: what the words of texts say for a classifier's decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastplr.cli.options import cache_option, debug_option, json_option, quiet_option, threads_option
from fastplr.cli.output import PICTURES, print_json, save_picture
from fastplr.errors import InputError


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
@click.option("--replacement", metavar="TEXT", default="", help="What stands for a word taken out.  [default: nothing]")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Of the samples.")
@click.option("--stability", is_flag=True, help="Intervals over classifiers fitted to resampled training texts.")
@click.option("--flip", is_flag=True, help="Add the fewest words without which it is another label.")
@click.option("--influence", is_flag=True, help="Add the three training texts on which the decision hangs most.")
@click.option(
    "--training", metavar="CSV", type=click.Path(),
    help="With --influence: the table that was fitted on, to show its texts; the same column holds them.",
)  # fmt: skip
@click.option("--overview", is_flag=True, help="Show only the words that speak most for each label, over all texts.")
@click.option("--html", metavar="OUT", type=click.Path(), help="Write a page with all texts and a filter.")
@click.option(
    "--picture", metavar="OUT", type=click.Path(), help="Draw the one text: .svg, .png or .pdf (needs matplotlib)."
)
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
    replacement: str,
    seed: int,
    stability: bool,
    flip: bool,
    influence: bool,
    training: str | None,
    overview: bool,
    html: str | None,
    picture: str | None,
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
    from fastplr.explaining import explained
    from fastplr.explanation_notes import of_counterfactual, of_training_rows
    from fastplr.explanation_page import as_page
    from fastplr.explanation_text import print_explanations
    from fastplr.inputs import label_number
    from fastplr.tables import atomic_output, check_output, read_table

    if label_column is not None and table is None:
        raise click.UsageError("--label names a column of a table; give a table")
    if as_json and html is not None:
        raise click.UsageError("--json prints on standard output; give it without --html")
    if picture is not None and (table is not None or as_json or html is not None or flip or influence):
        raise click.UsageError("--picture is of one text, without --json, --html, --flip and --influence")
    if picture is not None and Path(picture).suffix.lower() not in PICTURES:
        raise InputError(f"{picture!r} ends in {Path(picture).suffix!r}: expected .svg, .png or .pdf")
    if overview and (table is None or flip or influence or stability or label_column or of_label or html is not None):
        raise click.UsageError("--overview is of a table and all labels; a page (--html) has it anyway")
    if training is not None and (not influence or table is None):
        raise click.UsageError("--training goes with --influence and a table")
    for output in (html, picture):
        if output is not None:
            check_output(output, inputs=(classifier, *(one for one in (table, training) if one)))
    texts, truth = [text], None
    if table is not None:
        rows = read_table(table, [text, *([label_column] if label_column else [])])
        texts = rows.texts(text)
        truth = list(rows.columns[label_column]) if label_column else None
    fitted = fastplr.load(classifier, model=model, allow_variant=allow_variant)
    fitted.embedder_.set_params(progress=False if quiet else None, n_threads=threads, cache=cache)
    if on_long is not None:
        fitted.embedder_.set_params(on_long=on_long)
    training_texts = None
    if training is not None:
        training_texts = read_table(training, [text]).texts(text)
        if len(training_texts) != fitted.report_["n_texts"]:
            raise InputError(
                f"{training} has {len(training_texts)} texts: expected the {fitted.report_['n_texts']} it was fitted on"
            )
    named = {str(one): one for one in fitted.classes_.tolist()}
    label = None if of_label is None else named.get(of_label, of_label)
    number = None if label is None else label_number(label, fitted.classes_.tolist())
    values = explained(
        fitted, texts, method=method, by=by, budget=budget, stability=stability, replacement=replacement,
        random_state=seed,
    )  # fmt: skip
    if overview:
        found_words = values.overview()
        print_json(found_words.to_dict()) if as_json else click.echo(found_words.format(), nl=False)
        return
    found = values.explanations(number)
    flips = fitted.counterfactual(texts, by=by, replacement=replacement) if flip else None
    influences = fitted.influence(texts, n=3, label=label) if influence else None
    if as_json:
        entries = [one.to_dict() for one in found]
        for k, entry in enumerate(entries):
            if flips is not None:
                entry["counterfactual"] = flips[k].to_dict()
            if influences is not None:
                entry["influence"] = [dict(vars(row)) for row in influences[k]]
        print_json(entries)
        return
    if picture is not None:
        save_picture(lambda: found[0].plot().figure, picture)
        return
    notes = [
        [
            *([of_counterfactual(flips[k])] if flips is not None else []),
            *(of_training_rows(one.label, influences[k], training_texts) if influences is not None else []),
        ]
        for k, one in enumerate(found)
    ]
    if html is not None:
        sections = values.overview().section() if len(texts) > 1 else ""
        title = f"Why: {Path(classifier).name}"
        with atomic_output(html) as file:
            file.write(as_page(found, truth=truth, title=title, sections=sections, notes=notes).encode())
    else:
        print_explanations(found, truth, notes)
