"""Pictures of one radiograph with its maps side by side, with captions and scales beside them.

Letters are as tall as a share of the whole picture, so that they can be read whatever its size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, assert_never

import numpy as np
from jaxtyping import UInt8

from thorax.arrays import Attribution, GrayPixels
from thorax.atomic_io import atomic_write
from thorax.boxes import Box
from thorax.errors import DataError
from thorax.explain.canvas import Canvas, Tile, Words, as_jpeg, as_png, as_svg
from thorax.explain.contours import Line, contour_lines
from thorax.explain.lettering import elided, text_width, wrapped
from thorax.explain.overlay import Scale, drawing_scale, eight_bit, own_scale, resized
from thorax.explain.pdf import PdfPages
from thorax.wording import three_digits

__all__ = [
    "PICTURE_ENDINGS",
    "Drawing",
    "Panel",
    "PictureKind",
    "add_page",
    "draw_picture",
    "picture_kind",
    "write_picture",
]

PictureKind = Literal["png", "jpeg", "svg", "pdf"]

PICTURE_ENDINGS: Final[dict[str, PictureKind]] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".svg": "svg",
    ".pdf": "pdf",
}
"""The kind of a picture, by the ending of its name in lower case."""  # fmt: skip

_PRINTED: Final = 1024
"""Least longest side of a panel in a PDF, so that captions are sharp in print."""

_CAPITAL: Final = 0.7
"""Height of a capital letter, as a fraction of the font's size."""

_LETTERS: Final = 0.0155
"""Least height of the letters as a fraction of the picture's: of capitals in a picture with one row of
panels, of the font in one with more, where these would crowd the radiographs."""

_LEAST_SIZE: Final = 14
_OF_WIDTH: Final = 0.024
"""Least size of the font, in pixels and as a fraction of a panel's width."""

_LARGEST_SHARE: Final = 8
"""Letters grow to no more than this part of a radiograph, however many rows of panels are asked for."""

_NARROWEST: Final = 20
"""Width of a panel in sizes of the font: narrower radiographs have room beside them."""

_LINE: Final = 1.35
"""Distance of two baselines in sizes of the font."""

