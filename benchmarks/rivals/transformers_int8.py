"""transformers on PyTorch with dynamic int8 quantisation of the linear layers, else as in float32."""

from __future__ import annotations

import torch

from rivals.transformers_float32 import TransformersFloat32


class TransformersInt8(TransformersFloat32):
    """As TransformersFloat32; weights are quantised when the model is loaded."""

    def load(self) -> None:
        """Model and tokenizer; then quantise."""
        super().load()
        self.model = torch.ao.quantization.quantize_dynamic(self.model, {torch.nn.Linear}, dtype=torch.qint8)
