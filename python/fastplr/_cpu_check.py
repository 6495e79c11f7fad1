"""Refuses to load the extension on a processor that lacks an instruction set it was built for."""

from __future__ import annotations

from collections.abc import Sequence

from fastplr.errors import UnsupportedCPU


def require_cpu(required: Sequence[str] | None = None) -> None:
    """Raise :class:`UnsupportedCPU` if this machine lacks a feature of `required` (default: those of this build)."""
    from fastplr import _cpu

    missing = _cpu.missing(list(_cpu.required if required is None else required))
    if missing:
        raise UnsupportedCPU(
            f"this build of fastplr needs CPU features that this machine lacks: {', '.join(missing)}. "
            "Install it from source on this machine (pip install --no-cache-dir --force-reinstall --no-binary fastplr "
            "fastplr), or build with -C cmake.define.FASTPLR_NATIVE=OFF"
        )
