"""Fingerprints of prepared images: a content hash for equal pixels and a description for similar ones."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, UInt64

from thorax.arrays import PixelsBatch, Rows
from thorax.auditing.descriptions import NUM_FEATURES, Descriptions, describe
from thorax.auditing.local_contrast import THUMBNAIL_SIDE, Thumbnails, on_both_axes
from thorax.progress import CountCallback

__all__ = [
    "Fingerprints",
    "area_mean",
    "take_fingerprints",
    "thumbnails",
]

# Standard deviation in gray levels; below it an image is blank and its description means nothing.
_LEAST_CONTRAST: Final = 1.0
_BATCH = 32


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of images, by row.

    Attributes:
        content: The first 8 bytes of BLAKE2 over the prepared pixels.
        descriptions: See `describe`.
        blank: Whether the image has almost no contrast, so that its description means nothing.
    """

    content: UInt64[np.ndarray, " n"]
    descriptions: Descriptions
    blank: Bool[np.ndarray, " n"]


def take_fingerprints(
    read: Callable[[Rows], PixelsBatch], count: int, *, progress: CountCallback | None = None
) -> Fingerprints:
    """Return the fingerprints of rows 0 ... count - 1, about a kilobyte each.

    Args:
        read: Returns prepared images by row, as `Store.pixels` does.
        count: Number of images.
        progress: Called after each batch.
    """
    content, descriptions, blank = (
        np.empty(count, np.uint64),
        np.empty((count, 2, NUM_FEATURES), np.float16),
        np.empty(count, np.bool_),
    )
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count), dtype=np.int64)
        pixels = read(rows)
        small = thumbnails(pixels)
        content[rows] = _content(pixels)
        descriptions[rows] = describe(small)
        blank[rows] = small.std(axis=(1, 2)) < _LEAST_CONTRAST
        if progress is not None:
            progress(start + len(rows), count)
    return Fingerprints(content, descriptions, blank)


def thumbnails(pixels: PixelsBatch) -> Thumbnails:
    """Return each image as 64 x 64 gray values."""
    return area_mean(pixels, THUMBNAIL_SIDE)


def area_mean(pixels: PixelsBatch, side: int) -> Float32[np.ndarray, "n side side"]:
    """Shrink images to `side` by area averaging; pixels on a border are weighted by their overlap."""
    return on_both_axes(_area_weights(pixels.shape[1], side), pixels.astype(np.float32))


def _content(pixels: PixelsBatch) -> UInt64[np.ndarray, " n"]:
    digests = b"".join(hashlib.blake2b(image, digest_size=8).digest() for image in pixels)
    return np.frombuffer(digests, np.uint64)


@cache
def _area_weights(source: int, side: int) -> Float32[np.ndarray, "side source"]:
    edges = np.linspace(0, source, side + 1)
    pixel = np.arange(source)
    begin, end = edges[:-1, None], edges[1:, None]
    overlap = np.clip(np.minimum(end, pixel + 1) - np.maximum(begin, pixel), 0, None)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True), np.float32)
