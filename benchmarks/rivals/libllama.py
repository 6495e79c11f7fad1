"""libllama's own pooled embeddings: what llama.cpp's `llama-embedding` does, in a C++ process (``../libllama/``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.build_folder import find_built
from harness.corpus import Group
from harness.worker_process import RivalUnavailable, WorkerProcess

__all__ = ["PROGRAMS", "LibllamaWorker", "find_program"]

#: By whose libllama it is linked with: as published, as fastplr has it, or that but for one thing (variants.cmake).
PROGRAMS = {
    "stock": "benchmarks/libllama/stock/libllama-embedding",
    "patched": "benchmarks/libllama/libllama-embedding",
    **{
        variant: f"benchmarks/libllama/libllama-embedding-{variant}"
        for variant in ("unskipped", "tile-16", "tile-64", "spins-0", "spins-256", "spins-16384", "spins-2147483647")
    },
}


def find_program(which: str = "stock") -> Path:
    """The newest one of these PROGRAMS in a build folder of this repository, or that in FASTPLR_BENCH_LIBLLAMA.

    The variable names a build folder. Raises RivalUnavailable where the program was not built.
    """
    found = find_built(PROGRAMS[which])
    if found is None:
        raise RivalUnavailable(
            f"no {PROGRAMS[which]} in a build folder: build it with FASTPLR_BUILD_BENCHMARKS=ON (benchmarks/README.md)"
        )
    return found


class LibllamaWorker(WorkerProcess):
    """The program, with the example's defaults where `n_batch` and `n_ctx` are None.

    Args:
        model: Path of the GGUF file.
        n_threads: Threads of computation.
        n_batch: Tokens computed at once.
        n_ctx: Tokens that the context holds; 0 means as many as the model was trained with.
        which: One of the PROGRAMS.
        options: Departures from the example, as the program's head comment has them.
    """

    def __init__(
        self,
        model: str,
        n_threads: int,
        n_batch: int | None = None,
        n_ctx: int | None = None,
        which: str = "stock",
        options: Sequence[str] = (),
    ) -> None:
        command = [str(find_program(which)), model, str(n_threads), str(n_batch or 2048), str(n_ctx or 0), *options]
        super().__init__(command, n_threads)

    def load(self) -> float:
        """See WorkerProcess."""
        return float(self._ask(b"load\n")["seconds"])

    def embed(self, groups: Sequence[Group]) -> tuple[float, npt.NDArray[np.float32]]:
        """See WorkerProcess."""
        answer = self._ask(self._texts(f"embed {{}} {self._features}", groups))
        self.cpu_seconds = float(answer["cpu_seconds"])
        return float(answer["seconds"]), self._read_features(groups)

    def count_tokens(self, groups: Sequence[Group]) -> list[int]:
        """Tokens of each text with its prompt and special tokens, in the order of the groups."""
        counts: list[int] = self._ask(self._texts("count {}", groups))["n_tokens"]
        return counts

    @staticmethod
    def _texts(request: str, groups: Sequence[Group]) -> bytes:
        texts = [(group.prefix + text + group.suffix).encode() for group in groups for text in group.texts]
        head = request.format(len(texts)).encode() + b"\n"
        return head + b"".join(b"%d\n%s" % (len(text), text) for text in texts)
