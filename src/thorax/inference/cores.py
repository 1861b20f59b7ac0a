"""What this machine has to compute with, told without importing an engine."""

import ctypes
import os

__all__ = ["has_cuda_driver", "num_threads"]


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
