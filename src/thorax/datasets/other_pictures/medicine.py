"""Other images of medicine: limbs, skulls, abdomens, slices through a body, ultrasound."""

import math

import numpy as np
from PIL import Image, ImageFilter

from thorax.datasets.other_pictures.drawing import Brush, Canvas, clouds, picture_of

__all__ = ["abdomen", "limb", "skull", "slice_through", "ultrasound"]


def _grid(canvas: Canvas) -> tuple[Canvas, Canvas]:
    """Return how far down and right each pixel lies, from -1 to 1."""
    height, width = canvas.shape
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] + np.zeros_like(canvas)
    right = np.linspace(-1, 1, width, dtype=np.float32)[None] + np.zeros_like(canvas)
    return down, right


def _blurred(canvas: Canvas, radius: float) -> Canvas:
    image, _ = picture_of(canvas)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255


def _turned(canvas: Canvas, degrees: float, *, ground: int = 0) -> Canvas:
    image, _ = picture_of(canvas)
    turned = image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=ground)
    return np.asarray(turned, dtype=np.float32) / 255


def limb(canvas: Canvas, brush: Brush) -> Canvas:
    """One to five long bones in soft tissue before black, as legs, arms and hands are taken."""
    down, right = _grid(canvas)
    count = brush.whole(1, 2) if brush.chance(0.6) else brush.whole(3, 5)
    half = brush.between(0.15, 0.5) if count < 3 else brush.between(0.5, 0.9)  # noqa: PLR2004
    wide = half * (1 + brush.between(-0.5, 0.5) * down)
    tissue = np.sqrt(np.clip(1 - (right / np.maximum(wide, 0.05)) ** 2, 0, 1))
    picture = brush.between(0.2, 0.5) * tissue
    for bone in range(count):
        middle = half * ((bone + 0.5) / count * 1.6 - 0.8) + brush.between(-0.05, 0.05)
        shaft = half / count * brush.between(0.2, 0.5)
        joint, flare = brush.between(-0.9, 0.9), brush.between(0.5, 2.0)
        width = shaft * (1 + flare * np.exp(-(((down - joint) / 0.25) ** 2)))
        across = (right - middle - brush.between(-0.1, 0.1) * down) / width
        inside = np.clip(1 - across**2, 0, 1)
        shell = np.exp(-(((np.abs(across) - 0.85) / 0.18) ** 2))
        gap = 1 - 0.8 * np.exp(-(((down - joint - 0.05) / 0.02) ** 2))
        picture = picture + (brush.between(0.1, 0.3) * inside + brush.between(0.15, 0.4) * shell) * gap
    picture = _blurred(
        picture + 0.06 * tissue * clouds(canvas.shape, brush, cells=60), brush.between(0.5, 1.5)
    )
    return _turned(picture, brush.between(-90, 90))


def skull(canvas: Canvas, brush: Brush) -> Canvas:
    """A skull from the front or the side, or a row of teeth."""
    down, right = _grid(canvas)
    far = np.hypot(right / brush.between(0.55, 0.85), (down + 0.1) / brush.between(0.65, 0.95))
    picture = np.where(far < 1, 0.45 + 0.15 * (1 - far), 0) + 0.5 * np.exp(-(((far - 0.97) / 0.05) ** 2))
    for side in (-1, 1) if brush.chance(0.6) else (1,):
        orbit = np.hypot((right - side * 0.28) / 0.2, (down - 0.05) / 0.17)
        picture = picture - 0.25 * np.clip(1 - orbit, 0, 1) + 0.2 * np.exp(-(((orbit - 1) / 0.15) ** 2))
    teeth = 0.5 + 0.5 * np.sign(np.sin(right * brush.between(25, 45)))
    jaw = np.exp(-(((down - brush.between(0.5, 0.75)) / 0.12) ** 2)) * (
        np.abs(right) < brush.between(0.3, 0.9)
    )
    picture = picture + jaw * (0.2 + 0.35 * teeth)
    picture = picture + 0.1 * (clouds(canvas.shape, brush, cells=40) - 0.5) * (far < 1)
    return _turned(_blurred(np.asarray(picture, dtype=np.float32), 1.2), brush.between(-15, 15))


