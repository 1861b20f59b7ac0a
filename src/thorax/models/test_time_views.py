"""Views of an image for test-time augmentation (scales, crops, mirror images), and resampling."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from thorax.models.tensors import Images, PixelsTensor, Theta
from thorax.recipe.schema import TestTime

__all__ = ["View", "apply_view", "shrink_factor", "to_input", "views", "warp"]


def shrink_factor(side: int, size: int) -> int:
    """Return the side of the areas to average when `side` pixels become `size`; 1 means no averaging."""
    return max(1, math.ceil(side / size - 0.5))


def to_input(pixels: PixelsTensor, size: int) -> Images:
    """Return images in [0, 1] with sides of `size` pixels; pixels of that size are only scaled by 1/255.

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
    # A last area that extends beyond the edge makes the averaged image slightly larger than the original.
    return _sampled(averaged, _identity(pixels), covered, size)


def warp(pixels: PixelsTensor, theta: Theta, size: int, *, factor: int | None = None) -> Images:
    """Resample images through one affine map per image.

    Args:
        pixels: Prepared images, 0 to 255, on any device.
        theta: From output to input coordinates, both in [-1, 1] from edge to edge (the convention of
            `torch.nn.functional.affine_grid` with `align_corners=False`); on the device of `pixels`.
        size: Side of the net's input.
        factor: Side of the areas that are averaged first; None takes that of the whole image. For maps that
            show only a section of the side, use `shrink_factor` of that section.

    Returns:
        Images in [0, 1], 0 outside the input. The identity map gives the same as `to_input`, up to float32
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
    """Average areas; also return the side of the original image in pixels of the result."""
    if factor == 1:
        return images, float(side)
    pooled = functional.avg_pool2d(images, factor, ceil_mode=True, count_include_pad=False)
    return pooled, side / factor


def _sampled(images: Images, theta: Theta, covered: float, size: int) -> Float[Tensor, "batch 1 size size"]:
    """Interpolate along affine maps; the original image takes `covered` pixels of each side of `images`."""
    center = (2 * torch.arange(size, device=images.device, dtype=images.dtype) + 1) / size - 1
    # Separate planes for x and y take a third of the time of `affine_grid` with a mask over its pairs.
    x, y = (
        (row[:, 0:1] * center)[:, None, :] + (row[:, 1:2] * center + row[:, 2:3])[:, :, None]
        for row in theta.unbind(dim=1)
    )
    inside = ((x.abs() <= 1) & (y.abs() <= 1)).unsqueeze(1)
    grid = torch.stack([x, y], dim=-1)
    if covered != images.shape[-1]:
        grid = (grid + 1) * (covered / images.shape[-1]) - 1
    # Edge pixels extend to the edge, as in `to_input`; beyond it the image ends sharply.
    sampled = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return sampled * inside


@dataclass(frozen=True, slots=True)
class View:
    """A square of the image, possibly mirrored.

    Attributes:
        side: Side of the square as a fraction of the image's; above 1 it has a black margin.
        x: Position of its center, from -1 (left edge of the image) to 1 (right edge).
        y: Likewise, from -1 (upper edge) to 1 (lower edge).
        mirrored: Whether left and right are swapped.
    """

    side: float = 1.0
    x: float = 0.0
    y: float = 0.0
    mirrored: bool = False


def views(spec: TestTime) -> list[View]:
    """Return the views in order: by scale, by crop (corners by rows, then the center), the mirror image last.

    A magnification of m shows the central 1/m of the image. Five crops are taken from the magnified image.
    """
    crop_fraction = spec.crop_part if spec.five_crops else 1.0
    offset = 1 - crop_fraction
    corners = [(x, y) for y in (-offset, offset) for x in (-offset, offset)] if spec.five_crops else []
    return [
        View(crop_fraction / scale, x / scale, y / scale, mirrored)
        for scale in spec.scales
        for x, y in [*corners, (0.0, 0.0)]
        for mirrored in ((False, True) if spec.flip else (False,))
    ]


def apply_view(pixels: PixelsTensor, view: View, input_size: int) -> Images:
    """Return a view of prepared images at the net's input size.

    A view of the whole image is exactly `to_input`, and mirroring moves pixels without changing them.
    """
    if (view.side, view.x, view.y) == (1.0, 0.0, 0.0):
        images = to_input(pixels, input_size)
    else:
        factor = shrink_factor(round(pixels.shape[-1] * view.side), input_size)
        theta: Tensor = torch.tensor([[view.side, 0.0, view.x], [0.0, view.side, view.y]])
        images = warp(pixels, theta.to(pixels.device).expand(len(pixels), 2, 3), input_size, factor=factor)
    return images.flip(-1) if view.mirrored else images
