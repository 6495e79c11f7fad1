"""Texts in, hidden states of a language model out: a scikit-learn transformer over the native engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from fastplr import _core, model_store
from fastplr.embedding_run import EmbeddingRun
from fastplr.engine import Kernels, get_engine, note_if_not_shared
from fastplr.errors import InputError, TruncationWarning
from fastplr.feature_cache import feature_cache
from fastplr.feature_keys import FeatureKeys
from fastplr.feature_stores import store_for
from fastplr.inputs import as_texts, check_collection, text_pieces
from fastplr.known_features import KnownFeatures, depth
from fastplr.model_file import ModelFile
from fastplr.model_info import ModelInfo
from fastplr.model_store import ResolvedModel
from fastplr.progress import text_bar
from fastplr.prompt import Prompt
from fastplr.threads import MAX_N_THREADS, default_threads
from fastplr.user_warning import warn_user

__all__ = ["Embedder"]

Layer = int | Literal["middle"]
Features = npt.NDArray[np.float32]

POOLINGS = ("mean", "mean_all", "last")
DEFAULT_N_BATCH = 512
MAX_N_BATCH = 8192  # as in cpp/src/embedding/checks.cpp
#: Texts that embed() takes at once from what has no length: a few of the engine's windows (see embedding_run.py).
STREAM_TEXTS = 4096
INT32_MAX = 2**31 - 1  # the native core counts tokens, threads and layers in 32 bits


class Embedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Pooled hidden states of a language model as features of texts.

    The model is loaded on first use, once per process however many Embedders name it. Nothing past the deepest
    wanted layer is computed. Where fastplr's kernels compute, a text's values do not depend on the texts that share its
    batch; elsewhere, with quantised weights, they move by a few per cent (docs/numerics.md has the figures).

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
        n_threads: Threads of computation, 1 to 512. Default: the cores that this process may use. More threads than
            cores are honoured but slow: they take turns, and each takes memory for its own batch.
        n_gpu_layers: Layers on an accelerator, where fastplr was built with one; negative means all.
        kernels: Whether fastplr's own kernels compute, where the processor and the types of the file allow it: True,
            False, or ``"8bit"``, which also rounds weights in F32, F16 and BF16 to 8 bits (as Q8_0) when they are
            loaded: several times as fast, a quarter or half of the memory, and slightly other features
            (docs/kernels.md). ``FASTPLR_KERNELS=off`` in the environment says no for the whole process.
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
        kernels: Kernels = True,
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
        self.kernels = kernels
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

    def _engine_settings(self) -> dict[str, Any]:
        return {
            "n_ctx": self._setting("n_ctx", 0, 1, self._model_file().info.n_ctx_train),
            "n_batch": self._setting("n_batch", DEFAULT_N_BATCH, 1, MAX_N_BATCH),
            "n_threads": self._setting("n_threads", min(default_threads(), MAX_N_THREADS), 1, MAX_N_THREADS),
            "n_gpu_layers": self._gpu_layers(),
            "kernels": self._kernels(),
        }

    def _kernels(self) -> Kernels:
        in_8_bits = isinstance(self.kernels, str) and self.kernels == "8bit"
        if not in_8_bits and not isinstance(self.kernels, bool | np.bool_):
            raise InputError(f"kernels is {self.kernels!r}: expected True, False or '8bit'")
        if not self.kernels or _core.kernels_name() == "":
            return False
        return "8bit" if in_8_bits else True

    def _gpu_layers(self) -> int:
        number = self._setting("n_gpu_layers", 0, -INT32_MAX, INT32_MAX)
        if number != 0 and not _core.accelerator_available():
            raise InputError(f"n_gpu_layers is {number}, but this build of fastplr finds no accelerator: expected 0")
        return number

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
        layers, pooling = (value.tolist() if isinstance(value, np.ndarray) else value for value in (layers, pooling))
        for name, value in (("layers", layers), ("pooling", pooling)):
            if isinstance(value, bytes | bytearray) or (
                isinstance(value, Iterable) and not isinstance(value, Sequence)
            ):
                raise InputError(f"{name} is {value!r:.80} of type {type(value).__name__}: expected one, or a list")
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
            texts: One-dimensional collection of str: list, tuple, NumPy array, column of a data frame, generator. With
                `out`, of what has no length (a generator, a file) no more than a few thousand texts are held at once.
            layers: One layer or a list of them; default: the parameter `layer`. All come out of one pass.
            pooling: One pooling or a list of them; default: the parameter `pooling`.
            out: A C-contiguous float32 array of the result's shape (a memory map, for instance) to be filled and
                returned. After an error some of its rows may have been filled.

        Returns:
            float32 ``(n_texts, n_embd)``; where `layers` or `pooling` is a list,
            ``(n_texts, n_layers, n_poolings, n_embd)`` in the order asked for.

        Raises:
            InputError: No texts; a text that is not a str, is empty or blank, holds a NUL byte, is not valid
                Unicode, or is longer than the context with ``on_long="error"``; layer, pooling or `out` not as
                described; not as many texts as `out` has rows.
            UnsupportedArchitecture: The model does not give access to that layer.
            ModelError: The model cannot be loaded, or its file changed during the run.
            ModelMemoryError, ContextMemoryError: Memory does not suffice for the weights, or for computing.

        Warns:
            TruncationWarning: Texts were cut.
            CacheWarning: The cache on disk cannot be used.
        """
        items = check_collection(texts, "texts")
        if out is None or isinstance(items, Sized):
            return self._embed_counted(as_texts(items), layers, pooling, out)[0]
        run, many = self._run(layers, pooling)
        rows = _rows_of(out, run, many)
        with text_bar(len(rows), "embedding", self.progress) as bar:
            for piece in text_pieces(items, STREAM_TEXTS):
                place = slice(run.n_texts, run.n_texts + len(piece))
                if place.stop > len(rows):
                    raise InputError(f"out has {len(rows)} rows, but there are more texts: expected a row for each")
                run.fill(piece, rows[place], bar)
        if run.n_texts == 0:
            raise InputError("texts is empty: expected at least one text")
        if run.n_texts < len(rows):
            raise InputError(f"out has {len(rows)} rows, but there are {run.n_texts} texts: expected a row for each")
        _warn_of_cut_texts(run)
        return out

    def embed_iter(
        self,
        texts: Iterable[str],
        *,
        chunk_size: int = 1024,
        layers: Layer | Sequence[Layer] | None = None,
        pooling: str | Sequence[str] | None = None,
    ) -> Iterator[Features]:
        """Features of `texts` in pieces of `chunk_size` texts, for corpora that do not fit in memory.

        Texts are taken from the iterable as they are needed, never more than one piece, and what takes memory does not
        grow with their number. A text that comes again in the same piece is computed once, in a later piece as far as
        it is still known (see docs/engine.md). Batches are filled from one piece, and its first texts are tokenised
        before anything is computed: very small pieces cost time. An iterable that raises an exception ends the pieces
        with it, after the features of all texts that it gave before.

        Args and errors as in :meth:`embed`, but no texts give no pieces. The settings are those at the time of the
        call, and are checked then; errors number a text within the corpus. That texts were cut is warned of once, when
        the first one was.
        """
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
            raise InputError(f"chunk_size is {chunk_size!r}: expected a positive int")
        pieces = text_pieces(check_collection(texts, "texts"), int(chunk_size))
        run, many = self._run(layers, pooling)
        return self._features_of(pieces, run, many, self.progress)

    @staticmethod
    def _features_of(
        pieces: Iterable[list[str]], run: EmbeddingRun, many: bool, progress: bool | None
    ) -> Iterator[Features]:
        with text_bar(None, "embedding", progress) as bar:
            warned = False
            for piece in pieces:
                out = np.empty(_shape(run, many, len(piece)), dtype=np.float32)
                run.fill(piece, out.reshape(len(piece), *run.row_shape), bar)
                if run.first_cut is not None and not warned:
                    warned = True
                    warn_user(
                        f"texts[{run.first_cut}] is longer than the context: cut at its end, as every longer text of"
                        " this corpus will be",
                        TruncationWarning,
                    )
                yield out

    def _embed_counted(
        self, texts: list[str], layers: object, pooling: object, out: Features | None
    ) -> tuple[Features, int]:
        """As embed(), and the tokens, prompt included, of the texts that were not known already."""
        run, many = self._run(layers, pooling)
        if out is None:
            out = np.empty(_shape(run, many, len(texts)), dtype=np.float32)
        run.fill(texts, _rows_of(out, run, many, len(texts)))
        _warn_of_cut_texts(run)
        return out, run.n_tokens

    def _run(self, layers: object, pooling: object) -> tuple[EmbeddingRun, bool]:
        """A run with the present settings, which are checked, and whether its result has four dimensions."""
        numbers, words, many = self._wanted(layers, pooling)
        if self.on_long not in ("error", "truncate"):
            raise InputError(f"on_long is {self.on_long!r}: expected 'error' or 'truncate'")
        prompt = Prompt.coerce(self.prompt)
        settings = self._engine_settings()  # a mistake is one whether or not anything has to be computed
        known = KnownFeatures(feature_cache, store_for(self.cache))
        model = self._model_file()
        keys = FeatureKeys(
            model.resolved,
            prefix=prompt.prefix,
            suffix=prompt.suffix,
            n_ctx=settings["n_ctx"],
            accelerated=settings["n_gpu_layers"] != 0 and _core.accelerator_available(),
            kernels=settings["kernels"],
        )
        run = EmbeddingRun(
            model,
            lambda wanted: _engine(model, wanted, settings, prompt),
            keys,
            known,
            layers=numbers,
            poolings=words,
            prompt=prompt,
            truncate=self.on_long == "truncate",
            progress=self.progress,
        )
        return run, many

    def _native_engine(self, layers: Sequence[int]) -> _core.Embedder:
        """The engine that computes these layers, loaded on first use."""
        return _engine(self._model_file(), layers, self._engine_settings(), Prompt.coerce(self.prompt))

    # -- scikit-learn ------------------------------------------------------------------------------------------------

    def fit(self, X: object = None, y: object = None) -> Embedder:
        """Nothing is learnt; checks the parameters and loads the model."""
        numbers, _, _ = self._wanted(None, None)
        self._native_engine(numbers)
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


