"""``fastplr demo``: the whole job on messages that ship with the package."""

from __future__ import annotations

import click

from fastplr.cli.options import debug_option, json_option, model_option, quiet_option, threads_option
from fastplr.cli.output import print_json


@click.command()
@model_option
@threads_option
@json_option
@quiet_option
@debug_option
def demo(model: str, threads: int | None, as_json: bool, quiet: bool) -> None:
    """Learn from 120 messages to a bank, and route 90 others.

    The messages ship with fastplr, 70 each of complaint, fraud and service; no file is written.
    """
    from fastplr.demo import format_demo, run_demo

    result = run_demo(model=model, n_threads=threads, progress=False if quiet else None)
    if as_json:
        print_json(result)
    else:
        click.echo(format_demo(result))
