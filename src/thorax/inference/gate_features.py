"""What the input gate sees of an image: a thumbnail, and numbers that turn, mirror and invert with it.

The thumbnail has 64 x 64 pixels, without the borders of one gray. Its grays are replaced by their ranks, so
that brightness, contrast and window do not matter. The numbers are the edges in 8 directions of 8 x 8 cells
(square roots of their share), and the means of 16 x 16 blocks. Turning the image by 90 degrees, mirroring or
inverting it permutes them or changes signs, exactly.
"""

from typing import Final

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from thorax.arrays import GrayPixels
from thorax.recipe.literals import Fit

__all__ = ["Features", "Thumbnail", "Thumbnails", "features", "inverted", "mirrored", "thumbnail", "turned"]

SIDE: Final = 64
"""Side of a thumbnail."""

Thumbnail = UInt8[np.ndarray, "64 64"]
Thumbnails = UInt8[np.ndarray, "n 64 64"]
Features = Float32[np.ndarray, "n 768"]

_CELLS: Final = 8
_BLOCKS: Final = 16
_DIRECTIONS: Final = 8
_EDGES: Final = _DIRECTIONS * _CELLS * _CELLS

_SAMPLED_SIDE: Final = 512
"""Of a larger image about this many rows and columns are read, in equal steps."""

_SAME_GRAY: Final = 8
"""Levels of 255 by which the grays of a border differ at most."""

_WIDEST_BORDER: Final = 0.4
"""Part of a side that a border takes at most."""


def thumbnail(pixels: GrayPixels, fit: Fit) -> Thumbnail:
    """Return a thumbnail of an image.

    Args:
        pixels: Gray values of any size, or prepared pixels.
        fit: "crop" takes the central square, as the model will; otherwise the whole image is squeezed.
    """
    height, width = pixels.shape
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    step = max(1, min(pixels.shape) // _SAMPLED_SIDE)
    some = pixels[::step, ::step]
    grays = some if some.dtype == np.uint8 else (some >> 8).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(_without_borders(grays)))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def _without_borders(grays: UInt8[np.ndarray, "_h _w"]) -> UInt8[np.ndarray, "_h _w"]:
    """Cut away rows and columns at the edges that have one gray."""
    top, bottom = _picture(grays.max(axis=1).astype(np.int16) - grays.min(axis=1))
    left, right = _picture(grays.max(axis=0).astype(np.int16) - grays.min(axis=0))
    return grays[top:bottom, left:right]


def _picture(spread: np.ndarray) -> tuple[int, int]:
    """Return where the picture begins and ends along one axis, by the spread of each row's grays."""
    varied = np.flatnonzero(spread > _SAME_GRAY)
    most = int(_WIDEST_BORDER * len(spread))
    if not len(varied):
        return 0, len(spread)
    return min(int(varied[0]), most), max(int(varied[-1]) + 1, len(spread) - most)


def features(thumbnails: Thumbnails) -> Features:
    """Return the numbers of thumbnails."""
    grays = np.stack([_ranks(image) for image in thumbnails])
    count = len(grays)
    padded = np.pad(grays, ((0, 0), (1, 1), (1, 1)), mode="edge")
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    edges = np.empty((count, _DIRECTIONS, _CELLS, _CELLS), np.float32)
    for number in range(_DIRECTIONS):
        angle = 2 * np.pi * number / _DIRECTIONS
        along = np.maximum(right * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle)), 0)
        edges[:, number] = _means(along, _CELLS)
    edges /= edges.mean(axis=(1, 2, 3), keepdims=True) + np.float32(1e-3)
    edges = np.sqrt(edges) - 1
    blocks = 3 * _means(grays, _BLOCKS)
    return np.concatenate([edges.reshape(count, -1), blocks.reshape(count, -1)], axis=1)


def _ranks(image: Thumbnail) -> Float32[np.ndarray, "64 64"]:
    """Return the rank of each gray among the pixels, from -0.5 to 0.5; equal grays share theirs."""
    counts = np.bincount(image.ravel(), minlength=256)
    middle = (np.cumsum(counts) - counts / 2) / image.size - 0.5
    return np.asarray(middle.astype(np.float32)[image])


def _means(images: Float32[np.ndarray, "n s s"], cells: int) -> Float32[np.ndarray, "n c c"]:
    size = SIDE // cells
    blocks = images.reshape(len(images), cells, size, cells, size)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))


def turned(values: Features, quarters: int) -> Features:
    """Return the numbers of images turned counterclockwise by `quarters` of a full turn, as `numpy.rot90`."""
    return values[:, _TURNED[quarters % 4]]


def mirrored(values: Features) -> Features:
    """Return the numbers of images mirrored left to right."""
    return values[:, _MIRRORED]


def inverted(values: Features) -> Features:
    """Return the numbers of images whose black and white are exchanged."""
    edges = np.roll(values[:, :_EDGES].reshape(len(values), _DIRECTIONS, -1), _DIRECTIONS // 2, axis=1)
    return np.concatenate([edges.reshape(len(values), -1), -values[:, _EDGES:]], axis=1)


Order = Int64[np.ndarray, " f"]


def _numbered() -> tuple[Int64[np.ndarray, "d c c"], Int64[np.ndarray, "b b"]]:
    edges = np.arange(_EDGES).reshape(_DIRECTIONS, _CELLS, _CELLS)
    return edges, _EDGES + np.arange(_BLOCKS**2).reshape(_BLOCKS, _BLOCKS)


def _turn(quarters: int) -> Order:
    edges, blocks = _numbered()
    order = [(number + quarters * _DIRECTIONS // 4) % _DIRECTIONS for number in range(_DIRECTIONS)]
    edges = np.rot90(edges, quarters, axes=(1, 2))[order]
    return np.concatenate([edges.ravel(), np.rot90(blocks, quarters).ravel()])


def _mirror() -> Order:
    edges, blocks = _numbered()
    order = [(_DIRECTIONS // 2 - number) % _DIRECTIONS for number in range(_DIRECTIONS)]
    return np.concatenate([edges[order, :, ::-1].ravel(), blocks[:, ::-1].ravel()])


_TURNED: Final = tuple(_turn(quarters) for quarters in range(4))
_MIRRORED: Final = _mirror()
