"""Descriptions of thumbnails, and a space in which those of slightly changed copies lie close together.

A description has low frequencies of the cosine transform of the local contrast. Mirroring changes the sign of
every second one, and inverting that of all, so that neither needs another description. The middle of each
image is described too, since a cropped copy shows nothing else.

The space is fitted to the images that are searched, by linear discriminant analysis: each image is a class,
and copies of it that were turned, scaled and moved at random are its members. What all chests have in common
is left out.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int64

from thorax.auditing.local_contrast import THUMBNAIL_SIDE, Thumbnails, local_contrast, on_both_axes
from thorax.auditing.registration import Motions, move

__all__ = ["NUM_FEATURES", "ZOOM", "Descriptions", "Space", "Vectors", "describe", "fit_space", "mirrored"]

ZOOM: Final = 0.95
"""Share of an image's side that its second description is of."""

_SIDE = 32
_SIGMA = 2.0
_FREQUENCIES = 20
# Width of the soft border that is left out, as a share of the side: a shift or a turn pushes it out of view.
_BORDER = 0.12
_DIMENSIONS = 64
_COPIES = 6
# Degrees, share of scale, and halves of a side.
_MOST_TURN, _MOST_SCALE, _MOST_SHIFT = 5.0, 0.05, 0.06
# Images of an isotropic prior; and, for the common anatomy, images from which on a mean is known.
_PRIOR = 20
_FEW = 10


@cache
def _frequencies() -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
    """Return the frequencies down and across that a description has; constants and slopes are left out."""
    every = [(u, v) for u in range(_FREQUENCIES) for v in range(_FREQUENCIES)]
    pairs = [pair for pair in every if 1 < sum(pair) <= _FREQUENCIES + 1]
    down, across = np.array(pairs, np.int64).T
    return down, across


NUM_FEATURES: Final = len(_frequencies()[0])
"""Length of a description."""

Features = Float32[np.ndarray, "n f"]
"""Descriptions of images, of length 1."""

Descriptions = Float16[np.ndarray, "n 2 f"]
"""Of each image, the features of the whole and of the middle."""

Vectors = Float32[np.ndarray, "n d"]
"""Vectors of length 1: the absolute dot product is near 1 for copies, inverted or not."""


def describe(thumbnails: Thumbnails) -> Descriptions:
    """Return the descriptions of 64 x 64 gray values."""
    middle = on_both_axes(_middle(), thumbnails)
    both = np.stack([_features(thumbnails), _features(middle)], axis=1)
    return np.asarray(both, np.float16)


def mirrored(features: Float16[np.ndarray, "n f"]) -> Float16[np.ndarray, "n f"]:
    """Return the features of the mirror images."""
    return np.asarray(features * _parity())


@dataclass(frozen=True)
class Space:
    """A linear map from features to vectors.

    Attributes:
        matrix: The map.
    """

    matrix: Float32[np.ndarray, "f d"]

    def vectors(self, features: Float16[np.ndarray, "n f"] | Features) -> Vectors:
        """Return the vectors of these features."""
        mapped = features.astype(np.float32) @ self.matrix
        length = np.linalg.norm(mapped, axis=1, keepdims=True)
        return np.asarray(mapped / np.maximum(length, np.float32(1e-9)))


