"""The extension as a shared library: which CPU it wants, which symbols it shows; none are shared with others."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from fastplr import UnsupportedCPU, _core, _cpu
from fastplr._cpu_check import require_cpu
from tiny_models import TinyModel

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files and /proc")
STB_LOCAL, SHT_DYNSYM = 0, 11


def run_program(program: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


# -- the processor ----------------------------------------------------------------------------------------------------


def test_a_processor_that_lacks_something_gets_our_error_before_the_extension_is_loaded() -> None:
    # A build that needs an instruction set which nobody has; asked of the machine by the real check.
    program = """
import importlib.util, sys, types
spec = importlib.util.spec_from_file_location("_cpu", sys.argv[1])
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
wanting = types.ModuleType("fastplr._cpu")
wanting.required, wanting.missing = [*real.required, "avx4096"], real.missing
sys.modules["fastplr._cpu"] = wanting
try:
    import fastplr
except ImportError as error:
    print(type(error).__name__, "fastplr._core" in sys.modules, error)
"""
    message = run_program(program, _cpu.__file__)
    assert message.startswith(
        "UnsupportedCPU False this build of fastplr needs CPU features that this machine lacks: avx4096."
    )
    assert "from source" in message


def test_the_command_line_begins_without_scikit_learn() -> None:
    program = "import sys, fastplr.cli; print('sklearn' in sys.modules)"
    assert run_program(program) == "False"


def test_every_public_name_is_there() -> None:
    program = """
import fastplr
before = dir(fastplr)
values = [getattr(fastplr, name) for name in fastplr.__all__]
from fastplr import *
from fastplr.embedder import Embedder as same
print(set(fastplr.__all__) <= set(before), all(value is not None for value in values), Embedder is same)
try:
    fastplr.nothing
except AttributeError as error:
    print(error)
"""
    assert run_program(program) == "True True True\nmodule 'fastplr' has no attribute 'nothing'"


def test_this_build_runs_on_this_machine() -> None:
    assert _cpu.missing(_cpu.required) == []
    require_cpu()
    require_cpu([])
    with pytest.raises(UnsupportedCPU, match="lacks: avx4096, xyz"):
        require_cpu(["avx4096", "xyz"])


@linux_only
def test_features_are_missing_exactly_where_the_kernel_does_not_list_them() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), None)
    if flags is None:
        pytest.skip("/proc/cpuinfo lists no x86 flags")
    kernels = {
        "sse4.2": "sse4_2",
        "avx": "avx",
        "avx2": "avx2",
        "fma": "fma",
        "bmi2": "bmi2",
        "avx512f": "avx512f",
        "avx512bw": "avx512bw",
        "avx512dq": "avx512dq",
        "avx512vl": "avx512vl",
        "avx512vbmi": "avx512vbmi",
        "avx512vnni": "avx512_vnni",
        "avx512bf16": "avx512_bf16",
    }
    assert _cpu.missing(list(kernels)) == [ours for ours, theirs in kernels.items() if theirs not in flags]


# -- symbols ----------------------------------------------------------------------------------------------------------


def exported_symbols(path: str) -> set[str]:
    """Defined symbols in the dynamic symbol table of a 64-bit little-endian ELF file (System V ABI, chapters 4, 5)."""
    data = Path(path).read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    offset, size, count = *struct.unpack_from("<Q", data, 0x28), *struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    names: set[str] = set()
    for section in sections:
        if section[1] != SHT_DYNSYM:
            continue
        strings = sections[section[6]][4]
        for start in range(section[4], section[4] + section[5], 24):
            name, info, _, index = struct.unpack_from("<IBBH", data, start)
            if index != 0 and info >> 4 != STB_LOCAL:
                names.add(data[strings + name : data.index(b"\0", strings + name)].decode())
    return names


@linux_only
@pytest.mark.parametrize("module", [_core, _cpu], ids=lambda module: module.__name__)
def test_only_the_init_function_is_exported(module: object) -> None:
    name = module.__name__.rpartition(".")[2]
    assert exported_symbols(module.__file__) == {f"PyInit_{name}"}


@linux_only
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_the_symbols_are_those_that_nm_lists() -> None:
    listed = subprocess.run(["nm", "-D", "--defined-only", _core.__file__], capture_output=True, text=True, check=True)
    assert {line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines()} == exported_symbols(
        _core.__file__
    )


# Another copy of llama.cpp in the process, as llama-cpp-python brings one: here every function of it ends the process.
LLAMA_SYMBOLS = """
llama_backend_init llama_model_load_from_file llama_init_from_model llama_decode llama_tokenize llama_batch_init
llama_free llama_log_set llama_model_default_params llama_context_default_params llama_get_memory llama_n_ctx
ggml_init ggml_free ggml_nbytes ggml_mul_mat ggml_graph_compute ggml_backend_sched_graph_compute_async ggml_cpu_init
ggml_backend_cpu_init ggml_threadpool_new ggml_critical_section_start ggml_abort ggml_time_us gguf_init_from_file
"""


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("other")
    source = "#include <stdlib.h>\n" + "".join(f"void {name}(void) {{ abort(); }}\n" for name in LLAMA_SYMBOLS.split())
    # A function that it calls through its own dynamic symbol, as every shared library does by default.
    source += "int llama_supports_mmap(void) { return 42; }\nint call_own(void) { return llama_supports_mmap(); }\n"
    (folder / "other.c").write_text(source)
    library = folder / "libllama.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O0", "-o", library, folder / "other.c"], check=True)
    return library


@linux_only
@pytest.mark.parametrize("order", ["before", "after"])
def test_another_llama_in_the_process_is_not_called_and_does_not_call_ours(
    other_llama: Path, tiny_llama: TinyModel, order: str
) -> None:
    program = """
import ctypes, sys
load = lambda: ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
other = load() if sys.argv[3] == "before" else None
import fastplr
model = fastplr.Embedder(sys.argv[2], n_threads=2)
if other is None:
    model.embed(["a film"])
    other = load()
features = model.embed(["another film", "a story"], layers=[1, -1])
print(other.call_own(), features.shape)
everything = ctypes.CDLL(None)
print([name for name in ("ggml_new_tensor", "llama_encode", "PyInit__core") if hasattr(everything, name)])
"""
    assert run_program(program, other_llama, tiny_llama.path, order) == "42 (2, 2, 1, 64)\n[]"
    assert "ggml_abort" in exported_symbols(str(other_llama))
