"""What the grays of a picture tell of its values: too few bits for their type, or next to nothing to see."""

from typing import Final

import numpy as np

from thorax.arrays import GrayPixels
from thorax.wording import percent

__all__ = ["NEARLY_ALL", "doubts_about", "sampled", "stretched"]

NEARLY_ALL: Final = 0.99
"""Share of the pixels from which on an image of one gray has nothing to see."""

_SAMPLED_SIDE: Final = 256
"""At most this many rows and columns are looked at for the commonest gray, in equal steps."""

_NARROW: Final = 1 / 16
"""Part of the range from black to white that a radiograph exceeds; 4 of 8 bits, or 12 of 16."""

_SHALLOW: Final = 1 << 14
"""Detectors have 10 to 14 bits; values of 16 bits that all lie below this were not scaled to their type."""


def stretched(pixels: GrayPixels) -> tuple[GrayPixels, str]:
    """Spread 16-bit grays that fit into 14 bits or fewer over the range of their type.

    Values of 10, 12 or 14 bits are often written into 16-bit images as they are, which makes them nearly
    black. Such an image is shown as DICOM without a window is: from its smallest to its largest value.

    Returns:
        The grays, and what was assumed; unchanged and "" if the values use their type, or are all equal.
    """
    if pixels.dtype.itemsize == 1:
        return pixels, ""
    low, high = int(pixels.min()), int(pixels.max())
    if high >= _SHALLOW or low == high:
        return pixels, ""
    white = np.iinfo(pixels.dtype).max
    grays = np.arange(high + 1, dtype=np.float64).clip(low) - low
    table = np.floor(grays / (high - low) * white + 0.5).astype(pixels.dtype)
    return table[pixels], (
        f"its largest 16-bit value is {high}, where {white} is white, so it was assumed to hold values of "
        f"{high.bit_length()} bits, and its range, {low} to {high}, was spread from black to white"
    )


def doubts_about(pixels: GrayPixels) -> tuple[str, ...]:
    """Return what is odd about an image of one gray, or of few; empty for a picture."""
    low, high, white = int(pixels.min()), int(pixels.max()), np.iinfo(pixels.dtype).max
    if low == high:
        return (f"every pixel has the same gray ({low} of {white}), so there is nothing to see",)
    some = sampled(pixels)
    share = np.bincount(some).max() / len(some)
    if share >= NEARLY_ALL:
        return (f"{percent(share)} of the pixels have the same gray, so there is next to nothing to see",)
    if high - low < _NARROW * white:
        narrow = f"its grays go only from {percent(low / white, 0)} to {percent(high / white, 0)} of white"
        return (f"{narrow}, so there is little to see; the range of its values may have been lost",)
    return ()


def sampled(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of at most 256 rows and columns, in equal steps, in one row."""
    down, right = (-(-length // _SAMPLED_SIDE) for length in pixels.shape)
    return pixels[::down, ::right].ravel()
