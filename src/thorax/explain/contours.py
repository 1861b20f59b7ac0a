"""Lines on which the values of an array cross a level."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int64

__all__ = ["Line", "contour_lines"]

Line = Float64[np.ndarray, "_ 2"]
"""Points (x, y) joined by straight segments; a closed line ends where it begins."""

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)

_JOINED: Final = {
    1: ((_LEFT, _TOP),),
    2: ((_TOP, _RIGHT),),
    3: ((_LEFT, _RIGHT),),
    4: ((_RIGHT, _BOTTOM),),
    5: ((_LEFT, _TOP), (_RIGHT, _BOTTOM)),
    6: ((_TOP, _BOTTOM),),
    7: ((_LEFT, _BOTTOM),),
    10: ((_TOP, _RIGHT), (_LEFT, _BOTTOM)),
}
"""The sides of a square that a line joins, by the sum of its corners above the level.

The corners count 1 (top left), 2 (top right), 4 (bottom right) and 8 (bottom left). Exchanging above and
below gives the same lines, except in saddles (5 and 10), whose two corners above are separated here.
"""

_SADDLES: Final = (5, 10)
_ALL_ABOVE: Final = 15


def contour_lines(values: Float[np.ndarray, "h w"], level: float) -> list[Line]:
    """Return the lines on which values, interpolated between neighbors, cross a level.

    Args:
        values: Finite values at points whose x and y are their column and row.
        level: Values above it are inside.
    """
    sides = _joined_sides(values, level)
    numbers, positions = np.unique(sides, return_inverse=True)
    points = _crossings(values, level, numbers)
    return [points[line] for line in _chains(positions.reshape(-1, 2))]


def _joined_sides(values: Float[np.ndarray, "h w"], level: float) -> Int64[np.ndarray, "n 2"]:
    """Return the pairs of sides that lines join, as numbers of sides.

    The side between a point and its right neighbor has the point's number in reading order. The side between
    a point and its lower neighbor has that number plus the number of points.
    """
    height, width = values.shape
    tops, shapes = _crossed_squares(values, level)
    joined = [np.empty((0, 2), dtype=np.int64)]
    for shape, pairs in _JOINED.items():
        top = tops[shapes == shape]
        left = top + height * width
        number = {_TOP: top, _RIGHT: left + 1, _BOTTOM: top + width, _LEFT: left}
        joined += [np.stack([number[first], number[second]], axis=1) for first, second in pairs]
    return np.concatenate(joined)


def _crossed_squares(
    values: Float[np.ndarray, "h w"], level: float
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return the number of the first point of each square that a line crosses, and its case in `_JOINED`."""
    width = values.shape[1]
    above = (values > level).view(np.uint8)
    cases = above[:-1, :-1] | above[:-1, 1:] << 1 | above[1:, 1:] << 2 | above[1:, :-1] << 3
    rows, columns = np.nonzero((cases != 0) & (cases != _ALL_ABOVE))
    found = cases[rows, columns].astype(np.int64)
    tops = rows * width + columns
    flat = values.ravel()
    corners = (flat[tops], flat[tops + 1], flat[tops + width + 1], flat[tops + width])
    middle_above = sum(corner / 4 for corner in corners) > level
    # In a saddle, a center above the level joins the two corners above and separates the others.
    exchanged = np.where(np.isin(found, _SADDLES), middle_above, found > _ALL_ABOVE - found)
    return tops, np.where(exchanged, _ALL_ABOVE - found, found)


def _crossings(
    values: Float[np.ndarray, "h w"], level: float, numbers: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 2"]:
    """Return the point at which the level is crossed on each side."""
    down, first = np.divmod(numbers, values.size)
    flat = values.ravel().astype(np.float64)
    start, end = flat[first], flat[first + np.where(down, values.shape[1], 1)]
    fraction = (level - start) / (end - start)
    row, column = np.divmod(first, values.shape[1])
    return np.stack([column + fraction * (1 - down), row + fraction * down], axis=1)


def _chains(pairs: Int64[np.ndarray, "n 2"]) -> Iterator[list[int]]:
    """Join pairs that share an end: first the open lines from the border, then closed ones."""
    others: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs.tolist():
        others[first].append(second)
        others[second].append(first)
    open_ends = [end for end, joined in others.items() if len(joined) == 1]
    for end in (*open_ends, *others):
        line = [end]
        while others[line[-1]]:
            following = others[line[-1]].pop()
            others[following].remove(line[-1])
            line.append(following)
        if len(line) > 1:
            yield line