def abdomen(canvas: Canvas, brush: Brush) -> Canvas:
    """A spine of vertebrae, the wings and ring of a pelvis, gas in bowels; no lungs."""
    down, right = _grid(canvas)
    body = np.clip(1.1 - np.abs(right) / brush.between(0.85, 1.2), 0, 1) ** np.float32(0.4)
    picture = brush.between(0.4, 0.65) * body
    spine = np.exp(-((right / 0.11) ** 4)) * (down < brush.between(0.2, 0.5))
    picture = picture + spine * (0.22 + 0.08 * np.sign(np.sin(down * brush.between(14, 24))))
    low = brush.between(0.1, 0.5)
    for side in (-1, 1):
        wing = np.hypot((right - side * 0.5) / 0.33, (down - low) / 0.42)
        picture = picture + 0.2 * np.clip(1.1 - wing, 0, 0.6) + 0.15 * np.exp(-(((wing - 1) / 0.06) ** 2))
        hip = np.hypot((right - side * 0.55) / 0.16, (down - low - 0.45) / 0.16)
        picture = picture + 0.2 * (hip < 1)
    for _ in range(brush.whole(2, 14)):
        gas = np.hypot(
            (right - brush.between(-0.6, 0.6)) / brush.between(0.05, 0.2),
            (down - brush.between(-0.8, 0.6)) / brush.between(0.04, 0.12),
        )
        picture = picture - brush.between(0.1, 0.3) * np.clip(1.2 - gas, 0, 1)
    picture = picture + 0.12 * (clouds(canvas.shape, brush, cells=25) - 0.5)
    return _blurred(np.asarray(picture, dtype=np.float32), brush.between(0.8, 2.0))


def slice_through(canvas: Canvas, brush: Brush) -> Canvas:
    """A slice of a tomograph: a round body before black, with organs, air and bone."""
    down, right = _grid(canvas)
    wide, high = brush.between(0.6, 0.95), brush.between(0.45, 0.9)
    far = np.hypot(right / wide, down / high) + 0.06 * (clouds(canvas.shape, brush, cells=6) - 0.5)
    picture = np.where(far < 1, np.float32(brush.between(0.35, 0.7)), np.float32(0))
    picture = picture + brush.between(-0.2, 0.4) * np.exp(-(((far - 0.95) / 0.04) ** 2))
    if brush.chance(0.6):
        dark = brush.between(0.3, 0.6)
        for side in (-1, 1):
            lung = np.hypot((right - side * 0.42 * wide) / (0.36 * wide), (down + 0.05) / (0.6 * high))
            picture = np.where(
                lung < 1, picture - dark + 0.25 * clouds(canvas.shape, brush, cells=40) ** 4, picture
            )
    for _ in range(brush.whole(2, 12)):
        angle, out = brush.between(0, 2 * math.pi), brush.between(0, 0.75)
        across, away = right - out * wide * math.cos(angle), down - out * high * math.sin(angle)
        organ = np.hypot(across / brush.between(0.04, 0.3), away / brush.between(0.04, 0.3))
        picture = np.where((organ < 1) & (far < 1), picture + brush.between(-0.25, 0.35), picture)
    column = np.hypot(right / 0.12, (down - 0.65 * high) / 0.12)
    picture = np.where(column < 1, np.float32(brush.between(0.7, 1.0)), picture)
    if brush.chance(0.4):
        table = np.abs(down - high - 0.08 - 0.15 * right**2) < 0.015  # noqa: PLR2004
        picture = np.where(table & (np.abs(right) < 0.8), np.float32(0.4), picture)  # noqa: PLR2004
    picture = picture + 0.08 * (clouds(canvas.shape, brush, cells=70) - 0.5) * (far < 1)
    return _turned(np.clip(picture, 0, 1).astype(np.float32), brush.between(-20, 20))


def ultrasound(canvas: Canvas, brush: Brush) -> Canvas:
    """A sector of speckle before black, with dark cysts and shadows."""
    down, right = _grid(canvas)
    depth = np.hypot(right, down + 1)
    angle = np.arctan2(right, down + 1)
    near, opening = brush.between(0.02, 0.5), brush.between(0.4, 0.9)
    sector = (np.abs(angle) < opening) & (depth > near) & (depth < brush.between(1.5, 2.0))
    if brush.chance(0.3):
        sector = (np.abs(right) < opening) & (down > near - 1)
    speckled = brush.random.exponential(1.0, size=canvas.shape).astype(np.float32)
    layers = 0.3 + 0.7 * clouds(canvas.shape, brush, cells=brush.whole(4, 14)) ** 2
    echo = _blurred(np.clip(0.35 * speckled * layers, 0, 1), brush.between(0.5, 1.4))
    for _ in range(brush.whole(0, 4)):
        cyst = np.hypot(
            (right - brush.between(-0.4, 0.4)) / brush.between(0.08, 0.3),
            (down - brush.between(-0.3, 0.6)) / brush.between(0.08, 0.3),
        )
        echo = np.where(cyst < 1, echo * 0.15, echo)
    return np.where(sector, echo * brush.between(1.0, 2.5), np.float32(0)).astype(np.float32)
