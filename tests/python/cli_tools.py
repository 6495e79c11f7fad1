"""What tests of the command line share beside the fixtures in conftest.py."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

Run = Callable[..., str]

FIT = ("fit", "--text", "text", "--label", "label", "--layer", "middle", "--pooling", "mean")


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
