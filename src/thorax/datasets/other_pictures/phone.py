"""A radiograph as a phone takes it from a light box or a screen: askew, framed, unevenly lit, in color."""

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from thorax.arrays import GrayPixels
from thorax.datasets.other_pictures.drawing import Brush, brush_of, clouds

__all__ = ["photographed", "tinted"]

Colors = UInt8[np.ndarray, "h w 3"]
"""A color picture."""


def tinted(pixels: GrayPixels, number: int, *, seed: int) -> Colors:
    """Return a radiograph, uint8, in the tint of a film, a screen or a color map."""
    brush = brush_of(seed, "tint", number)
    shadows = np.array([brush.between(0, 0.35) for _ in range(3)])
    lights = np.array([brush.between(0.55, 1.0) for _ in range(3)])
    # One channel ahead of another by a fifth at least, so that it is seen as a color.
    lights[brush.whole(0, 2)] *= brush.between(0.5, 0.8)
    shares = pixels[..., None].astype(np.float64) / 255
    return np.asarray((shadows + shares * (lights - shadows)) * 255 + 0.5, dtype=np.uint8)


def photographed(pixels: GrayPixels, number: int, *, seed: int) -> Colors:
    """Return a photograph of a radiograph, uint8: in perspective, before a bright or dark wall.

    Args:
        pixels: The radiograph.
        number: Which photograph.
        seed: Another seed gives other photographs.
    """
    brush = brush_of(seed, "phone", number)
    height, width = pixels.shape
    wall = np.full((height, width), brush.between(0.0, 0.9), dtype=np.float32)
    wall += np.float32(0.2) * (clouds((height, width), brush, cells=4) - 0.5)
    coefficients = _perspective(brush, height, width)
    sheet = Image.fromarray(pixels)
    seen, inside = (
        np.asarray(
            image.transform(
                (width, height), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
            ),
            dtype=np.float32,
        )
        / 255
        for image in (sheet, Image.new("L", (width, height), 255))
    )
    scene = wall * (1 - inside) + seen * inside
    lit = 0.7 + 0.5 * clouds((height, width), brush, cells=2)
    casts = np.array([brush.between(0.75, 1.0), brush.between(0.75, 1.0), brush.between(0.75, 1.0)])
    grain = brush.random.standard_normal((height, width, 3), dtype=np.float32) * 0.02
    colors = (scene * lit)[..., None] * casts + grain
    return np.asarray(np.clip(colors, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _perspective(brush: Brush, height: int, width: int) -> list[float]:
    """Return Pillow's eight coefficients: where in the sheet each pixel of the photograph lies."""
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    inward = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], dtype=np.float64) * (width, height)
    moves = np.array([(brush.between(0.03, 0.22), brush.between(0.03, 0.22)) for _ in range(4)])
    return list(_homography(corners + moves * inward, corners))


def _homography(
    seen: Float64[np.ndarray, "4 2"], sheet: Float64[np.ndarray, "4 2"]
) -> Float64[np.ndarray, " 8"]:
    rows, values = [], []
    for (x, y), (u, v) in zip(seen, sheet, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.asarray(np.linalg.solve(np.array(rows), np.array(values)), dtype=np.float64)
