"""transformers on PyTorch in float32: texts sorted by length, batches of 32, mean over the tokens of each text."""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from rivals.adapter import Features, Group, package_versions, rendered

BATCH_SIZE = 32


class TransformersFloat32:
    """AutoModel.

    Args:
        folder: The model as transformers saves it, in float32.
        n_threads: Threads of computation.
    """

    def __init__(self, folder: str, n_threads: int) -> None:
        self.folder = folder
        torch.set_num_threads(n_threads)

    @staticmethod
    def versions() -> dict[str, str]:
        """PyTorch's and transformers'."""
        return package_versions("torch", "transformers")

    def load(self) -> None:
        """Model and tokenizer."""
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.model = AutoModel.from_pretrained(self.folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def embed(self, groups: list[Group]) -> Features:
        """See Rival."""
        limit = self.model.config.max_position_embeddings
        tokens = self.tokenizer(rendered(groups), truncation=True, max_length=limit)["input_ids"]
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]), reverse=True)
        # A decoder's keys and values are of no use here.
        options = {"use_cache": False} if hasattr(self.model.config, "num_key_value_heads") else {}
        rows = np.empty((len(tokens), self.model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), BATCH_SIZE):
            indices = order[start : start + BATCH_SIZE]
            batch = self.tokenizer.pad(
                {"input_ids": [tokens[index] for index in indices]}, padding_side="right", return_tensors="pt"
            )
            states = self.model(**batch, **options).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            rows[indices] = ((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
        return rows
