"""Pictures of maps on the full-resolution radiograph.

Nothing but the map is drawn over the anatomy, unless a contour or a box is requested; captions and scales are
outside. Pixels without evidence keep their exact gray value; opacity is proportional to the map's value. Each
map is scaled by its own maximum, which its scale states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Shaped, UInt8
from PIL import Image

from thorax.arrays import Attribution, GrayPixels
from thorax.atomic_io import atomic_write
from thorax.boxes import Box
from thorax.errors import DataError
from thorax.explain.canvas import Canvas, Colors, Line, Tile, Words, as_png, as_svg, contour_lines

__all__ = ["Drawing", "Panel", "color_scale", "drawn", "overlay", "picture_kind", "write_picture"]

_COLORS: Final = "inferno.txt"
"""A perceptually uniform color map from dark to light, which also works without color vision."""

_SMALLEST: Final = 384
"""Smaller radiographs are drawn enlarged by an integer factor, so that captions can be read."""

_UINT16_PER_UINT8: Final = 257

Resized = Shaped[np.ndarray, "height width"]
"""A radiograph or a map at the size at which it is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One cell of a picture.

    Attributes:
        caption: Text above the panel.
        attribution: The map at the radiograph's resolution, NaN where the network saw nothing; None if there
            is no map.
        box: A box in pixels of the radiograph, drawn if boxes are requested.
    """

    caption: str
    attribution: Attribution | None
    box: Box | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How maps are drawn.

    Attributes:
        opacity: Opacity at the map's maximum, from 0 to 1.
        contour: Fraction of the maximum at which a contour is drawn; None for no contour.
        boxes: Whether to draw the panels' boxes.
        columns: Number of panels per row.
        largest: Longest side of a panel in pixels; larger radiographs are reduced.
    """

    opacity: float = 0.6
    contour: float | None = None
    boxes: bool = False
    columns: int = 4
    largest: int = 2048


def overlay(pixels: GrayPixels, attribution: Attribution, *, opacity: float) -> Colors:
    """Return a radiograph with the positive values of a map in color over it.

    Args:
        pixels: The radiograph.
        attribution: The map at the same resolution; NaN and values below 0 leave the gray value as it is.
        opacity: Opacity at the map's maximum; elsewhere proportional to its value.
    """
    gray = _eight_bit(pixels)[:, :, None].astype(np.float32)
    relative = _relative(attribution)
    table = _color_table()
    colors = table[np.minimum((relative * len(table)).astype(np.int64), len(table) - 1)] * 255
    weight = (opacity * relative)[:, :, None]
    return np.asarray(np.round(gray + weight * (colors - gray)), dtype=np.uint8)


def drawn(
    pixels: GrayPixels, attribution: Attribution | None = None, *, opacity: float = 0.6, largest: int = 2048
) -> UInt8[np.ndarray, "drawn_height drawn_width 3"]:
    """Return a radiograph as pictures show it, enlarged or reduced, with a map in color over it if given.

    Args:
        pixels: The radiograph.
        attribution: A map at the same resolution; None draws the radiograph alone.
        opacity: Opacity at the map's maximum; see `overlay`.
        largest: Longest side in pixels; larger radiographs are reduced.
    """
    scale = _scale(pixels, largest=largest)
    gray = _resized(_eight_bit(pixels), scale)
    return _colored(gray, None if attribution is None else _resized(attribution, scale), opacity)


def color_scale(height: int, width: int, *, opacity: float) -> Colors:
    """Return the colors of a map over mid-gray, from 0 at the left to the map's maximum at the right."""
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
    return overlay(np.full((height, width), 128, dtype=np.uint8), ramp, opacity=opacity)


