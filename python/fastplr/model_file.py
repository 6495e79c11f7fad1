"""A model's identity, tied to the file that it was taken from."""

from __future__ import annotations

import os
from functools import cached_property

from fastplr import model_store
from fastplr.engine import file_stamp
from fastplr.errors import ModelError
from fastplr.model_info import ModelInfo, read_model_info
from fastplr.model_store import ResolvedModel

__all__ = ["ModelFile"]


class ModelFile:
    """A model file and its identity, which belong together for as long as the file is the same.

    Attributes:
        resolved: The file and the identity.
        stamp: :func:`fastplr.engine.file_stamp` of the file that the identity was taken from.
    """

    def __init__(self, resolved: ResolvedModel, stamp: tuple[int, ...] | None) -> None:
        self.resolved = resolved
        self.stamp = stamp

    @cached_property
    def info(self) -> ModelInfo:
        """What the file says about itself."""
        return read_model_info(self.resolved.path)

    @classmethod
    def resolve(cls, spec: str | os.PathLike[str], *, progress: bool | None = None) -> ModelFile:
        """As :func:`fastplr.model_store.resolve`; nothing took the file's place in the meantime."""
        stamp = file_stamp(spec) if isinstance(spec, str | os.PathLike) else None
        while True:
            resolved = model_store.resolve(spec, progress=progress)
            now = file_stamp(resolved.path)
            if now == stamp:
                return cls(resolved, stamp)
            stamp = now  # the spec is a name, or the file is new: it must be the same before and after

    def is_current(self) -> bool:
        """Whether the file is as it was when its identity was taken."""
        return file_stamp(self.resolved.path) == self.stamp

    def require_same(self) -> None:
        """Raise :class:`ModelError` if another model took the file's place; a new date alone does no harm."""
        stamp = file_stamp(self.resolved.path)
        if stamp == self.stamp:
            return
        problem = f"the model file {os.fspath(self.resolved.path)!r} changed during the run"
        try:
            now = model_store.resolve(self.resolved.path, progress=False)
        except ModelError as error:
            raise ModelError(f"{problem}: {error}") from error
        if _identity(now) != _identity(self.resolved):
            raise ModelError(f"{problem}: its features were not kept; run again to use the new one")
        self.stamp = stamp


def _identity(resolved: ResolvedModel) -> tuple[object, ...]:
    return resolved.source_sha256, resolved.recipe, resolved.file_sha256
