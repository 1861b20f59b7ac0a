"""What happens to the logit when parts of the image are hidden: occlusion and RISE. No gradients.

What is hidden becomes the image's mean grey: black would look like air, which is a finding itself.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from thorax.explain.cam import MapsTensor
from thorax.models import Classifier, evaluation_mode
from thorax.models.tensors import Images
from thorax.randomness import uniform

__all__ = ["occlusion", "rise"]

_BATCH: Final = 32
"""Masks of an image that go through the net together."""

Masks = Float[Tensor, "mask height width"]
"""How much of each pixel is seen, from 0 to 1."""


def occlusion(
    classifier: Classifier, images: Images, columns: Sequence[int], *, window: float = 0.125
) -> MapsTensor:
    """Return by how much the logit falls when a window is hidden (Zeiler and Fergus 2014).

    Windows overlap by half; a pixel gets the mean over those that hide it. Such a map cannot show details
    smaller than half a window.

    Args:
        classifier: The net; it is left as it was.
        images: At its input size.
        columns: Which outputs.
        window: Side of the window as a part of the image's, at most 1. With the usual one there are 225
            windows, and a pass forward for each.
    """
    chosen, side = list(columns), max(1, round(images.shape[-1] * window))
    height, width = images.shape[2:]
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    total = images.new_zeros(len(images), len(chosen), height, width)
    times = images.new_zeros(height, width)
    with torch.no_grad(), evaluation_mode(classifier):
        whole = classifier(images)[:, chosen]
        for first in range(0, len(corners), _BATCH):
            masks = _windows(images, corners[first : first + _BATCH], side=side)
            fall = whole - _masked_logits(classifier, images, masks)[:, :, chosen]
            total += torch.einsum("mbk,mhw->bkhw", fall, 1 - masks)
            times += (1 - masks).sum(dim=0)
    return total / times


def rise(
    classifier: Classifier,
    images: Images,
    columns: Sequence[int],
    *,
    masks: int = 1000,
    cells: int = 7,
    seed: int = 0,
) -> MapsTensor:
    """Return how the logit and the visibility of a pixel go together over random masks.

    RISE of Petsiuk, Das and Saenko 2018 with half of the cells seen: the covariance of logit and mask over
    the mask's variance, so that a net which never changes its mind gives 0. The paper's weighted mean of
    masks is this plus a constant, at its number of masks.

    Args:
        classifier: The net; it is left as it was.
        images: At its input size.
        columns: Which outputs.
        masks: How many; each costs a pass forward. The paper takes 4,000 to 8,000.
        cells: Cells of a mask along each side, before it is enlarged smoothly and shifted.
        seed: Of the masks. All images of a call get the same ones.
    """
    chosen = list(columns)
    seen, seen_squared = (images.new_zeros(images.shape[2:]) for _ in range(2))
    changed = images.new_zeros(len(images), len(chosen))
    product = images.new_zeros(len(images), len(chosen), *images.shape[2:])
    with torch.no_grad(), evaluation_mode(classifier):
        whole = classifier(images)[:, chosen]
        for first in range(0, masks, _BATCH):
            numbers = np.arange(first, min(first + _BATCH, masks), dtype=np.int64)
            drawn = _random_masks(images, numbers, cells=cells, seed=seed)
            # From the whole image's logit, so that sums stay small and exact.
            change = _masked_logits(classifier, images, drawn)[:, :, chosen] - whole
            changed += change.sum(dim=0)
            product += torch.einsum("mbk,mhw->bkhw", change, drawn)
            seen += drawn.sum(dim=0)
            seen_squared += (drawn**2).sum(dim=0)
    covariance = product / masks - (changed / masks)[:, :, None, None] * (seen / masks)
    variance = seen_squared / masks - (seen / masks) ** 2
    return covariance / variance.mean()


def _masked_logits(classifier: Classifier, images: Images, masks: Masks) -> Float[Tensor, "mask batch all"]:
    """Return the logits of each image behind each mask."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return torch.stack(
        [
            classifier(gray + (image - gray) * masks[:, None])
            for image, gray in zip(images, mean, strict=True)
        ],
        dim=1,
    )


def _starts(length: int, side: int) -> list[int]:
    """Return where windows begin along one axis: half a window apart, the last one at the end."""
    last = length - side
    return [*range(0, last, max(1, side // 2)), last]


def _windows(images: Images, corners: Sequence[tuple[int, int]], *, side: int) -> Masks:
    """Return masks that hide a square each, given their top left corners."""
    masks = images.new_ones(len(corners), *images.shape[2:])
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + side, left : left + side] = 0
    return masks


def _random_masks(images: Images, numbers: Int64[np.ndarray, " mask"], *, cells: int, seed: int) -> Masks:
    """Return smooth random masks: cells that are seen or not, enlarged linearly, cut at a random shift."""
    height, width = images.shape[2:]
    # One cell more than the image holds: the shift is within a cell.
    side = cells + 1
    draws = uniform(seed, "rise", epoch=0, positions=numbers, count=side**2 + 2)
    seen = np.round(draws[:, 2:]).astype(np.float32).reshape(-1, 1, side, side)
    down, across = -(-height // cells), -(-width // cells)
    grown = functional.interpolate(
        torch.from_numpy(seen).to(images.device), size=(down * side, across * side), mode="bilinear"
    )
    shifts = (draws[:, :2] * (down, across)).astype(int).tolist()
    cut = [mask[0, y : y + height, x : x + width] for mask, (y, x) in zip(grown, shifts, strict=True)]
    return torch.stack(cut)
