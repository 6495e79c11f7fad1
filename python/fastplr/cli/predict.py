"""``fastplr predict``: labels and probabilities for a table of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import click

from fastplr.cli.options import (
    cache_option,
    debug_option,
    output_format_option,
    quiet_option,
    table_argument,
    table_options,
    threads_option,
)
from fastplr.cli.wording import rows_named


@click.command()
@click.argument("classifier", metavar="FILE", type=click.Path())
@table_argument
@table_options
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), default="-",
    help="A .csv, .tsv, .jsonl or .parquet file.  [default: CSV on standard output]",
)  # fmt: skip
@output_format_option
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, whatever the ending of OUT is.")
@click.option(
    "--keep", "kept_columns", metavar="COLUMN", multiple=True,
    help="Copy this column of the input, before the others; may be given several times.",
)  # fmt: skip
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="The model, where it is not found under the name the classifier knows.",
)
@click.option(
    "--allow-variant",
    is_flag=True,
    help="Accept another variant of the same model; probabilities may differ.",
)
@click.option(
    "--on-long", type=click.Choice(["error", "truncate"]),
    help="What to do with a text longer than the model's context.  [default: as when it was fitted]",
)  # fmt: skip
@threads_option
@cache_option(False)
@quiet_option
@debug_option
def predict(
    classifier: str,
    table: str,
    text_column: str,
    table_format: str | None,
    delimiter: str | None,
    output: str,
    output_format: str | None,
    as_json: bool,
    kept_columns: tuple[str, ...],
    model: str | None,
    allow_variant: bool,
    on_long: str | None,
    threads: int | None,
    cache: bool,
    quiet: bool,
) -> None:
    """Predict the labels of a table of texts with a fitted classifier.

    The output has one row a text, in the order of the input, and the columns text, label (the predicted one),
    p_LABEL, the probability of each label (p_1 and p_'1' where labels differ only in being a number or text), and
    familiarity: the share of the training texts that are at least as unlike the others as this text is. Below 0.05
    the text may be of another kind, whose probabilities are not to be relied on.
    A kept column whose name is one of these is called input_NAME.
    """
    import fastplr
    from fastplr.tables import STANDARD_STREAM, Column, check_output, format_of, read_table, write_table

    if as_json:
        if output_format not in (None, "jsonl"):
            raise click.UsageError(f"--json and --output-format {output_format} contradict each other; give one")
        output_format = "jsonl"
    output_format = format_of(output, output_format)
    if output != STANDARD_STREAM:
        check_output(output, inputs=(classifier, table))
    rows = read_table(table, [text_column, *kept_columns], format=table_format, delimiter=delimiter)
    texts = rows.texts(text_column)
    fitted = fastplr.load(classifier, model=model, allow_variant=allow_variant)
    fitted.embedder_.set_params(progress=False if quiet else None, n_threads=threads, cache=cache)
    if on_long is not None:
        fitted.embedder_.set_params(on_long=on_long)

    with rows_named(rows):
        features = fitted._features(texts)
    probabilities = fitted._probabilities(features)
    labels = [fitted.classes_[k] for k in probabilities.argmax(axis=1)]
    predicted: dict[str, Column] = {"text": texts, "label": labels}
    for k, name in enumerate(_probability_columns(fitted.classes_.tolist())):
        # Six digits are more than a probability fitted on some hundred rows has.
        predicted[name] = [float(f"{p:.6g}") for p in probabilities[:, k]]
    if fitted.training_ is not None:
        predicted["familiarity"] = [float(f"{share:.3g}") for share in fitted._familiarities(features)]
    kept: dict[str, Column] = {}
    for name in dict.fromkeys(kept_columns):
        free_name = name
        while free_name in predicted or free_name in kept:
            free_name = f"input_{free_name}"
        kept[free_name] = rows.columns[name]
    write_table(output, {**kept, **predicted}, format=output_format)


def _probability_columns(labels: Iterable[object]) -> list[str]:
    """A name for the column of each label: its text, or as Python writes it where two texts are the same."""
    labels = list(labels)
    most_common = Counter(map(str, labels)).most_common(1)
    write = repr if most_common and most_common[0][1] > 1 else str
    return [f"p_{write(label)}" for label in labels]
