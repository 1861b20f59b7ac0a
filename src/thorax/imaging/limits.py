"""What decoding one image may use, by its size. In force only in the processes of a `DecodePool`."""

from collections.abc import Callable
from typing import Final

__all__ = ["WALL", "announce_pixels", "cpu_seconds", "listen", "memory_bytes"]

WALL: Final = 10.0
"""How many times its CPU time an image may take by the clock, however busy the machine is."""

_SECONDS: Final = 2.0
_SECONDS_PER_PIXEL: Final = 1e-6
_BYTES: Final = 1 << 30
_BYTES_PER_PIXEL: Final = 32
"""A pixel of 16-bit color with transparency has 8 bytes; decoders and conversions keep some copies of it."""

_listeners: list[Callable[[int], None]] = []


def cpu_seconds(pixels: int) -> float:
    """Return how many seconds of CPU time an image may take: 2, and 1 per megapixel."""
    return _SECONDS + _SECONDS_PER_PIXEL * pixels


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
