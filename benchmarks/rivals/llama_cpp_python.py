"""llama-cpp-python's `create_embedding`, its defaults but for what mean-pooled embeddings and fixed threads need."""

from __future__ import annotations

import llama_cpp
import numpy as np

from rivals.adapter import Features, Group, package_versions, rendered


class LlamaCppPython:
    """llama_cpp.Llama.

    Args:
        model: Path of the GGUF file.
        n_threads: Threads of computation.
    """

    def __init__(self, model: str, n_threads: int) -> None:
        self.model = model
        self.n_threads = n_threads

    @staticmethod
    def versions() -> dict[str, str]:
        """llama-cpp-python's own."""
        return package_versions("llama-cpp-python")

    def load(self) -> None:
        """Model and context."""
        self.llama = llama_cpp.Llama(
            self.model,
            embedding=True,
            pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN,
            n_threads=self.n_threads,
            n_threads_batch=self.n_threads,
            verbose=False,
        )

    def embed(self, groups: list[Group]) -> Features:
        """See Rival."""
        answer = self.llama.create_embedding(rendered(groups))
        return np.array([row["embedding"] for row in answer["data"]], dtype=np.float32)
