"""What the C library does with memory that is freed."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

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
