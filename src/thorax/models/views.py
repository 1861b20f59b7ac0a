"""The views of test-time augmentation: an image whole or in crops, at some scales, and mirrored."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from thorax.models.tensors import Images, PixelsTensor, Theta
from thorax.recipe.schema import TestTime

__all__ = ["View", "seen", "shrink_factor", "to_input", "views", "warp"]


def shrink_factor(side: int, size: int) -> int:
    """Return the side of the areas that are averaged when `side` pixels become `size`: 1 averages none."""
    return max(1, math.ceil(side / size - 0.5))


def to_input(pixels: PixelsTensor, size: int) -> Images:
    """Return images in [0, 1] of `size` pixels a side; the same pixels where that is their size.

    Args:
        pixels: Prepared images, 0 to 255, on any device.
        size: Side of the net's input.
    """
    side = pixels.shape[-1]
    images = _unit(pixels)
    if side == size:
        return images
    averaged, covered = _averaged(images, side, shrink_factor(side, size))
    if averaged.shape[-1] == covered:
        if covered == size:
            return averaged
        return functional.interpolate(averaged, size=(size, size), mode="bilinear", align_corners=False)
    # A last area that reaches over the edge makes the averaged image a little larger than the whole one.
    return _sampled(averaged, _identity(pixels), covered, size)


def warp(pixels: PixelsTensor, theta: Theta, size: int, *, factor: int | None = None) -> Images:
    """Return images in [0, 1] whose pixels were fetched along one affine map each.

    Args:
        pixels: Prepared images, 0 to 255, on any device.
        theta: From output to input coordinates, both in [-1, 1] from edge to edge (the convention of
            `torch.nn.functional.affine_grid` with `align_corners=False`); on the device of `pixels`.
        size: Side of the net's input.
        factor: Side of the areas that are averaged first; that of the whole image if None. For maps that show
            a part of the side only, `shrink_factor` of that part is right.

    Returns:
        Images in which what lies outside the input is 0. The identity gives `to_input` to float32's
        rounding of the coordinates.
    """
    averaged, covered = _averaged(
        _unit(pixels), pixels.shape[-1], factor or shrink_factor(pixels.shape[-1], size)
    )
    return _sampled(averaged, theta, covered, size)


def _unit(pixels: PixelsTensor) -> Images:
    return pixels.unsqueeze(1).float().div_(255)


def _identity(like: Tensor) -> Theta:
    return torch.eye(2, 3, device=like.device).expand(len(like), 2, 3)


def _averaged(
    images: Images, side: int, factor: int
) -> tuple[Float[Tensor, "batch 1 averaged averaged"], float]:
    """Average areas; also return the side of the whole image in pixels of the result."""
    if factor == 1:
        return images, float(side)
    pooled = functional.avg_pool2d(images, factor, ceil_mode=True, count_include_pad=False)
    return pooled, side / factor


def _sampled(images: Images, theta: Theta, covered: float, size: int) -> Float[Tensor, "batch 1 size size"]:
    """Interpolate at the affine map of each output pixel; `covered` of `images` are the whole image."""
    center = (2 * torch.arange(size, device=images.device, dtype=images.dtype) + 1) / size - 1
    # One plane for x, one for y: a third of the time of `affine_grid` and a mask over its pairs.
    x, y = (
        (row[:, 0:1] * center)[:, None, :] + (row[:, 1:2] * center + row[:, 2:3])[:, :, None]
        for row in theta.unbind(dim=1)
    )
    inside = ((x.abs() <= 1) & (y.abs() <= 1)).unsqueeze(1)
    grid = torch.stack([x, y], dim=-1)
    if covered != images.shape[-1]:
        grid = (grid + 1) * (covered / images.shape[-1]) - 1
    # The edge pixels reach to the edge, as in the fixed step; beyond it the picture ends sharply.
    sampled = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return sampled * inside


@dataclass(frozen=True, slots=True)
class View:
    """A square of the image, as it is or mirrored.

    Attributes:
        side: Of the square, as a part of the image's; above 1 it has a black margin.
        x: Where its center lies, from -1 (left edge of the image) to 1 (right edge).
        y: The same from the upper to the lower edge.
        mirrored: Whether left and right are then exchanged.
    """

    side: float = 1.0
    x: float = 0.0
    y: float = 0.0
    mirrored: bool = False


def views(spec: TestTime) -> list[View]:
    """Return the views in order: by scale, by crop (corners by rows, then the center), the mirror image last.

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
