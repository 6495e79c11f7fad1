"""``fastplr predict``: labels and probabilities for a table of texts."""

from __future__ import annotations

import click

from fastplr.cli.options import debug_option, quiet_option, table_argument, table_options, threads_option


@click.command()
@click.argument("classifier", metavar="FILE", type=click.Path())
@table_argument
@table_options
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), default="-",
    help="A .csv, .tsv, .jsonl or .parquet file.  [default: CSV on standard output]",
)  # fmt: skip
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
@quiet_option
@debug_option
def predict(
    classifier: str,
    table: str,
    text_column: str,
    table_format: str | None,
    delimiter: str | None,
    output: str,
    kept_columns: tuple[str, ...],
    model: str | None,
    allow_variant: bool,
    on_long: str | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Predict the labels of a table of texts with a fitted classifier.

    The output has one row a text, in the order of the input, and the columns text, label (the predicted one)
    and p_LABEL, the probability of each label. A kept column whose name is one of these is called input_NAME.
    """
    import fastplr
    from fastplr.tables import STANDARD_STREAM, Column, check_output, format_of, read_table, write_table

    if output != STANDARD_STREAM:
        format_of(output)
        check_output(output, inputs=(classifier, table))
    rows = read_table(table, [text_column, *kept_columns], format=table_format, delimiter=delimiter)
    texts = rows.texts(text_column)
    fitted = fastplr.load(classifier, model=model, allow_variant=allow_variant)
    fitted.embedder_.set_params(progress=False if quiet else None, n_threads=threads)
    if on_long is not None:
        fitted.embedder_.set_params(on_long=on_long)

    probabilities = fitted.predict_proba(texts)
    labels = [fitted.classes_[k] for k in probabilities.argmax(axis=1)]
    predicted: dict[str, Column] = {"text": texts, "label": labels}
    for k, label in enumerate(fitted.classes_):
        # Six digits are more than a probability fitted on some hundred rows has.
        predicted[f"p_{label}"] = [float(f"{p:.6g}") for p in probabilities[:, k]]
    kept: dict[str, Column] = {
        f"input_{name}" if name in predicted else name: rows.columns[name] for name in kept_columns
    }
    write_table(output, {**kept, **predicted})
