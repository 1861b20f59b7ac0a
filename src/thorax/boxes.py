"""Boxes: rectangles in an image, and findings that have one."""

from typing import NamedTuple

from thorax.findings import Finding

__all__ = ["Box", "FindingBox"]


class Box(NamedTuple):
    """A rectangle with its sides along the image's, in pixels of the image that it is of.

    Attributes:
        x: Left edge, from the left edge of the image.
        y: Upper edge, from the upper edge of the image.
        width: To the right of `x`.
        height: Downwards from `y`.
    """

    x: float
    y: float
    width: float
    height: float


class FindingBox(NamedTuple):
    """A finding and the box around it."""

    finding: Finding
    box: Box
