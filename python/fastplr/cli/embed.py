"""``fastplr embed``: the hidden states of a table of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastplr.cli.options import (
    cache_option,
    debug_option,
    json_option,
    layer_option,
    model_option,
    on_long_option,
    output_format_option,
    prompt_of,
    prompt_options,
    quiet_option,
    table_argument,
    table_options,
    threads_option,
)
from fastplr.cli.output import print_json
from fastplr.cli.wording import rows_named


@click.command()
@table_argument
@table_options
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), required=True,
    help="A .npy, .parquet, .csv, .tsv or .jsonl file, or - for CSV on standard output.",
)  # fmt: skip
@output_format_option
@model_option
@prompt_options
@layer_option("middle", "middle")
@click.option(
    "--pooling", type=click.Choice(["mean", "mean_all", "last"]), default="mean", show_default=True,
    help="How the hidden states of a text's tokens become one vector.",
)  # fmt: skip
@on_long_option
@threads_option
@cache_option(False)
@json_option
@quiet_option
@debug_option
def embed(
    table: str,
    text_column: str,
    table_format: str | None,
    delimiter: str | None,
    output: str,
    output_format: str | None,
    model: str,
    instruction: str | None,
    prefix: str | None,
    suffix: str | None,
    layer: int | Literal["middle"],
    pooling: str,
    on_long: Literal["error", "truncate"],
    threads: int | None,
    cache: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the embedding of every text of a table.

    A .npy file holds the float32 array [texts, width]. Tables have the column text and the embedding: a list
    in .parquet and .jsonl, the columns embedding_0, embedding_1, ... in .csv and .tsv. With --json, a summary
    of what was written goes to standard output.
    """
    import numpy as np

    import fastplr
    from fastplr.classifier_file import identity_of
    from fastplr.tables import (
        STANDARD_STREAM,
        atomic_output,
        check_output,
        format_of,
        read_table,
        write_table,
    )

    if as_json and output in (STANDARD_STREAM, "/dev/stdout"):
        raise click.UsageError(f"--json prints a summary where -o {output} writes the table; expected a file")
    as_array = output_format is None and Path(output).suffix.lower() == ".npy"
    prompt = prompt_of(instruction, prefix, suffix)
    if output != STANDARD_STREAM:
        if not as_array:
            format_of(output, output_format)
        check_output(output, inputs=(table, model))
    rows = read_table(table, [text_column], format=table_format, delimiter=delimiter)
    texts = rows.texts(text_column)
    embedder = fastplr.Embedder(
        model,
        layer=layer,
        pooling=pooling,
        prompt=prompt,
        on_long=on_long,
        n_threads=threads,
        cache=cache,
        progress=False if quiet else None,
    )
    with rows_named(rows):
        embeddings = embedder.embed(texts)
    if as_array:
        with atomic_output(output) as file:
            np.save(file, embeddings, allow_pickle=False)
    else:
        write_table(output, {"text": texts, "embedding": embeddings}, format=output_format)
    if as_json:
        resolved = embedder.resolve()
        print_json(
            {
                "n_texts": len(texts),
                "n_features": embeddings.shape[1],
                "layer": embedder.layer_number(embedder.layer),
                "pooling": pooling,
                "model": {"name": resolved.name, **identity_of(resolved)},
                "output": output,
            }
        )
