"""What a camera sees: landscapes, streets, people, animals and things."""

import math

import numpy as np
from PIL import ImageDraw, ImageFilter

from thorax.datasets.other_pictures.drawing import Brush, Canvas, Point, clouds, picture_of

__all__ = ["animal", "landscape", "portrait", "still_life", "street"]


def landscape(canvas: Canvas, brush: Brush) -> Canvas:
    """Sky, hills behind each other, water or a meadow, trees, a sun."""
    height, width = canvas.shape
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    scene = brush.between(0.4, 0.9) + brush.between(-0.4, 0.4) * down + np.zeros_like(canvas)
    scene = scene + brush.between(0, 0.4) * (clouds(canvas.shape, brush, cells=brush.whole(3, 8)) - 0.5)
    if brush.chance(0.4):
        rows, columns = np.mgrid[:height, :width]
        far = np.hypot(rows - brush.between(0, 0.5) * height, columns - brush.between(0, 1) * width)
        scene = np.where(far < brush.between(0.03, 0.12) * width, np.float32(1), scene)
    horizon = brush.between(0.3, 0.8)
    for layer in range(brush.whole(1, 5)):
        rough = clouds((1, width), brush, cells=brush.whole(3, 30))[0]
        ridge = (horizon + 0.08 * layer - brush.between(0.02, 0.35) * rough) * height
        ground = brush.between(0.05, 0.8) + 0.35 * (clouds(canvas.shape, brush, cells=90) - 0.5)
        scene = np.where(np.arange(height)[:, None] > ridge, ground, scene)
    image, draw = picture_of(np.asarray(scene, dtype=np.float32))
    for _ in range(brush.whole(0, 7)):
        _tree(draw, brush, (brush.between(0, width), brush.between(horizon, 1) * height), height)
    return np.asarray(image, dtype=np.float32) / 255


def _tree(draw: ImageDraw.ImageDraw, brush: Brush, foot: Point, height: int) -> None:
    across, down = foot
    tall, gray = brush.between(0.1, 0.5) * height, brush.gray(0, 0.4)
    draw.line((across, down, across, down - tall), fill=gray, width=max(1, int(tall / 12)))
    for _ in range(brush.whole(5, 25)):
        size = tall * brush.between(0.06, 0.22)
        left = across + brush.between(-0.3, 0.3) * tall - size
        top = down - tall * brush.between(0.5, 1.1) - size
        draw.ellipse((left, top, left + 2 * size, top + 2 * size), fill=min(255, gray + brush.whole(0, 60)))


def street(canvas: Canvas, brush: Brush) -> Canvas:
    """Buildings with windows, a road, wheels."""
    sky = np.linspace(brush.between(0.5, 1), brush.between(0.3, 1), canvas.shape[0], dtype=np.float32)
    image, draw = picture_of(canvas + sky[:, None])
    width, height = image.size
    ground, left = brush.between(0.6, 0.95) * height, brush.between(-0.3, 0.2) * width
    while left < width:
        right, top = left + brush.between(0.08, 0.5) * width, brush.between(0, 0.6) * height
        wall = brush.gray(0.1, 0.9)
        draw.rectangle((left, top, right, ground), fill=wall)
        step = brush.between(7, 24)
        glass = min(255, max(0, wall + brush.whole(-120, 120)))
        for row in np.arange(top + step / 2, ground - step / 2, step):
            for column in np.arange(left + step / 2, right - step / 2, step):
                draw.rectangle((column, row, column + step / 2, row + step / 2), fill=glass)
        left = right + brush.between(-0.05, 0.15) * width
    draw.rectangle((0, ground, width, height), fill=brush.gray(0.1, 0.7))
    for _ in range(brush.whole(0, 4)):
        across, size = brush.between(0, width), brush.between(0.03, 0.12) * width
        draw.rectangle((across, ground - size, across + 4 * size, ground + size), fill=brush.gray())
        for wheel in (across + size, across + 3 * size):
            draw.ellipse(
                (wheel - size / 2, ground + size / 2, wheel + size / 2, ground + 1.5 * size), fill=20
            )
    return np.asarray(image, dtype=np.float32) / 255


