"""Lateral views of a chest, drawn roughly: what is where, not how it looks in detail."""

from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

__all__ = ["draw_lateral"]

_SIDE: Final = 128

Grays = Float32[np.ndarray, "s s"]


def draw_lateral(random: np.random.Generator) -> UInt8[np.ndarray, "s s"]:
    """Return a lateral view, 128 pixels a side: the front of the body is at the left or at the right."""
    down, front = np.mgrid[:_SIDE, :_SIDE].astype(np.float32) / np.float32(_SIDE / 2) - 1
    front = front - np.float32(random.uniform(-0.12, 0.12))
    half = random.uniform(0.62, 0.95) * (1 - 0.15 * (down + 1) / 2)
    body = 1 / (1 + np.exp((np.abs(front) - half) / np.float32(random.uniform(0.02, 0.06))))
    lung = _lung(front, down, half, random)
    picture = 0.55 * body - random.uniform(0.3, 0.5) * lung
    picture += _spine(front, down, half, random) + _front(front, down, half, random)
    picture += body * _soft(front, down, random)
    picture = np.where(body > 0.5, picture, picture * random.uniform(0.0, 0.7))  # noqa: PLR2004
    picture += 0.06 * _clouds(random, 12) + 0.03 * _clouds(random, 40)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.5)))
    image = image.rotate(random.normal(0, 4), Image.Resampling.BILINEAR)
    drawn = np.asarray(image)
    return np.ascontiguousarray(drawn[:, ::-1]) if random.random() < 0.5 else drawn  # noqa: PLR2004


def _lung(front: Grays, down: Grays, half: Grays, random: np.random.Generator) -> Grays:
    """One dark field: narrow above, its floor a dome that falls towards the back."""
    dome = random.uniform(0.2, 0.6) + 0.55 * np.clip(-front, -0.3, 1) ** 2 + 0.25 * np.clip(-front, 0, 1)
    top = random.uniform(-0.95, -0.7) + 0.5 * front**2
    inside = 1 / (1 + np.exp((down - dome) / 0.03)) / (1 + np.exp((top - down) / 0.06))
    edge = half - random.uniform(0.08, 0.2)
    return np.asarray(inside / (1 + np.exp((np.abs(front) - edge) / 0.04)), np.float32)


def _spine(front: Grays, down: Grays, half: Grays, random: np.random.Generator) -> Grays:
    """A curved column of vertebrae along the back, brighter above, with ribs that fall forward from it."""
    line = -half + random.uniform(0.18, 0.4) - random.uniform(0.05, 0.2) * (1 - down**2)
    column = np.exp(-(((front - line) / random.uniform(0.1, 0.16)) ** 4))
    bodies = 0.75 + 0.25 * np.sign(np.sin(random.uniform(18, 30) * down + random.uniform(0, 6)))
    ribs = np.exp(-((np.sin(random.uniform(8, 14) * (down - 0.5 * front)) / 0.35) ** 2))
    bright = random.uniform(0.15, 0.4) * (1 - 0.4 * down)
    return np.asarray(bright * column * bodies + 0.06 * ribs * (front > line), np.float32)


def _front(front: Grays, down: Grays, half: Grays, random: np.random.Generator) -> Grays:
    """The breastbone at the front, and the heart low before the middle."""
    bone = np.exp(-(((front - half + random.uniform(0.03, 0.12)) / 0.04) ** 2)) * (down < 0.4)  # noqa: PLR2004
    across, below = random.uniform(0.15, 0.4), random.uniform(0.1, 0.35)
    far = np.hypot(
        (front - across + 0.3 * (down - below)) / random.uniform(0.3, 0.45),
        (down - below) / random.uniform(0.3, 0.5),
    )
    heart = 1 / (1 + np.exp((far - 1) / 0.12))
    vessels = np.exp(-(np.hypot(front / 0.3, (down + 0.2) / 0.35) ** 2))
    return np.asarray(0.2 * bone + random.uniform(0.2, 0.4) * heart + 0.15 * vessels, np.float32)


def _soft(front: Grays, down: Grays, random: np.random.Generator) -> Grays:
    """Shoulders and arms above, the abdomen below."""
    arms = np.exp(-(((down + 1) / random.uniform(0.2, 0.45)) ** 2)) * (0.7 + 0.3 * np.cos(2 * front))
    belly = 1 / (1 + np.exp((random.uniform(0.5, 0.8) - down) / 0.08))
    return np.asarray(random.uniform(0.1, 0.4) * arms + random.uniform(0.05, 0.25) * belly, np.float32)


def _clouds(random: np.random.Generator, cells: int) -> Grays:
    grain = random.integers(0, 256, (cells, cells), dtype=np.uint8)
    large = Image.fromarray(grain).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) / np.float32(255) - np.float32(0.5)
