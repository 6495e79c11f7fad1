"""fastplr itself: `Embedder.embed`, one call for the texts that share a prompt."""

from __future__ import annotations

import numpy as np

from fastplr import Embedder, Prompt  # fastplr imports what is behind a name when it is named: that is an import, too
from fastplr.engine import clear_engines
from fastplr.feature_cache import feature_cache
from rivals.adapter import Features, Group, package_versions


class Fastplr:
    """fastplr.Embedder.

    Args:
        model: A name of the catalogue, or a path.
        n_threads: Threads of computation.
        layer: As Embedder's.
        pooling: As Embedder's.
        n_batch: As Embedder's; None is its default.
        kernels: As Embedder's.
    """

    def __init__(
        self,
        model: str,
        n_threads: int,
        layer: int | str,
        pooling: str,
        n_batch: int | None = None,
        kernels: bool = True,
    ) -> None:
        self.settings = {
            "layer": layer,
            "pooling": pooling,
            "n_threads": n_threads,
            "n_batch": n_batch,
            "kernels": kernels,
        }
        self.model = model
        self.used = False

    @staticmethod
    def versions() -> dict[str, str]:
        """fastplr's own."""
        return package_versions("fastplr")

    def load(self) -> None:
        """The model; the context comes with the first text."""
        self.embedder = Embedder(self.model, progress=False, **self.settings)
        self.embedder.fit()

    def forget(self) -> None:
        """Nothing that an earlier round computed may help a later one: neither features nor the state of a prompt."""
        feature_cache.clear()
        if self.used:
            clear_engines()
            self.embedder.embed(["The model is loaded again."])
            feature_cache.clear()
        self.used = True

    def embed(self, groups: list[Group]) -> Features:
        """See Rival."""
        rows = []
        for group in groups:
            self.embedder.prompt = Prompt(group["prefix"], group["suffix"])
            rows.append(self.embedder.embed(group["texts"]))
        self.embedder.prompt = None
        return np.concatenate(rows)