def fit_space(thumbnails: Thumbnails) -> Space:
    """Return the space that tells these images apart, but not their slightly changed copies.

    Args:
        thumbnails: Gray values of a few hundred of the images to search, or of all.
    """
    count = len(thumbnails)
    drawn = _drawn_motions(count * _COPIES)
    copies = np.concatenate(
        [_features(_moved(thumbnails, drawn[copy::_COPIES])) for copy in range(_COPIES)]
    ).reshape(_COPIES, count, -1)
    copies = copies.astype(np.float64)
    centers = copies.mean(axis=0)
    within = _scatter(copies - centers) / (count * (_COPIES - 1))
    between = _scatter(centers - centers.mean(axis=0)) / count
    prior = np.eye(NUM_FEATURES) / NUM_FEATURES
    between = (count * between + _PRIOR * prior) / (count + _PRIOR)
    within += (0.05 + 5 / count) * np.trace(within) * prior
    common = np.stack([centers.mean(axis=0), (centers * _parity()).mean(axis=0)])
    within += max(0, count - _FEW) / 50 * _scatter(common)
    size, axes = np.linalg.eigh(within)
    whitened = axes / np.sqrt(size)
    ratio, directions = np.linalg.eigh(whitened.T @ between @ whitened)
    ratio, directions = ratio[::-1][:_DIMENSIONS], directions[:, ::-1][:, :_DIMENSIONS]
    matrix = whitened @ directions * np.sqrt(ratio / (1 + ratio))
    return Space(matrix.astype(np.float32))


def _features(thumbnails: Thumbnails) -> Features:
    count, step = len(thumbnails), THUMBNAIL_SIDE // _SIDE
    small = thumbnails.reshape(count, _SIDE, step, _SIDE, step).mean(axis=(2, 4), dtype=np.float32)
    spectrum = on_both_axes(_cosine_transform(), local_contrast(small, _SIGMA) * _window())
    down, across = _frequencies()
    features = spectrum[:, down, across]
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, np.float32(1e-6)))


def _moved(thumbnails: Thumbnails, motion: Motions) -> Thumbnails:
    """Return moved copies; what comes into view is black in every other one, and as the mean in the rest."""
    seen, inside = move(thumbnails, motion)
    fill = np.where(np.arange(len(seen)) % 2, thumbnails.mean(axis=(1, 2)), 0).astype(np.float32)
    return np.asarray(np.where(inside, seen, fill[:, None, None]))


def _drawn_motions(count: int) -> Motions:
    random = np.random.default_rng(0)
    angle = np.deg2rad(random.uniform(-_MOST_TURN, _MOST_TURN, count))
    scale = random.uniform(1 - _MOST_SCALE, 1 + _MOST_SCALE, count)
    shift = random.uniform(-_MOST_SHIFT, _MOST_SHIFT, (2, count))
    return np.stack([scale * np.cos(angle), scale * np.sin(angle), *shift], axis=1).astype(np.float32)


def _scatter(vectors: Float64[np.ndarray, "*n f"]) -> Float64[np.ndarray, "f f"]:
    flat = vectors.reshape(-1, vectors.shape[-1])
    return np.asarray(flat.T @ flat)


@cache
def _parity() -> Float16[np.ndarray, " f"]:
    return np.where(_frequencies()[1] % 2, -1, 1).astype(np.float16)


@cache
def _window() -> Float32[np.ndarray, "s s"]:
    """Return weights that fall to 0 at the border."""
    place = (np.arange(_SIDE) + 0.5) / _SIDE
    rise = np.clip(np.minimum(place, 1 - place) / _BORDER, 0, 1)
    eased = rise * rise * (3 - 2 * rise)
    return np.outer(eased, eased).astype(np.float32)


@cache
def _cosine_transform() -> Float32[np.ndarray, "s s"]:
    frequency, pixel = np.arange(_SIDE)[:, None], np.arange(_SIDE)
    rows = np.cos(np.pi * frequency * (pixel + 0.5) / _SIDE) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


@cache
def _middle() -> Float32[np.ndarray, "s s"]:
    """Return the matrix that enlarges the middle of a row of pixels by linear interpolation."""
    rows = np.eye(THUMBNAIL_SIDE, dtype=np.float32)
    centers = (np.arange(THUMBNAIL_SIDE) + 0.5 - THUMBNAIL_SIDE / 2) * ZOOM + THUMBNAIL_SIDE / 2 - 0.5
    return np.stack([np.interp(centers, np.arange(THUMBNAIL_SIDE), row) for row in rows], axis=1).astype(
        np.float32
    )
