"""Controlled changes of prepared images, as other devices, transfers and positions make them.

They act on the uint8 pixels that a store keeps, so that thousands of images are tried in minutes without
their files. JPEG, noise, blur and resolution therefore count in pixels of the prepared image: quality 50 at
256 pixels removes more of a chest than at the 2,500 of the original. Lengths are in percent of the side, so
that stores of different sizes can be compared.

Every change is a pure function of pixels, level, seed and the image's name.
"""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, assert_never

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from thorax.arrays import Pixels, PixelsBatch
from thorax.errors import RecipeError
from thorax.randomness import uniform
from thorax.recipe.literals import PERTURBATION_NAMES, PerturbationKind
from thorax.wording import did_you_mean

__all__ = [
    "LEVELS",
    "Perturbation",
    "PerturbationKind",
    "perturb",
    "perturbation_kinds",
    "standard_perturbations",
]

LEVELS: Final[Mapping[PerturbationKind, tuple[float, ...]]] = {
    "jpeg": (90.0, 70.0, 50.0, 30.0, 10.0),
    "noise": (1.0, 2.0, 5.0, 10.0),
    "gamma": (0.5, 0.7, 1.4, 2.0),
    "window-width": (200.0, 140.0, 70.0, 50.0),
    "window-center": (-20.0, -10.0, 10.0, 20.0),
    "bit-depth": (6.0, 5.0, 4.0, 3.0),
    "rotation": (2.0, 4.0, 6.0, 8.0, 10.0),
    "blur": (0.25, 0.5, 1.0, 2.0),
    "resolution": (75.0, 50.0, 33.0, 25.0),
}
"""The levels of each kind that `thorax.robustness` measures; see `Perturbation.level` for their units."""

_TITLES: Final[Mapping[PerturbationKind, tuple[str, str]]] = {
    "jpeg": ("JPEG quality", ""),
    "noise": ("Noise, sd", " %"),
    "gamma": ("Gamma", ""),
    "window-width": ("Window width", " %"),
    "window-center": ("Window center", " %"),
    "bit-depth": ("Bits per pixel", ""),
    "rotation": ("Rotation", "°"),
    "blur": ("Blur, sd", " %"),
    "resolution": ("Resolution", " %"),
}
"""What changes, for people, and the unit of the level."""

_GRAYS: Final = 255.0
_TIE: Final = 1e-6
"""Added before rounding, so that means of integers that end in .5 round up whatever the order of a sum."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One change of an image.

    Attributes:
        kind: What changes.
        level: Its strength. "jpeg": the quality that Pillow takes, 1 to 100. "noise": standard deviation of
            independent Gaussian noise, in percent of the full range. "gamma": exponent of the gray values;
            below 1 brightens. "window-width" and "window-center": width of the shown window, and shift of its
            center, in percent of the full range; gray values outside are clipped. "bit-depth": bits per
            pixel, 1 to 8. "rotation": degrees about the center, clockwise for half of the images and
            counterclockwise for the others; corners from outside the image are black. "blur": standard
            deviation of a Gaussian, in percent of the side. "resolution": the side of an image that is
            averaged over areas and interpolated back, in percent.
    """

    kind: PerturbationKind
    level: float

    @property
    def name(self) -> str:
        """The name in files, such as "jpeg 50"."""
        return f"{self.kind} {self.level:g}"

    @property
    def title(self) -> str:
        """What changes, for people, with its unit, such as "Noise, sd (%)"."""
        title, unit = _TITLES[self.kind]
        return f"{title} ({unit.strip()})" if unit else title

    @property
    def amount(self) -> str:
        """The level without its unit, such as "5", or "+5" where 0 changes nothing and it may be negative."""
        return f"{self.level:+g}" if self.kind == "window-center" else f"{self.level:g}"

    @property
    def label(self) -> str:
        """What changes and by how much, for people, such as "Noise, sd 5 %"."""
        title, unit = _TITLES[self.kind]
        return f"{title} {self.amount}{unit}"


def perturbation_kinds(names: Sequence[str]) -> tuple[PerturbationKind, ...]:
    """Return the kinds with these names, each once; all kinds if there are no names.

    Raises:
        RecipeError: A name is not a kind.
    """
    kinds = PERTURBATION_NAMES
    unknown = [name for name in names if name not in kinds]
    if unknown:
        raise RecipeError(
            f"there is no perturbation {unknown[0]!r}{did_you_mean(unknown[0], kinds)}; "
            f"there are {', '.join(kinds)}"
        )
    return tuple(kind for kind in kinds if kind in names or not names)


def standard_perturbations(kinds: Sequence[PerturbationKind]) -> tuple[Perturbation, ...]:
    """Return every level of these kinds, in the order of `LEVELS`."""
    return tuple(Perturbation(kind, level) for kind in kinds for level in LEVELS[kind])


