"""Overlap of one map with the boxes of one finding, and of baseline maps that ignore the image.

A map points at its maximum. Its box bounds the connected region around the maximum that reaches some fraction
of it. Of several true boxes, the one with the largest overlap counts.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from thorax.arrays import Attribution
from thorax.boxes import Box
from thorax.findings import Finding
from thorax.randomness import uniform

__all__ = [
    "HITS",
    "LEVELS",
    "SIZES",
    "BoxedFinding",
    "Boxes",
    "MapOverlap",
    "box_around",
    "center_overlap",
    "highest_pixels",
    "map_overlap",
    "mean_box_overlap",
    "mean_boxes",
    "overlaps",
    "random_overlap",
    "region",
    "region_boxes",
]

LEVELS: Final = tuple(step / 20 for step in range(1, 20))
"""Levels of regions, as fractions of the map's maximum."""

Boxes = Float64[np.ndarray, "box 4"]
"""Left, top, right and bottom edges in pixels; NaN where there is no box."""

_FLAT: Final = 1e-5
"""Differences that count as equal, as a fraction of the map's range."""

Mask = Bool[np.ndarray, "h w"]


def highest_pixels(attribution: Attribution) -> Float64[np.ndarray, "point 2"]:
    """Return the centers (x, y) of the pixels that share the map's maximum.

    Values within 1e-5 of the map's range are equal: an upsampled map is flat at the image's edge except for
    rounding.
    """
    maximum = np.max(attribution)
    rows, columns = np.nonzero(attribution >= maximum - _FLAT * (maximum - np.min(attribution)))
    return np.stack([columns + 0.5, rows + 0.5], axis=1)


def region(attribution: Attribution, *, level: float) -> Mask:
    """Return the pixels at or above a level that are connected to the map's maximum.

    Pixels are connected along their sides. If several share the maximum, the first in row order counts.

    Args:
        attribution: The map.
        level: Fraction of the maximum, above 0.

    Returns:
        The mask of the region; all False if no value is above 0.
    """
    return _grown(attribution, level=level, seed=_peak(attribution))


def region_boxes(attribution: Attribution) -> Boxes:
    """Return the bounding boxes of the regions at each of `LEVELS`; NaN if no value is above 0."""
    boxes = np.full((len(LEVELS), 4), np.nan)
    seed = _peak(attribution)
    # From the highest level down: each region contains the one before it, and grows from there.
    for row in range(len(LEVELS) - 1, -1, -1):
        seed = _grown(attribution, level=LEVELS[row], seed=seed)
        if (box := box_around(seed)) is not None:
            x, y, width, height = box
            boxes[row] = x, y, x + width, y + height
    return boxes


def box_around(mask: Mask) -> Box | None:
    """Return the bounding box of a mask; None if it is empty."""
    down, across = (np.flatnonzero(np.any(mask, axis=axis)) for axis in (1, 0))
    if not len(down):
        return None
    x, y = float(across[0]), float(down[0])
    return Box(x, y, float(across[-1] + 1) - x, float(down[-1] + 1) - y)


def overlaps(
    boxes: Boxes, truth: Sequence[Box]
) -> tuple[Float64[np.ndarray, " box"], Float64[np.ndarray, " box"]]:
    """Return each box's largest intersection with a true box: over the union, and over the box itself.

    Args:
        boxes: Boxes of a map; a NaN box has no overlap.
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
    maximum = int(np.argmax(attribution))
    seed.flat[maximum] = attribution.flat[maximum] > 0
    return seed


def _grown(attribution: Attribution, *, level: float, seed: Mask) -> Mask:
    """Return the connected region at or above a level that contains the seed."""
    high = attribution >= level * np.max(attribution)
    seed, across = _fill_runs(seed, high), True
    while True:
        # Fill along columns and rows in turn, until nothing is added.
        across = not across
        grown = _fill_runs(seed, high) if across else _fill_runs(seed.T, high.T).T
        if np.count_nonzero(grown) == np.count_nonzero(seed):
            return grown
        seed = grown


def _fill_runs(seed: Mask, high: Mask) -> Mask:
    """Return the runs along rows of `high` that contain a seed, each run filled in one step."""
    starts = high.copy()
    starts[:, 1:] &= ~high[:, :-1]
    run = np.cumsum(starts.ravel())
    seeded = np.zeros(int(run[-1]) + 1, dtype=bool)
    seeded[run[seed.ravel()]] = True
    filled: Mask = seeded[run].reshape(high.shape) & high
    return filled


HITS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Thresholds of IoU and IoBB at which a box is a hit (Wang et al. 2017)."""

SIZES: Final = {"small": (0.0, 0.025), "medium": (0.025, 0.08), "large": (0.08, math.inf)}
"""Area of the largest box as a share of the image, from lower to upper limit (exclusive). The limits are near
the terciles of NIH's 984 boxes: .025 and .078."""

_DRAWS: Final = 5
"""Random maps per pair, enough for their mean to be less noisy than the results it is compared with."""

_SIDE: Final = 65
"""Side of a baseline map, odd so that it has a center pixel; boxes are scaled to it."""

