"""Contact sheets: many small images with their labels in one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thorax.arrays import Pixels
from thorax.explain.canvas import Canvas, Tile, Words, as_png
from thorax.explain.lettering import text_width

__all__ = ["CELL", "SheetImage", "contact_sheet"]

CELL: Final = 224
"""Side of each image on the sheet, in pixels."""

_GAP, _MARGIN, _HEADER = 18, 28, 54
_LABEL_SIZE, _NOTE_SIZE = 15, 12
_LINES: Final = 3
"""Most lines of labels under an image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SheetImage:
    """An image on a contact sheet.

    Attributes:
        pixels: A square of `CELL` pixels; None if the image cannot be read, which leaves a gray square.
        labels: Its labels, or what else is written first.
        note: A smaller line under them.
    """

    pixels: Pixels | None
    labels: Sequence[str]
    note: str


def contact_sheet(images: Sequence[SheetImage], *, title: str) -> bytes:
    """Return a PNG with the images in about as many rows as columns; the same input gives the same bytes.

    Args:
        images: At least one.
        title: The line above them.
    """
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    lines = max(len(_wrapped(image.labels)) for image in images)
    foot = 10 + lines * (_LABEL_SIZE + 3) + _NOTE_SIZE + 6
    width = 2 * _MARGIN + columns * CELL + (columns - 1) * _GAP
    tiles, words = [], [
        Words(left=_MARGIN, baseline=_MARGIN + 14, size=18, text=title, room=width - 2 * _MARGIN)
    ]  # fmt: skip
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        left = _MARGIN + column * (CELL + _GAP)
        top = _HEADER + row * (CELL + foot + _GAP)
        tiles.append(Tile(left=left, top=top, gray=_gray(image.pixels)))
        words += _texts(image, left=left, below=top + CELL)
    height = _HEADER + rows * (CELL + foot) + (rows - 1) * _GAP + _MARGIN // 2
    return as_png(Canvas(width=width, height=height, tiles=tiles, words=words))


def _gray(pixels: Pixels | None) -> Pixels:
    return np.full((CELL, CELL), 208, np.uint8) if pixels is None else pixels


def _texts(image: SheetImage, *, left: int, below: int) -> list[Words]:
    lines = _wrapped(image.labels)
    baseline = below + 8
    words = []
    for line in lines:
        baseline += _LABEL_SIZE + 3
        words.append(Words(left=left, baseline=baseline, size=_LABEL_SIZE, text=line, room=CELL))
    if image.note:
        baseline += _NOTE_SIZE + 6
        words.append(Words(left=left, baseline=baseline, size=_NOTE_SIZE, text=image.note, room=CELL))
    return words


def _wrapped(labels: Sequence[str]) -> list[str]:
    """Join labels with commas into few lines, each as full as it fits; the last one may have to shrink."""
    lines: list[list[str]] = [[]]
    for label in labels:
        full = lines[-1] and text_width(", ".join([*lines[-1], label]) + ",", _LABEL_SIZE) > CELL
        if full and len(lines) < _LINES:
            lines.append([])
        lines[-1].append(label)
    return [", ".join(line) + ("," if line is not lines[-1] else "") for line in lines]
