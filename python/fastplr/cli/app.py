"""The program as a whole: its commands, and what becomes of errors, warnings and a reader who leaves."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from fastplr.cli.cache import cache
from fastplr.cli.convert import convert
from fastplr.cli.demo import demo
from fastplr.cli.embed import embed
from fastplr.cli.explain import explain
from fastplr.cli.fit import fit
from fastplr.cli.info import info
from fastplr.cli.models import models
from fastplr.cli.options import debug_option, keeps_nothing, wants_traceback
from fastplr.cli.predict import predict
from fastplr.cli.quantize import quantize
from fastplr.cli.report import report
from fastplr.cli.study import study
from fastplr.cli.wording import in_options
from fastplr.errors import (
    AnswerWarning,
    CacheWarning,
    FastplrError,
    NotConverged,
    QuantizationWarning,
    TruncationWarning,
)

EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows does not name


class CommandLine(click.Group):
    """The commands. A broken pipe is caught here, before click makes exit code 1 of it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_standard_output()
            raise click.exceptions.Exit(EXIT_BROKEN_PIPE) from None
        return result


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fastplr", message="%(prog)s %(version)s")
@debug_option
def cli() -> None:
    """Turn tens of labelled texts into a fast, private text classifier.

    \b
    fastplr demo
    fastplr fit train.csv --text text --label label -o reviews.plr
    fastplr predict reviews.plr new.csv --text text -o labelled.csv
    fastplr explain reviews.plr --text "Not bad at all."
    fastplr report reviews.plr -o report.html
    """


for _command in (fit, predict, explain, report, embed, models, info, quantize, convert, study, cache, demo):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives its exit code; never raises for bad input.

    Args:
        arguments: The words after ``fastplr``. Default: those of this process.
    """
    options: dict[str, Any] = {}
    try:
        with _warnings_in_one_line():
            # click gives the code of an early exit (--help, a broken pipe), and else what the command
            # returned.
            code = cli.main(arguments, prog_name="fastplr", standalone_mode=False, obj=options)
            code = code if isinstance(code, int) else 0
    except (click.Abort, KeyboardInterrupt) as stop:  # Ctrl-C; the line is ended
        hint = str(stop)  # of the command
        if not hint and keeps_nothing(options):
            hint = "with --cache, what was embedded would have been kept"
        click.echo("; ".join(filter(None, ("fastplr: interrupted", hint))), err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (FastplrError, OSError) as error:
        if wants_traceback(options):
            traceback.print_exc()
        click.echo(f"fastplr: error: {_one_line(error)}", err=True)
        return EXIT_ERROR
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # --help, which click prints before any command runs
        _discard_standard_output()
        return EXIT_BROKEN_PIPE
    return code


def _one_line(error: BaseException) -> str:
    return in_options(" ".join(str(error).split())) or type(error).__name__


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *_: object, **__: object) -> None:
        click.echo(f"fastplr: warning: {in_options(str(message))}", err=True)

    with warnings.catch_warnings():
        for category in (AnswerWarning, CacheWarning, NotConverged, QuantizationWarning, TruncationWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


def _discard_standard_output() -> None:
    """What is still buffered goes nowhere: writing it at exit would fail once more, with a message."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