def _engine(model: ModelFile, layers: Sequence[int], settings: dict[str, Any], prompt: Prompt) -> _core.Embedder:
    # The last block's output and what the output norm makes of it need the same blocks.
    deepest = max(layers, key=depth)
    engine = get_engine(
        model.resolved, model.stamp, max_layer=-1 if deepest == model.info.n_layers else deepest, **settings
    )
    if prompt.prefix:
        note_if_not_shared(engine, model.resolved.path)
    return engine


def _shape(run: EmbeddingRun, many: bool, n_texts: int) -> tuple[int, ...]:
    return (n_texts, *run.row_shape) if many else (n_texts, run.row_shape[-1])


def _rows_of(out: Features, run: EmbeddingRun, many: bool, n_texts: int | None = None) -> Features:
    """`out` as ``(n_texts, n_layers, n_poolings, n_embd)``. Raises InputError unless it can be filled in place."""
    if n_texts is None:
        n_texts = len(out) if isinstance(out, np.ndarray) and out.ndim else 0
    expected = _shape(run, many, n_texts)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != expected:
        found = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
        raise InputError(f"out is {found}: expected float32 {expected}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InputError("out is not C-contiguous and writeable: expected an array that can be filled in place")
    return out.reshape(n_texts, *run.row_shape)


def _warn_of_cut_texts(run: EmbeddingRun) -> None:
    if run.n_cut:
        warn_user(
            f"{run.n_cut} of {run.n_texts} texts are longer than the context: cut at their end", TruncationWarning
        )
