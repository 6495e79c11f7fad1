"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

__all__ = ["cpu_name", "describe_machine", "pin_to_cores", "revision"]

#: Instruction sets that decide which kernels run.
TELLING_FLAGS = (
    "avx2",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
    "asimddp",
    "i8mm",
    "sve",
)


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    return fields


def cpu_name() -> str:
    """The processor's name, with family and model where Linux tells them: names of virtual machines say little."""
    info = _cpu_info()
    name = info.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in info:
        name += f" (family {info['cpu family']}, model {info.get('model', '?')})"
    return name


def describe_machine() -> dict[str, str]:
    """Processor, instruction sets that matter, cores, memory, operating system, Python."""
    info = _cpu_info()
    flags = (info.get("flags") or info.get("Features") or "").split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": cpu_name(),
        "instruction sets": ", ".join(flag for flag in TELLING_FLAGS if flag in flags) or "not known",
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
    }


def revision() -> str:
    """The commit of the repository, marked with "-dirty" where files differ from it; "not known" without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not known"


def pin_to_cores(n_cores: int) -> list[int]:
    """Keep this process, and those that it starts from now on, on the first `n_cores` of its cores; which these are.

    Where the system cannot pin, an empty list.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[:n_cores]
    os.sched_setaffinity(0, cores)
    return cores
