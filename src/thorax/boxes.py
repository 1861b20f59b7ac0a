"""Rectangles in an image, and findings with such a box."""

from typing import NamedTuple

from thorax.findings import Finding

__all__ = ["Box", "FindingBox"]


class Box(NamedTuple):
    """An axis-aligned rectangle in pixels of its image.

    Attributes:
        x: Left edge, from the left edge of the image.
        y: Upper edge, from the upper edge of the image.
        width: Extent to the right of `x`.
        height: Extent downwards from `y`.
    """

    x: float
    y: float
    width: float
    height: float


class FindingBox(NamedTuple):
    """A finding and the box around it."""

    finding: Finding
    box: Box
