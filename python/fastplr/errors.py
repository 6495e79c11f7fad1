"""The exceptions and warnings of fastplr.

Every error derives from :class:`FastplrError` and, where one fits, from the built-in class that Python code expects
(``ValueError`` for bad input, ``MemoryError`` for memory). Messages name the offending value and what was expected.
"""

from __future__ import annotations

__all__ = [
    "AnswerWarning",
    "CacheWarning",
    "ClassifierFileError",
    "ContextMemoryError",
    "EndpointError",
    "FastplrError",
    "InputError",
    "ModelError",
    "ModelMemoryError",
    "ModelMismatch",
    "NotConverged",
    "QuantizationWarning",
    "TruncationWarning",
    "UnsupportedArchitecture",
    "UnsupportedCPU",
]


class FastplrError(Exception):
    """Base class of all errors raised by fastplr."""


class InputError(FastplrError, ValueError):
    """An argument, a text, a label or a table that cannot be used."""


class ModelError(FastplrError):
    """A model that is unknown, missing, damaged or cannot be loaded."""


class UnsupportedArchitecture(ModelError):
    """A sound model file whose architecture has no hidden states that fastplr can reach."""


class ModelMemoryError(ModelError, MemoryError):
    """Memory for the weights of a model cannot be had; the message says how much they take."""


class ClassifierFileError(FastplrError):
    """A classifier file that is missing, damaged, cut short or from a newer version."""


class ModelMismatch(FastplrError):
    """A classifier that was trained on another model than the one offered."""


class ContextMemoryError(FastplrError, MemoryError):
    """Memory for computing ran out; the message says the size asked for.

    A smaller ``n_batch`` and shorter texts take less; the Embedder can be used again.
    """


class EndpointError(FastplrError):
    """A language model behind an endpoint that cannot be reached, refuses, or answers with no label."""


class UnsupportedCPU(FastplrError, ImportError):
    """This build of fastplr needs CPU instructions that this machine lacks."""


class NotConverged(UserWarning):
    """The solver stopped before the duality gap fell below the tolerance."""


class TruncationWarning(UserWarning):
    """Texts longer than the context were cut (``on_long="truncate"``); the message counts them."""


class CacheWarning(UserWarning):
    """The cache of features on disk cannot be used, or was damaged; the run goes on without it, or with a new one."""


class QuantizationWarning(UserWarning):
    """A quantised model holds another number of bits than its type says, or more than its source."""


class AnswerWarning(UserWarning):
    """Answers that begin with the same token are scored whole; examples that do not fit the context were dropped."""
