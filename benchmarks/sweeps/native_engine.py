"""The native engine in a worker process (``rivals/worker.py``), without what Python keeps of earlier calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastplr import _core
from rivals.adapter import Features, Group, package_versions

FORGETTABLE = ["Whatever the engine keeps for its next call, it keeps of this one."]


class NativeEngine:
    """`_core.Embedder`, mean over the tokens of the text.

    Args:
        path: Of the GGUF file.
        n_threads: Threads of computation.
        layer: The one layer that is wanted.
        n_batch, share_prefix, max_lanes: As the engine's; None is its default.
        keep_prefix: Whether the engine has met the prompt of the first group before, in an earlier call.
    """

    def __init__(
        self,
        path: str,
        n_threads: int,
        layer: int,
        n_batch: int | None = None,
        share_prefix: bool | None = None,
        keep_prefix: bool = False,
        max_lanes: int | None = None,
    ) -> None:
        settings: dict[str, Any] = {
            "n_threads": n_threads,
            "n_batch": n_batch,
            "share_prefix": share_prefix,
            "max_lanes": max_lanes,
        }
        self.settings = {name: value for name, value in settings.items() if value is not None}
        self.path, self.layer, self.keep_prefix = path, layer, keep_prefix

    @staticmethod
    def versions() -> dict[str, str]:
        """fastplr's."""
        return package_versions("fastplr")

    def load(self) -> None:
        """The model; the context comes with the first text."""
        self.engine = _core.Embedder(_core.Model(self.path, max_layer=self.layer), **self.settings)

    def prepare(self, groups: list[Group]) -> None:
        """Drops the prefix that an earlier round left; with `keep_prefix` the first group's is then computed."""
        self._embed(FORGETTABLE)
        if self.keep_prefix:
            self._embed(FORGETTABLE, groups[0]["prefix"])

    def embed(self, groups: list[Group]) -> Features:
        """See Rival: one call a group."""
        return np.concatenate([self._embed(group["texts"], group["prefix"], group["suffix"]) for group in groups])

    def _embed(self, texts: list[str], prefix: str = "", suffix: str = "") -> Features:
        out = np.empty((len(texts), self.engine.model.n_embd), dtype=np.float32)
        self.engine.embed(texts, out, layers=[self.layer], poolings=["mean"], prefix=prefix, suffix=suffix)
        return out


class TokenCounter:
    """Tokenises and does nothing else; a text's only feature is the number of its tokens, prompt included.

    Args:
        path: Of the GGUF file.
        n_threads: Not used: one thread tokenises.
    """

    def __init__(self, path: str, n_threads: int) -> None:
        self.path = path

    @staticmethod
    def versions() -> dict[str, str]:
        """fastplr's."""
        return package_versions("fastplr")

    def load(self) -> None:
        """The vocabulary, with the first block, without which there is no model."""
        self.engine = _core.Embedder(_core.Model(self.path, max_layer=1), n_threads=1)

    def embed(self, groups: list[Group]) -> Features:
        """See Rival."""
        counts = [
            self.engine.count_tokens(text, prefix=group["prefix"], suffix=group["suffix"])
            for group in groups
            for text in group["texts"]
        ]
        return np.array(counts, dtype=np.float32).reshape(-1, 1)
