"""The names under which features are kept, in memory and on disk."""

from __future__ import annotations

import json
from hashlib import blake2b

from fastplr import _core
from fastplr.engine import Kernels
from fastplr.model_store import ResolvedModel

__all__ = ["FEATURES_VERSION", "KEY_BYTES", "FeatureKeys"]

#: Raised when the engine's numbers for a text change by more than the text's company in a batch moves them (another
#: definition of a pooling, a fault mended): what an older engine computed is then not found any more.
FEATURES_VERSION = 3

KEY_BYTES = 32


class FeatureKeys:
    """One key for each (text, layer, pooling), made of everything that their features depend on.

    That is one layer and one pooling a key, so that a run over several feeds a later run over one of them, and the
    reverse. A key does not hold the text: it is a hash of it, keyed with a hash of the rest.

    Args:
        resolved: The model and its identity. The hash of the file itself counts as well as that of its source, since
            what a file says of its source is only a claim.
        prefix: What stands before every text.
        suffix: What stands after every text.
        n_ctx: Longest input in tokens; 0 means the model's own limit. What happens to longer texts is no part of the
            key: that a text was cut is kept with its features.
        accelerated: Whether layers are computed by an accelerator.
        kernels: As Embedder's: the kernels quantise activations a little differently, and weights with "8bit".
    """

    def __init__(
        self, resolved: ResolvedModel, *, prefix: str, suffix: str, n_ctx: int, accelerated: bool, kernels: Kernels
    ) -> None:
        setting = {
            "features_version": FEATURES_VERSION,
            "llama_cpp_sources": _core.llama_cpp_sources,  # with the carried patches, which change numbers too
            "source_sha256": resolved.source_sha256,
            "recipe": {name: str(value) for name, value in resolved.recipe.items()},
            "file_sha256": resolved.file_sha256,
            "prefix": prefix,
            "suffix": suffix,
            "n_ctx": n_ctx,
            "accelerated": accelerated,
            "kernels": kernels,
        }
        self._setting = blake2b(json.dumps(setting, sort_keys=True).encode(), digest_size=KEY_BYTES).digest()
        self._parts: dict[tuple[int, str], bytes] = {}

    def of(self, text: str, layer: int, pooling: str) -> bytes:
        """The key of `text` at `layer` (a number, -1 for the state after the output norm) and `pooling`."""
        part = self._parts.get((layer, pooling))
        if part is None:
            words = f"{layer} {pooling}".encode()
            part = blake2b(words, key=self._setting, digest_size=KEY_BYTES).digest()
            self._parts[layer, pooling] = part
        # A text that is no valid Unicode has a key too; that it cannot be embedded is for the engine to say.
        return blake2b(text.encode("utf-8", "surrogatepass"), key=part, digest_size=KEY_BYTES).digest()
