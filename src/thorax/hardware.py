"""CPU cores and threads, GPU driver, and settings of the allocator and the garbage collector."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path, PurePosixPath
from typing import TypeVar

from thorax.errors import RecipeError

__all__ = [
    "blas_on_one_thread",
    "cores",
    "gc_frozen",
    "has_cuda_driver",
    "keep_freed_memory",
    "num_threads",
    "one_blas_thread",
    "parallel_map",
    "refuse_unknown_device",
]

Item = TypeVar("Item")
Result = TypeVar("Result")


def has_cuda_driver() -> bool:
    """Return whether there is a CUDA driver; without one, torch need not be asked for a GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def refuse_unknown_device(name: str) -> None:
    """Refuse a device that this machine cannot have, without importing torch, which takes seconds.

    Which of its GPUs exist is for torch to say, where there is a driver.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        RecipeError: It is another name, or a GPU on a machine without a CUDA driver.
    """
    is_gpu = name == "cuda" or (name.startswith("cuda:") and name[5:].isdecimal())
    if name in {"auto", "cpu"} or (is_gpu and has_cuda_driver()):
        return
    known = "auto, cpu, cuda or cuda:N" if has_cuda_driver() else "auto or cpu: it has no CUDA driver"
    raise RecipeError(f"this machine does not have the device {name!r}; set `device` to {known}")


def num_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, as torch does, or the number of cores this process may use."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdecimal() and int(setting) > 0 else cores()


def cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, by its affinity and by the quotas of its cgroups.

    A container that was given 2 of 64 cores by quota (`docker run --cpus 2`) may run on all of them, but only
    for a fraction of the time: 64 threads would mostly wait for one another. Part of a core counts as one.

    Args:
        root: Where proc and sys are mounted.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quota of each cgroup of this process that has one, in cores: version 2, then version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    files: tuple[str, ...]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, files = root / "sys/fs/cgroup", ("cpu.max",)
        elif "cpu" in controllers.split(","):
            mount, files = root / "sys/fs/cgroup/cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents):  # a quota holds for everything below it
            with suppress(OSError, ValueError):
                quota, period = " ".join((mount / folder / name).read_text() for name in files).split()
                if quota not in {"max", "-1"}:
                    yield int(quota) / int(period)


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return `work(item)` for each item, in order, computed on threads.

    This is for NumPy calls on large arrays, which release the GIL. `work` must not call this function.
    """
    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(work, items))


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST = 1 << 30


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed arrays instead of returning it to the system at once.

    glibc returns large blocks to the system when they are freed, and new ones are faulted in page by page,
    zeroed. Drawing phantoms creates hundreds of 256 kB arrays per image and took two to four times as long;
    a training step on a CPU frees and allocates every activation and spent 7 to 16 % of its time in the
    system. There is no effect with other C libraries.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _LARGEST)


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Disable the garbage collector while modules are imported and a model is opened, then freeze it all.

    The collector traverses all objects repeatedly: in `predict` with one image, this took 60 ms of the 850 ms
    of imports, and 170 ms at exit. Reference cycles created within this context are never freed.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


_USERS_CHOICE = frozenset({"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"})
"""Variables with which a user says how many threads there are."""


def one_blas_thread() -> None:
    """Let NumPy multiply matrices on one thread, unless the user's environment says otherwise.

    The products of a bootstrap are small, so a second thread spends more time spinning than working. On two
    busy cores a whole report took 34 s of CPU time with two threads and 17 s with one (`bench/report.py`).
    """
    if not _USERS_CHOICE & os.environ.keys():
        os.environ["OPENBLAS_NUM_THREADS"] = "1"


_BLAS_THREADS = tuple(
    (f"{prefix}get_num_threads{suffix}", f"{prefix}set_num_threads{suffix}")
    for prefix in ("openblas_", "scipy_openblas_")
    for suffix in ("", "64_")
)
"""What reads and sets the number of threads, in the builds of OpenBLAS that NumPy comes with."""


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Let NumPy, which is loaded already, multiply on one thread meanwhile; see `one_blas_thread`.

    Nothing changes if the user's environment says how many, or where another library multiplies.
    """
    chosen = _USERS_CHOICE & os.environ.keys()
    found = [] if chosen else [pair for path in _loaded_blas() if (pair := _thread_calls(path)) is not None]
    before = [get() for get, _ in found]
    for _, put in found:
        put(1)
    try:
        yield
    finally:
        for (_, put), number in zip(found, before, strict=True):
            put(number)


def _loaded_blas() -> list[str]:
    """Return the files of OpenBLAS that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # not Linux
        return []
    return sorted({line.split(maxsplit=5)[-1] for line in lines if "openblas" in line})


def _thread_calls(path: str) -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """Return the calls of a library that read and set its number of threads; None if it has none."""
    with suppress(OSError):
        library = ctypes.CDLL(path)
        for read, put in _BLAS_THREADS:
            if hasattr(library, read) and hasattr(library, put):
                return getattr(library, read), getattr(library, put)
    return None
