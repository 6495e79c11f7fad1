"""``fastplr report``: what a fit found out, from the classifier's file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fastplr.cli.options import debug_option, json_option
from fastplr.cli.output import PICTURES, print_json, save_picture
from fastplr.errors import ClassifierFileError, FastplrError, InputError


@click.command()
@click.argument("classifier", metavar="FILE", type=click.Path())
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(),
    help="An .html page, or the pictures alone as .svg, .png or .pdf.  [default: text on standard output]",
)  # fmt: skip
@click.option("--table", metavar="CSV", type=click.Path(), help="The table fitted on: a page shows disputed texts.")
@click.option("--text", "text_column", metavar="COLUMN", help="Its column that holds the texts.")
@json_option
@debug_option
def report(classifier: str, output: str | None, table: str | None, text_column: str | None, as_json: bool) -> None:
    """Show how good a classifier is and how it came to be.

    What to expect on new texts, class by class; which labels are confused or disputed; what more labels would bring;
    which layers, poolings and penalties were compared. FILE is a classifier that 'fastplr fit' saved. The model is not
    needed.
    """
    import fastplr
    from fastplr.report import Report
    from fastplr.tables import atomic_output, check_output, read_table

    if (table is None) != (text_column is None):
        raise click.UsageError("--table and --text belong together; give both or none")
    if as_json and output is not None:
        raise click.UsageError("--json prints on standard output; give it without -o")
    if table is not None and (output is None or not output.lower().endswith(".html")):
        raise click.UsageError("--table is for a page; give -o FILE.html")
    ending = Path(output).suffix.lower() if output is not None else None
    if ending is not None and ending not in (".html", *PICTURES):
        raise InputError(f"{output!r} ends in {ending!r}: expected .html, .svg, .png or .pdf")
    if output is not None:
        check_output(output, inputs=(classifier, *([table] if table else [])))
    found = Report(fastplr.classifier_file_info(classifier)["report"])
    texts = read_table(table, [text_column]).texts(text_column) if table is not None and text_column else None
    with _damage(classifier):
        if as_json:
            print_json(found.known())
        elif output is None:
            click.echo(found.format(), nl=False)
        elif ending == ".html":
            with atomic_output(output) as file:
                file.write(found.to_html(texts).encode())
        else:
            save_picture(found.plot, output)


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """What is wrong with a report that somebody else wrote is the file's fault."""
    try:
        yield
    except (FastplrError, OSError):
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        message = f"the report in {path!r} is damaged, or of another version: {type(error).__name__}: {error}"
        raise ClassifierFileError(message) from error
