"""The machine: cores, threads, GPU driver, and what happens to freed memory."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = [
    "gc_frozen",
    "has_cuda_driver",
    "keep_freed_memory",
    "num_threads",
    "one_blas_thread",
    "parallel_map",
]

Item = TypeVar("Item")
Result = TypeVar("Result")


def has_cuda_driver() -> bool:
    """Return whether there is a CUDA driver; where there is none, torch need not be asked for a GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def num_threads() -> int:
    """Return what OMP_NUM_THREADS says, as torch does, or the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the work's results in the items' order, computed on threads.

    It is for NumPy calls on large arrays, which let go of the interpreter's lock while they run. Not for work
    that calls this function itself.
    """
    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(work, items))


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST = 1 << 30


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed arrays instead of handing it back at once.

    glibc returns large blocks to the system when they are freed, and the next ones come page by page and full
    of zeros. Drawing phantoms makes hundreds of 256 kB arrays per image, and takes two to four times as long
    so; a step of training on a CPU frees and takes each activation, and spent 7 to 16 % of its time in the
    system. Other C libraries: no effect.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _LARGEST)


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Look for no garbage while modules are imported and a model is opened, nor ever in what that made.

    Python's search for cycles goes through all objects again and again: of `predict` with one image, 60 ms of
    850 while everything is imported, and 170 ms when the process ends. What is made here is never freed
    unless nothing refers to it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def one_blas_thread() -> None:
    """Let NumPy multiply matrices on one thread, unless the user's environment says otherwise.

    The products of a bootstrap are small: a second thread waits in a spinning loop more than it works. On two
    busy cores a whole report took 34 s of CPU with two threads and 17 s with one (`bench/report.py`).
    """
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
