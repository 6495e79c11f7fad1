"""The size of a tiny model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters; the names are llama.cpp's. Rows of quantised matrices must be divisible by 32."""

    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_ctx: int
    norm_eps: float = 1e-5
    rope_freq_base: float = 10_000.0
    rope_freq_base_window: float = 1_000.0  # layers with a window only
    n_ctx_original: int = 0  # longrope: texts of more tokens turn by the long factors; 0 means no factors
    key_length: int = 0  # 0: n_embd / n_head
    gated: bool = True  # T5 only, as the next two: Flan-T5's gated GELU, else the original's ReLU
    n_rel_buckets: int = 32
    n_layer_decoder: int = 0
    # Mamba only
    d_conv: int = 4
    d_state: int = 16
    dt_rank: int = 4

    @property
    def n_embd_head(self) -> int:
        """Width of one attention head."""
        return self.key_length or self.n_embd // self.n_head

    @property
    def n_embd_kv(self) -> int:
        """Width of all keys of a token, and of all values."""
        return self.n_embd_head * self.n_head_kv
