"""A model behind an OpenAI-compatible endpoint on this machine: llama-cpp-python's server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["chat_server"]

#: Seconds that the server may take to load its model.
PATIENCE = 300


@contextmanager
def chat_server(model: Path, log: Path, *, port: int, n_threads: int) -> Iterator[None]:
    """Serve `model` with its own chat template on the loopback interface while the block runs.

    Args:
        model: GGUF file.
        log: What the server prints.
        port: Of ``http://127.0.0.1:PORT/v1``.
        n_threads: Threads that it computes with.

    Raises:
        RuntimeError: The port is in use, or the server ended or does not answer; its log says why.
    """
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("127.0.0.1", port))
        except OSError as error:  # what listens there would be measured in the place of `model`
            raise RuntimeError(f"port {port} of this machine cannot be listened on: {error.strerror}") from error
    options = {
        "model": model, "host": "127.0.0.1", "port": port, "n_ctx": 4096, "n_threads": n_threads,
        "n_threads_batch": n_threads, "interrupt_requests": False,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "llama_cpp.server", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/v1/models", server, log)
            yield
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if server.poll() is not None:
            break
        try:
            with opener.open(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"the server does not answer at {url}; {log} has:\n{log.read_text('utf-8', 'replace')[-2000:]}")
