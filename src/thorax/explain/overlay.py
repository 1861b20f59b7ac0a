"""Pictures of maps on the full-resolution radiograph.

Nothing is written or drawn over the anatomy but the map itself, unless a contour or a box is asked for:
captions and scales stand outside. A place without evidence keeps its grey value exactly; colour comes in with
the map's value, up to the opacity. Each map is scaled by its own highest value, which its scale names.

matplotlib takes more than a second to import, and is imported where a picture is drawn.
"""

# ruff: noqa: PLC0415  (matplotlib only when a picture is drawn)

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8
from PIL import Image

from thorax.arrays import Attribution, GrayPixels
from thorax.atomic_io import atomic_write
from thorax.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawing", "Panel", "overlay", "picture_kind", "write_picture"]

_DPI: Final = 100
_COLORS: Final = "inferno"
"""Perceptually uniform, and from dark to light: also for readers who see no colours."""

_TEXT: Final = "#222222"
_LINE: Final = "#00e5ff"
"""Neither grey nor in the colour map."""

_SMALLEST: Final = 384
"""A smaller radiograph is drawn with its pixels enlarged to whole squares, so that captions can be read."""

_UINT16_PER_UINT8: Final = 257

Colors = UInt8[np.ndarray, "h w 3"]

_Place = tuple[float, float, float, float]
"""Left, bottom, width and height, as parts of the figure."""

Drawn = UInt8[np.ndarray, "h w"] | Float32[np.ndarray, "h w"]

Resized = Shaped[np.ndarray, "height width"]
"""A radiograph or a map at the size that it is drawn in."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One cell of a picture.

    Attributes:
        caption: Written above it.
        attribution: At the radiograph's resolution, NaN where the net saw nothing; None: no map.
        box: x, y, width, height in pixels of the radiograph, drawn where boxes are asked for.
    """

    caption: str
    attribution: Attribution | None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How maps are drawn.

    Attributes:
        opacity: Of the map where it is highest, from 0 to 1.
        contour: Part of the highest value at which a line is drawn; None draws none.
        boxes: Whether panels' boxes are drawn.
        columns: Panels side by side.
        largest: Longest side of a panel in pixels; a larger radiograph is drawn smaller.
    """

    opacity: float = 0.6
    contour: float | None = None
    boxes: bool = False
    columns: int = 4
    largest: int = 2048


def overlay(pixels: GrayPixels, attribution: Attribution, *, opacity: float) -> Colors:
    """Return a radiograph with a map's positive part in colours over it.

    Args:
        pixels: The radiograph.
        attribution: The map at the same resolution; NaN and values below 0 leave the grey value as it is.
        opacity: Of the map where it is highest; elsewhere in proportion to its value.
    """
    import matplotlib as mpl

    gray = _eight_bit(pixels)[:, :, None].astype(np.float32)
    height = _relative(attribution)
    colors = mpl.colormaps[_COLORS](height)[:, :, :3] * 255
    opaque = (opacity * height)[:, :, None]
    return np.asarray(np.round(gray + opaque * (colors - gray)), dtype=np.uint8)


def write_picture(path: Path, pixels: GrayPixels, panels: Sequence[Panel], *, drawing: Drawing) -> None:
    """Draw panels of one radiograph side by side into a PNG or SVG file, whole or not at all.

    The same input gives the same file. In an SVG, lines and text stay lines and text.

    Args:
        path: Ends in .png or .svg.
        pixels: The radiograph.
        panels: At least one, each with a map of the radiograph's resolution.
        drawing: How.

    Raises:
        DataError: The file's name ends otherwise.
    """
    kind = picture_kind(path)
    content = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with _plain_style():
        figure = _figure(pixels, panels, drawing=drawing)
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


def picture_kind(path: Path) -> str:
    """Return what a picture of this name is: "png" or "svg".

    Raises:
        DataError: The name ends otherwise.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"png", "svg"}:
        raise DataError(f"{path.name} is no name of a picture that can be drawn; let it end in .png or .svg")
    return kind


