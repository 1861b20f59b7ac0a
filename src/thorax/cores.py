"""What this machine has to compute with, told without importing an engine, and work spread over it."""

import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["has_cuda_driver", "num_threads", "on_all_cores"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def has_cuda_driver() -> bool:
    """Return whether there is a CUDA driver; where there is none, torch need not be asked for a GPU."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def num_threads() -> int:
    """Return what OMP_NUM_THREADS says, as torch does, or the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the work's results in the items' order, computed on threads.

    It is for NumPy calls on large arrays, which let go of the interpreter's lock while they run. Not for work
    that calls this function itself.
    """
    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(work, items))
