"""Pictures of the grays and textures of chest radiographs that are not chest radiographs."""

from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from thorax.gating.changes import PICTURE_SIDE

__all__ = ["not_a_chest"]

Picture = UInt8[np.ndarray, "_h _w"]


def not_a_chest(picture: Picture, random: np.random.Generator) -> Picture:
    """Return a picture made of a chest radiograph in which the chest is lost.

    Args:
        picture: The radiograph, `PICTURE_SIDE` a side.
        random: Draws what is done to it.
    """
    return _WAYS[random.integers(0, len(_WAYS))](picture, random)


def _detail(picture: Picture, random: np.random.Generator) -> Picture:
    """Enlarge a part of a quarter to two fifths of each side."""
    side = random.integers(PICTURE_SIDE // 4, 2 * PICTURE_SIDE // 5)
    top, left = random.integers(0, PICTURE_SIDE - side, 2)
    part = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(part.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC))


def _shuffled(picture: Picture, random: np.random.Generator) -> Picture:
    """Cut it into 4, 16 or 64 squares and put them together in another order."""
    count = 2 ** random.integers(1, 4)
    side = PICTURE_SIDE // count
    squares = picture.reshape(count, side, count, side).swapaxes(1, 2).reshape(-1, side, side)
    mixed = squares[random.permutation(len(squares))].reshape(count, count, side, side)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(PICTURE_SIDE, PICTURE_SIDE))


def _scrambled(picture: Picture, random: np.random.Generator) -> Picture:
    """Keep the strengths of its spatial frequencies, with the phases of noise."""
    strengths = np.abs(np.fft.fft2(picture - picture.mean()))
    phases = np.angle(np.fft.fft2(random.normal(size=picture.shape)))
    waves = np.fft.ifft2(strengths * np.exp(1j * phases)).real
    spread = np.ptp(waves)
    return np.asarray((waves - waves.min()) / (spread if spread > 0 else 1) * 255).astype(np.uint8)


def _tiled(picture: Picture, random: np.random.Generator) -> Picture:
    """Show it small, four or nine times."""
    count = int(random.integers(2, 4))
    side = -(-PICTURE_SIDE // count)
    small = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))
    return np.tile(small, (count, count))[:PICTURE_SIDE, :PICTURE_SIDE]


def _rolled(picture: Picture, random: np.random.Generator) -> Picture:
    """Move it by a third to two thirds of each side; what leaves at one edge comes back at the other."""
    down, right = random.integers(PICTURE_SIDE // 3, 2 * PICTURE_SIDE // 3, 2)
    return np.roll(picture, (down, right), axis=(0, 1))


_WAYS: Final[tuple[Callable[[Picture, np.random.Generator], Picture], ...]] = (
    _detail,
    _shuffled,
    _scrambled,
    _tiled,
    _rolled,
)
