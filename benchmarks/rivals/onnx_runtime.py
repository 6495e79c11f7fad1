"""ONNX Runtime on an exported encoder: texts sorted by length, batches of 32, mean over the tokens of each text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from rivals.adapter import Features, Group, package_versions, rendered

BATCH_SIZE = 32
MAX_TOKENS = 512


class OnnxRuntime:
    """onnxruntime.InferenceSession on the CPU, with all of its graph optimisations.

    Args:
        model: Path of the ONNX file: input_ids, attention_mask, token_type_ids in, last_hidden_state out.
        folder: The folder with tokenizer.json.
        n_threads: Threads of computation.
    """

    def __init__(self, model: str, folder: str, n_threads: int) -> None:
        self.model = model
        self.folder = Path(folder)
        self.n_threads = n_threads

    @staticmethod
    def versions() -> dict[str, str]:
        """ONNX Runtime's and the tokenizer's."""
        return package_versions("onnxruntime", "tokenizers")

    def load(self) -> None:
        """Session and tokenizer."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.n_threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()

    def embed(self, groups: list[Group]) -> Features:
        """See Rival."""
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(rendered(groups))]
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]), reverse=True)
        rows: list[Features] = []
        for start in range(0, len(order), BATCH_SIZE):
            batch = [tokens[index] for index in order[start : start + BATCH_SIZE]]
            ids = np.zeros((len(batch), len(batch[0])), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, text in enumerate(batch):
                ids[row, : len(text)] = text
                mask[row, : len(text)] = 1
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = self.session.run(["last_hidden_state"], feeds)[0]
            weights = mask[:, :, None].astype(np.float32)
            rows.extend((states * weights).sum(axis=1) / weights.sum(axis=1))
        features = np.empty((len(rows), len(rows[0])), dtype=np.float32)
        features[order] = rows
        return features
