"""A rival in a process of its own, driven over pipes: one JSON object a line in, one out.

    python -m rivals.worker MODULE CLASS SETTINGS

The class is made with the keyword arguments that SETTINGS, a JSON object, holds. Requests, in this order::

    {"do": "load"}                                        -> {"seconds": s}
    {"do": "embed", "groups": [...], "features": path}    -> {"seconds": s, "cpu_seconds": c}

`embed` writes features, float32, to the file; before it the class's `prepare(groups)`, else its `forget()`, is called,
where it has one.

The first line out is ``{"ready": true, "versions": {...}}`` after the import, or ``{"unavailable": reason}``. Time is
taken around the rival's own call: pipes, JSON and files are not in it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt


def answer(out: TextIO, message: dict[str, Any]) -> None:
    """One line, at once."""
    out.write(json.dumps(message) + "\n")
    out.flush()


def check_features(features: npt.NDArray[np.float32], n_texts: int) -> None:
    """A rival that skipped or spoiled a text must not pass as a fast one."""
    if features.dtype != np.float32 or len(features) != n_texts or not np.isfinite(features).all():
        raise ValueError(f"features are {features.dtype} {features.shape} for {n_texts} texts, or not finite")


def main() -> None:
    """Serve until the input ends."""
    module, name, settings = sys.argv[1:4]
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a rival prints must not mix with the answers
    try:
        rival_class = getattr(importlib.import_module(module), name)
    except (ImportError, OSError) as error:  # OSError: a shared library of the package that does not load
        answer(out, {"unavailable": f"{type(error).__name__}: {error}"})
        return
    rival = rival_class(**json.loads(settings))
    answer(out, {"ready": True, "versions": rival_class.versions()})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            start = time.perf_counter()
            rival.load()
            answer(out, {"seconds": time.perf_counter() - start})
        else:
            if hasattr(rival, "prepare"):
                rival.prepare(request["groups"])
            elif hasattr(rival, "forget"):
                rival.forget()
            start, cpu_start = time.perf_counter(), time.process_time()
            features = rival.embed(request["groups"])
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            check_features(features, sum(len(group["texts"]) for group in request["groups"]))
            features.tofile(request["features"])
            answer(out, {"seconds": seconds, "cpu_seconds": cpu_seconds})


if __name__ == "__main__":
    main()
