"""Fingerprints of prepared images: a content hash for equal pixels and a perceptual hash for similar ones.

The perceptual hash has one bit for each of 128 low frequencies of the image's cosine transform: the sign of
its coefficient. Recompression, resizing, brightness, contrast and moderate noise change only a few bits. The
hash does not depend on other images, so equal images have equal hashes in any store.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from thorax.arrays import PixelsBatch, Rows
from thorax.progress import CountCallback

__all__ = [
    "HASH_BITS",
    "Fingerprints",
    "area_mean",
    "perceptual_hash",
    "take_fingerprints",
    "thumbnails",
]

HASH_BITS: Final = 128
"""Bits of a perceptual hash. Among 1,644 real radiographs the closest two of different patients differ in 14
bits; recompression to JPEG quality 30 changes up to 7 bits, a gamma of 1.3 up to 14 (bench/audit.py).
"""

_HASH_SIDE = 32
_THUMBNAIL_SIDE = 64
# Lower frequencies are the same in all chests, and higher ones are noise.
_LOWEST_FREQUENCY = 4
# Standard deviation in gray levels; below it an image is blank and its perceptual hash means nothing.
_LEAST_CONTRAST = 1.0
# Sigma of the local mean, in thumbnail pixels: a larger one leaves the shape that all chests share.
_LOCAL = 3.0
_BATCH = 32


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of images, by row.

    Attributes:
        content: The first 8 bytes of BLAKE2 over the prepared pixels.
        perceptual: Perceptual hash, 128 bits in two words.
        blank: Whether the image has almost no contrast, so that its perceptual hash means nothing.
    """

    content: UInt64[np.ndarray, " n"]
    perceptual: UInt64[np.ndarray, "n 2"]
    blank: Bool[np.ndarray, " n"]


def take_fingerprints(
    read: Callable[[Rows], PixelsBatch], count: int, *, progress: CountCallback | None = None
) -> Fingerprints:
    """Return the fingerprints of rows 0 ... count - 1.

    Args:
        read: Returns prepared images by row, as `Store.pixels` does.
        count: Number of images.
        progress: Called after each batch.
    """
    content, perceptual, blank = (
        np.empty(count, np.uint64),
        np.empty((count, 2), np.uint64),
        np.empty(count, np.bool_),
    )
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count), dtype=np.int64)
        pixels = read(rows)
        content[rows] = _content(pixels)
        perceptual[rows], blank[rows] = perceptual_hash(pixels)
        if progress is not None:
            progress(start + len(rows), count)
    return Fingerprints(content, perceptual, blank)


def perceptual_hash(pixels: PixelsBatch) -> tuple[UInt64[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Return the hash of each image, and whether the image is blank."""
    small = area_mean(pixels, _HASH_SIDE)
    down, across = _frequencies()
    spectrum = _on_both_axes(_cosine_transform(_HASH_SIDE), small)
    bits = np.ascontiguousarray(spectrum[:, down, across] > 0)
    blank = small.std(axis=(1, 2)) < _LEAST_CONTRAST
    return np.packbits(bits, axis=1).view(np.uint64), blank


def thumbnails(pixels: PixelsBatch) -> Float32[np.ndarray, "n d"]:
    """Return a sharpened 64 x 64 thumbnail of each image as a unit vector: dot products are correlations.

    The local mean is subtracted first. Plain thumbnails of two real chests correlate by up to .97,
    sharpened ones by up to .79; for two phantoms these are more than .98 and .96.
    """
    small = area_mean(pixels, _THUMBNAIL_SIDE)
    local = _on_both_axes(_local_mean(_THUMBNAIL_SIDE), small)
    sharp = (small - local).reshape(len(pixels), -1)
    sharp -= sharp.mean(axis=1, keepdims=True)
    length = np.linalg.norm(sharp, axis=1, keepdims=True)
    return np.asarray(sharp / np.maximum(length, np.float32(1e-6)), np.float32)


def area_mean(pixels: PixelsBatch, side: int) -> Float32[np.ndarray, "n side side"]:
    """Shrink images to `side` by area averaging; pixels on a border are weighted by their overlap."""
    return _on_both_axes(_area_weights(pixels.shape[1], side), pixels.astype(np.float32))


def _on_both_axes(
    matrix: Float32[np.ndarray, "out source"], images: Float32[np.ndarray, "n source source"]
) -> Float32[np.ndarray, "n out out"]:
    """Return matrix @ image @ matrix.T for each image, in two products over the whole batch.

    One product per image would be too small to parallelize: BLAS threads would wait for one another.
    """
    out, source = matrix.shape
    across = (images.reshape(-1, source) @ matrix.T).reshape(-1, source, out)
    both = across.transpose(0, 2, 1).reshape(-1, source) @ matrix.T
    return np.asarray(both.reshape(-1, out, out).transpose(0, 2, 1))


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


@cache
def _cosine_transform(side: int) -> Float32[np.ndarray, "side side"]:
    frequency, pixel = np.arange(side)[:, None], np.arange(side)
    return np.asarray(np.cos(np.pi * frequency * (pixel + 0.5) / side), np.float32)


@cache
def _local_mean(side: int) -> Float32[np.ndarray, "side side"]:
    pixel = np.arange(side)
    weights = np.exp(-0.5 * ((pixel[:, None] - pixel) / _LOCAL) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


@cache
def _frequencies() -> tuple[Int64[np.ndarray, " bit"], Int64[np.ndarray, " bit"]]:
    """Return the frequencies of the hash's bits, lowest first, distributed over the bands in turn."""
    pairs = [(u, v) for u in range(_HASH_SIDE) for v in range(_HASH_SIDE) if u + v >= _LOWEST_FREQUENCY]
    chosen = sorted(pairs, key=lambda pair: (sum(pair), pair))[:HASH_BITS]
    bands = [chosen[start::8] for start in range(8)]
    down, across = np.array([pair for band in bands for pair in band], np.int64).T
    return down, across
