"""Pictures that are not chest radiographs, drawn by code: what an input gate learns to tell apart.

No picture of anything ships with the package. These are drawn from a seed, as text and pages, noise and
textures, scenes and portraits, and as other images of medicine: limbs, skulls, abdomens, slices, ultrasound.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from thorax.arrays import GrayPixels
from thorax.datasets.other_pictures.drawing import Brush, Canvas, brush_of, finished
from thorax.datasets.other_pictures.medicine import abdomen, limb, skull, slice_through, ultrasound
from thorax.datasets.other_pictures.paper import chart, page, screenshot, text
from thorax.datasets.other_pictures.patterns import blank, cells, gradient, noise, shapes, texture
from thorax.datasets.other_pictures.phone import photographed, tinted
from thorax.datasets.other_pictures.scenes import animal, landscape, portrait, still_life, street

__all__ = ["KINDS", "OtherPicture", "draw_picture", "draw_pictures", "photographed", "tinted"]

KINDS: Final[Mapping[str, Callable[[Canvas, Brush], Canvas]]] = MappingProxyType(
    {
        "text": text,
        "page": page,
        "screenshot": screenshot,
        "chart": chart,
        "noise": noise,
        "gradient": gradient,
        "texture": texture,
        "cells": cells,
        "shapes": shapes,
        "blank": blank,
        "landscape": landscape,
        "street": street,
        "portrait": portrait,
        "animal": animal,
        "still life": still_life,
        "limb": limb,
        "skull": skull,
        "abdomen": abdomen,
        "slice": slice_through,
        "ultrasound": ultrasound,
    }
)
"""The kinds of pictures, each with the function that draws it."""


@dataclass(frozen=True, slots=True, eq=False)
class OtherPicture:
    """A drawn picture.

    Attributes:
        kind: Its kind, one of `KINDS`.
        pixels: Gray values, uint8, 128 to 256 pixels per side.
    """

    kind: str
    pixels: GrayPixels


def draw_picture(kind: str, number: int, *, seed: int) -> OtherPicture:
    """Draw one picture, a pure function of the arguments (with the same versions of NumPy and Pillow).

    Args:
        kind: One of `KINDS`.
        number: Which of its kind, from 0.
        seed: Another seed gives other pictures.
    """
    brush = brush_of(seed, kind, number)
    return OtherPicture(kind, finished(KINDS[kind](brush.canvas(), brush), brush))


def draw_pictures(count: int, *, seed: int = 0) -> Iterator[OtherPicture]:
    """Draw `count` pictures, the kinds in turn; the first ones of a larger count are the same pictures."""
    kinds = list(KINDS)
    for position in range(count):
        number, kind = divmod(position, len(kinds))
        yield draw_picture(kinds[kind], number, seed=seed)