def perturb(
    pixels: PixelsBatch, perturbation: Perturbation, *, images: Sequence[str], seed: int = 0
) -> PixelsBatch:
    """Return changed copies of prepared images.

    Args:
        pixels: uint8 (n, s, s), larger is brighter.
        perturbation: The change.
        images: The name of each image. Noise and the direction of a rotation depend on it, and neither on the
            other images nor on the level: a stronger noise is the same noise, multiplied.
        seed: Any integer.
    """
    kind, level = perturbation.kind, perturbation.level
    match kind:
        case "gamma" | "window-width" | "window-center" | "bit-depth":
            return np.asarray(_tone_table(kind, level)[pixels])
        case "jpeg":
            changed = [_through_jpeg(image, quality=round(level)) for image in pixels]
        case "noise":
            keys = [_key(name) for name in images]
            changed = [
                _with_noise(image, sd=_GRAYS * level / 100, key=key, seed=seed)
                for image, key in zip(pixels, keys, strict=True)
            ]
        case "rotation":
            keys = [_key(name) for name in images]
            changed = [
                _rotated(image, degrees=level * _direction(key, seed))
                for image, key in zip(pixels, keys, strict=True)
            ]
        case "blur":
            weights = _blur_weights(pixels.shape[-1], level)
            changed = [_rounded(weights @ image @ weights.T) for image in pixels.astype(np.float64)]
        case "resolution":
            weights = _resolution_weights(pixels.shape[-1], level)
            changed = [_rounded(weights @ image @ weights.T) for image in pixels.astype(np.float64)]
        case _:
            assert_never(kind)
    return np.stack(changed) if changed else pixels.copy()


def _rounded(gray: Float64[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.clip(np.floor(gray + 0.5 + _TIE), 0, _GRAYS).astype(np.uint8)


def _tone_table(
    kind: Literal["gamma", "window-width", "window-center", "bit-depth"], level: float
) -> UInt8[np.ndarray, " 256"]:
    """Return the new value of each gray value."""
    gray = np.arange(256) / _GRAYS
    match kind:
        case "gamma":
            new = gray**level
        case "window-width":
            new = (gray - 0.5) / (level / 100) + 0.5
        case "window-center":
            new = gray - level / 100
        case "bit-depth":
            bits = round(level)
            new = (np.arange(256) >> (8 - bits)) / (2**bits - 1)
        case _:
            assert_never(kind)
    return _rounded(np.asarray(_GRAYS * new))


def _through_jpeg(image: Pixels, *, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def _key(name: str) -> int:
    """Return a number below 2**63 that stands for an image."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def _with_noise(image: Pixels, *, sd: float, key: int, seed: int) -> Pixels:
    """Add Gaussian noise, drawn by Box and Muller's method: one pair of uniform numbers for two pixels."""
    half = math.ceil(image.size / 2)
    position = np.array([key], dtype=np.int64)
    draws = uniform(seed, "noise", epoch=0, positions=position, count=2 * half)[0]
    radius, angle = np.sqrt(-2 * np.log1p(-draws[:half])), 2 * math.pi * draws[half:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[: image.size]
    return _rounded(image + sd * normal.reshape(image.shape))


def _direction(key: int, seed: int) -> int:
    """Return 1 for clockwise and -1 for counterclockwise, each for half of the images."""
    position = np.array([key], dtype=np.int64)
    return 1 if uniform(seed, "rotation", epoch=0, positions=position)[0, 0] >= 0.5 else -1  # noqa: PLR2004


def _rotated(image: Pixels, *, degrees: float) -> Pixels:
    """Turn an image clockwise about its center, interpolating linearly; what comes from outside is black."""
    side = len(image)
    angle, center = math.radians(degrees), (side - 1) / 2
    down, right = np.meshgrid(np.arange(side) - center, np.arange(side) - center, indexing="ij")
    # Where each new pixel comes from, in the old image with a black frame.
    row = np.clip(down * math.cos(angle) - right * math.sin(angle) + center, -1, side) + 1
    column = np.clip(right * math.cos(angle) + down * math.sin(angle) + center, -1, side) + 1
    framed = np.pad(image.astype(np.float64), ((1, 2), (1, 2)))
    top, left = row.astype(np.int64), column.astype(np.int64)
    below, beyond = row - top, column - left
    return _rounded(
        (1 - below) * ((1 - beyond) * framed[top, left] + beyond * framed[top, left + 1])
        + below * ((1 - beyond) * framed[top + 1, left] + beyond * framed[top + 1, left + 1])
    )


@lru_cache(maxsize=8)
def _blur_weights(side: int, level: float) -> Float64[np.ndarray, "s s"]:
    """Return the weights of old rows (columns) in each new one; beyond an edge, its pixels repeat."""
    sd = side * level / 100
    if sd == 0:
        return np.eye(side)
    reach = math.ceil(4 * sd)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sd) ** 2)
    kernel /= kernel.sum()
    weights = np.zeros((side, side))
    for offset, weight in zip(offsets, kernel, strict=True):
        source = np.clip(np.arange(side) + offset, 0, side - 1)
        weights[np.arange(side), source] += weight
    return weights


@lru_cache(maxsize=8)
def _resolution_weights(side: int, level: float) -> Float64[np.ndarray, "s s"]:
    """Return the weights of old rows (columns) in each new one: area averages, interpolated linearly."""
    small = max(1, round(side * level / 100))
    edges, step = np.arange(side), side / small
    first = np.arange(small)[:, None] * step
    covered = np.minimum(first + step, edges + 1) - np.maximum(first, edges)
    reduce = np.clip(covered, 0, None) / step
    place = np.clip((edges + 0.5) / step - 0.5, 0, small - 1)
    below = np.minimum(place.astype(np.int64), max(small - 2, 0))
    enlarge = np.zeros((side, small))
    enlarge[edges, below] = 1 - (place - below)
    if small > 1:
        enlarge[edges, below + 1] = place - below
    return np.asarray(enlarge @ reduce)