def portrait(canvas: Canvas, brush: Brush) -> Canvas:
    """A head over shoulders, from the front, with the light from one side."""
    ground = canvas + np.float32(brush.between(0, 0.9)) + 0.3 * clouds(canvas.shape, brush, cells=4)
    image, draw = picture_of(ground)
    width, height = image.size
    across, down, size = (
        brush.between(0.35, 0.65) * width,
        brush.between(0.25, 0.5) * height,
        brush.between(0.12, 0.3) * min(image.size),
    )
    cloth, skin, hair = brush.gray(0.05, 0.95), brush.gray(0.3, 0.95), brush.gray(0, 0.7)
    draw.ellipse((across - 2.2 * size, down + 1.1 * size, across + 2.2 * size, height + 3 * size), fill=cloth)
    draw.rectangle((across - 0.45 * size, down, across + 0.45 * size, down + 1.6 * size), fill=skin)
    draw.ellipse(
        (across - 1.15 * size, down - 1.5 * size, across + 1.15 * size, down + 0.9 * size), fill=hair
    )
    draw.ellipse((across - 0.9 * size, down - 1.1 * size, across + 0.9 * size, down + 1.2 * size), fill=skin)
    dark = max(0, skin - brush.whole(60, 140))
    for side in (-0.38, 0.38):
        eye, brow = across + side * size, down - 0.25 * size
        draw.ellipse((eye - 0.17 * size, brow, eye + 0.17 * size, brow + 0.16 * size), fill=dark)
        draw.line(
            (eye - 0.2 * size, brow - 0.12 * size, eye + 0.2 * size, brow - 0.14 * size), fill=hair, width=2
        )
    draw.polygon(
        (
            (across, down),
            (across - 0.14 * size, down + 0.4 * size),
            (across + 0.14 * size, down + 0.4 * size),
        ),
        fill=max(0, skin - 30),
    )
    mouth = (across - 0.3 * size, down + 0.55 * size, across + 0.3 * size, down + 0.75 * size)
    draw.ellipse(mouth, fill=dark)
    image = image.filter(ImageFilter.GaussianBlur(brush.between(0.5, 2.5)))
    light = np.linspace(brush.between(0.6, 1.3), brush.between(0.6, 1.3), width, dtype=np.float32)
    return np.asarray(image, dtype=np.float32) / 255 * light


def animal(canvas: Canvas, brush: Brush) -> Canvas:
    """A body, a head with ears, legs and fur, on a ground."""
    ground = canvas + np.float32(brush.between(0.1, 0.8)) + 0.4 * clouds(canvas.shape, brush, cells=30)
    image, draw = picture_of(ground)
    width, height = image.size
    across, down = brush.between(0.3, 0.7) * width, brush.between(0.4, 0.65) * height
    size, fur = brush.between(0.12, 0.3) * min(image.size), brush.gray()
    facing = 1 if brush.chance(0.5) else -1
    draw.ellipse((across - 1.6 * size, down - 0.7 * size, across + 1.6 * size, down + 0.7 * size), fill=fur)
    for leg in (-1.1, -0.7, 0.7, 1.1):
        place = across + leg * size
        draw.rectangle((place - 0.15 * size, down, place + 0.15 * size, down + 1.6 * size), fill=fur)
    head, top = across + facing * 1.6 * size, down - 0.8 * size
    draw.ellipse((head - 0.6 * size, top - 0.6 * size, head + 0.6 * size, top + 0.6 * size), fill=fur)
    for ear in (-0.4, 0.4):
        tip = (head + 1.3 * ear * size, top - 1.1 * size)
        sides = ((head + (ear - 0.2) * size, top - 0.3 * size), (head + (ear + 0.2) * size, top - 0.3 * size))
        draw.polygon((*sides, tip), fill=fur)
    eye = (head + facing * 0.2 * size, top - 0.1 * size)
    draw.ellipse((eye[0] - 0.1 * size, eye[1] - 0.1 * size, eye[0] + 0.1 * size, eye[1] + 0.1 * size), fill=5)
    seen = np.asarray(image, dtype=np.float32) / 255
    return seen + np.float32(brush.between(0.05, 0.35)) * (clouds(canvas.shape, brush, cells=80) - 0.5)


def still_life(canvas: Canvas, brush: Brush) -> Canvas:
    """Lit balls, cups and boxes on a table, each with its shadow."""
    height, width = canvas.shape
    table = int(brush.between(0.3, 0.8) * height)
    scene = canvas + np.float32(brush.between(0, 0.8))
    scene[table:] = brush.between(0.1, 1.0)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = brush.between(0, 2 * math.pi)
    for _ in range(brush.whole(1, 9)):
        size = brush.between(0.06, 0.32) * min(canvas.shape)
        across, down = brush.between(0, width), brush.between(0.3, 0.95) * height
        x, y = (columns - across) / size, (rows - down) / (size * brush.between(0.6, 1.5))
        shadow = ((x - 0.4) ** 2 + (4 * (y - 0.8)) ** 2) < 1
        scene = np.where(shadow, scene * 0.5, scene)
        far = x**2 + y**2 if brush.chance(0.7) else np.maximum(np.abs(x), np.abs(y)) ** 2
        depth = np.sqrt(np.clip(1 - far, 0, 1))
        lit = np.clip(0.3 + 0.5 * depth - 0.4 * (x * math.cos(angle) + y * math.sin(angle)), 0, 1)
        lit = lit * brush.between(0.3, 1.1)
        if brush.chance(0.5):
            lit = np.where((x + 0.3) ** 2 + (y + 0.4) ** 2 < brush.between(0.005, 0.06), 1.0, lit)
        scene = np.where(far < 1, lit, scene)
    return np.asarray(scene, dtype=np.float32)
