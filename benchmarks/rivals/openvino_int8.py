"""OpenVINO: weights of 8 bits, activations quantised as its CPU plugin computes; else as transformers in float32."""

from __future__ import annotations

from types import SimpleNamespace

import nncf
import openvino
import torch

from rivals.adapter import package_versions
from rivals.transformers_float32 import TransformersFloat32


class _States(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        options = {"use_cache": False} if hasattr(self.model.config, "num_key_value_heads") else {}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state


class OpenVinoInt8(TransformersFloat32):
    """Weights are quantised by NNCF when the model is loaded, one scale an output."""

    def __init__(self, folder: str, n_threads: int) -> None:
        super().__init__(folder, n_threads)
        self.n_threads = n_threads

    @staticmethod
    def versions() -> dict[str, str]:
        """OpenVINO's, NNCF's and transformers'."""
        return package_versions("openvino", "nncf", "transformers")

    def load(self) -> None:
        """Model and tokenizer; then convert, quantise and compile."""
        super().load()
        config = self.model.config
        example = {name: torch.ones((2, 8), dtype=torch.long) for name in ("input_ids", "attention_mask")}
        converted = openvino.convert_model(_States(self.model), example_input=example)
        converted = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_SYM)
        settings = {"INFERENCE_NUM_THREADS": self.n_threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(converted, "CPU", {"PERFORMANCE_HINT": "LATENCY", **settings})
        self.model = _Compiled(compiled, config)


class _Compiled:
    """Called as a model of transformers is."""

    def __init__(self, compiled: openvino.CompiledModel, config: object) -> None:
        self.compiled = compiled
        self.config = config

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: object) -> SimpleNamespace:
        found = self.compiled({"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()})
        return SimpleNamespace(last_hidden_state=torch.from_numpy(next(iter(found.values()))))
