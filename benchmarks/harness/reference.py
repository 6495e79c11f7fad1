"""Float32 states of the same weights by PyTorch, one text at a time: what every row's features are held against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from rivals.adapter import Group, package_versions

__all__ = ["Reference"]


class Reference:
    """Pooled hidden states by fastplr's definitions (layers and poolings as fastplr.Embedder has them).

    Args:
        folder: The model as transformers saves it, in float32.
        definitions: Pairs (layer, pooling), pooling "mean" or "mean_all".
        n_threads: Threads of computation.
    """

    def __init__(self, folder: str, definitions: list[tuple[int, str]], n_threads: int) -> None:
        self.folder = folder
        self.definitions = definitions
        torch.set_num_threads(n_threads)

    @staticmethod
    def versions() -> dict[str, str]:
        """PyTorch's and transformers'."""
        return package_versions("torch", "transformers")

    def load(self) -> None:
        """Model and tokenizer; the output of every block is caught as it is, before the output norm."""
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.model = AutoModel.from_pretrained(self.folder, dtype=torch.float32).eval()
        self.is_encoder = not hasattr(self.model, "layers")
        blocks = self.model.encoder.layer if self.is_encoder else self.model.layers
        self.states: dict[int, npt.NDArray[np.float32]] = {}
        for number, block in enumerate(blocks, start=1):
            block.register_forward_hook(self._catch(number))

    def _catch(self, layer: int):  # type: ignore[no-untyped-def]
        def hook(_module: object, _inputs: object, output: object) -> None:
            states = output[0] if isinstance(output, tuple) else output
            self.states[layer] = states.reshape(-1, states.shape[-1]).numpy()  # type: ignore[attr-defined]

        return hook

    @torch.inference_mode()
    def embed(self, groups: list[Group]) -> npt.NDArray[np.float32]:
        """(n_texts, n_definitions * n_embd)."""
        return np.stack([self._embed_one(group, text) for group in groups for text in group["texts"]])

    def _embed_one(self, group: Group, text: str) -> npt.NDArray[np.float32]:
        whole = group["prefix"] + text + group["suffix"]
        limit = self.model.config.max_position_embeddings
        tokens = self.tokenizer(whole, truncation=True, max_length=limit)["input_ids"]
        output = self.model(input_ids=torch.tensor([tokens]), attention_mask=torch.ones((1, len(tokens))))
        self.states[-1] = output.last_hidden_state[0].numpy()
        begin, end = (0, len(tokens)) if self.is_encoder else self._of_the_text(tokens, group, text)
        rows = [
            self.states[layer][begin:end] if pooling == "mean" else self.states[layer]
            for layer, pooling in self.definitions
        ]
        return np.concatenate([row.mean(axis=0, dtype=np.float64) for row in rows]).astype(np.float32)

    def _of_the_text(self, tokens: list[int], group: Group, text: str) -> tuple[int, int]:
        """Which tokens overlap the text's bytes; position 0 of a causal model is left out unless it is alone.

        A character of a token of byte-level BPE stands for one byte.
        """
        ends = np.cumsum([len(token) for token in self.tokenizer.convert_ids_to_tokens(tokens)])
        first_byte = len(group["prefix"].encode())
        last_byte = first_byte + len(text.encode())
        begin = int(np.searchsorted(ends, first_byte, side="right"))
        end = int(np.searchsorted(ends, last_byte, side="left")) + 1
        return (1, end) if begin == 0 and end > 1 else (begin, end)
