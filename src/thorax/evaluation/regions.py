"""What a map points at: its highest places, the region around them at some height, and how boxes overlap."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from thorax.arrays import Attribution

__all__ = ["LEVELS", "Box", "Boxes", "box_around", "highest_places", "overlaps", "region", "region_boxes"]

LEVELS: Final = tuple(step / 20 for step in range(1, 20))
"""Heights that regions are cut at, as parts of the map's highest value."""

Box = tuple[float, float, float, float]
"""x, y, width, height; x and y of the top left corner."""

Boxes = Float64[np.ndarray, "box 4"]
"""Left, top, right and bottom edges; NaN where there is no box."""

_FLAT: Final = 1e-5

Mask = Bool[np.ndarray, "h w"]


def highest_places(attribution: Attribution) -> Float64[np.ndarray, "place 2"]:
    """Return the centres (x, y) of the pixels that share the map's highest value.

    To 1e-5 of the map's range: an enlarged map is flat at the image's edge but for rounding.
    """
    highest = np.max(attribution)
    rows, columns = np.nonzero(attribution >= highest - _FLAT * (highest - np.min(attribution)))
    return np.stack([columns + 0.5, rows + 0.5], axis=1)


def region(attribution: Attribution, *, level: float) -> Mask:
    """Return the pixels of at least that part of the map's height that hang together with its highest one.

    Pixels touch along their sides. Where several share the highest value, the first row by row counts.

    Args:
        attribution: The map.
        level: Part of the highest value, above 0.

    Returns:
        All False where no value is above 0.
    """
    return _grown(attribution, level=level, seed=_peak(attribution))


def region_boxes(attribution: Attribution) -> Boxes:
    """Return the boxes around the regions at each of `LEVELS`; NaN where no value is above 0."""
    boxes = np.full((len(LEVELS), 4), np.nan)
    seed = _peak(attribution)
    # Downwards: each region holds the one above it, and grows from there.
    for row in range(len(LEVELS) - 1, -1, -1):
        seed = _grown(attribution, level=LEVELS[row], seed=seed)
        if (box := box_around(seed)) is not None:
            x, y, width, height = box
            boxes[row] = x, y, x + width, y + height
    return boxes


def box_around(mask: Mask) -> Box | None:
    """Return the smallest box around the pixels of a mask; None where there are none."""
    down, across = (np.flatnonzero(np.any(mask, axis=axis)) for axis in (1, 0))
    if not len(down):
        return None
    x, y = float(across[0]), float(down[0])
    return (x, y, float(across[-1] + 1) - x, float(down[-1] + 1) - y)


def overlaps(
    boxes: Boxes, truth: Sequence[Box]
) -> tuple[Float64[np.ndarray, " box"], Float64[np.ndarray, " box"]]:
    """Return each box's best intersection with a true one: over the union, and over the box itself.

    Args:
        boxes: From a map. One that is NaN overlaps with nothing.
        truth: The true boxes, at least one.

    Returns:
        IoU and IoBB (Wang et al. 2017), each the largest over the true boxes, in [0, 1].
    """
    left, top, width, height = np.array(truth, dtype=np.float64).T
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    across = np.minimum(boxes[:, 2:3], left + width) - np.maximum(boxes[:, 0:1], left)
    down = np.minimum(boxes[:, 3:4], top + height) - np.maximum(boxes[:, 1:2], top)
    common = np.maximum(across, 0) * np.maximum(down, 0)
    iou = common / (area[:, None] + width * height - common)
    iobb = common / area[:, None]
    return np.nan_to_num(np.max(iou, axis=1)), np.nan_to_num(np.max(iobb, axis=1))


def _peak(attribution: Attribution) -> Mask:
    seed = np.zeros(attribution.shape, dtype=bool)
    highest = int(np.argmax(attribution))
    seed.flat[highest] = attribution.flat[highest] > 0
    return seed


def _grown(attribution: Attribution, *, level: float, seed: Mask) -> Mask:
    """Return the connected region of at least that height that holds the seed."""
    high = attribution >= level * np.max(attribution)
    seed, across = _fill_runs(seed, high), True
    while True:
        # Along columns, along rows, and so on, until one of them finds nothing more.
        across = not across
        grown = _fill_runs(seed, high) if across else _fill_runs(seed.T, high.T).T
        if np.count_nonzero(grown) == np.count_nonzero(seed):
            return grown
        seed = grown


def _fill_runs(seed: Mask, high: Mask) -> Mask:
    """Return the runs along rows of `high` that hold a seed: a whole run in one step, not pixel by pixel."""
    starts = high.copy()
    starts[:, 1:] &= ~high[:, :-1]
    run = np.cumsum(starts.ravel())
    held = np.zeros(int(run[-1]) + 1, dtype=bool)
    held[run[seed.ravel()]] = True
    filled: Mask = held[run].reshape(high.shape) & high
    return filled
