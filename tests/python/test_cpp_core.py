"""Runs the C++ tests of the core, each executable as one case, with the models that they need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tiny_models import ARCHITECTURES, write_tiny, write_tiny_bert, write_tiny_llama

REPOSITORY = Path(__file__).resolve().parents[2]
HOW_TO_BUILD = "no C++ tests are built; FASTPLR_BUILD_TESTS=ON pip install -e '.[test]' builds them"
TIMEOUT_S = 300


def executables() -> list[Path]:
    """The C++ tests in FASTPLR_CPP_TESTS, else those in the build folder that was built last."""
    given = os.environ.get("FASTPLR_CPP_TESTS")
    folders = [Path(given)] if given else list(REPOSITORY.glob("build/*/tests/cpp"))
    built = [[path for path in folder.glob("test_*") if _is_executable(path)] for folder in folders]
    newest = max(filter(None, built), key=lambda paths: max(path.stat().st_mtime for path in paths), default=[])
    return sorted(newest)


def _is_executable(path: Path) -> bool:
    return path.is_file() and path.suffix in ("", ".exe") and os.access(path, os.X_OK)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables with which the C++ tests find their models."""
    folder = tmp_path_factory.mktemp("cpp")
    decoders = {
        "": {},
        "_BOS": {"add_bos": True},
        "_SPM": {"tokenizer": "spm"},
        "_GPT2": {"architecture": "gpt2"},
        "_GEMMA3": {"architecture": "gemma3"},
    }
    written = {end: write_tiny_llama(folder / f"tiny{end}.gguf", **kind) for end, kind in decoders.items()}
    written["_BERT"] = write_tiny_bert(folder / "tiny_BERT.gguf")
    written["_Q4_0"] = write_tiny_llama(folder / "tiny_Q4_0.gguf", tensor_type="Q4_0")
    every = folder / "every_architecture"
    every.mkdir()
    for architecture in ARCHITECTURES:
        write_tiny(architecture, every / f"{architecture}.gguf")
    return {"FASTPLR_TEST_MODELS": str(every)} | {
        f"FASTPLR_TEST_MODEL{end}": str(tiny.path) for end, tiny in written.items()
    }


def test_the_cpp_tests_are_built() -> None:
    if not executables():
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(HOW_TO_BUILD)
        pytest.skip(HOW_TO_BUILD)


@pytest.mark.parametrize("executable", executables(), ids=lambda path: path.stem)
def test_the_core(executable: Path, models: dict[str, str], tmp_path: Path) -> None:
    try:
        result = subprocess.run(
            [executable],
            env={**os.environ, **models},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        pytest.fail(f"{executable.name} did not end within {TIMEOUT_S} s:\n{expired.output}\n{expired.stderr}")
    if result.returncode != 0:
        pytest.fail(f"{executable.name} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
    assert " 0 failed" in result.stdout
    assert "skipped:" not in result.stdout  # this test gives every model that they ask for
