"""``fastplr cache``: the embeddings that are kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastplr.cli.options import debug_option, json_option
from fastplr.cli.output import format_bytes, print_json, print_pairs

if TYPE_CHECKING:
    from fastplr.feature_store import FeatureStore

folder_option = click.option(
    "--folder", metavar="PATH", type=click.Path(),
    help="A folder that was named in Python (cache=PATH).  [default: that of the user]",
)  # fmt: skip


@click.group()
def cache() -> None:
    """Say what the cache of embeddings holds, and empty it.

    Embeddings of texts (not the texts) are kept by 'fastplr fit', and by 'predict' and 'embed' with --cache, so
    that nothing is computed twice. FASTPLR_CACHE_DIR names another folder, FASTPLR_CACHE_MB another limit.
    """


@cache.command()
@folder_option
@json_option
@debug_option
def info(folder: str | None, as_json: bool) -> None:
    """Print where the cache is, how much it holds, and how much it may hold."""
    found = _store(folder).info()
    if as_json:
        print_json(
            {
                "path": str(found.path),
                "n_entries": found.n_entries,
                "n_bytes": found.n_bytes,
                "max_bytes": found.max_bytes,
            }
        )
        return
    print_pairs(
        [
            ("file", str(found.path)),
            ("entries", f"{found.n_entries:,} (a text, layer and pooling each)"),
            ("size", f"{format_bytes(found.n_bytes)} of at most {format_bytes(found.max_bytes)}"),
        ]
    )


@cache.command()
@folder_option
@json_option
@debug_option
def clear(folder: str | None, as_json: bool) -> None:
    """Delete all embeddings that are kept, those of other versions of fastplr too. Models stay."""
    store = _store(folder)
    n_entries, n_bytes = store.clear()
    if as_json:
        print_json({"path": str(store.path), "n_entries": n_entries, "n_bytes": n_bytes})
    else:
        click.echo(f"{n_entries:,} entries deleted, {format_bytes(n_bytes)} freed in {store.folder}")


def _store(folder: str | None) -> FeatureStore:
    from fastplr.feature_stores import store_for

    store = store_for(True if folder is None else folder)
    assert store is not None  # only None and False mean none
    return store
