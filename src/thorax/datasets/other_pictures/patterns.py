"""Noise, gradients, textures, cells, shapes, and next to nothing."""

import math
from typing import Final

import numpy as np

from thorax.datasets.other_pictures.drawing import Brush, Canvas, clouds, picture_of, written

__all__ = ["blank", "cells", "gradient", "noise", "shapes", "texture"]

_MORTAR: Final = 0.1
"""Share of a brick that the joint takes."""


def noise(canvas: Canvas, brush: Brush) -> Canvas:
    """Noise of all scales: white, in blobs, of both, or in single pixels."""
    match brush.whole(0, 3):
        case 0:
            return brush.random.random(canvas.shape, dtype=np.float32)
        case 1:
            return clouds(canvas.shape, brush, cells=2 ** brush.whole(1, 6))
        case 2:
            scales = range(1, 8)
            steep = brush.between(0.3, 1.2)
            layers = [clouds(canvas.shape, brush, cells=2**scale) * 2 ** (-steep * scale) for scale in scales]
            total = np.sum(layers, axis=0, dtype=np.float32)
            return np.asarray((total - total.min()) / np.ptp(total), dtype=np.float32)
        case _:
            dots = brush.random.random(canvas.shape, dtype=np.float32)
            share = np.float32(brush.between(0.005, 0.2))
            ground = np.float32(brush.between(0, 1))
            return np.where(dots < share, np.float32(0), np.where(dots > 1 - share, np.float32(1), ground))


def gradient(canvas: Canvas, brush: Brush) -> Canvas:
    """A gradient: along a direction, from a center, around it, or in steps."""
    height, width = canvas.shape
    down, right = np.mgrid[:height, :width].astype(np.float32) / max(canvas.shape)
    angle = brush.between(0, 2 * math.pi)
    along = right * math.cos(angle) + down * math.sin(angle)
    from_center = np.hypot(right - brush.between(0.2, 0.8), down - brush.between(0.2, 0.8))
    around = np.arctan2(down - 0.5, right - 0.5)
    field = [along, from_center, around][brush.whole(0, 2)]
    field = (field - field.min()) / np.ptp(field)
    if brush.chance(0.25):
        steps = brush.whole(3, 16)
        field = np.floor(field * steps) / steps
    if brush.chance(0.3):
        field = 0.5 + 0.5 * np.cos(field * brush.between(2, 12))
    return np.asarray(field, dtype=np.float32)


def texture(canvas: Canvas, brush: Brush) -> Canvas:
    """Stripes, checks, bricks, waves, or what is woven, bent a little."""
    height, width = canvas.shape
    down, right = np.mgrid[:height, :width].astype(np.float32)
    bend = brush.between(0, 12) * (clouds(canvas.shape, brush, cells=brush.whole(2, 5)) - 0.5)
    angle, step = brush.between(0, math.pi), brush.between(4, 40)
    along = (right * math.cos(angle) + down * math.sin(angle) + bend) / step
    across = (down * math.cos(angle) - right * math.sin(angle) + bend) / (step * brush.between(0.4, 1.6))
    match brush.whole(0, 4):
        case 0:
            field = 0.5 + 0.5 * np.sin(2 * math.pi * along)
        case 1:
            field = (np.floor(along) + np.floor(across)) % 2
        case 2:
            shifted = along + 0.5 * (np.floor(across) % 2)
            field = ((shifted % 1 > _MORTAR) & (across % 1 > _MORTAR)) * (
                0.6 + 0.4 * np.sin(7 * np.floor(shifted))
            )
        case 3:
            field = 0.5 + 0.25 * np.sin(2 * math.pi * along) + 0.25 * np.sin(2 * math.pi * across)
        case _:
            over = np.floor(along) % 2 == np.floor(across) % 2
            field = np.where(over, np.abs(np.sin(math.pi * along)), np.abs(np.sin(math.pi * across)))
    grain = clouds(canvas.shape, brush, cells=64) * brush.between(0, 0.5)
    return np.asarray(field * 0.8 + grain, dtype=np.float32)


def cells(canvas: Canvas, brush: Brush) -> Canvas:
    """Round things with a nucleus on a smooth ground, as under a microscope; also coins and pebbles."""
    ground = brush.between(0.3, 0.9)
    image, draw = picture_of(canvas + np.float32(ground) + 0.2 * clouds(canvas.shape, brush, cells=5))
    radius = brush.between(4, 26)
    for _ in range(int(brush.between(0.3, 1.0) * image.width * image.height / radius**2 / 3)):
        across, down = brush.between(0, image.width), brush.between(0, image.height)
        wide, high = radius * brush.between(0.6, 1.3), radius * brush.between(0.6, 1.3)
        draw.ellipse((across - wide, down - high, across + wide, down + high), brush.gray(), brush.gray())
        if brush.chance(0.7):
            inner = brush.between(0.2, 0.6)
            box = (across - inner * wide, down - inner * high, across + inner * wide, down + inner * high)
            draw.ellipse(box, fill=brush.gray())
    return np.asarray(image, dtype=np.float32) / 255


def shapes(canvas: Canvas, brush: Brush) -> Canvas:
    """Ellipses, boxes, triangles and lines: logos, diagrams, drawings."""
    image, draw = picture_of(canvas + np.float32(brush.between(0, 1)))
    sides = (image.width, image.height)
    for _ in range(brush.whole(1, 25)):
        corners = [
            (brush.between(-0.1, 1.1) * sides[0], brush.between(-0.1, 1.1) * sides[1]) for _ in range(3)
        ]
        (left, right), (top, bottom) = (sorted(corner[axis] for corner in corners[:2]) for axis in (0, 1))
        match brush.whole(0, 3):
            case 0:
                draw.ellipse((left, top, right, bottom), fill=brush.gray(), outline=brush.gray())
            case 1:
                draw.rectangle((left, top, right, bottom), fill=brush.gray(), outline=brush.gray())
            case 2:
                draw.polygon(corners, fill=brush.gray())
            case _:
                draw.line(corners, fill=brush.gray(), width=brush.whole(1, 12))
    return np.asarray(image, dtype=np.float32) / 255


def blank(canvas: Canvas, brush: Brush) -> Canvas:
    """Next to nothing: one gray, uneven, perhaps with an edge or a label."""
    image, draw = picture_of(
        canvas
        + np.float32(brush.between(0, 1))
        + np.float32(brush.between(0, 0.25)) * clouds(canvas.shape, brush, cells=brush.whole(2, 4))
    )
    if brush.chance(0.4):
        edge = brush.between(0.02, 0.2) * image.width
        draw.rectangle((0, 0, image.width, image.height), outline=brush.gray(), width=max(1, round(edge)))
    if brush.chance(0.5):
        at = (brush.between(0, 0.7) * image.width, brush.between(0, 0.9) * image.height)
        written(draw, at, brush.line(2), brush.between(8, 20), brush.gray())
    return np.asarray(image, dtype=np.float32) / 255
