"""Maps in color over the radiograph.

Nothing but the map is drawn over the anatomy. Pixels without evidence keep their exact gray value; opacity is
proportional to the map's value.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8
from PIL import Image

from thorax.arrays import Attribution, GrayPixels

__all__ = [
    "Colors",
    "Heat",
    "Scale",
    "blended",
    "color_scale",
    "color_table",
    "drawing_scale",
    "drawn",
    "eight_bit",
    "overlay",
    "own_scale",
    "resized",
]

_COLORS: Final = "inferno.txt"
"""A perceptually uniform color map from dark to light, which also works without color vision."""

_SMALLEST: Final = 384
"""Smaller radiographs are drawn enlarged by an integer factor."""

_UINT16_PER_UINT8: Final = 257

Colors = UInt8[np.ndarray, "h w 3"]

Heat = Float32[np.ndarray, "h w"]
"""How much of the color is seen, from 0 to 1."""

Resized = Shaped[np.ndarray, "height width"]
"""A radiograph or a map at the size at which it is drawn."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The values of a map at the two ends of the colors.

    Attributes:
        low: At and below it, nothing is drawn.
        high: At and above it, the color is that of the maximum.
    """

    low: float
    high: float

    def heat(self, attribution: Attribution) -> Heat:
        """Return how much of the color each pixel gets; NaN gets none."""
        if not self.high > self.low:
            return np.zeros(attribution.shape, dtype=np.float32)
        relative = (attribution - self.low) / (self.high - self.low)
        return np.clip(np.nan_to_num(relative, nan=0.0), 0, 1).astype(np.float32)


def own_scale(attribution: Attribution) -> Scale:
    """Return the scale from 0 to a map's own maximum."""
    positive = np.nan_to_num(np.maximum(attribution, 0), nan=0.0)
    return Scale(0.0, float(np.max(positive)))


def overlay(
    pixels: GrayPixels, attribution: Attribution, *, opacity: float, scale: Scale | None = None
) -> Colors:
    """Return a radiograph with the values of a map in color over it.

    Args:
        pixels: The radiograph.
        attribution: The map at the same resolution; NaN and low values leave the gray value as it is.
        opacity: Opacity at the scale's high end; elsewhere proportional to the value.
        scale: The values that the colors begin and end at; None: 0 and the map's maximum.
    """
    return blended(eight_bit(pixels), (scale or own_scale(attribution)).heat(attribution), opacity=opacity)


def blended(gray: UInt8[np.ndarray, "h w"], heat: Heat | None, *, opacity: float) -> Colors:
    """Return a gray picture in color, with heat over it; None adds none."""
    if heat is None:
        return np.repeat(gray[:, :, None], 3, axis=2)
    table = (color_table() * 255).astype(np.float32)
    below = gray[:, :, None].astype(np.float32)
    # In place: this is most of the time that a picture takes.
    colors = table.take((heat * len(table)).astype(np.uint16), axis=0, mode="clip")
    colors -= below
    colors *= (opacity * heat)[:, :, None]
    colors += below
    return np.asarray(np.rint(colors, out=colors), dtype=np.uint8)


def drawn(
    pixels: GrayPixels,
    attribution: Attribution | None = None,
    *,
    opacity: float = 0.6,
    largest: int = 2048,
    scale: Scale | None = None,
) -> UInt8[np.ndarray, "drawn_height drawn_width 3"]:
    """Return a radiograph as pictures show it, enlarged or reduced, with a map in color over it if given.

    Args:
        pixels: The radiograph.
        attribution: A map at the same resolution; None draws the radiograph alone.
        opacity: Opacity at the map's maximum; see `overlay`.
        largest: Longest side in pixels; larger radiographs are reduced.
        scale: The values that the colors begin and end at; None: 0 and the maximum of the map as drawn.
    """
    factor = drawing_scale(pixels.shape, largest=largest)
    gray = resized(eight_bit(pixels), factor)
    if attribution is None:
        return blended(gray, None, opacity=opacity)
    return overlay(gray, resized(attribution, factor), opacity=opacity, scale=scale)


def color_scale(height: int, width: int, *, opacity: float) -> Colors:
    """Return the colors of a map over mid-gray, from 0 at the left to the map's maximum at the right."""
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
    return overlay(np.full((height, width), 128, dtype=np.uint8), ramp, opacity=opacity)


@cache
def color_table() -> Float64[np.ndarray, "256 3"]:
    """Return red, green and blue in [0, 1] for 256 values of a map, in ascending order."""
    with files(__package__).joinpath(_COLORS).open(encoding="ascii") as table:
        return np.loadtxt(table)


def drawing_scale(shape: tuple[int, ...], *, largest: int, smallest: int = _SMALLEST) -> float:
    """Return the factor by which a radiograph of a shape is enlarged or reduced.

    Args:
        shape: Its rows and columns.
        largest: Longest side in pixels at which it is drawn.
        smallest: It is enlarged, by an integer factor, until its longest side has as many, if `largest`
            allows.
    """
    longest = max(shape)
    enlarged = min(-(-smallest // longest), max(1, largest // longest))
    return float(enlarged) if longest < min(smallest, largest) else min(1.0, largest / longest)


def resized(values: Shaped[np.ndarray, "h w"], scale: float) -> Resized:
    """Enlarge by an integer factor, pixel by pixel, or reduce by averaging areas."""
    if scale == 1:
        return values
    as_drawn = values if values.dtype == np.uint8 else values.astype(np.float32)
    if scale > 1:
        return as_drawn.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    height, width = (max(1, round(length * scale)) for length in values.shape)
    return np.asarray(Image.fromarray(as_drawn).resize((width, height), Image.Resampling.BOX))


def eight_bit(pixels: GrayPixels) -> UInt8[np.ndarray, "h w"]:
    """Return gray values over the full range of uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + _UINT16_PER_UINT8 // 2) // _UINT16_PER_UINT8).astype(np.uint8)
