"""What an adapter offers, and what most of them share."""

from __future__ import annotations

import importlib.metadata
from typing import Protocol, TypedDict

import numpy as np
import numpy.typing as npt

__all__ = ["Features", "Group", "Rival", "package_versions", "rendered"]

Features = npt.NDArray[np.float32]


class Group(TypedDict):
    """Texts that share a prompt."""

    prefix: str
    suffix: str
    texts: list[str]


class Rival(Protocol):
    """One way to turn texts into features, in a process of its own; made with keyword arguments of its own."""

    @staticmethod
    def versions() -> dict[str, str]:
        """Version by package."""

    def load(self) -> None:
        """Get ready, so that the next call of `embed` computes at once."""

    def embed(self, groups: list[Group]) -> Features:
        """float32 (n_texts, n_features), in the order of the groups and of the texts in them."""


def package_versions(*packages: str) -> dict[str, str]:
    """The versions of installed packages."""
    return {package: importlib.metadata.version(package) for package in packages}


def rendered(groups: list[Group]) -> list[str]:
    """Every text with its prompt, for rivals to which a prompt is but part of the text."""
    return [group["prefix"] + text + group["suffix"] for group in groups for text in group["texts"]]
