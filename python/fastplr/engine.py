"""The models and contexts that are loaded in this process, shared by every Embedder that asks for the same.

A grid search clones its estimators many times: each clone names its model, and finds it loaded here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from typing import Any, Literal
from weakref import WeakSet

from fastplr import _core
from fastplr.errors import ModelError, ModelMemoryError
from fastplr.model_store import ResolvedModel

__all__ = ["Kernels", "clear_engines", "file_stamp", "get_engine", "note_if_not_shared", "release_others"]

#: What fastplr's own kernels compute: what they can, nothing, or matrices of floats too, rounded to 8 bits.
Kernels = bool | Literal["8bit"]

#: Models kept loaded at once; the least recently used goes first. Two let a comparison of two models alternate.
MAX_MODELS = 2
#: Engines kept at once, over all models, each with the contexts of its lanes.
MAX_ENGINES = 4

_lock = threading.RLock()
_models: OrderedDict[tuple[Any, ...], _core.Model] = OrderedDict()
_engines: OrderedDict[tuple[Any, ...], _core.Embedder] = OrderedDict()
_noted: WeakSet[_core.Embedder] = WeakSet()
_logger = logging.getLogger("fastplr")
_llama_logger = logging.getLogger("fastplr.llama")


def _new_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_in_child)


def _set_log_level() -> None:
    levels = ((logging.DEBUG, 1), (logging.INFO, 2), (logging.WARNING, 3))
    wanted = _llama_logger.getEffectiveLevel()
    _core.set_log_level(next((native for level, native in levels if wanted <= level), 4))


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """What tells a file from another that took its place; None if there is none.

    Size and date are not enough: models of one kind have one size, files that were copied or unpacked may have one
    date, and a file system gives the inode of a deleted file to the next one. The time of the last change of the inode
    is what nobody can set.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  (takes a str as it is)
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)


def get_engine(
    resolved: ResolvedModel,
    stamp: tuple[int, ...] | None,
    *,
    n_ctx: int,
    n_batch: int,
    n_threads: int,
    n_gpu_layers: int,
    kernels: Kernels,
    max_layer: int,
) -> _core.Embedder:
    """The engine of this model with these settings, loaded on first use and again where a deeper layer is wanted.

    The first load takes no more blocks than are wanted, each later one at least twice as many as were there: a search
    through ascending layers loads a model of n blocks some log2(n) times, and no more than twice the wanted blocks are
    held. More of them cost little: before the first block is read, loading takes as long as 50 blocks of a SmolLM2
    135M in Q4_0 (1.6 ms each), or 20 in F32 (7 ms).

    Args:
        resolved: The model file and its identity.
        stamp: :func:`file_stamp` of the file that the identity was taken from: what is loaded is that file.
        n_ctx: Longest input in tokens; 0 means the model's own limit.
        n_batch: Tokens computed at once.
        n_threads: Threads of computation.
        n_gpu_layers: Layers on an accelerator.
        kernels: As Embedder's.
        max_layer: The deepest layer that will be asked for; -1 for the state after the output norm.

    Raises:
        ModelError: Another file took its place, and as the native core raises it.
        ModelMemoryError: Memory for its weights cannot be had, even without the other models that are kept.
        UnsupportedArchitecture, InputError: As the native core raises them.
    """
    model_key = (os.path.realpath(resolved.path), resolved.file_sha256, n_gpu_layers, kernels)
    engine_key = (*model_key, n_ctx, n_batch, n_threads)
    with _lock:
        _set_log_level()
        model = _models.get(model_key)
        depth = max_layer
        if model is not None and not _reaches(model, max_layer):
            depth = _with_headroom(max_layer, model)
            model = None  # what nobody computes with any more is let go before there is a second one
            _drop_model(model_key)
        if model is None:
            path = os.fspath(resolved.path)
            model = _load(path, n_gpu_layers=n_gpu_layers, kernels=kernels, max_layer=depth, wanted=max_layer)
            if file_stamp(resolved.path) != stamp:
                raise ModelError(f"the model file {str(resolved.path)!r} changed while it was being loaded")
            _models[model_key] = model
            if kernels and model.types_left_to_ggml:
                _note_left_to_ggml(model.types_left_to_ggml, path)
            while len(_models) > MAX_MODELS:
                _drop_model(next(iter(_models)))
        _models.move_to_end(model_key)
        engine = _engines.get(engine_key)
        if engine is None:
            engine = _core.Embedder(model, n_ctx=n_ctx, n_batch=n_batch, n_threads=n_threads)
            _engines[engine_key] = engine
            while len(_engines) > MAX_ENGINES:
                _engines.popitem(last=False)
        _engines.move_to_end(engine_key)
        return engine


def _load(path: str, *, n_gpu_layers: int, kernels: Kernels, max_layer: int, wanted: int) -> _core.Model:
    """The model up to `max_layer`; up to `wanted` where memory is short, even if that takes the place of models that
    are only kept in case they are asked for again.
    """
    settings: dict[str, Any] = {
        "n_gpu_layers": n_gpu_layers,
        "kernels": kernels is not False,
        "floats_in_8_bits": kernels == "8bit",
    }
    for depth in dict.fromkeys([max_layer, wanted]):
        try:
            return _core.Model(path, max_layer=depth, **settings)
        except ModelMemoryError:
            if depth == wanted and not _models:
                raise
    clear_engines()
    return _core.Model(path, max_layer=wanted, **settings)


def _reaches(model: _core.Model, layer: int) -> bool:
    return model.max_layer == -1 or 0 <= layer <= model.max_layer


def _with_headroom(layer: int, model: _core.Model) -> int:
    deeper = max(layer, 2 * model.max_layer)
    return -1 if layer == -1 or deeper >= model.n_layers else deeper


def _note_left_to_ggml(types: dict[str, int], path: str) -> None:
    counts = ", ".join(f"{count} of {name.upper()}" for name, count in sorted(types.items()))
    _logger.info("%s: ggml, not fastplr's own kernels, multiplies by these matrices: %s", path, counts)


def _drop_model(model_key: tuple[Any, ...]) -> None:
    del _models[model_key]
    for key in [key for key in _engines if key[: len(model_key)] == model_key]:
        del _engines[key]


def note_if_not_shared(engine: _core.Embedder, path: str | os.PathLike[str]) -> None:
    """Log, once an engine, that the prompt before the texts is computed with each of them, where that is so."""
    if engine.shares_prefix:
        return
    with _lock:
        if engine in _noted:
            return
        _noted.add(engine)
    kind = "an encoder" if engine.model.is_encoder else "a recurrent model"
    _logger.info(
        "%s is %s (%s): the prompt before the texts is computed anew with each of them",
        *(os.fspath(path), kind, engine.model.architecture),
    )


def release_others(engine: _core.Embedder) -> bool:
    """Let go of every other engine, and of every model but this engine's. Returns whether there was one."""
    with _lock:
        others = [key for key, other in _engines.items() if other is not engine]
        idle = [key for key, model in _models.items() if model is not engine.model]
        for key in others:
            del _engines[key]
        for key in idle:
            del _models[key]
        return bool(others or idle)


def clear_engines() -> None:
    """Let go of every loaded model; those that an Embedder is computing with stay until it is done."""
    with _lock:
        _engines.clear()
        _models.clear()
