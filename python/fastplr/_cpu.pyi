from collections.abc import Sequence

required: list[str]

def missing(required: Sequence[str]) -> list[str]: ...
