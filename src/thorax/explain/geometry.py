"""Geometry of maps, without torch: enlarging, and from the prepared square back to the radiograph."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from thorax.arrays import Attribution
from thorax.boxes import Box
from thorax.bundle import FeatureGrid
from thorax.imaging import map_box
from thorax.recipe.schema import Preparation

__all__ = ["box_on_radiograph", "enlarge_arrays", "interpolation_weights", "map_on_radiograph"]


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the radiograph: position in the square = scale * position + offset."""

    length: int
    scale: float
    offset: float


def enlarge_arrays(
    maps: Float32[np.ndarray, "n k h w"], size: int, places: FeatureGrid | None = None
) -> Float32[np.ndarray, "n k {size} {size}"]:
    """Interpolate maps between the centers of receptive fields, as `cam.enlarge_maps` does, in NumPy."""
    rows, columns = (interpolation_weights(length, size, places) for length in maps.shape[2:])
    return np.asarray(rows @ maps @ columns.T)


def map_on_radiograph(
    attribution: Attribution, *, height: int, width: int, preparation: Preparation
) -> Float32[np.ndarray, "{height} {width}"]:
    """Return a map of the prepared square at the radiograph's own resolution.

    Args:
        attribution: A map of the whole prepared square, at any resolution.
        height: Rows of the radiograph.
        width: Columns of the radiograph.
        preparation: How it was prepared.

    Returns:
        float32 (height, width), interpolated linearly between the centers of the map's cells; NaN where the
        preparation cropped the radiograph, so that the network did not see it.
    """
    down, across = _axes(height, width, preparation)
    rows = _sampled(attribution, down, preparation.size)
    # Transposed for the columns, so that one function serves both and memory is read in row order.
    return np.ascontiguousarray(_sampled(rows.T, across, preparation.size).T)


def box_on_radiograph(box: Box, *, height: int, width: int, preparation: Preparation) -> Box:
    """Map a box from prepared pixels to pixels of the radiograph, clipped to it: the inverse of `map_box`.

    Args:
        box: The box in prepared pixels.
        height: Rows of the radiograph.
        width: Columns of the radiograph.
        preparation: How it was prepared.
    """
    down, across = _axes(height, width, preparation)
    left, top, box_width, box_height = box
    x0, x1 = (_back(edge, across) for edge in (left, left + box_width))
    y0, y1 = (_back(edge, down) for edge in (top, top + box_height))
    return Box(x0, y0, x1 - x0, y1 - y0)


def interpolation_weights(
    count: int, size: int, places: FeatureGrid | None = None
) -> Float32[np.ndarray, "{size} {count}"]:
    """Return the weight of each of `count` locations at each of `size` pixels along an axis.

    Beyond the centers of the first and last location, these have all the weight.

    Args:
        count: Number of locations.
        size: Number of pixels.
        places: Centers of their receptive fields, in these pixels; None: those of `count` equal segments.
    """
    step = size / count if places is None else places.step
    start = step / 2 if places is None else places.start
    point = np.clip((np.arange(size) + 0.5 - start) / step, 0, count - 1)
    weights: Float64[np.ndarray, "size place"] = np.maximum(1 - np.abs(point[:, None] - np.arange(count)), 0)
    return weights.astype(np.float32)


def _back(position: float, axis: _Axis) -> float:
    return min(max((position - axis.offset) / axis.scale, 0.0), float(axis.length))


def _axes(height: int, width: int, preparation: Preparation) -> tuple[_Axis, _Axis]:
    """Return the axes of rows and columns of the radiograph in the square.

    A central box is inside the square whatever the fit, and its image gives scale and offset.
    """
    side = min(height, width) / 2
    x, y = (width - side) / 2, (height - side) / 2
    mapped = map_box(Box(x, y, side, side), height=height, width=width, preparation=preparation)
    across, down = mapped.width / side, mapped.height / side
    return _Axis(height, down, mapped.y - y * down), _Axis(width, across, mapped.x - x * across)


def _sampled(
    attribution: Float[np.ndarray, "place across"], axis: _Axis, size: int
) -> Float32[np.ndarray, "length across"]:
    """Interpolate the rows of a map of the square at each pixel of an axis of the radiograph."""
    count = attribution.shape[0]
    inside: Float64[np.ndarray, " length"] = (np.arange(axis.length) + 0.5) * axis.scale + axis.offset
    cell = np.clip(inside / size * count - 0.5, 0, count - 1)
    first: Int64[np.ndarray, " length"] = np.floor(cell).astype(np.int64)
    weight = (cell - first).astype(np.float32)[:, None]
    second = np.minimum(first + 1, count - 1)
    rows = attribution.astype(np.float32)
    result: Float32[np.ndarray, "length across"] = rows[first] * (1 - weight) + rows[second] * weight
    result[(inside < 0) | (inside > size)] = np.nan
    return result
