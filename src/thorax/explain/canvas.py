"""A picture of images, lines and words, as PNG or SVG. The same picture has the same bytes."""

import base64
import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from thorax.explain.contours import Line

__all__ = ["Canvas", "Colors", "Tile", "Words", "as_png", "as_svg"]

Colors = UInt8[np.ndarray, "h w 3"]

_TEXT: Final = "#222222"
_LINE: Final = "#00e5ff"
"""Neither gray nor in the color map."""

_LINKS: Final = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
_FONTS: Final = "DejaVu Sans, Verdana, Arial, Helvetica, sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """An image on the canvas, a pixel of it on a pixel of the canvas.

    Attributes:
        left: Column of the canvas that it begins at.
        top: Row that it begins at.
        colors: Its pixels.
        lines: Drawn on it, in its own coordinates: a pixel is the square between two whole numbers.
        stroke: Their width in pixels.
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
        left: Column that it begins at.
        baseline: Row that the letters stand on.
        size: Of the font, in pixels.
        text: What it says.
        room: Pixels that it may be wide, and a longer text is written smaller; None: any number.
    """

    left: int
    baseline: int
    size: int
    text: str
    room: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """A white picture of some size, with tiles and words on it."""

    width: int
    height: int
    tiles: Sequence[Tile]
    words: Sequence[Words]


def as_png(canvas: Canvas) -> bytes:
    """Return a canvas as a PNG file. Letters that the font lacks are written as their nearest in ASCII."""
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
    """Return a canvas as an SVG file, in which lines and words stay lines and words."""
    marks = [*map(_tile_as_svg, canvas.tiles), *map(_words_as_svg, canvas.words)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {_LINKS} width="{canvas.width}" '
        f'height="{canvas.height}" viewBox="0 0 {canvas.width} {canvas.height}">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(marks) + "\n</svg>\n"
    )


def _with_lines(tile: Tile) -> Colors:
    """Return a tile's pixels with its lines on them, their edges smoothed."""
    if not tile.lines:
        return tile.colors
    opaque = _coverage(tile)[:, :, None]
    line = np.frombuffer(bytes.fromhex(_LINE[1:]), dtype=np.uint8).astype(np.float32)
    return np.asarray(np.round(tile.colors + opaque * (line - tile.colors)), dtype=np.uint8)


def _coverage(tile: Tile) -> Float32[np.ndarray, "h w"]:
    """Return how much of each pixel a tile's lines cover, by its distance from their middle."""
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
        opaque = np.clip(half - distance, 0, 1).astype(np.float32)
        np.maximum.at(covered, (row[inside], column[inside]), opaque)
    return covered


def _half_pixel_steps(line: Line) -> Float64[np.ndarray, "m 2"]:
    """Return a line's points with more between them, at most half a pixel apart."""
    steps = np.diff(line, axis=0)
    counts = np.maximum(np.ceil(np.hypot(*steps.T) / 0.5), 1).astype(np.int64)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    between = (
        np.repeat(line[:-1], counts, axis=0)
        + np.repeat(steps / counts[:, None], counts, axis=0) * (number[:, None])
    )
    return np.concatenate([between, line[-1:]])


def _in_ascii(text: str) -> str:
    """Return what the font that comes with Pillow can write of a text."""
    plain = unicodedata.normalize("NFKD", text)
    return (
        "".join(letter for letter in plain if not unicodedata.combining(letter))
        .encode("ascii", "replace")
        .decode()
    )


def _fitting_size(words: Words, text: str) -> float:
    size = float(words.size)
    # Letters are whole pixels wide, so a text's length is not in proportion to its size.
    while words.room is not None and ImageFont.load_default(size=size).getlength(text) > words.room:
        size *= 0.95
    return size


def _tile_as_svg(tile: Tile) -> str:
    height, width, _ = tile.colors.shape
    content = io.BytesIO()
    Image.fromarray(tile.colors).save(content, format="PNG")
    data = base64.b64encode(content.getvalue()).decode("ascii")
    paths = "".join(f'<path d="{_path(line)}"/>' for line in tile.lines)
    # A nested svg element cuts off what goes beyond it.
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
