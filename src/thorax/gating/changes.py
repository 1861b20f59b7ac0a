"""Changed copies of chest radiographs, as other hospitals, detectors and exports would give them."""

from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

__all__ = ["PICTURE_SIDE", "changed"]

PICTURE_SIDE: Final = 128
"""Side of the pictures that are changed."""

_SIDE: Final = 96
"""Side of the copies."""

Picture = UInt8[np.ndarray, "_h _w"]
Grays = Float32[np.ndarray, "_h _w"]


def changed(picture: Picture, random: np.random.Generator) -> Picture:
    """Return a copy that is still an upright frontal chest radiograph.

    It is framed otherwise (zoomed, stretched, turned by a few degrees, moved) and then exposed, processed,
    collimated and marked otherwise, each by chance.

    Args:
        picture: Gray values, `PICTURE_SIDE` a side.
        random: Draws the changes.
    """
    grays = np.asarray(_framed(picture, random), np.float32) / 255
    for chance, change in _CHANGES:
        if random.random() < chance:
            grays = change(grays, random)
    return (np.clip(grays, 0, 1) * 255 + 0.5).astype(np.uint8)


def _framed(picture: Picture, random: np.random.Generator) -> Image.Image:
    image = Image.fromarray(picture)
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 2) if random.random() < 0.35 else 0.4))  # noqa: PLR2004
    zoom, stretch = np.exp(random.uniform(-0.33, 0.2)), np.exp(random.uniform(-0.16, 0.16))
    angle = np.deg2rad(random.normal(0, 5))
    across, down = zoom * stretch * PICTURE_SIDE / _SIDE, zoom / stretch * PICTURE_SIDE / _SIDE
    matrix = np.array(
        [
            [np.cos(angle) * across, -np.sin(angle) * down],
            [np.sin(angle) * across, np.cos(angle) * down],
        ]
    )
    middle = PICTURE_SIDE * (0.5 + random.normal(0, 0.04, 2))
    start = middle - matrix @ np.array([_SIDE / 2, _SIDE / 2])
    beside = random.integers(0, 256) if random.random() < 0.2 else 255 * (random.random() < 0.2)  # noqa: PLR2004
    coefficients = (*matrix[0], start[0], *matrix[1], start[1])
    return image.transform(
        (_SIDE, _SIDE),
        Image.Transform.AFFINE,
        tuple(float(number) for number in coefficients),
        Image.Resampling.BICUBIC,
        fillcolor=int(beside),
    )


_DOWN, _RIGHT = (np.mgrid[:_SIDE, :_SIDE].astype(np.float32) / _SIDE) - np.float32(0.5)


def _shaded(grays: Grays, random: np.random.Generator) -> Grays:
    angle, depth = random.uniform(0, 2 * np.pi), random.uniform(0, 0.6)
    along = _RIGHT * np.float32(np.cos(angle)) + _DOWN * np.float32(np.sin(angle))
    return np.asarray(grays * (1 + np.float32(depth) * along))


def _vignetted(grays: Grays, random: np.random.Generator) -> Grays:
    return np.asarray(grays * (1 - np.float32(random.uniform(-0.6, 0.8)) * (_RIGHT**2 + _DOWN**2)))


def _windowed(grays: Grays, random: np.random.Generator) -> Grays:
    low, high = np.quantile(grays, [random.uniform(0, 0.25), 1 - random.uniform(0, 0.25)])
    return np.asarray(np.clip((grays - low) / (high - low + 1e-3), 0, 1), np.float32)


def _flattened(grays: Grays, random: np.random.Generator) -> Grays:
    """Take away a part of the coarse differences, as multiscale processing does."""
    image = Image.fromarray((np.clip(grays, 0, 1) * 255).astype(np.uint8))
    coarse = np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(4, 15))), np.float32) / 255
    return grays - np.float32(random.uniform(0.2, 0.8)) * (coarse - np.float32(0.5))


def _collimated(grays: Grays, random: np.random.Generator) -> Grays:
    top, bottom, left, right = random.integers(0, _SIDE // 7, 4)
    gray = [float(grays.min()), 0.0, 1.0, random.random()][random.integers(0, 4)]
    shown = np.full_like(grays, gray)
    inside = np.s_[top : _SIDE - bottom, left : _SIDE - right]
    shown[inside] = grays[inside]
    return shown


def _marked(grays: Grays, random: np.random.Generator) -> Grays:
    marked = grays.copy()
    for _ in range(random.integers(1, 4)):
        top, left = random.integers(0, _SIDE - 10, 2)
        height, width = random.integers(2, 11, 2)
        marked[top : top + height, left : left + width] = random.integers(0, 2)
    return marked


def _grainy(grays: Grays, random: np.random.Generator) -> Grays:
    return grays + random.normal(0, random.uniform(0.005, 0.06), grays.shape).astype(np.float32)


_CHANGES: Final = (
    (0.5, _shaded),
    (0.3, _vignetted),
    (0.5, _windowed),
    (0.4, _flattened),
    (0.3, _collimated),
    (0.3, _marked),
    (0.3, _grainy),
)
"""How often each is made, in this order."""
