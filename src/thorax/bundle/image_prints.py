"""Fingerprints of prepared images, 16 bytes each, with which a bundle remembers what it saw.

The first 4 bytes are BLAKE2 of the pixels. The other 12 are the signs of 96 coefficients of the image's
cosine transform: the lowest whose two frequencies sum to at least 13. There chests differ more than at lower
ones, and recompression, resizing, gray levels and moderate noise change few signs. The transform is computed
on whole numbers, so that equal pixels have equal fingerprints on every machine, with any number of threads.

Among 1,644 real radiographs, the closest two of different patients differ in 16 of the 96 bits, and closer
pairs halve in number with each bit: 8 bits would be seven pairs among the two thousand million that NIH's
training and test images form. JPEG, resizing, brightness and a slight blur change at most 8 bits in 99 of 100
images, noise, contrast and a gamma of .8 or 1.3 in 94 (bench/image_prints.py).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt32

from thorax.arrays import PixelsBatch, Rows
from thorax.progress import CountCallback

__all__ = [
    "PRINT_BYTES",
    "ImagePrints",
    "equal_prints",
    "image_prints",
    "merged_prints",
    "near_prints",
    "sorted_prints",
    "tell_apart",
]

PRINT_BYTES: Final = 16
"""Bytes of a fingerprint."""

ImagePrints = UInt8[np.ndarray, "_ 16"]
"""One fingerprint per row."""

_CONTENT = 4
_BITS = 96
_LOWEST_FREQUENCY = 13
_SIDE = 19
_STEPS = 1024
"""Cosines are rounded to this many steps: all sums then stay below 2 ** 53, and are exact in float64."""
_LEAST_VARIANCE = 1
"""In squared gray levels; below it an image is blank: its 12 bytes are 0 and it is not compared."""
_NEAR = 8
_ALIKE = 20
"""Images of which more than one pair in a hundred differ in fewer bits are too alike to find near copies."""
_SAMPLE = 1000
_BATCH = 32
_PAIRS_AT_ONCE = 1 << 22


def image_prints(
    read: Callable[[Rows], PixelsBatch], rows: Rows, *, progress: CountCallback | None = None
) -> ImagePrints:
    """Return the fingerprint of each row's image.

    Args:
        read: Returns prepared images by row, as `Store.pixels` does.
        rows: The rows.
        progress: Called after each batch.
    """
    prints = np.empty((len(rows), PRINT_BYTES), np.uint8)
    for start in range(0, len(rows), _BATCH):
        pixels = read(rows[start : start + _BATCH])
        prints[start : start + len(pixels)] = _of_batch(pixels)
        if progress is not None:
            progress(start + len(pixels), len(rows))
    return prints


def _of_batch(pixels: PixelsBatch) -> ImagePrints:
    content = b"".join(hashlib.blake2b(image, digest_size=_CONTENT).digest() for image in pixels)
    prints = np.empty((len(pixels), PRINT_BYTES), np.uint8)
    prints[:, :_CONTENT] = np.frombuffer(content, np.uint8).reshape(-1, _CONTENT)
    cosines, (down, across) = _cosines(pixels.shape[1]), _frequencies()
    spectrum = cosines @ pixels.astype(np.float64) @ cosines.T
    prints[:, _CONTENT:] = np.packbits(spectrum[:, down, across] > 0, axis=1)
    prints[_is_blank(pixels), _CONTENT:] = 0
    return prints


def _is_blank(pixels: PixelsBatch) -> Bool[np.ndarray, " n"]:
    flat = pixels.reshape(len(pixels), -1)
    total = flat.sum(axis=1, dtype=np.int64)
    squares = np.array([np.dot(image, image) for image in flat.astype(np.float64)]).astype(np.int64)
    count = flat.shape[1]
    return np.asarray(count * squares - total**2 < _LEAST_VARIANCE * count**2)


@cache
def _cosines(size: int) -> Float64[np.ndarray, "frequency size"]:
    frequency, pixel = np.arange(_SIDE)[:, None], np.arange(size)
    return np.asarray(np.round(np.cos(np.pi * frequency * (pixel + 0.5) / size) * _STEPS))


@cache
def _frequencies() -> Int64[np.ndarray, "2 bit"]:
    pairs = [(u, v) for u in range(_SIDE) for v in range(_SIDE) if u + v >= _LOWEST_FREQUENCY]
    return np.array(sorted(pairs, key=lambda pair: (sum(pair), pair))[:_BITS], np.int64).T


def sorted_prints(prints: ImagePrints) -> ImagePrints:
    """Return the fingerprints in the order of their bytes, which says nothing about the images."""
    return _rows_of(sorted(_as_bytes(prints)))


def merged_prints(several: Iterable[ImagePrints]) -> ImagePrints:
    """Return the fingerprints of images that may be in several sets, sorted, each as often as at most."""
    counts: Counter[bytes] = Counter()
    for prints in several:
        counts |= Counter(_as_bytes(prints))
    return _rows_of(sorted(counts.elements()))


def equal_prints(prints: ImagePrints, seen: ImagePrints) -> Bool[np.ndarray, " n"]:
    """Return which fingerprints are also in `seen`: images with equal pixels. Blank images are in none."""
    known = set(_as_bytes(seen))
    among = np.array([one in known for one in _as_bytes(prints)], np.bool_)
    return np.asarray(among & _has_content(prints))


def near_prints(prints: ImagePrints, seen: ImagePrints) -> Bool[np.ndarray, " n"]:
    """Return which fingerprints differ from one in `seen` in at most 8 of 96 bits. Blank images never do."""
    left, right = _words(prints), _words(seen[_has_content(seen)])
    near = np.zeros(len(prints), np.bool_)
    step = max(1, _PAIRS_AT_ONCE // max(1, len(right)))
    for start in range(0, len(left), step):
        near[start : start + step] = (_bits(left[start : start + step], right) <= _NEAR).any(axis=1)
    return np.asarray(near & _has_content(prints))


def tell_apart(prints: ImagePrints) -> bool:
    """Return whether these images differ enough for near copies to be recognized; phantoms do not."""
    words = _words(prints[_has_content(prints)])
    words = words[np.linspace(0, len(words) - 1, min(len(words), _SAMPLE)).astype(np.int64)]
    apart = _bits(words, words)[np.triu_indices(len(words), 1)]
    return len(apart) > 0 and float(np.quantile(apart, 0.01)) >= _ALIKE


def _bits(left: UInt32[np.ndarray, "n 3"], right: UInt32[np.ndarray, "m 3"]) -> UInt8[np.ndarray, "n m"]:
    """Return in how many bits each pair differs."""
    bits = np.zeros((len(left), len(right)), np.uint8)
    for word in range(left.shape[1]):
        bits += np.bitwise_count(left[:, word, None] ^ right[None, :, word])
    return bits


def _words(prints: ImagePrints) -> UInt32[np.ndarray, "n 3"]:
    return np.ascontiguousarray(prints[:, _CONTENT:]).view(np.uint32)


def _has_content(prints: ImagePrints) -> Bool[np.ndarray, " n"]:
    return np.asarray(prints[:, _CONTENT:].any(axis=1))


def _as_bytes(prints: ImagePrints) -> list[bytes]:
    joined = prints.tobytes()
    return [joined[start : start + PRINT_BYTES] for start in range(0, len(joined), PRINT_BYTES)]


def _rows_of(rows: list[bytes]) -> ImagePrints:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, PRINT_BYTES)
