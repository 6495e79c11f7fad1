"""A rival's process, seen from the one that drives it: one computes at a time, the others wait for their next line."""

from __future__ import annotations

import json
import math
import os
import re
import select
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.corpus import Group
from harness.process_memory import peak_bytes, reset_peak, resident_bytes

__all__ = ["PythonWorker", "RivalFailed", "RivalUnavailable", "WorkerProcess"]

BENCHMARKS = Path(__file__).parents[1]
#: Seconds for one answer: more than any rival needs for all texts, so that one that hangs does not hold up the rest.
PATIENCE = 1800


class RivalUnavailable(Exception):
    """The rival cannot be used here; the message is the reason that its row shows."""


class RivalFailed(Exception):
    """The rival gave up, or gave nothing, while it was at work."""


def _environment(n_threads: int) -> dict[str, str]:
    """Every pool of threads that a rival may start gets as many threads as the rest; nobody asks a hub."""
    pools = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")
    return {
        **os.environ,
        **{f"{pool}_NUM_THREADS": str(n_threads) for pool in pools},
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")])),
        "PYTHONWARNINGS": "ignore",
    }


class WorkerProcess(ABC):
    """A process that answers each request with one line of JSON.

    Args:
        command: The program and its arguments.
        n_threads: Threads that it may compute with.

    Raises:
        RivalUnavailable: It says that it is, or cannot be started.
        RivalFailed: It ends without a word.
    """

    def __init__(self, command: Sequence[str], n_threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fastplr-bench-")
        self._features = Path(self._folder.name) / "features.f32"
        self._errors = (Path(self._folder.name) / "errors.txt").open("w+", encoding="utf-8", errors="replace")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(n_threads),
            )
        except OSError as error:
            self._clean_up()
            raise RivalUnavailable(str(error)) from None
        try:
            hello = self._answer()
            if "unavailable" in hello:
                raise RivalUnavailable(hello["unavailable"])
        except (RivalFailed, RivalUnavailable):
            self.close()
            raise
        self.versions: dict[str, str] = hello.get("versions", {})
        #: Of all threads of the process, in the last call of `embed`; nan where it does not tell.
        self.cpu_seconds = math.nan
        reset_peak(self._process.pid)
        self._resident_after_import = resident_bytes(self._process.pid)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @abstractmethod
    def load(self) -> float:
        """Load the model; seconds that it took."""

    @abstractmethod
    def embed(self, groups: Sequence[Group]) -> tuple[float, npt.NDArray[np.float32]]:
        """Seconds that the rival took, and features (n_texts, n_features)."""

    def peak_over_import(self) -> int | None:
        """Bytes: the most memory that the process has had, less what it had after its imports."""
        peak = peak_bytes(self._process.pid)
        return None if peak is None or self._resident_after_import is None else peak - self._resident_after_import

    def close(self) -> None:
        """End the process. May be called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._clean_up()

    def _clean_up(self) -> None:
        self._errors.close()
        self._folder.cleanup()

    def _ask(self, request: bytes) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RivalFailed(self._last_words()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], PATIENCE)[0]:
            self.close()
            raise RivalFailed(f"no answer in {PATIENCE} seconds")
        line = out.readline()
        if not line:
            raise RivalFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = [line.rstrip() for line in self._errors if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        return (errors or lines or [f"ended with status {self._process.returncode}"])[-1]

    def _read_features(self, groups: Sequence[Group]) -> npt.NDArray[np.float32]:
        features = np.fromfile(self._features, dtype=np.float32)
        return features.reshape(sum(len(group.texts) for group in groups), -1)


class PythonWorker(WorkerProcess):
    """A class of this folder's Python in a process of its own (``rivals/worker.py``).

    Args:
        module: Where the class is, as it is imported.
        name: The class.
        settings: Its keyword arguments but `n_threads`.
        n_threads: Threads that it may compute with.
    """

    def __init__(self, module: str, name: str, settings: dict[str, Any], n_threads: int) -> None:
        arguments = json.dumps({**settings, "n_threads": n_threads})
        super().__init__([sys.executable, "-m", "rivals.worker", module, name, arguments], n_threads)

    def load(self) -> float:
        """See WorkerProcess."""
        return float(self._send({"do": "load"})["seconds"])

    def embed(self, groups: Sequence[Group]) -> tuple[float, npt.NDArray[np.float32]]:
        """See WorkerProcess."""
        request = {"do": "embed", "groups": [asdict(group) for group in groups], "features": str(self._features)}
        answer = self._send(request)
        self.cpu_seconds = float(answer["cpu_seconds"])
        return float(answer["seconds"]), self._read_features(groups)

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._ask(json.dumps(request).encode() + b"\n")
