"""The views of test-time augmentation: an image whole or in crops, at some scales, and mirrored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from thorax.models.resample import shrink_factor, to_input, warp
from thorax.models.tensors import Images, PixelsTensor
from thorax.recipe.schema import TestTime

__all__ = ["View", "seen", "views"]


@dataclass(frozen=True, slots=True)
class View:
    """A square of the image, as it is or mirrored.

    Attributes:
        side: Of the square, as a part of the image's; above 1 it has a black margin.
        x: Where its centre lies, from -1 (left edge of the image) to 1 (right edge).
        y: The same from the upper to the lower edge.
        mirrored: Whether left and right are then exchanged.
    """

    side: float = 1.0
    x: float = 0.0
    y: float = 0.0
    mirrored: bool = False


def views(spec: TestTime) -> list[View]:
    """Return the views in order: by scale, by crop (corners by rows, then the centre), the mirror image last.

    A magnification of m shows the middle 1/m of the image. Five crops are taken of what a scale shows.
    """
    part = spec.crop_part if spec.five_crops else 1.0
    aside = 1 - part
    corners = [(x, y) for y in (-aside, aside) for x in (-aside, aside)] if spec.five_crops else []
    return [
        View(part / scale, x / scale, y / scale, mirrored)
        for scale in spec.scales
        for x, y in [*corners, (0.0, 0.0)]
        for mirrored in ((False, True) if spec.flip else (False,))
    ]


def seen(pixels: PixelsTensor, view: View, input_size: int) -> Images:
    """Return what a net of this input size sees of prepared images.

    The whole image is exactly what `to_input` makes of it, and mirroring moves pixels without changing them.
    """
    if (view.side, view.x, view.y) == (1.0, 0.0, 0.0):
        images = to_input(pixels, input_size)
    else:
        factor = shrink_factor(round(pixels.shape[-1] * view.side), input_size)
        theta: Tensor = torch.tensor([[view.side, 0.0, view.x], [0.0, view.side, view.y]])
        images = warp(pixels, theta.to(pixels.device).expand(len(pixels), 2, 3), input_size, factor=factor)
    return images.flip(-1) if view.mirrored else images
