"""Another copy of llama.cpp in the same process: neither sees the other's symbols.

llama-cpp-python compiles for minutes, so it is no test dependency; where it is installed (CI installs it) this runs.
"""

import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed (CI installs it)"
)

BOTH = """
import numpy as np
{imports}
path = {path!r}
texts = ["both of them work", "at the same time"]
before = fastplr.Embedder(path, layer=2).embed(texts)
theirs = llama_cpp.Llama(path, embedding=True, n_ctx=256, verbose=False)
rows = np.array(theirs.create_embedding(texts[0])["data"][0]["embedding"])  # (n_tokens, n_embd), the output norm's
ours = fastplr.Embedder(path, layer=-1, pooling="mean_all").embed(texts[:1])[0]
pooled = rows if rows.ndim == 1 else rows.mean(axis=0)
cosine = pooled @ ours / np.linalg.norm(pooled) / np.linalg.norm(ours)
assert cosine > 0.9999, cosine
from fastplr.feature_cache import feature_cache
feature_cache.clear()
assert np.array_equal(before, fastplr.Embedder(path, layer=2).embed(texts))
"""


@pytest.mark.parametrize("imports", ["import llama_cpp, fastplr", "import fastplr, llama_cpp"])
def test_llama_cpp_python_and_fastplr_work_in_one_process(tiny_llama, imports):
    code = BOTH.format(imports=imports, path=str(tiny_llama.path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
