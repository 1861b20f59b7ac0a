"""Local contrast of thumbnails: what is left when brightness, gamma and exposure are taken out.

The local mean is subtracted and the rest divided by the local standard deviation. An inverted image has the
negative of the local contrast; a brighter, darker or clipped one has nearly the same.
"""

from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32

__all__ = ["THUMBNAIL_SIDE", "Thumbnails", "contrast_within", "local_contrast", "on_both_axes"]

THUMBNAIL_SIDE: Final = 64
"""Pixels on a side of a thumbnail."""

Thumbnails = Float32[np.ndarray, "n _ _"]
"""Small square images; gray values from 0 to 255, or their local contrast."""

# In gray levels. Noise in areas without structure, such as a black border, stays near zero.
_FLOOR = np.float32(3.0)
_NEGLIGIBLE = 1e-6


def local_contrast(images: Thumbnails, sigma: float) -> Thumbnails:
    """Return the local contrast of whole images.

    Args:
        images: Gray values.
        sigma: Standard deviation of the Gaussian neighborhood, in pixels.
    """
    mean = _local_mean(images.shape[1], sigma)
    difference = images - on_both_axes(mean, images)
    variance = on_both_axes(mean, difference * difference)
    return np.asarray(difference / np.sqrt(variance + _FLOOR * _FLOOR))


def contrast_within(images: Thumbnails, inside: Bool[np.ndarray, "n _ _"], sigma: float) -> Thumbnails:
    """Return the local contrast from the pixels inside a mask alone; 0 outside of it.

    Args:
        images: Gray values.
        inside: Which pixels count.
        sigma: As in `local_contrast`.
    """
    mean = _local_mean(images.shape[1], sigma)
    mask = inside.astype(np.float32)
    weight = on_both_axes(mean, mask) + np.float32(1e-6)
    difference = (images - on_both_axes(mean, images * mask) / weight) * mask
    variance = on_both_axes(mean, difference * difference) / weight
    return np.asarray(difference / np.sqrt(variance + _FLOOR * _FLOOR))


def on_both_axes(
    matrix: Float32[np.ndarray, "out source"], images: Float32[np.ndarray, "n source source"]
) -> Float32[np.ndarray, "n out out"]:
    """Return matrix @ image @ matrix.T for each image, in two products over the whole batch.

    One product per image would be too small to parallelize: BLAS threads would wait for one another.
    """
    out, source = matrix.shape
    across = (images.reshape(-1, source) @ matrix.T).reshape(-1, source, out)
    both = across.transpose(0, 2, 1).reshape(-1, source) @ matrix.T
    return np.asarray(both.reshape(-1, out, out).transpose(0, 2, 1))


@cache
def _local_mean(side: int, sigma: float) -> Float32[np.ndarray, "side side"]:
    pixel = np.arange(side)
    weights = np.exp(-0.5 * ((pixel[:, None] - pixel) / sigma) ** 2)
    # Smaller ones are not numbers that the processor multiplies fast.
    weights[weights < _NEGLIGIBLE] = 0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