@contextmanager
def _plain_style() -> Iterator[None]:
    """Keep a user's settings of matplotlib out, and random names out of an SVG."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "thorax"})
        yield


def _figure(pixels: GrayPixels, panels: Sequence[Panel], *, drawing: Drawing) -> "Figure":
    """Lay out panels so that a pixel of the radiograph is a pixel of the picture."""
    from matplotlib.figure import Figure

    ready = [_at_drawn_size(pixels, panel, largest=drawing.largest) for panel in panels]
    height, width = ready[0][0].shape
    text = max(11, round(0.028 * width))
    gap, strip = text, 3 * text
    columns = min(len(panels), drawing.columns)
    lines = -(-len(panels) // columns)
    cell_width, cell_height = width + gap, height + 2 * strip
    full_width, full_height = columns * cell_width + gap, lines * cell_height + gap
    figure = Figure(figsize=(full_width / _DPI, full_height / _DPI), dpi=_DPI, facecolor="white")
    for number, (gray, panel) in enumerate(ready):
        line, column = divmod(number, columns)
        left, top = gap + column * cell_width, line * cell_height + strip

        def place(below: float, tall: float, *, left: int = left, top: int = top) -> _Place:
            """Return what starts `below` the panel's upper edge and is `tall` pixels tall."""
            bottom = 1 - (top + below + tall) / full_height
            return (left / full_width, bottom, width / full_width, tall / full_height)

        _draw_panel(figure, place(0.0, float(height)), gray, panel, drawing=drawing)
        x, y, _, _ = place(-1.5 * text, float(text))
        figure.text(x, y, panel.caption, color=_TEXT, fontsize=text * 72 / _DPI)
        if panel.attribution is not None:
            scale = place(height + 0.6 * text, float(text))
            _draw_scale(figure, scale, panel.attribution, opacity=drawing.opacity)
    return figure


def _draw_panel(
    figure: "Figure",
    place: _Place,
    gray: GrayPixels,
    panel: Panel,
    *,
    drawing: Drawing,
) -> None:
    height, width = gray.shape
    axes = figure.add_axes(place)
    axes.set_axis_off()
    attribution = panel.attribution
    colors = (
        np.repeat(_eight_bit(gray)[:, :, None], 3, axis=2)
        if attribution is None
        else overlay(gray, attribution, opacity=drawing.opacity)
    )
    axes.imshow(colors, interpolation="none", extent=(0, width, height, 0), aspect="auto")
    stroke = max(1.0, width / 400)
    if attribution is not None and drawing.contour is not None and np.nanmax(attribution) > 0:
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        levels = [drawing.contour]
        axes.contour(x, y, _relative(attribution), levels=levels, colors=_LINE, linewidths=stroke)
    if panel.box is not None and drawing.boxes:
        from matplotlib.patches import Rectangle

        left, top, box_width, box_height = panel.box
        axes.add_patch(
            Rectangle((left, top), box_width, box_height, fill=False, edgecolor=_LINE, linewidth=stroke)
        )


def _draw_scale(figure: "Figure", place: _Place, attribution: Attribution, *, opacity: float) -> None:
    """Write 0, the map's colours over middle grey, and the map's highest value, from the left of a place."""
    left, bottom, width, height = place
    points = height * figure.get_figheight() * 72
    highest = float(np.nanmax(attribution))
    if highest <= 0:
        figure.text(left, bottom, "nothing speaks for it", color=_TEXT, fontsize=points)
        return
    zero = height * figure.get_figheight() / figure.get_figwidth()
    axes = figure.add_axes((left + zero, bottom, 0.4 * width, 0.7 * height))
    axes.set_axis_off()
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None, :]
    gray = np.full(ramp.shape, 128, dtype=np.uint8)
    axes.imshow(overlay(gray, ramp, opacity=opacity), aspect="auto")
    for x, words in ((left, "0"), (left + 1.4 * zero + 0.4 * width, f"{highest:.3g}")):
        figure.text(x, bottom, words, color=_TEXT, fontsize=points)


def _at_drawn_size(pixels: GrayPixels, panel: Panel, *, largest: int) -> tuple[Resized, Panel]:
    """Return radiograph, map and box at the size that they are drawn in."""
    longest = max(pixels.shape)
    scale = float(-(-_SMALLEST // longest)) if longest < _SMALLEST else min(1.0, largest / longest)
    if scale == 1:
        return pixels, panel
    attribution = None if panel.attribution is None else _resized(panel.attribution.astype(np.float32), scale)
    return _resized(_eight_bit(pixels), scale), replace(
        panel, attribution=attribution, box=_scaled(panel.box, scale)
    )


def _resized(values: Drawn, scale: float) -> Resized:
    """Enlarge by a whole factor, pixel by pixel, or shrink by averaging areas."""
    if scale >= 1:
        return values.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    height, width = (max(1, round(length * scale)) for length in values.shape)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))


def _scaled(
    box: tuple[float, float, float, float] | None, scale: float
) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    x, y, width, height = box
    return (x * scale, y * scale, width * scale, height * scale)


def _eight_bit(pixels: GrayPixels) -> UInt8[np.ndarray, "h w"]:
    if pixels.dtype == np.uint8:
        return pixels
    return np.round(pixels / _UINT16_PER_UINT8).astype(np.uint8)


def _relative(attribution: Attribution) -> Float[np.ndarray, "h w"]:
    """Return the positive part as parts of the highest value; 0 where there is none."""
    positive = np.nan_to_num(np.maximum(attribution, 0), nan=0.0)
    highest = np.max(positive)
    return np.asarray(positive / highest if highest > 0 else positive)
