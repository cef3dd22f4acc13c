"""What the kernel knows: CPU time and memory of a process, who runs on which core, and what machine this is."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

__all__ = ["OTHER_CORES", "SERVER_CORES", "cpu_seconds", "described", "memory_bytes", "pinned_to", "tree_seconds"]

PACKAGES: Final = (
    "django",
    "channels",
    "channels-redis",
    "redis",
    "daphne",
    "twisted",
    "uvicorn",
    "uvloop",
    "websockets",
    "python-socketio",
    "django-eventstream",
    "picows",
    "psycopg",
    "msgspec",
)
CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORES: Final = set(CORES[:1])
OTHER_CORES: Final = set(CORES[1:]) or SERVER_CORES
TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, ended ones too.

    By its CPU clock, which counts nanoseconds: `utime` and `stime` of `/proc/<pid>/stat` are the same sum in steps of 10 ms.
    """
    return time.clock_gettime(~pid << 3 | 2)  # how the kernel names the CPU clock of another process


def tree_seconds(pid: int) -> float:
    """The same of a process and all its children, living and ended, by `/proc`."""
    total = 0.0
    for each in [pid, *_children(pid)]:
        with contextlib.suppress(OSError):  # ended meanwhile: then it counts as an ended child of its parent
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15]) / TICKS
    return total


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def memory_bytes(pid: int) -> int:
    """The process's proportional share (PSS): shared pages count by how many share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError("this kernel does not say how much memory a process has")


@contextlib.contextmanager
def pinned_to(cores: set[int]) -> Iterator[None]:
    """Processes started meanwhile stay on these cores, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def described() -> dict[str, Any]:
    """The machine and the versions, without a name or a path of it."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "cores": len(CORES),
        "memory_gib": round(pages / 2**30),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "pinned": SERVER_CORES != OTHER_CORES,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
