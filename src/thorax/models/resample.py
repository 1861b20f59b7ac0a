"""The step from the store's size to the net's: one fixed step, and one along drawn affine maps.

Both first average k x k areas where the image shrinks by more than 1.5, with k the nearest whole number
(a half rounds down), then interpolate bilinearly between pixel centres. The fixed step is plain tensor
operations of fixed shapes, so that it can stand in an exported graph.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from thorax.models.tensors import Images, PixelsTensor, Theta

__all__ = ["shrink_factor", "to_input", "warp"]


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
    centre = (2 * torch.arange(size, device=images.device, dtype=images.dtype) + 1) / size - 1
    # One plane for x, one for y: a third of the time of `affine_grid` and a mask over its pairs.
    x, y = (
        (row[:, 0:1] * centre)[:, None, :] + (row[:, 1:2] * centre + row[:, 2:3])[:, :, None]
        for row in theta.unbind(dim=1)
    )
    inside = ((x.abs() <= 1) & (y.abs() <= 1)).unsqueeze(1)
    grid = torch.stack([x, y], dim=-1)
    if covered != images.shape[-1]:
        grid = (grid + 1) * (covered / images.shape[-1]) - 1
    # The edge pixels reach to the edge, as in the fixed step; beyond it the picture ends sharply.
    sampled = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return sampled * inside
