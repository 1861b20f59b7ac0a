"""The brush that pictures are drawn with: random numbers, soft shapes, and what any camera adds."""

from dataclasses import dataclass
from functools import cache
from typing import Final, SupportsFloat

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from thorax.arrays import GrayPixels
from thorax.randomness import integer_seed

__all__ = ["Brush", "Canvas", "Point", "brush_of", "clouds", "finished", "picture_of", "written"]

Canvas = Float[np.ndarray, "h w"]
"""Gray values, 0 black and 1 white."""

Point = tuple[float | int, float | int]
"""How far right and how far down, in pixels."""

_SMALLEST: Final = 128
_LARGEST: Final = 256
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = "0123456789.,-:%"


@dataclass(frozen=True, slots=True, eq=False)
class Brush:
    """Random choices for one picture.

    Attributes:
        random: Where they come from.
    """

    random: np.random.Generator

    def canvas(self) -> Canvas:
        """Return an empty canvas: square for every second picture, otherwise upright or wide."""
        longer = int(self.random.integers(_SMALLEST, _LARGEST + 1))
        shorter = longer if self.chance(0.5) else max(_SMALLEST, int(longer * self.between(0.6, 1.0)))
        height, width = (shorter, longer) if self.chance(0.5) else (longer, shorter)
        return np.zeros((height, width), dtype=np.float32)

    def between(self, low: SupportsFloat, high: SupportsFloat) -> float:
        """Return a number between two."""
        return float(self.random.uniform(float(low), float(high)))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        return int(self.random.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """Return True for this share of the pictures."""
        return bool(self.random.random() < share)

    def gray(self, low: SupportsFloat = 0, high: SupportsFloat = 1) -> int:
        """Return a gray value of 8 bits, between two shares of white."""
        return round(255 * self.between(low, high))

    def word(self) -> str:
        """Return a word without a meaning, or a number."""
        letters = _DIGITS if self.chance(0.15) else _LETTERS
        picked = self.random.integers(0, len(letters), size=self.whole(1, 11))
        word = "".join(letters[place] for place in picked)
        return word.capitalize() if self.chance(0.2) else word

    def line(self, words: int) -> str:
        """Return some words."""
        return " ".join(self.word() for _ in range(words))


def brush_of(seed: int, kind: str, number: int) -> Brush:
    """Return the brush for one picture of a kind."""
    key = integer_seed(seed, f"picture {kind}", step=number)
    return Brush(np.random.Generator(np.random.Philox(key=key)))


def clouds(shape: tuple[int, int], brush: Brush, *, cells: int) -> Canvas:
    """Return smooth noise in [0, 1] whose blobs are about a `cells`-th of the longer side."""
    height, width = shape
    rows = max(2, round(cells * height / max(shape)))
    columns = max(2, round(cells * width / max(shape)))
    grain = brush.random.integers(0, 256, size=(rows, columns), dtype=np.uint8)
    large = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(large, dtype=np.float32) / 255


def picture_of(canvas: Canvas) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a canvas as a Pillow image, and something to draw on it."""
    image = Image.fromarray(np.asarray(np.clip(canvas, 0, 1) * 255, dtype=np.uint8))
    return image, ImageDraw.Draw(image)


def written(draw: ImageDraw.ImageDraw, at: Point, words: str, size: SupportsFloat, gray: int) -> None:
    """Write words in Pillow's own font, in a whole number of pixels."""
    draw.text(at, words, fill=gray, font=_font(round(float(size))))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def finished(canvas: Canvas, brush: Brush) -> GrayPixels:
    """Return a canvas as a camera or scanner would record it: blur, contrast, vignette, grain, 8 bits."""
    if brush.chance(0.4):
        image, _ = picture_of(canvas)
        blurred = image.filter(ImageFilter.GaussianBlur(brush.between(0.4, 3.0)))
        canvas = np.asarray(blurred, dtype=np.float32) / 255
    if brush.chance(0.3):
        canvas = 1 - canvas
    canvas = np.clip(canvas, 0, 1) ** np.float32(brush.between(0.6, 1.7))
    if brush.chance(0.3):
        rows, columns = (np.linspace(-1, 1, length, dtype=np.float32) for length in canvas.shape)
        canvas = canvas * (1 - np.float32(brush.between(0.1, 0.5)) * (rows[:, None] ** 2 + columns**2) / 2)
    if brush.chance(0.6):
        grain = brush.random.standard_normal(canvas.shape, dtype=np.float32)
        canvas = canvas + grain * np.float32(brush.between(0.005, 0.06))
    floor, top = brush.between(0, 0.2), brush.between(0.7, 1.0)
    return np.asarray(np.clip(floor + canvas * (top - floor), 0, 1) * 255 + 0.5, dtype=np.uint8)
