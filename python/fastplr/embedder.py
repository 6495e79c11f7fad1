"""Texts in, hidden states of a language model out: a scikit-learn transformer over the native engine."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from fastplr import _core, model_store
from fastplr.engine import get_engine
from fastplr.errors import InputError, TruncationWarning
from fastplr.feature_cache import feature_cache
from fastplr.feature_keys import FeatureKeys
from fastplr.feature_stores import store_for
from fastplr.inputs import as_texts, check_collection
from fastplr.known_features import Gap, KnownFeatures, fill_known
from fastplr.model_file import ModelFile
from fastplr.model_info import ModelInfo
from fastplr.model_store import ResolvedModel
from fastplr.progress import Bar, text_bar
from fastplr.prompt import Prompt
from fastplr.threads import default_threads

__all__ = ["Embedder"]

Layer = int | Literal["middle"]
Features = npt.NDArray[np.float32]

POOLINGS = ("mean", "mean_all", "last")
DEFAULT_N_BATCH = 512
MAX_N_BATCH = 8192  # these two as in cpp/src/embedding/embedder.cpp
MAX_N_THREADS = 512
# Distinct texts handed to the engine at once: enough to fill many batches, few enough that a corpus streams.
CHUNK = 2048
INT32_MAX = 2**31 - 1  # the native core counts tokens, threads and layers in 32 bits


class Embedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Pooled hidden states of a language model as features of texts.

    The model is loaded on first use, once per process however many Embedders name it. Nothing past the deepest
    wanted layer is computed. With quantised weights values move by a few per cent with the texts that share a batch
    (8-bit rounding of activations; docs/numerics.md has the figures).

    Args:
        model: A catalogue name (fetched on first use), the path of a GGUF file, or ``"hf:OWNER/REPO/FILE"``.
        layer: k in 1..n_layers is the residual stream after k blocks, before the output norm; 0 the token
            embeddings; -1 the state after the last block and the output norm; ``"middle"`` is ``n_layers // 2``.
        pooling: ``"mean"`` over the tokens that overlap the text itself (for causal models without the one at
            position 0, an attention sink, unless it is the only one; encoders: over all tokens), ``"mean_all"`` over
            every token, prompt and special tokens included, ``"last"`` the last token.
        prompt: A :class:`fastplr.Prompt`, a str (an instruction before the text) or None.
        on_long: What to do with a text that does not fit the context: ``"error"``, or ``"truncate"`` to cut its end,
            with a :class:`fastplr.TruncationWarning` that counts such texts.
        n_ctx: Longest input in tokens, prompt included. Default: the model's own limit. Memory is taken as texts
            need it.
        n_batch: Tokens computed at once, 1 to 8192. Default: 512; of a T5 never more than 128.
        n_threads: Threads of computation. Default: the cores that this process may use.
        n_gpu_layers: Layers on an accelerator, where fastplr was built with one; negative means all.
        cache: Where to keep features on disk, so that no later run computes them again and a killed one goes on where
            it was: True for the folder of the user (``fastplr cache info`` names it), the path of another folder, or
            None for nowhere. Texts are not kept, but whoever reads their features learns something of them. A folder
            that cannot be used is done without, with a :class:`fastplr.CacheWarning`.
        progress: Whether to show a progress bar on standard error. Default: only on a terminal.

    Attributes:
        n_layers: Number of blocks of the model.
        n_embd: Width of its hidden states, the number of features.
        model_info: What the model file says about itself.

    Raises:
        InputError: A parameter out of range; texts that cannot be used (see :meth:`embed`).
        ModelError: A model that is unknown, missing or damaged, or whose file is replaced while it is in use.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
        *,
        layer: Layer = "middle",
        pooling: str = "mean",
        prompt: Prompt | str | None = None,
        on_long: Literal["error", "truncate"] = "error",
        n_ctx: int | None = None,
        n_batch: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
        cache: bool | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.prompt = prompt
        self.on_long = on_long
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.n_threads = n_threads
        self.n_gpu_layers = n_gpu_layers
        self.cache = cache
        self.progress = progress

    # -- the model ---------------------------------------------------------------------------------------------------

    def resolve(self) -> ResolvedModel:
        """The model file and its identity; fetched if it is a catalogue name that is not here yet."""
        return self._model_file().resolved

    def _model_file(self) -> ModelFile:
        known: tuple[Any, ModelFile] | None = getattr(self, "_resolved", None)
        if known is None or known[0] != self.model or not known[1].is_current():
            known = (self.model, ModelFile.resolve(self.model, progress=self.progress))
            self._resolved = known
        return known[1]

    def _engine(self, model: ModelFile, layers: Sequence[int]) -> _core.Embedder:
        settings = self._engine_settings()
        return get_engine(model.resolved, model.stamp, max_layer=-1 if -1 in layers else max(layers), **settings)

    def _engine_settings(self) -> dict[str, int]:
        return {
            "n_ctx": self._setting("n_ctx", 0, 1, INT32_MAX),
            "n_batch": self._setting("n_batch", DEFAULT_N_BATCH, 1, MAX_N_BATCH),
            "n_threads": self._setting("n_threads", default_threads(), 1, MAX_N_THREADS),
            "n_gpu_layers": self._setting("n_gpu_layers", 0, -INT32_MAX, INT32_MAX),
        }

    def _setting(self, name: str, default: int, low: int, high: int) -> int:
        value = getattr(self, name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
            raise InputError(f"{name} is {value!r}: expected {low} to {high}, or None")
        return int(value)

    @property
    def n_layers(self) -> int:
        """Number of blocks of the model."""
        return self._model_file().info.n_layers

    @property
    def n_embd(self) -> int:
        """Width of the hidden states: the number of features."""
        return self._model_file().info.n_embd

    @property
    def model_info(self) -> ModelInfo:
        """What the model file says about itself."""
        return self._model_file().info

    # -- what is asked for -------------------------------------------------------------------------------------------

    def layer_number(self, layer: object) -> int:
        """The number of `layer`, which may be ``"middle"``. Raises InputError unless it is -1 or in 0..n_layers."""
        n_layers = self.n_layers
        if isinstance(layer, str) and layer == "middle":
            return n_layers // 2
        if isinstance(layer, int | np.integer) and not isinstance(layer, bool) and -1 <= layer <= n_layers:
            return int(layer)
        raise InputError(f"layer is {layer!r}: expected 0 to {n_layers}, -1 (after the output norm) or 'middle'")

    @staticmethod
    def _pooling(pooling: object) -> str:
        if isinstance(pooling, str) and pooling in POOLINGS:
            return pooling
        raise InputError(f"pooling is {pooling!r}: expected {', '.join(map(repr, POOLINGS))}")

    def _wanted(self, layers: object, pooling: object) -> tuple[list[int], list[str], bool]:
        """Layers and poolings as lists, and whether the result keeps their dimensions."""
        many = any(isinstance(value, Sequence) and not isinstance(value, str) for value in (layers, pooling))
        layer_list = list(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else [layers]
        pooling_list = list(pooling) if isinstance(pooling, Sequence) and not isinstance(pooling, str) else [pooling]
        if not layer_list or not pooling_list:
            raise InputError("layers or pooling is an empty list: expected at least one of each")
        numbers = [self.layer_number(self.layer if layer is None else layer) for layer in layer_list]
        words = [self._pooling(self.pooling if word is None else word) for word in pooling_list]
        return numbers, words, many

    # -- embedding ---------------------------------------------------------------------------------------------------

    def embed(
        self,
        texts: Iterable[str],
        *,
        layers: Layer | Sequence[Layer] | None = None,
        pooling: str | Sequence[str] | None = None,
        out: Features | None = None,
    ) -> Features:
        """Features of `texts`, in their order.

        Args:
            texts: One-dimensional collection of str: list, tuple, NumPy array, column of a data frame, generator.
            layers: One layer or a list of them; default: the parameter `layer`. All come out of one pass.
            pooling: One pooling or a list of them; default: the parameter `pooling`.
            out: A C-contiguous float32 array of the result's shape (a memory map, for instance) to be filled and
                returned.

        Returns:
            float32 ``(n_texts, n_embd)``; where `layers` or `pooling` is a list,
            ``(n_texts, n_layers, n_poolings, n_embd)`` in the order asked for.

        Raises:
            InputError: No texts; a text that is not a str, is empty or blank, holds a NUL byte, is not valid
                Unicode, or is longer than the context with ``on_long="error"``; layer, pooling or `out` not as
                described.
            UnsupportedArchitecture: The model does not give access to that layer.
            ModelError, ContextMemoryError: The model cannot be loaded, its file changed during the run, or memory does
                not suffice.

        Warns:
            TruncationWarning: Texts were cut.
            CacheWarning: The cache on disk cannot be used.
        """
        return self._embed_counted(as_texts(texts), layers, pooling, out)[0]

    def embed_iter(
        self,
        texts: Iterable[str],
        *,
        chunk_size: int = 1024,
        layers: Layer | Sequence[Layer] | None = None,
        pooling: str | Sequence[str] | None = None,
    ) -> Iterator[Features]:
        """Features of `texts` in pieces of `chunk_size` texts, for corpora that do not fit in memory.

        Args and errors as in :meth:`embed`; texts are taken from the iterable as they are needed, and an error numbers
        a text within its piece.
        """
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
            raise InputError(f"chunk_size is {chunk_size!r}: expected a positive int")
        remaining = iter(check_collection(texts, "texts"))
        pieces = iter(lambda: list(itertools.islice(remaining, int(chunk_size))), [])
        known = self._known_features()  # one for all pieces: what is wrong with the cache is said once
        return (self._embed_counted(as_texts(piece), layers, pooling, None, known)[0] for piece in pieces)

    def _known_features(self) -> KnownFeatures:
        return KnownFeatures(feature_cache, store_for(self.cache))

    def _embed_counted(
        self,
        texts: list[str],
        layers: object,
        pooling: object,
        out: Features | None,
        known: KnownFeatures | None = None,
    ) -> tuple[Features, int]:
        """As embed(), and the tokens, prompt included, of the texts that were not known already."""
        known = self._known_features() if known is None else known
        numbers, words, many = self._wanted(layers, pooling)
        if self.on_long not in ("error", "truncate"):
            raise InputError(f"on_long is {self.on_long!r}: expected 'error' or 'truncate'")
        prompt = Prompt.coerce(self.prompt)
        shape: tuple[int, ...] = (len(texts), len(numbers), len(words), self.n_embd)
        result_shape = shape if many else (len(texts), self.n_embd)
        if out is None:
            out = np.empty(result_shape, dtype=np.float32)
        elif not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != result_shape:
            found = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
            raise InputError(f"out is {found}: expected float32 {result_shape}")
        elif not (out.flags.c_contiguous and out.flags.writeable):
            raise InputError("out is not C-contiguous and writeable: expected an array that can be filled in place")

        first: dict[str, int] = {}
        for index, text in enumerate(texts):
            first.setdefault(text, index)
        rows = out.reshape(shape)
        n_tokens = self._fill(rows, first, numbers, words, prompt, known)
        if len(first) < len(texts):
            for index, text in enumerate(texts):
                if first[text] != index:
                    rows[index] = rows[first[text]]
        return out, n_tokens

    def _fill(
        self,
        rows: Features,
        first: dict[str, int],
        numbers: list[int],
        words: list[str],
        prompt: Prompt,
        known: KnownFeatures,
    ) -> int:
        """Write the features of each distinct text to the row where it stands first.

        Returns:
            Tokens of the texts that had to be embedded, prompt included.
        """
        settings = self._engine_settings()  # a mistake is one whether or not anything has to be computed
        model = self._model_file()
        keys = FeatureKeys(
            model.resolved,
            prefix=prompt.prefix,
            suffix=prompt.suffix,
            n_ctx=settings["n_ctx"],
            accelerated=self.n_gpu_layers != 0 and _core.accelerator_available(),
        )
        truncate = self.on_long == "truncate"
        # A corpus that would push out most of the rest is not kept in memory.
        remember = len(first) * rows[:1].nbytes <= feature_cache.max_bytes // 2
        missing, n_cut = fill_known(
            rows, first, keys, known, layers=numbers, poolings=words, truncate=truncate, remember=remember
        )

        def compute(gap: Gap, texts: list[str], bar: Bar) -> tuple[int, int]:
            """Numbers of tokens, prompt included, and of texts cut."""
            layers = [numbers[place] for place in gap.layers]
            poolings = [words[place] for place in gap.poolings]
            block = np.empty((len(texts), len(layers), len(poolings), rows.shape[-1]), dtype=np.float32)
            places = [first[text] for text in texts]

            def keep(finished: list[int], cut: list[int]) -> None:
                model.require_same()  # or features would be kept under the name of another model
                entries = [(index, layer, word) for index in finished for layer in layers for word in poolings]
                known.put(
                    [keys.of(texts[index], layer, word) for index, layer, word in entries],
                    block[finished].reshape(-1, rows.shape[-1]),
                    [index in cut for index, _, _ in entries],
                    remember=remember,
                )
                bar.update(len(finished))

            summary = self._engine(model, layers).embed(
                texts,
                block,
                layers=layers,
                poolings=poolings,
                prefix=prompt.prefix,
                suffix=prompt.suffix,
                truncate=truncate,
                indices=places,
                on_batch=keep,
            )
            rows[np.ix_(places, gap.layers, gap.poolings)] = block
            return summary["n_tokens"], len(summary["truncated"])

        n_tokens = 0
        with text_bar(sum(map(len, missing.values())), "embedding", self.progress) as bar:
            for gap, texts in missing.items():
                for start in range(0, len(texts), CHUNK):
                    counts = compute(gap, texts[start : start + CHUNK], bar)
                    n_tokens += counts[0]
                    n_cut += counts[1]
        if n_cut:
            warnings.warn(
                f"{n_cut} of {len(first)} distinct texts are longer than the context: cut at their end",
                TruncationWarning,
                stacklevel=4,
            )
        return n_tokens

    # -- scikit-learn ------------------------------------------------------------------------------------------------

    def fit(self, X: object = None, y: object = None) -> Embedder:
        """Nothing is learnt; checks the parameters and loads the model."""
        numbers, _, _ = self._wanted(None, None)
        Prompt.coerce(self.prompt)
        self._engine(self._model_file(), numbers)
        return self

    def transform(self, X: Iterable[str]) -> Features:
        """As :meth:`embed`: float32 ``(n_texts, n_embd)``."""
        return self.embed(X)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """``embedding0``, ``embedding1``, ..."""
        return np.array([f"embedding{index}" for index in range(self.n_embd)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # Another machine, or another day, has the model elsewhere.
        return {key: value for key, value in super().__getstate__().items() if key != "_resolved"}
