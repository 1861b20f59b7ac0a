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
from jaxtyping import Float64

from thorax.arrays import Attribution
from thorax.evaluation.regions import LEVELS, Box, Boxes, highest_places, overlaps, region_boxes
from thorax.findings import Finding
from thorax.randomness import uniform

__all__ = [
    "HITS",
    "SIZES",
    "BoxedFinding",
    "MapOverlap",
    "centre_overlap",
    "map_overlap",
    "mean_box_overlap",
    "mean_boxes",
    "random_overlap",
]

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
        boxes: Where: x, y, width, height in pixels, at least one.
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
        part = max(width * height for _, _, width, height in self.boxes) / self.side**2
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
    return _overlap(highest_places(attribution), region_boxes(attribution), pair, side=attribution.shape[0])


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


def centre_overlap(pair: BoxedFinding) -> MapOverlap:
    """Measure the map that points at the middle of the image and falls evenly from there to 0."""
    places, boxes = _centre()
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
    return {finding: tuple(np.mean(boxes, axis=0).tolist()) for finding, boxes in groups.items()}


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
def _centre() -> tuple[Float64[np.ndarray, "place 2"], Boxes]:
    away = np.abs(np.arange(_SIDE) - _SIDE // 2) / (_SIDE // 2)
    falling = np.maximum(1 - np.hypot(away[:, None], away[None, :]), 0)
    return highest_places(falling), region_boxes(falling)


def _smooth(cells: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "side side"]:
    """Interpolate linearly between the centres of cells, as a net's map is."""
    place = np.clip((np.arange(_SIDE) + 0.5) / _SIDE * _CELLS - 0.5, 0, _CELLS - 1)
    weights = np.maximum(1 - np.abs(place[:, None] - np.arange(_CELLS)), 0)
    smooth: Float64[np.ndarray, "side side"] = weights @ cells @ weights.T
    return smooth
