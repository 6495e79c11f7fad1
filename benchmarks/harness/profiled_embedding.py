"""The embedding that is profiled: fastplr's, once, in a process that has loaded the model already."""

from __future__ import annotations

from fastplr.feature_cache import feature_cache
from rivals.fastplr_embedder import Fastplr


class ProfiledEmbedding(Fastplr):
    """As Fastplr, but the model stays loaded: loading is not to be in the profile, and no text comes twice."""

    def forget(self) -> None:
        """Only features; no prompt has been seen yet."""
        feature_cache.clear()