_CELLS: Final = 7
"""Random numbers along each side of a random map, like the last feature map of most nets at 224 pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedFinding:
    """A finding in an image, with its boxes; a "pair" of finding and image.

    Attributes:
        image: Name of the image.
        patient: The patient of the image.
        finding: The finding.
        boxes: Its boxes, at least one.
        side: Side of the square image, in the same pixels.
    """

    image: str
    patient: str
    finding: Finding
    boxes: tuple[Box, ...]
    side: int

    @property
    def size(self) -> str:
        """The group in `SIZES` of its largest box."""
        share = max(box.width * box.height for box in self.boxes) / self.side**2
        return next(name for name, (low, high) in SIZES.items() if low <= share < high)


@dataclass(frozen=True, slots=True, eq=False)
class MapOverlap:
    """Overlap of one map with the boxes of one pair.

    Attributes:
        pointing: 1 if the map's maximum lies in a box, 0 if not; a share if several pixels are highest.
        at_level: For each of `LEVELS`: IoU, whether IoU reaches each of `HITS`, whether IoBB does.
    """

    pointing: float
    at_level: Float64[np.ndarray, "level figure"]


def map_overlap(attribution: Attribution, pair: BoxedFinding) -> MapOverlap:
    """Measure a map of the whole square image, at any resolution."""
    return _overlap(highest_pixels(attribution), region_boxes(attribution), pair, side=attribution.shape[0])


def random_overlap(pair: BoxedFinding, *, seed: int) -> MapOverlap:
    """Return the mean over smooth random maps, a pure function of the seed, the image and the finding."""
    key = hashlib.sha256(f"{pair.image}\n{pair.finding}".encode()).digest()
    number = np.array([int.from_bytes(key[:7], "big")], dtype=np.int64)
    draws = []
    for draw in range(_DRAWS):
        numbers = uniform(seed, "random map", epoch=draw, positions=number, count=_CELLS**2)
        draws.append(map_overlap(_smooth(numbers.reshape(_CELLS, _CELLS)), pair))
    pointing = float(np.mean([overlap.pointing for overlap in draws]))
    return MapOverlap(pointing, np.mean([overlap.at_level for overlap in draws], axis=0))


def center_overlap(pair: BoxedFinding) -> MapOverlap:
    """Measure the map that falls linearly to 0 from the center of the image."""
    points, boxes = _center()
    return _overlap(points, boxes, pair, side=_SIDE)


def mean_boxes(pairs: Sequence[BoxedFinding]) -> dict[Finding | None, Box]:
    """Return the mean box of each finding, and of all under None, as fractions of the image's side."""
    relative = [
        (pair.finding, np.array(box, dtype=np.float64) / pair.side) for pair in pairs for box in pair.boxes
    ]
    groups: dict[Finding | None, list[Float64[np.ndarray, " side"]]] = {}
    for finding, box in relative:
        groups.setdefault(finding, []).append(box)
        groups.setdefault(None, []).append(box)
    return {finding: Box(*np.mean(boxes, axis=0).tolist()) for finding, boxes in groups.items()}


def mean_box_overlap(boxes: Mapping[Finding | None, Box], pair: BoxedFinding) -> MapOverlap:
    """Measure the mean box of the pair's finding, which points at its center and is the same at all levels.

    Args:
        boxes: The result of `mean_boxes`; a finding without an entry gets the mean box of all.
        pair: The boxed finding.
    """
    x, y, width, height = boxes.get(pair.finding, boxes[None])
    center = np.array([[x + width / 2, y + height / 2]])
    return _overlap(center, np.tile([x, y, x + width, y + height], (len(LEVELS), 1)), pair, side=1)


def _overlap(
    points: Float64[np.ndarray, "point 2"], boxes: Boxes, pair: BoxedFinding, *, side: int
) -> MapOverlap:
    """Compare points and boxes in a square of this side with the pair's boxes."""
    left, top, width, height = np.array(pair.boxes, dtype=np.float64).T * (side / pair.side)
    x, y = points[:, :1], points[:, 1:]
    inside = (left <= x) & (x < left + width) & (top <= y) & (y < top + height)
    iou, iobb = overlaps(boxes * (pair.side / side), pair.boxes)
    reached = [overlap[:, None] >= np.array(HITS) for overlap in (iou, iobb)]
    return MapOverlap(float(np.mean(np.any(inside, axis=1))), np.column_stack([iou, *reached]))


@cache
def _center() -> tuple[Float64[np.ndarray, "point 2"], Boxes]:
    distance = np.abs(np.arange(_SIDE) - _SIDE // 2) / (_SIDE // 2)
    falling = np.maximum(1 - np.hypot(distance[:, None], distance[None, :]), 0)
    return highest_pixels(falling), region_boxes(falling)


def _smooth(cells: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "side side"]:
    """Interpolate linearly between the centers of cells, as for a net's map."""
    position = np.clip((np.arange(_SIDE) + 0.5) / _SIDE * _CELLS - 0.5, 0, _CELLS - 1)
    weights = np.maximum(1 - np.abs(position[:, None] - np.arange(_CELLS)), 0)
    smooth: Float64[np.ndarray, "side side"] = weights @ cells @ weights.T
    return smooth
