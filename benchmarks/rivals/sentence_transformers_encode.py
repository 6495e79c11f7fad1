"""sentence-transformers' `encode`, which sorts by length itself, with batches of 32 (its default)."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer

from rivals.adapter import Features, Group, package_versions, rendered


class SentenceTransformers:
    """SentenceTransformer on the CPU.

    Args:
        folder: The model as sentence-transformers publishes it.
        n_threads: Threads of computation.
    """

    def __init__(self, folder: str, n_threads: int) -> None:
        self.folder = folder
        torch.set_num_threads(n_threads)

    @staticmethod
    def versions() -> dict[str, str]:
        """sentence-transformers' and PyTorch's."""
        return package_versions("sentence-transformers", "torch")

    def load(self) -> None:
        """Model and tokenizer."""
        self.model = SentenceTransformer(self.folder, device="cpu")
        self.model.max_seq_length = 512  # what the model can take, as for the others; its folder says 256

    def embed(self, groups: list[Group]) -> Features:
        """See Rival."""
        return self.model.encode(rendered(groups), show_progress_bar=False)
