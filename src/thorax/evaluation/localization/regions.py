"""What one map is worth for one boxed finding, and what maps are worth that know nothing of the image.

A map points at its highest place; its box is the one around the connected region that holds that place and is
at least some part of its height. Overlap with several boxes counts with the one it is largest for.
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
"""Heights that regions are cut at, as parts of the map's highest value."""

Boxes = Float64[np.ndarray, "box 4"]
"""Left, top, right and bottom edges; NaN where there is no box."""

_FLAT: Final = 1e-5

Mask = Bool[np.ndarray, "h w"]


def highest_pixels(attribution: Attribution) -> Float64[np.ndarray, "place 2"]:
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
    return Box(x, y, float(across[-1] + 1) - x, float(down[-1] + 1) - y)


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
    kept = np.zeros(int(run[-1]) + 1, dtype=bool)
    kept[run[seed.ravel()]] = True
    filled: Mask = kept[run].reshape(high.shape) & high
    return filled


HITS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Least IoU or IoBB that counts as a hit (Wang et al. 2017)."""

SIZES: Final = {"small": (0.0, 0.025), "medium": (0.025, 0.08), "large": (0.08, math.inf)}
"""Largest box as a part of the image, from ... to below; near the terciles of NIH's 984 boxes: .025, .078."""

_DRAWS: Final = 5
"""Random maps per pair: their mean has less noise than the figures that it stands beside."""

_SIDE: Final = 65
"""Side of a baseline's map, odd for the sake of a centre; boxes are scaled to it."""

_CELLS: Final = 7
"""Random numbers along each side of a random map: the last map of most nets at 224 pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedFinding:
    """A finding in an image, and where it is.

    Attributes:
        image: The image's name.
        patient: Whose it is.
        finding: What is boxed.
        boxes: Where, at least one.
        side: Side of the square image in the same pixels.
    """

    image: str
    patient: str
    finding: Finding
    boxes: tuple[Box, ...]
    side: int

    @property
    def size(self) -> str:
        """The group in `SIZES` of its largest box."""
        part = max(box.width * box.height for box in self.boxes) / self.side**2
        return next(name for name, (low, high) in SIZES.items() if low <= part < high)


@dataclass(frozen=True, slots=True, eq=False)
class MapOverlap:
    """What one map is worth for one pair.

    Attributes:
        pointing: 1 if its highest place lies in a box, else 0; the share that does where several are highest.
        at_level: For each of `LEVELS`: IoU, whether it reaches each of `HITS`, whether IoBB reaches each.
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
    several = []
    for draw in range(_DRAWS):
        numbers = uniform(seed, "random map", epoch=draw, positions=number, count=_CELLS**2)
        several.append(map_overlap(_smooth(numbers.reshape(_CELLS, _CELLS)), pair))
    pointing = float(np.mean([each.pointing for each in several]))
    return MapOverlap(pointing, np.mean([each.at_level for each in several], axis=0))


def center_overlap(pair: BoxedFinding) -> MapOverlap:
    """Measure the map that points at the middle of the image and falls evenly from there to 0."""
    places, boxes = _center()
    return _overlap(places, boxes, pair, side=_SIDE)


def mean_boxes(pairs: Sequence[BoxedFinding]) -> dict[Finding | None, Box]:
    """Return the mean box of each finding, and of all under None, as parts of the image's side."""
    each = [
        (pair.finding, np.array(box, dtype=np.float64) / pair.side) for pair in pairs for box in pair.boxes
    ]
    groups: dict[Finding | None, list[Float64[np.ndarray, " side"]]] = {}
    for finding, box in each:
        groups.setdefault(finding, []).append(box)
        groups.setdefault(None, []).append(box)
    return {finding: Box(*np.mean(boxes, axis=0).tolist()) for finding, boxes in groups.items()}


def mean_box_overlap(boxes: Mapping[Finding | None, Box], pair: BoxedFinding) -> MapOverlap:
    """Measure the mean box of the pair's finding: it points at its own middle, and has no levels.

    Args:
        boxes: What `mean_boxes` returned; a finding that is not there gets the box of all.
        pair: What to find.
    """
    x, y, width, height = boxes.get(pair.finding, boxes[None])
    middle = np.array([[x + width / 2, y + height / 2]])
    return _overlap(middle, np.tile([x, y, x + width, y + height], (len(LEVELS), 1)), pair, side=1)


def _overlap(
    places: Float64[np.ndarray, "place 2"], boxes: Boxes, pair: BoxedFinding, *, side: int
) -> MapOverlap:
    """Compare places and boxes of a square of `side` with the pair's boxes."""
    left, top, width, height = np.array(pair.boxes, dtype=np.float64).T * (side / pair.side)
    x, y = places[:, :1], places[:, 1:]
    inside = (left <= x) & (x < left + width) & (top <= y) & (y < top + height)
    iou, iobb = overlaps(boxes * (pair.side / side), pair.boxes)
    reached = [each[:, None] >= np.array(HITS) for each in (iou, iobb)]
    return MapOverlap(float(np.mean(np.any(inside, axis=1))), np.column_stack([iou, *reached]))


@cache
def _center() -> tuple[Float64[np.ndarray, "place 2"], Boxes]:
    away = np.abs(np.arange(_SIDE) - _SIDE // 2) / (_SIDE // 2)
    falling = np.maximum(1 - np.hypot(away[:, None], away[None, :]), 0)
    return highest_pixels(falling), region_boxes(falling)


def _smooth(cells: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "side side"]:
    """Interpolate linearly between the centres of cells, as a net's map is."""
    place = np.clip((np.arange(_SIDE) + 0.5) / _SIDE * _CELLS - 0.5, 0, _CELLS - 1)
    weights = np.maximum(1 - np.abs(place[:, None] - np.arange(_CELLS)), 0)
    smooth: Float64[np.ndarray, "side side"] = weights @ cells @ weights.T
    return smooth
