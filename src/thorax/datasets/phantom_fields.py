"""What phantoms are drawn with: soft edges, bands and smooth noise on a grid of pixels.

Pixels pass only through operations that IEEE 754 rounds exactly (no exp, no power), so that every
machine draws the same values.
"""

import math

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from thorax.randomness import integer_seed

__all__ = ["Column", "Field", "Row", "band", "cloud", "smooth", "speckle"]

Field = Float32[np.ndarray, "s s"]
"""One value per pixel."""

Row = Float32[np.ndarray, "1 s"]
"""One value per column of pixels."""

Column = Float32[np.ndarray, "s 1"]
"""One value per row of pixels."""


def smooth(inside: Field | Row | Column, width: float) -> Float32[np.ndarray, "h w"]:
    """Return 0 below -width / 2, 1 above width / 2, and a smooth step between."""
    step = inside * np.float32(1 / width)
    step += np.float32(0.5)
    return _eased(step)


def band(distance: Field | Row | Column, half_width: float) -> Float32[np.ndarray, "h w"]:
    """Return 1 where `distance` is 0, falling to 0 at `half_width` on both sides."""
    falling = np.abs(distance)
    falling *= np.float32(-1 / half_width)
    falling += np.float32(1)
    return _eased(falling)


def _eased(step: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Cut to [0, 1] and ease: 3 s**2 - 2 s**3. In place, as fresh memory costs more than arithmetic."""
    np.clip(step, 0, 1, out=step)
    slope = step * np.float32(-2)
    slope += np.float32(3)
    step *= step
    step *= slope
    return step


def speckle(seed: int, stream: str, *, step: int, count: int) -> UInt8[np.ndarray, " count"]:
    """Return `count` random bytes, a pure function of the other arguments (Philox's raw words)."""
    words = np.random.Philox(key=integer_seed(seed, stream, step=step)).random_raw(-(-count // 8))
    return np.asarray(words, dtype="<u8").view(np.uint8)[:count]


def cloud(grain: UInt8[np.ndarray, " n"], size: int) -> Field:
    """Return smooth noise in [-0.5, 0.5] from a square number of random bytes, one per cell."""
    side = math.isqrt(len(grain))
    image = Image.fromarray(grain.reshape(side, side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255) - np.float32(0.5)
