"""Large arrays are read where they lie: what a fit takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fastplr.logistic_regression import LogisticRegression

FIT = """
import resource, sys
import numpy as np
from fastplr import LogisticRegression

kind, dtype, n_rows, n_features, path = sys.argv[1:]
shape = int(n_rows), int(n_features)
y = np.arange(shape[0]) % 2
LogisticRegression(n_threads=1).fit(np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 2)  # imports, pools
if kind == "memmap":
    X = np.memmap(path, dtype=dtype, mode="w+", shape=shape)
else:
    X = np.empty(shape, dtype=dtype, order="F" if kind == "F" else "C")
rng = np.random.default_rng(0)
for row in range(shape[0]):
    X[row] = rng.standard_normal(shape[1], dtype=np.float32)
if kind == "strided":
    X = X[::2, ::2]
    y = y[::2]
    y[: len(y) // 2] = 1 - y[: len(y) // 2]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = LogisticRegression(0.01, n_threads=1).fit(X, y)
assert model.converged_
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, X.size * X.itemsize)
"""


def extra_bytes(tmp_path: Path, kind: str, dtype: str, n_rows: int, n_features: int) -> tuple[int, int]:
    """The most that a fit takes beyond its input, and what the input takes."""
    command = [sys.executable, "-c", FIT, kind, dtype, str(n_rows), str(n_features), str(tmp_path / "X")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    extra, size = done.stdout.split()
    return int(extra), int(size)


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("kind", ["C", "F", "strided", "memmap"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gram_form_makes_no_copy_of_the_features(tmp_path: Path, kind: str, dtype: str) -> None:
    extra, size = extra_bytes(tmp_path, kind, dtype, 200, 200_000)
    assert extra < 0.3 * size


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_float16_is_widened_once_to_float32(tmp_path: Path) -> None:
    extra, size = extra_bytes(tmp_path, "C", "float16", 200, 200_000)
    assert extra < 2.5 * size


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("kind", ["C", "memmap"])
def test_primal_form_makes_one_copy(tmp_path: Path, kind: str) -> None:
    extra, size = extra_bytes(tmp_path, kind, "float64", 100_000, 100)
    assert extra < 1.5 * size


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_mapped_file_gives_what_an_array_gives(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 50)).astype(dtype)
    y = np.arange(30) % 3
    mapped = np.memmap(tmp_path / "X", dtype=dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    found = LogisticRegression().fit(np.memmap(tmp_path / "X", dtype=dtype, mode="r", shape=X.shape), y)
    np.testing.assert_allclose(found.coef_, LogisticRegression().fit(X, y).coef_, rtol=0, atol=1e-12)
