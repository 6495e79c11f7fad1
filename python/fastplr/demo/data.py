"""The messages that ship with the package."""

from __future__ import annotations

import io
from importlib import resources

from fastplr.tables import read_table

_FILE = "bank_messages.csv"

INSTRUCTION = (
    "A customer of a bank wrote the following message. Does the customer (a) complain about the bank, "
    "(b) report fraud or a theft, or (c) ask for information or a routine service? Message: "
)
"""What the model reads before every message."""


def load_demo() -> tuple[list[str], list[str]]:
    """The demonstration messages and their labels: 210 texts, 70 each of complaint, fraud and service."""
    data = resources.files(__package__).joinpath(_FILE).read_bytes()
    table = read_table(_FILE, ["text", "label"], stream=io.BytesIO(data))
    return table.texts("text"), [str(label) for label in table.labels("label")]
