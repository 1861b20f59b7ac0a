"""Pictures of images, lines and text, as PNG or SVG; the same picture has the same bytes."""

import base64
import io
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Canvas", "Colors", "Line", "Tile", "Words", "as_png", "as_svg", "contour_lines"]

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
    shapes = _shapes(values, level)
    joined = [np.empty((0, 2), dtype=np.int64)]
    for shape, pairs in _JOINED.items():
        rows, columns = np.nonzero(shapes == shape)
        top = rows * width + columns
        left = top + height * width
        number = {_TOP: top, _RIGHT: left + 1, _BOTTOM: top + width, _LEFT: left}
        joined += [np.stack([number[first], number[second]], axis=1) for first, second in pairs]
    return np.concatenate(joined)


def _shapes(values: Float[np.ndarray, "h w"], level: float) -> Int64[np.ndarray, "rows columns"]:
    """Return each square's case: a key of `_JOINED`, or 0 where no line crosses it."""
    corners = (values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1])
    above: list[Bool[np.ndarray, "rows columns"]] = [corner > level for corner in corners]
    cases = np.zeros(above[0].shape, dtype=np.int64)
    for bit, corner in enumerate(above):
        cases += corner.astype(np.int64) << bit
    saddle = np.isin(cases, _SADDLES)
    middle_above = sum(corner / 4 for corner in corners) > level
    # In a saddle, a center above the level joins the two corners above and separates the others.
    exchanged = np.where(saddle, middle_above, cases > 15 - cases)
    return np.where(exchanged, 15 - cases, cases)


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


Colors = UInt8[np.ndarray, "h w 3"]

_TEXT: Final = "#222222"
_LINE: Final = "#00e5ff"
"""A color that is neither gray nor in the color map."""

_LINKS: Final = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
_FONTS: Final = "DejaVu Sans, Verdana, Arial, Helvetica, sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """An image on the canvas, at one pixel of the canvas per pixel.

    Attributes:
        left: First column on the canvas.
        top: First row on the canvas.
        colors: Pixels of the image.
        lines: Lines drawn on it, in its own coordinates, in which a pixel spans two whole numbers.
        stroke: Width of the lines in pixels.
    """

    left: int
    top: int
    colors: Colors
    lines: Sequence[Line] = ()
    stroke: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A line of text.

    Attributes:
        left: First column.
        baseline: Row of the baseline.
        size: Size of the font, in pixels.
        text: The text.
        room: Maximum width in pixels; longer text is written smaller. None: no limit.
    """

    left: int
    baseline: int
    size: int
    text: str
    room: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """A white picture with tiles and text."""

    width: int
    height: int
    tiles: Sequence[Tile]
    words: Sequence[Words]


def as_png(canvas: Canvas) -> bytes:
    """Return a canvas as a PNG file. Letters missing from the font become their closest in ASCII."""
    pixels = np.full((canvas.height, canvas.width, 3), 255, dtype=np.uint8)
    for tile in canvas.tiles:
        height, width, _ = tile.colors.shape
        pixels[tile.top : tile.top + height, tile.left : tile.left + width] = _with_lines(tile)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for words in canvas.words:
        text = _in_ascii(words.text)
        font = ImageFont.load_default(size=_fitting_size(words, text))
        pen.text((words.left, words.baseline), text, fill=_TEXT, font=font, anchor="ls")
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def as_svg(canvas: Canvas) -> str:
    """Return a canvas as an SVG file, in which lines and text remain lines and text."""
    marks = [*map(_tile_as_svg, canvas.tiles), *map(_words_as_svg, canvas.words)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {_LINKS} width="{canvas.width}" '
        f'height="{canvas.height}" viewBox="0 0 {canvas.width} {canvas.height}">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(marks) + "\n</svg>\n"
    )


def _with_lines(tile: Tile) -> Colors:
    """Return a tile's pixels with its lines drawn, with smooth edges."""
    if not tile.lines:
        return tile.colors
    opacity = _coverage(tile)[:, :, None]
    line = np.frombuffer(bytes.fromhex(_LINE[1:]), dtype=np.uint8).astype(np.float32)
    return np.asarray(np.round(tile.colors + opacity * (line - tile.colors)), dtype=np.uint8)


def _coverage(tile: Tile) -> Float32[np.ndarray, "h w"]:
    """Return the fraction of each pixel that a tile's lines cover, by its distance from their center."""
    height, width, _ = tile.colors.shape
    covered = np.zeros((height, width), dtype=np.float32)
    points = np.concatenate([_half_pixel_steps(line) for line in tile.lines])
    half = tile.stroke / 2 + 0.5
    nearest, reach = np.floor(points).astype(np.int64), math.ceil(half)
    for offset in product(range(-reach, reach + 1), repeat=2):
        pixels = nearest + offset
        column, row = pixels.T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        distance = np.hypot(*(pixels + 0.5 - points)[inside].T)
        opacity = np.clip(half - distance, 0, 1).astype(np.float32)
        np.maximum.at(covered, (row[inside], column[inside]), opacity)
    return covered


def _half_pixel_steps(line: Line) -> Float64[np.ndarray, "m 2"]:
    """Return a line with added points, so that neighbors are at most half a pixel apart."""
    steps = np.diff(line, axis=0)
    counts = np.maximum(np.ceil(np.hypot(*steps.T) / 0.5), 1).astype(np.int64)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    between = (
        np.repeat(line[:-1], counts, axis=0)
        + np.repeat(steps / counts[:, None], counts, axis=0) * (number[:, None])
    )
    return np.concatenate([between, line[-1:]])


def _in_ascii(text: str) -> str:
    """Return a text in the characters that Pillow's font has."""
    plain = unicodedata.normalize("NFKD", text)
    return (
        "".join(letter for letter in plain if not unicodedata.combining(letter))
        .encode("ascii", "replace")
        .decode()
    )


def _fitting_size(words: Words, text: str) -> float:
    size = float(words.size)
    # Letters are whole pixels wide, so the width of a text is not proportional to its size.
    while words.room is not None and ImageFont.load_default(size=size).getlength(text) > words.room:
        size *= 0.95
    return size


def _tile_as_svg(tile: Tile) -> str:
    height, width, _ = tile.colors.shape
    content = io.BytesIO()
    Image.fromarray(tile.colors).save(content, format="PNG")
    data = base64.b64encode(content.getvalue()).decode("ascii")
    paths = "".join(f'<path d="{_path(line)}"/>' for line in tile.lines)
    # A nested svg element clips what extends beyond it.
    lines = f'fill="none" stroke="{_LINE}" stroke-width="{tile.stroke:.4g}" stroke-linejoin="round"'
    return (
        f'<svg x="{tile.left}" y="{tile.top}" width="{width}" height="{height}">'
        f'<image width="{width}" height="{height}" style="image-rendering:pixelated" '
        f'xlink:href="data:image/png;base64,{data}"/>'
        f"<g {lines}>{paths}</g></svg>"
    )


def _path(line: Line) -> str:
    closed = len(line) > 2 and np.array_equal(line[0], line[-1])  # noqa: PLR2004  (a triangle at least)
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in (line[:-1] if closed else line).tolist())
    return f"M{points}{'Z' if closed else ''}"


def _words_as_svg(words: Words) -> str:
    size = _fitting_size(words, _in_ascii(words.text))
    return (
        f'<text x="{words.left}" y="{words.baseline}" font-family="{_FONTS}" font-size="{size:.4g}" '
        f'fill="{_TEXT}">{escape(words.text, quote=False)}</text>'
    )