_MOST_PIXELS: Final = 60_000_000
"""Pixels of all panels together: of more panels, each is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One cell of a picture.

    Attributes:
        caption: Lines of text above the panel; long ones are broken.
        attribution: The map at the radiograph's resolution, NaN where the network saw nothing; None if there
            is no map.
        scale: The values that its colors begin and end at; None: 0 and the map's maximum.
        unit: The unit of these values.
        note: What else to say of the scale.
        box: A box in pixels of the radiograph, drawn if boxes are requested.
    """

    caption: Sequence[str]
    attribution: Attribution | None
    scale: Scale | None = None
    unit: str = ""
    note: str = ""
    box: Box | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How maps are drawn.

    Attributes:
        opacity: Opacity at the scale's high end, from 0 to 1.
        contour: Fraction of a map's maximum at which a contour is drawn; None for no contour.
        boxes: Whether to draw the panels' boxes.
        columns: Number of panels per row.
        largest: Longest side of a panel in pixels; larger radiographs are reduced.
        smallest: Smaller radiographs are enlarged by an integer factor.
    """

    opacity: float = 0.6
    contour: float | None = None
    boxes: bool = False
    columns: int = 4
    largest: int = 2048
    smallest: int = 384


def picture_kind(path: Path) -> PictureKind:
    """Return the kind of a picture by the ending of its name.

    Raises:
        DataError: The name has another ending.
    """
    kind = PICTURE_ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path.name} is not the name of a picture; give a name that ends in .png, .jpg, .svg or .pdf"
        )
    return kind


def write_picture(
    path: Path,
    pixels: GrayPixels,
    panels: Sequence[Panel],
    *,
    drawing: Drawing,
    heading: Sequence[str] = (),
) -> None:
    """Draw panels of one radiograph side by side into a file, atomically.

    The same input gives the same file. In an SVG, lines and text remain lines and text; a PDF has one page.

    Args:
        path: A file name that ends in .png, .jpg, .jpeg, .svg or .pdf.
        pixels: The radiograph.
        panels: At least one panel; maps have the radiograph's resolution.
        drawing: How to draw.
        heading: Lines of text above all panels; of a first one that is too long the middle is left out, and
            the others are broken.

    Raises:
        DataError: The file name has another ending.
    """
    kind = picture_kind(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if kind == "pdf":
            pages = PdfPages(file)
            add_page(pages, pixels, panels, drawing=drawing, heading=heading)
            pages.finish()
            return
        canvas = draw_picture(pixels, panels, drawing=drawing, heading=heading)
        match kind:
            case "png":
                file.write(as_png(canvas))
            case "jpeg":
                file.write(as_jpeg(canvas))
            case "svg":
                file.write(as_svg(canvas).encode())
            case unknown:
                assert_never(unknown)


def add_page(
    pages: PdfPages,
    pixels: GrayPixels,
    panels: Sequence[Panel],
    *,
    drawing: Drawing,
    heading: Sequence[str] = (),
) -> None:
    """Add a picture to a PDF, as a page; see `write_picture`."""
    printed = replace(drawing, smallest=max(_PRINTED, drawing.smallest))
    canvas = draw_picture(pixels, panels, drawing=printed, heading=heading)
    pages.add(as_jpeg(canvas), width=canvas.width, height=canvas.height)


def draw_picture(
    pixels: GrayPixels, panels: Sequence[Panel], *, drawing: Drawing, heading: Sequence[str] = ()
) -> Canvas:
    """Lay out panels with one pixel of the picture per pixel of the drawn radiograph; see `write_picture`."""
    largest = min(drawing.largest, int(math.sqrt(_MOST_PIXELS / len(panels))))
    factor = drawing_scale(pixels.shape, largest=largest, smallest=drawing.smallest)
    gray = resized(eight_bit(pixels), factor)
    layout = _laid_out(panels, heading, shape=gray.shape, columns=min(len(panels), drawing.columns))
    words = list(layout.heading())
    tiles: list[Tile] = []
    for number, panel in enumerate(panels):
        left, top = layout.place(number)
        words += layout.caption(number)
        heat = None
        if panel.attribution is not None:
            scale = panel.scale or own_scale(panel.attribution)
            heat = scale.heat(resized(panel.attribution, factor))
            bar, numbers = layout.scale_bar(number, scale, opacity=drawing.opacity)
            tiles += bar
            words += numbers
        tiles.append(
            Tile(
                left=left,
                top=top,
                gray=gray,
                heat=heat,
                opacity=drawing.opacity,
                lines=[factor * line for line in _lines(panel, drawing)],
                stroke=max(2.0, gray.shape[1] / 288),
            )
        )
    return Canvas(width=layout.width, height=layout.height, tiles=tiles, words=words)


def _lines(panel: Panel, drawing: Drawing) -> Iterator[Line]:
    """Yield the contours and the box of a panel, in pixels of the radiograph."""
    if panel.attribution is not None and drawing.contour is not None:
        # Values are at the centers of pixels; repeating the edge lets contours reach the border.
        padded = np.pad(own_scale(panel.attribution).heat(panel.attribution), 1, mode="edge")
        for line in contour_lines(padded, drawing.contour):
            yield line - 0.5
    if panel.box is not None and drawing.boxes:
        left, top, width, height = panel.box
        right, bottom = left + width, top + height
        yield np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where everything is, for one size of the letters.

    Attributes:
        size: Size of the font in pixels.
        shape: Rows and columns of a drawn radiograph.
        columns: Panels per row.
        title: Lines of the heading.
        captions: Lines above each panel.
        notes: Lines below the scale of each panel.
        units: The unit of each panel's scale.
        has_maps: Whether any panel has a map, and so a scale.
    """

    size: int
    shape: tuple[int, ...]
    columns: int
    title: Sequence[str]
    captions: Sequence[Sequence[str]]
    notes: Sequence[Sequence[str]]
    units: Sequence[str]
    has_maps: bool

    @property
    def cell(self) -> int:
        """Width of a cell."""
        return max(self.shape[1], _NARROWEST * self.size)

    @property
    def line(self) -> int:
        """Distance of two baselines."""
        return round(_LINE * self.size)

    @property
    def gap(self) -> int:
        """Distance of cells, and margin."""
        return self.size

    @property
    def above(self) -> int:
        """Height of the captions of a row."""
        return max(map(len, self.captions)) * self.line + self.size // 2

    @property
    def below(self) -> int:
        """Height of the scales of a row."""
        lines = max(map(len, self.notes)) + self.has_maps
        return lines * self.line + (round(0.8 * self.size) if lines else 0)

    @property
    def top(self) -> int:
        """First row below the heading."""
        return self.gap // 2 + len(self.title) * self.line + (self.size // 2 if self.title else 0)

    @property
    def width(self) -> int:
        """Width of the picture."""
        return self.columns * (self.cell + self.gap) + self.gap

    @property
    def height(self) -> int:
        """Height of the picture."""
        rows = -(-len(self.captions) // self.columns)
        return self.top + rows * (self.above + self.shape[0] + self.below + self.gap)

    def place(self, number: int) -> tuple[int, int]:
        """Return the first column and row of the radiograph of a panel."""
        row, column = divmod(number, self.columns)
        left = self.gap + column * (self.cell + self.gap)
        return left, self.top + row * (self.above + self.shape[0] + self.below + self.gap) + self.above

    def heading(self) -> Iterator[Words]:
        """Yield the lines above all panels."""
        for row, text in enumerate(self.title):
            yield self._words(text, self.gap, self.gap // 2 + round((row + 0.8) * self.line))

    def caption(self, number: int) -> Iterator[Words]:
        """Yield the lines above a panel, the last one directly above it."""
        left, top = self.place(number)
        lines = self.captions[number]
        for row, text in enumerate(lines):
            yield self._words(text, left, top - self.size // 2 - (len(lines) - 1 - row) * self.line)

    def scale_bar(self, number: int, scale: Scale, *, opacity: float) -> tuple[list[Tile], list[Words]]:
        """Return the scale below a panel: the colors over mid-gray between the values at their ends."""
        left, top = self.place(number)
        baseline = top + self.shape[0] + round(1.5 * self.size)
        is_drawn = scale.high > scale.low
        words = [
            self._words(text, left, baseline + (row + is_drawn) * self.line)
            for row, text in enumerate(self.notes[number])
        ]
        if not is_drawn:
            return [], words
        low, high = three_digits(scale.low), f"{three_digits(scale.high)} {self.units[number]}".rstrip()
        space = round(0.5 * self.size)
        start = left + round(text_width(low, self.size)) + space
        room = left + self.cell - start - round(text_width(high, self.size)) - space
        bar = (round(0.7 * self.size), max(self.size, min(round(0.4 * self.cell), room)))
        ramp = np.broadcast_to(np.linspace(0, 1, bar[1], dtype=np.float32), bar)
        middle: UInt8[np.ndarray, "h w"] = np.full(bar, 128, dtype=np.uint8)
        tile = Tile(left=start, top=baseline - bar[0], gray=middle, heat=ramp, opacity=opacity)
        ends = [self._words(low, left, baseline), self._words(high, start + bar[1] + space, baseline)]
        return [tile], [*ends, *words]

    def _words(self, text: str, left: int, baseline: int) -> Words:
        return Words(left=left, baseline=baseline, size=self.size, text=text)


def _laid_out(
    panels: Sequence[Panel], heading: Sequence[str], *, shape: tuple[int, ...], columns: int
) -> _Layout:
    """Return the layout with the smallest letters that are tall enough for the picture that they make."""
    size = max(_LEAST_SIZE, round(_OF_WIDTH * shape[1]))
    while True:
        layout = _layout_of(panels, heading, size=size, shape=shape, columns=columns)
        share = _LETTERS / _CAPITAL if len(panels) <= columns else _LETTERS
        needed = math.ceil(share * layout.height)
        if size >= needed or size > max(shape) / _LARGEST_SHARE:
            return layout
        size = needed


def _layout_of(
    panels: Sequence[Panel], heading: Sequence[str], *, size: int, shape: tuple[int, ...], columns: int
) -> _Layout:
    cell = max(shape[1], _NARROWEST * size)
    whole = columns * (cell + size) - size
    title = [
        line
        for row, text in enumerate(heading)
        for line in ([elided(text, size, whole)] if row == 0 else wrapped(text, size, whole))
    ]
    return _Layout(
        size=size,
        shape=shape,
        columns=columns,
        title=title,
        captions=[[line for text in panel.caption for line in wrapped(text, size, cell)] for panel in panels],
        notes=[wrapped(panel.note, size, cell) for panel in panels],
        units=[panel.unit for panel in panels],
        has_maps=any(panel.attribution is not None for panel in panels),
    )
