"""Pictures of images, lines and text, as PNG, JPEG or SVG; the same picture has the same bytes."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image, ImageDraw

from thorax.explain.contours import Line
from thorax.explain.lettering import font_of, text_width
from thorax.explain.overlay import Colors, Heat, blended, color_table
from thorax.quoting import visible

__all__ = ["Canvas", "Tile", "Words", "as_jpeg", "as_png", "as_svg"]

_TEXT: Final = "#222222"
_TEXT_ON_BLACK: Final = "#dddddd"
_LINE: Final = "#00e5ff"
"""A color that is neither gray nor in the color map."""

_LINKS: Final = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
_FONTS: Final = "Helvetica, Arial, DejaVu Sans, sans-serif"

_QUALITY: Final = 92
"""JPEG quality, from 0 to 95; colors are kept at full resolution."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """An image on the canvas, at one pixel of the canvas per pixel.

    Attributes:
        left: First column on the canvas.
        top: First row on the canvas.
        gray: Pixels of the image.
        heat: The map over it; None for none.
        opacity: Opacity of the map where its heat is 1.
        lines: Lines drawn on it, in its own coordinates, in which a pixel spans two whole numbers.
        stroke: Width of the lines in pixels.
    """

    left: int
    top: int
    gray: UInt8[np.ndarray, "h w"]
    heat: Heat | None = None
    opacity: float = 1.0
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
    """A picture with tiles and text, on white unless it is drawn otherwise."""

    width: int
    height: int
    tiles: Sequence[Tile]
    words: Sequence[Words]


def as_png(canvas: Canvas) -> bytes:
    """Return a canvas as a PNG file; `thorax.explain.lettering` chooses the font of each line."""
    content = io.BytesIO()
    _rendered(canvas).save(content, format="PNG")
    return content.getvalue()


def as_jpeg(canvas: Canvas, *, dark: bool = False, halved_colors: bool = False) -> bytes:
    """Return a canvas as a JPEG file, in which gray values are approximate.

    Args:
        canvas: The picture.
        dark: Whether its background is black, as in a reading room, and not white.
        halved_colors: Whether colors have half the resolution across (4:2:2), as in DICOM.
    """
    content = io.BytesIO()
    _rendered(canvas, dark=dark).save(
        content, format="JPEG", quality=_QUALITY, subsampling=1 if halved_colors else 0
    )
    return content.getvalue()


def as_svg(canvas: Canvas) -> str:
    """Return a canvas as an SVG file, in which lines and text remain lines and text.

    A gray image that several tiles share is in the file once, and the map of each is a layer over it.
    """
    shared: dict[int, str] = {}
    definitions: list[str] = []
    for tile in canvas.tiles:
        if id(tile.gray) not in shared:
            shared[id(tile.gray)] = f"gray{len(shared)}"
            definitions.append(_image(Image.fromarray(tile.gray), shared[id(tile.gray)]))
    marks = [_tile_as_svg(tile, shared[id(tile.gray)]) for tile in canvas.tiles]
    marks += map(_words_as_svg, canvas.words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {_LINKS} width="{canvas.width}" '
        f'height="{canvas.height}" viewBox="0 0 {canvas.width} {canvas.height}">\n'
        f"<defs>{''.join(definitions)}</defs>\n"
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(marks) + "\n</svg>\n"
    )


def _rendered(canvas: Canvas, *, dark: bool = False) -> Image.Image:
    pixels = np.full((canvas.height, canvas.width, 3), 0 if dark else 255, dtype=np.uint8)
    for tile in canvas.tiles:
        height, width = tile.gray.shape
        pixels[tile.top : tile.top + height, tile.left : tile.left + width] = _with_lines(tile)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for words in canvas.words:
        font, text = font_of(words.text, _fitting_size(words))
        fill = _TEXT_ON_BLACK if dark else _TEXT
        pen.text((words.left, words.baseline), text, fill=fill, font=font, anchor="ls")
    return image


def _with_lines(tile: Tile) -> Colors:
    """Return a tile's pixels with its map and its lines drawn, with smooth edges."""
    colors = blended(tile.gray, tile.heat, opacity=tile.opacity)
    if not tile.lines:
        return colors
    coverage = _coverage(tile)
    drawn = np.nonzero(coverage)
    opacity, below = coverage[drawn][:, None], colors[drawn]
    line = np.frombuffer(bytes.fromhex(_LINE[1:]), dtype=np.uint8).astype(np.float32)
    colors[drawn] = np.round(below + opacity * (line - below)).astype(np.uint8)
    return colors


def _coverage(tile: Tile) -> Float32[np.ndarray, "h w"]:
    """Return the fraction of each pixel that a tile's lines cover, by its distance from their center."""
    height, width = tile.gray.shape
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


def _fitting_size(words: Words) -> float:
    size = float(words.size)
    # Letters are whole pixels wide, so the width of a text is not proportional to its size.
    while words.room is not None and text_width(words.text, size) > words.room:
        size *= 0.95
    return size


def _image(image: Image.Image, identity: str = "") -> str:
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    named = f'id="{identity}" ' if identity else ""
    return (
        f'<image {named}width="{image.width}" height="{image.height}" style="image-rendering:pixelated" '
        f'xlink:href="data:image/png;base64,{data}"/>'
    )


def _layer(heat: Heat, opacity: float) -> Image.Image:
    """Return a map as an image whose 256 colors have an opacity each, for a viewer to blend with the gray."""
    layer = Image.fromarray(np.round(heat * 255).astype(np.uint8))
    layer.putpalette(np.round(color_table() * 255).astype(np.uint8).tobytes())
    layer.info["transparency"] = bytes(np.round(np.arange(256) * opacity).astype(np.uint8))
    return layer


def _tile_as_svg(tile: Tile, gray: str) -> str:
    height, width = tile.gray.shape
    layer = "" if tile.heat is None else _image(_layer(tile.heat, tile.opacity))
    paths = "".join(f'<path d="{_path(line)}"/>' for line in tile.lines)
    lines = f'fill="none" stroke="{_LINE}" stroke-width="{tile.stroke:.4g}" stroke-linejoin="round"'
    # A nested svg element clips what extends beyond it.
    return (
        f'<svg x="{tile.left}" y="{tile.top}" width="{width}" height="{height}">'
        f'<use xlink:href="#{gray}"/>{layer}<g {lines}>{paths}</g></svg>'
    )


def _path(line: Line) -> str:
    closed = len(line) > 2 and np.array_equal(line[0], line[-1])  # noqa: PLR2004  (a triangle at least)
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in (line[:-1] if closed else line).tolist())
    return f"M{points}{'Z' if closed else ''}"


def _words_as_svg(words: Words) -> str:
    size = _fitting_size(words)
    # Stretched to the width that it was laid out with, whatever font the viewer has.
    length = f'textLength="{text_width(words.text, size):.4g}" lengthAdjust="spacingAndGlyphs"'
    return (
        f'<text x="{words.left}" y="{words.baseline}" font-family="{_FONTS}" font-size="{size:.4g}" '
        f'{length} fill="{_TEXT}">{escape(visible(words.text), quote=False)}</text>'
    )
