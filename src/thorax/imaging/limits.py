"""What decoding one image may use, by its size. In force only in the processes of a `DecodePool`."""

import sys
import time
from collections.abc import Callable
from typing import Final

__all__ = ["WALL", "announce_pixels", "cpu_seconds", "listen", "memory_bytes", "spent_seconds"]

WALL: Final = 10.0
"""How many times its CPU time an image may take by the clock, however busy the machine is."""

_SECONDS: Final = 2.0
_SECONDS_PER_PIXEL: Final = 1e-6
_BYTES: Final = 1 << 30
_BYTES_PER_PIXEL: Final = 32
"""A pixel of 16-bit color with transparency has 8 bytes; decoders and conversions keep some copies of it."""

_CLOCK_OF_LIMIT: Final = -8
"""Linux's clock of this process's CPU time in ticks: (~0 << 3) | CPUCLOCK_PROF in posix-timers_types.h."""

_listeners: list[Callable[[int], None]] = []


def cpu_seconds(pixels: int) -> float:
    """Return how many seconds of CPU time an image may take: 2, and 1 per megapixel."""
    return _SECONDS + _SECONDS_PER_PIXEL * pixels


def spent_seconds() -> float:
    """Return the CPU seconds that this process has taken, as RLIMIT_CPU counts them.

    Linux counts whole ticks there, while `time.process_time` is exact. In processes that wake up often they
    were 1 s apart after 21 s, and 54 s after 390 s (kernel 6.18), more than any limit.
    """
    if sys.platform != "linux":
        return time.process_time()
    try:
        return time.clock_gettime(_CLOCK_OF_LIMIT)
    except OSError:  # a sandbox that imitates Linux may not have this clock
        return time.process_time()


def memory_bytes(pixels: int) -> int:
    """Return how much memory may be used while an image is decoded: 1 GiB, and 32 bytes per pixel."""
    return _BYTES + _BYTES_PER_PIXEL * pixels


def announce_pixels(pixels: int) -> None:
    """Say how many pixels the header of an image states, before they are decoded.

    In a process of a `DecodePool`, this raises the limits; elsewhere, nothing happens.
    """
    for listener in _listeners:
        listener(pixels)


def listen(listener: Callable[[int], None]) -> None:
    """Call a function with the number of pixels of each image that is announced in this process."""
    _listeners.append(listener)
