"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fastplr.model_store import DEFAULT_MODEL
from fastplr.tables import FORMAT_OF_ENDING

if TYPE_CHECKING:
    from fastplr.prompt import Prompt

F = TypeVar("F", bound=Callable[..., Any])

_DEBUG = "debug"
_CACHE = "cache"


def _remember_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(dict)[_DEBUG] = True


def debug_option(command: F) -> F:
    """``--debug``, understood before and after the command's name; see :func:`wants_traceback`."""
    option = click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show the traceback of an error.",
    )
    return option(command)


def wants_traceback(options: MutableMapping[str, Any]) -> bool:
    """Whether ``--debug`` was given, by the object that was handed to click as ``obj``."""
    return bool(options.get(_DEBUG))


def keeps_nothing(options: MutableMapping[str, Any]) -> bool:
    """Whether the command that ran could have kept features on disk and was told not to; `options` as above."""
    return options.get(_CACHE) is False


def layer_option(default: str, *words: str) -> Callable[[F], F]:
    """``--layer``: a whole number or one of `words`."""

    def parse(context: click.Context, parameter: click.Parameter, value: str) -> int | str:
        if value in words:
            return value
        try:
            return int(value)
        except ValueError:
            raise click.BadParameter(f"{value!r}: expected a whole number or {' or '.join(words)}") from None

    return click.option(
        "--layer",
        metavar="|".join(("N", *words)),
        default=default,
        show_default=True,
        callback=parse,
        help="Layer whose hidden states are used; -1 is the last, after the output norm.",
    )


def parse_penalty(context: click.Context, parameter: click.Parameter, value: str) -> float | str:
    """The value of ``--C``: a number above 0, ``inf`` (no penalty) or ``auto`` (by cross-validation)."""
    if value == "auto":
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise click.BadParameter(f"{value!r}: expected a number above 0, inf or auto")
    return number


def parse_shares(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, float] | None:
    """``("spam=0.1", "ham=0.9")`` as a mapping, None where there is nothing."""
    found: dict[str, float] = {}
    for value in values:
        label, separator, share = value.rpartition("=")
        try:
            found[label] = float(share)
        except ValueError:
            separator = ""
        if not separator:
            raise click.BadParameter(f"{value!r}: expected LABEL=SHARE, such as spam=0.1")
    return found or None


def _all_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator for several, shown by ``--help`` in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_FORMATS = sorted(set(FORMAT_OF_ENDING.values()))

table_argument = click.argument("table", metavar="CSV", type=click.Path())

table_options = _all_of(
    click.option("--text", "text_column", metavar="COLUMN", required=True, help="Column that holds the texts."),
    click.option(
        "--format",
        "table_format",
        type=click.Choice(_FORMATS),
        help="Format of the table read.  [default: by its ending; csv on standard input]",
    ),
    click.option("--delimiter", metavar="CHAR", help="What separates the cells of a csv table, if not the comma."),
)

model_option = click.option(
    "--model",
    metavar="NAME|PATH",
    default=DEFAULT_MODEL,
    show_default=True,
    help="A name from 'fastplr models list', or a GGUF file.",
)

prompt_options = _all_of(
    click.option("--instruction", metavar="TEXT", help="What the model reads before every text."),
    click.option("--prefix", metavar="TEXT", help="The same, kept exactly as written (no space is added)."),
    click.option("--suffix", metavar="TEXT", help="What the model reads after every text; slower than before it."),
)

on_long_option = click.option(
    "--on-long",
    type=click.Choice(["error", "truncate"]),
    default="error",
    show_default=True,
    help="What to do with a text longer than the model's context.",
)

threads_option = click.option(
    "--threads", metavar="N", type=click.IntRange(1, 512), help="Threads.  [default: all processors]"
)


def cache_option(default: bool) -> Callable[[F], F]:
    """``--cache/--no-cache``: whether the features of texts are kept on disk."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
        context.find_root().ensure_object(dict)[_CACHE] = value
        return value

    return click.option(
        "--cache/--no-cache",
        callback=remember,
        default=default,
        show_default=True,
        help="Keep embeddings on disk ('fastplr cache info' says where): a run that is repeated, or was stopped, does "
        "not compute them again.",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

output_format_option = click.option(
    "--output-format", type=click.Choice(_FORMATS), help="Format of the table written.  [default: by its ending]"
)

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bars and no summary.")


def prompt_of(instruction: str | None, prefix: str | None, suffix: str | None) -> Prompt | None:
    """The prompt that the options ask for, None where they ask for none."""
    from fastplr.prompt import Prompt

    if instruction is not None and prefix is not None:
        raise click.UsageError("--instruction and --prefix are the same thing; give one of them")
    if instruction is not None:
        return Prompt(suffix=suffix or "", instruction=instruction)
    if prefix is None and suffix is None:
        return None
    return Prompt(prefix or "", suffix or "")
