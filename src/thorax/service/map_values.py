"""The map of a finding as numbers and lines, for the page to color and draw over the radiograph."""

from base64 import b64encode
from typing import Any, Final

import numpy as np
from jaxtyping import Float32
from PIL import Image

from thorax.arrays import Attribution
from thorax.explain.contours import contour_lines
from thorax.explain.overlay import Scale, color_table
from thorax.explain.radiograph import Explained

__all__ = ["CONTOUR", "color_bytes", "map_values", "scale_of"]

CONTOUR: Final = 0.5
"""The contour is where a map falls to this share of its scale; the box is around the region within."""

_LONGEST: Final = 256
"""Most values along a side: maps are smooth, and the page interpolates between them."""

_MOST: Final = 65535


def scale_of(explained: Explained) -> Scale:
    """Return the values at the ends of the colors: 0, or the mean if nothing is above 0, and the maximum."""
    return Scale(explained.mean if explained.place is None else 0.0, explained.highest)


def map_values(explained: Explained) -> dict[str, Any]:
    """Return a map as the page draws it, as plain values for JSON.

    `values` are 16-bit numbers (little-endian, row by row, in base64) of `rows` x `columns` places that cover
    the radiograph: 0 where the network saw nothing, and otherwise from `least` at 1 to `most` at 65,535.
    `contour` has lines of points (x, y) in pixels of the radiograph. `colors` are 256 times red, green and
    blue, from the low to the high end of a scale.

    Args:
        explained: The map of a finding in a radiograph.
    """
    scale = scale_of(explained)
    grid = _reduced(explained.attribution)
    seen = np.isfinite(grid)
    least, most = float(np.min(grid[seen])), float(np.max(grid[seen]))
    steps = (np.where(seen, grid, least) - least) / ((most - least) or 1.0) * (_MOST - 1)
    numbers = np.where(seen, np.round(steps) + 1, 0).astype("<u2")
    return {
        "scale": {"low": scale.low, "high": scale.high, "relative": explained.place is None},
        "unit": explained.unit,
        "rows": grid.shape[0],
        "columns": grid.shape[1],
        "least": least,
        "most": most,
        "values": b64encode(numbers.tobytes()).decode("ascii"),
        "contour": _contour(np.where(seen, grid, least), scale, explained.attribution.shape),
        "colors": color_bytes(),
    }


def color_bytes() -> str:
    """Return 256 times red, green and blue, from the low to the high end of a scale, in base64."""
    return b64encode(np.round(color_table() * 255).astype(np.uint8).tobytes()).decode("ascii")


def _reduced(attribution: Attribution) -> Float32[np.ndarray, "rows columns"]:
    """Return the means of areas, so that the longest side has at most `_LONGEST` values."""
    height, width = attribution.shape
    factor = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    picture = Image.fromarray(attribution.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32)


def _contour(
    grid: Float32[np.ndarray, "rows columns"], scale: Scale, shape: tuple[int, ...]
) -> list[list[list[float]]]:
    """Return the lines at half of the scale; none if the map is the same everywhere."""
    if not scale.high > scale.low:
        return []
    level = scale.low + CONTOUR * (scale.high - scale.low)
    across, down = shape[1] / grid.shape[1], shape[0] / grid.shape[0]
    return [np.round((line + 0.5) * (across, down), 1).tolist() for line in contour_lines(grid, level)]
