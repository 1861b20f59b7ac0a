"""What becomes of memory that is freed, and who looks for it."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keep_freed_memory", "made_to_stay"]

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
def made_to_stay() -> Iterator[None]:
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
