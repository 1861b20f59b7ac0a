"""Registration of pairs of thumbnails: how one must be turned, scaled and moved to lie on the other.

The local contrasts are aligned by the inverse compositional algorithm (Baker and Matthews 2004) with a
similarity, from coarse to fine, all pairs of a batch at once.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32

from thorax.auditing.local_contrast import THUMBNAIL_SIDE, Thumbnails, local_contrast
from thorax.wording import percent

__all__ = ["Motions", "describe_motion", "motions", "move", "register"]

Motions = Float32[np.ndarray, "n 4"]
"""One similarity per pair as (a, b, x, y): position (u, v) of the first image is shown by the second at
(a u - b v + x, b u + a v + y), where positions are from -1 to 1."""

# Sides of the thumbnails and steps at each; at 32 pixels the local contrast is twice as wide.
_LEVELS: Final = ((THUMBNAIL_SIDE // 2, 7), (THUMBNAIL_SIDE, 3))
_SIGMA = 2.0
# Limits of the search: scale, the sine of the angle times the scale, and shift in halves of a side.
_SCALE = (0.82, 1.22)
_TURN = 0.16
_SHIFT = 0.2
_LEAST_TURN, _LEAST_SCALE, _LEAST_SHIFT = 0.5, 1.01, 0.005
_DAMPING = np.float32(1e-3)


def motions(scales: Float32[np.ndarray, " n"]) -> Motions:
    """Return motions that only scale."""
    made = np.zeros((len(scales), 4), np.float32)
    made[:, 0] = scales
    return made


def register(fixed: Thumbnails, moving: Thumbnails, start: Motions) -> Motions:
    """Return the motion that lays each `moving` image on the `fixed` one.

    Args:
        fixed: Gray values, 64 x 64.
        moving: The other image of each pair.
        start: Where to begin; rotations of up to 6 degrees, a tenth in scale and a few percent of shift
            from there are found.
    """
    motion = start.copy()
    for side, steps in _LEVELS:
        template, other = _contrast_at(fixed, side), _contrast_at(moving, side)
        descent = _Descent.of(template)
        for _ in range(steps):
            seen, inside = move(other, motion)
            motion = _limited(_composed(motion, descent.step(seen, inside)))
    return motion


def describe_motion(motion: Float32[np.ndarray, " 4"]) -> list[str]:
    """Return what a motion does, such as "turned by 5.0 degrees"; changes too small to see are left out."""
    a, b, x, y = motion.tolist()
    angle, scale, shift = abs(math.degrees(math.atan2(b, a))), math.hypot(a, b), math.hypot(x, y) / 2
    scale = max(scale, 1 / scale)
    return [
        *([f"turned by {angle:.1f} degrees"] if angle >= _LEAST_TURN else []),
        *([f"scaled by {scale:.2f}"] if scale >= _LEAST_SCALE else []),
        *([f"shifted by {percent(shift)} of the side"] if shift >= _LEAST_SHIFT else []),
    ]


def move(images: Thumbnails, motion: Motions) -> tuple[Thumbnails, Bool[np.ndarray, "n _ _"]]:
    """Return what each image shows where the motion leads, and which of these places are in the image.

    Values are interpolated between pixels; outside the image they are 0.
    """
    count, side = len(images), images.shape[1]
    u, v = _positions(side)
    a, b, x, y = (column[:, None] for column in motion.T)
    half = np.float32(side / 2)
    column = (a * u - b * v + x + 1) * half - np.float32(0.5)
    row = (b * u + a * v + y + 1) * half - np.float32(0.5)
    inside = (column >= 0) & (column <= side - 1) & (row >= 0) & (row <= side - 1)
    last = np.float32(side - 1.001)
    np.clip(column, 0, last, out=column)
    np.clip(row, 0, last, out=row)
    left, top = column.astype(np.int32), row.astype(np.int32)
    column -= left
    row -= top
    place = top * np.int32(side) + left
    place += (np.arange(count, dtype=np.int32) * np.int32(side * side))[:, None]
    pixels = np.ascontiguousarray(images).reshape(-1)
    above = pixels[place]
    above += column * (pixels[place + 1] - above)
    place += np.int32(side)
    below = pixels[place]
    below += column * (pixels[place + 1] - below)
    above += row * (below - above)
    above *= inside
    return above.reshape(count, side, side), inside.reshape(count, side, side)


@dataclass(frozen=True)
class _Descent:
    """What a step needs of the fixed images: they, their change along each parameter, and its inverse."""

    template: Float32[np.ndarray, "n p"]
    change: Float32[np.ndarray, "n 4 p"]
    inverse: Float32[np.ndarray, "n 4 4"]

    @classmethod
    def of(cls, template: Thumbnails) -> "_Descent":
        count, side = len(template), template.shape[1]
        down, across = np.gradient(template, 2.0 / side, axis=(1, 2))
        down, across = down.reshape(count, -1), across.reshape(count, -1)
        u, v = _positions(side)
        change = np.stack([across * u + down * v, down * u - across * v, across, down], axis=1)
        square = change @ change.transpose(0, 2, 1)
        size = np.trace(square, axis1=1, axis2=2)[:, None, None] / 4 + np.float32(1e-6)
        inverse = np.linalg.inv(square + _DAMPING * size * np.eye(4, dtype=np.float32))
        return cls(template.reshape(count, -1), change, inverse.astype(np.float32))

    def step(self, seen: Thumbnails, inside: Bool[np.ndarray, "n _ _"]) -> Motions:
        """Return the motion of the fixed image that would make it most like what is seen."""
        count = len(seen)
        error = seen.reshape(count, -1) - self.template * inside.reshape(count, -1)
        away: Motions = (self.inverse @ (self.change @ error[:, :, None]))[:, :, 0]
        away[:, 0] += 1
        return away


def _composed(motion: Motions, away: Motions) -> Motions:
    """Return the motion after the inverse of `away`."""
    a, b, x, y = away.T
    scale = a * a + b * b
    c, s = a / scale, -b / scale
    p, q = -(c * x - s * y), -(s * x + c * y)
    e, f, g, h = motion.T
    return np.stack([e * c - f * s, f * c + e * s, e * p - f * q + g, f * p + e * q + h], axis=1)


def _limited(motion: Motions) -> Motions:
    low = np.array([_SCALE[0], -_TURN, -_SHIFT, -_SHIFT], np.float32)
    high = np.array([_SCALE[1], _TURN, _SHIFT, _SHIFT], np.float32)
    return np.asarray(np.clip(motion, low, high))


def _contrast_at(images: Thumbnails, side: int) -> Thumbnails:
    """Return local contrast at this size with mean 0 and standard deviation 1."""
    count, step = len(images), images.shape[1] // side
    small = images.reshape(count, side, step, side, step).mean(axis=(2, 4), dtype=np.float32)
    contrast = local_contrast(small, _SIGMA)
    contrast -= contrast.mean(axis=(1, 2), keepdims=True)
    spread = contrast.std(axis=(1, 2), keepdims=True)
    return np.asarray(contrast / (spread + np.float32(1e-6)))


@cache
def _positions(side: int) -> tuple[Float32[np.ndarray, " p"], Float32[np.ndarray, " p"]]:
    """Return u and v of every pixel's center, from -1 to 1."""
    centers = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    u, v = np.meshgrid(centers, centers)
    return u.ravel(), v.ravel()