def write_picture(path: Path, pixels: GrayPixels, panels: Sequence[Panel], *, drawing: Drawing) -> None:
    """Draw panels of one radiograph side by side into a PNG or SVG file, atomically.

    The same input gives the same file. In an SVG, lines and text remain lines and text.

    Args:
        path: A file name that ends in .png or .svg.
        pixels: The radiograph.
        panels: At least one panel; maps have the radiograph's resolution.
        drawing: How to draw.

    Raises:
        DataError: The file name has another ending.
    """
    kind = picture_kind(path)
    canvas = _canvas(pixels, panels, drawing=drawing)
    content = as_png(canvas) if kind == "png" else as_svg(canvas).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def picture_kind(path: Path) -> str:
    """Return the kind of a picture by its name: "png" or "svg".

    Raises:
        DataError: The name has another ending.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"png", "svg"}:
        raise DataError(
            f"{path.name} is not the name of a PNG or SVG picture; give a name that ends in .png or .svg"
        )
    return kind


@cache
def _color_table() -> Float64[np.ndarray, "256 3"]:
    """Return red, green and blue in [0, 1] for 256 values of a map, in ascending order."""
    with files(__package__).joinpath(_COLORS).open(encoding="ascii") as table:
        return np.loadtxt(table)


def _canvas(pixels: GrayPixels, panels: Sequence[Panel], *, drawing: Drawing) -> Canvas:
    """Lay out panels with one pixel of the picture per pixel of the drawn radiograph."""
    scale = _scale(pixels, largest=drawing.largest)
    gray = _resized(_eight_bit(pixels), scale)
    height, width = gray.shape
    text = max(12, round(0.028 * width))
    gap, strip = text, 3 * text
    columns = min(len(panels), drawing.columns)
    rows = -(-len(panels) // columns)
    cell_width, cell_height = width + gap, height + 2 * strip
    tiles: list[Tile] = []
    words: list[Words] = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left, top = gap + column * cell_width, row * cell_height + strip
        words.append(Words(left=left, baseline=top - text // 2, size=text, text=panel.caption, room=width))
        attribution = None if panel.attribution is None else _resized(panel.attribution, scale)
        colors = _colored(gray, attribution, drawing.opacity)
        if attribution is not None:
            below = (left, top + height + round(1.6 * text))
            bar, numbers = _scale_bar(attribution, below, width=width, text=text, opacity=drawing.opacity)
            tiles += bar
            words += numbers
        lines = [scale * line for line in _lines(panel, drawing)]
        tiles.append(Tile(left=left, top=top, colors=colors, lines=lines, stroke=max(2.0, width / 288)))
    size = (columns * cell_width + gap, rows * cell_height + gap)
    return Canvas(width=size[0], height=size[1], tiles=tiles, words=words)


def _colored(gray: UInt8[np.ndarray, "h w"], attribution: Attribution | None, opacity: float) -> Colors:
    if attribution is None:
        return np.repeat(gray[:, :, None], 3, axis=2)
    return overlay(gray, attribution, opacity=opacity)


def _lines(panel: Panel, drawing: Drawing) -> Iterator[Line]:
    """Yield the contours and the box of a panel, in pixels of the radiograph."""
    if panel.attribution is not None and drawing.contour is not None:
        # Values are at the centers of pixels; repeating the edge lets contours reach the border.
        padded = np.pad(_relative(panel.attribution), 1, mode="edge")
        for line in contour_lines(padded, drawing.contour):
            yield line - 0.5
    if panel.box is not None and drawing.boxes:
        left, top, width, height = panel.box
        right, bottom = left + width, top + height
        yield np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])


def _scale_bar(
    attribution: Resized, start: tuple[int, int], *, width: int, text: int, opacity: float
) -> tuple[list[Tile], list[Words]]:
    """Return a color scale over mid-gray, from 0 to the map's maximum, starting on a baseline."""
    left, baseline = start
    highest = float(np.nanmax(attribution))
    if highest <= 0:
        return [], [Words(left=left, baseline=baseline, size=text, text="no evidence for it")]
    shape = (round(0.7 * text), round(0.4 * width))
    colors = color_scale(*shape, opacity=opacity)
    bar = Tile(left=left + text, top=baseline - shape[0], colors=colors)
    right = bar.left + shape[1] + round(0.4 * text)
    return [bar], [
        Words(left=left, baseline=baseline, size=text, text="0"),
        Words(left=right, baseline=baseline, size=text, text=f"{highest:.3g}"),
    ]


def _scale(pixels: GrayPixels, *, largest: int) -> float:
    """Return the factor by which a radiograph is enlarged or reduced."""
    longest = max(pixels.shape)
    return float(-(-_SMALLEST // longest)) if longest < _SMALLEST else min(1.0, largest / longest)


def _resized(values: Shaped[np.ndarray, "h w"], scale: float) -> Resized:
    """Enlarge by an integer factor, pixel by pixel, or reduce by averaging areas."""
    if scale == 1:
        return values
    drawn = values if values.dtype == np.uint8 else values.astype(np.float32)
    if scale > 1:
        return drawn.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    height, width = (max(1, round(length * scale)) for length in values.shape)
    return np.asarray(Image.fromarray(drawn).resize((width, height), Image.Resampling.BOX))


def _eight_bit(pixels: GrayPixels) -> UInt8[np.ndarray, "h w"]:
    if pixels.dtype == np.uint8:
        return pixels
    return np.round(pixels / _UINT16_PER_UINT8).astype(np.uint8)


def _relative(attribution: Attribution) -> Float[np.ndarray, "h w"]:
    """Return positive values as fractions of the maximum, and 0 elsewhere."""
    positive = np.nan_to_num(np.maximum(attribution, 0), nan=0.0)
    highest = np.max(positive)
    return np.asarray(positive / highest if highest > 0 else positive)
