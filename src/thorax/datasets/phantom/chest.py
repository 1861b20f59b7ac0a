"""A healthy chest on a grid of pixels: its organs' masks, and how much everything attenuates.

Organs are given by their outline per row or per column, so that drawing them is one comparison per
pixel. Attenuation has no unit: 0 is air, about 1 is what a film shows white.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFilter

from thorax.datasets.phantom.anatomy import (
    Anatomy,
    Column,
    Field,
    Row,
    band,
    cloud,
    smooth,
    speckle,
)

__all__ = ["Chest", "build_chest"]

_BRANCHES: Final = 14
"""Large vessels that leave each hilum."""

_GRAINS: Final = np.cumsum((32 * 32, 96 * 96, 6 * 6, 2 * _BRANCHES * 5)).tolist()
"""Ends of the random bytes for texture, fine texture, soft tissue and vessels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """One chest laid out on a grid of pixels, so that findings can be planted in it.

    Attributes:
        anatomy: Its measures.
        u: Position of the columns.
        v: Position of the rows.
        lateral: Distance of the columns from the midline.
        on_right: Which columns are on the patient's right (the image's left).
        outer: Inner chest wall's distance from the midline, per row.
        dome: v of the diaphragm, per column.
        cavity: 1 inside the chest above the diaphragm, heart included.
        heart: 1 inside heart and mediastinum.
        lung: 1 in the lungs: cavity without heart.
        vessels: Attenuation of vessels and lung texture, already within the lungs.
        texture: Smooth noise in [-0.5, 0.5], in cells of 11 mm.
        fine: The same in cells of 4 mm.
        attenuation: Of everything together.
    """

    anatomy: Anatomy
    u: Row
    v: Column
    lateral: Row
    on_right: Bool[np.ndarray, "1 s"]
    outer: Column
    dome: Row
    cavity: Field
    heart: Field
    lung: Field
    vessels: Field
    texture: Field
    fine: Field
    attenuation: Field


def build_chest(anatomy: Anatomy, size: int, *, seed: int, step: int) -> Chest:
    """Lay out a healthy chest on `size` x `size` pixels.

    Args:
        anatomy: Its measures.
        size: Rows and columns.
        seed: The cohort's seed.
        step: The patient's number: vessels and soft-tissue texture are the patient's own.
    """
    centers = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    u, v = centers[None, :], centers[:, None]
    offset = u - np.float32(anatomy.midline)
    lateral, on_right = np.abs(offset), offset < 0
    outer = _chest_wall(anatomy, v)
    dome = _diaphragm(anatomy, lateral, on_right)
    soft = 2.5 / 256
    below = smooth(v - dome, soft)
    cavity = smooth(outer - lateral, soft) * (1 - below)
    border = np.where(on_right, *(_mediastinum(anatomy, v, right=right) for right in (True, False)))
    heart = cavity * smooth(border - lateral, 3 * soft)
    lung = cavity - heart
    grain = np.split(speckle(seed, "chest", step=step, count=_GRAINS[-1]), _GRAINS[:-1])
    texture, fine, soft_tissue = (cloud(each, size) for each in grain[:3])
    branches = _vessel_tree(anatomy, grain[3], size) * np.float32(0.30 * anatomy.markings)
    vessels = lung * (branches + np.float32(0.04) * texture + np.float32(0.05) * fine)
    body = _body(anatomy, v, lateral)
    attenuation = np.float32(0.62) + np.float32(0.18) * v + np.float32(0.10) * soft_tissue
    attenuation *= np.float32(anatomy.build)
    attenuation += _skeleton(anatomy, v, lateral, outer) + _breasts(anatomy, v, lateral)
    attenuation *= body
    abdomen = below * smooth(outer + np.float32(0.015) - lateral, 0.05)
    attenuation += np.float32(0.12) * (heart + abdomen) + vessels
    attenuation -= np.float32(anatomy.lucency) * lung
    grid = {"u": u, "v": v, "lateral": lateral, "outer": outer, "dome": dome}
    masks = {"cavity": cavity, "heart": heart, "lung": lung}
    noise = {"vessels": vessels, "texture": texture, "fine": fine}
    return Chest(anatomy=anatomy, on_right=on_right, **grid, **masks, **noise, attenuation=attenuation)


def _chest_wall(anatomy: Anatomy, v: Column) -> Column:
    """Half width of the cavity per row: round at the apex, widest at the base."""
    depth = np.clip((v - np.float32(anatomy.apex)) * np.float32(1 / 0.46), 0, 1)
    dome = np.sqrt(np.clip(depth * np.float32(5), 0, 1))
    shape = np.float32(0.42) * dome + np.float32(0.58) * np.sqrt(depth * (2 - depth))
    above = np.float32(0.03) * (v < np.float32(anatomy.apex))
    return np.asarray(np.float32(anatomy.half_width) * shape - above)


def _diaphragm(anatomy: Anatomy, lateral: Row, on_right: Bool[np.ndarray, "1 s"]) -> Row:
    """V of the diaphragm per column: one dome a side, deepest at the chest wall."""
    top = np.where(on_right, np.float32(anatomy.dome_right), np.float32(anatomy.dome_left))
    within = np.minimum(lateral, np.float32(anatomy.half_width))
    reach = (within - np.float32(0.46 * anatomy.half_width)) / np.float32(0.54 * anatomy.half_width)
    fall = np.where(
        reach > 0,
        reach * reach * (np.float32(0.35) + np.float32(0.65) * reach * reach),
        np.float32(0.45) * reach * reach,
    )
    return np.asarray(top + np.float32(anatomy.dome_height) * fall)


def _mediastinum(anatomy: Anatomy, v: Column, *, right: bool) -> Column:
    """Distance of one side's mediastinal and heart border from the midline, per row."""
    top, bottom = anatomy.heart_base, anatomy.heart_bottom
    along = np.clip((v - np.float32(top)) * np.float32(1 / (bottom - top)), 0, 1)
    reach = anatomy.heart_right if right else anatomy.heart_left
    vessel = np.float32(0.045) + np.float32(0.008 if right else 0.022) * band(
        v - np.float32(top - 0.10), 0.07
    )
    if right:
        bulge = np.clip(1 - (2 * along - 1) * (2 * along - 1), 0, 1)
    else:
        # Widest at 0.7 of the height, then drawn in towards the apex of the heart.
        past = np.clip(along - np.float32(0.7), 0, 1) * np.float32(1 / 0.3)
        rise = np.minimum(along * np.float32(1 / 0.7), 1)
        bulge = rise * (np.float32(1.6) - np.float32(0.6) * rise) * (1 - np.float32(0.45) * past * past)
    return np.asarray(vessel + (np.float32(reach) - vessel) * bulge)


def _body(anatomy: Anatomy, v: Column, lateral: Row) -> Field:
    """How much of the body's thickness a pixel has, 0 outside: neck, shoulders and trunk."""
    trunk = anatomy.half_width + anatomy.soft_tissue
    neck = np.float32(0.105) + np.float32(3.0) * np.square(np.clip(v + np.float32(0.02), 0, 1))
    slope = np.clip((v - np.float32(0.05)) * np.float32(1.6), 0, np.float32(0.30))
    # Shoulders and arms, cut off below the armpits.
    arm = np.float32(trunk + 0.12) - np.float32(0.16) * smooth(v - np.float32(0.36), 0.24)
    outline = np.minimum(neck + np.float32(1.25) * slope, np.maximum(arm, np.float32(trunk)))
    inside = np.clip(1 - lateral / outline, 0, 1)
    return np.asarray(np.sqrt(np.clip(inside * np.float32(3.2), 0, 1)))


def _skeleton(anatomy: Anatomy, v: Column, lateral: Row, outer: Column) -> Field:
    """Attenuation of spine, ribs, clavicles and shoulder blades, less the windpipe's air."""
    bones = _ribs(anatomy, v, lateral, outer)
    vertebra = v * np.float32(1 / 0.052)
    disc = np.abs(vertebra - np.floor(vertebra) - np.float32(0.5))
    body = np.float32(0.11) - np.float32(0.05) * smooth(disc - np.float32(0.38), 0.1)
    bones += smooth(np.float32(0.040) - lateral, 0.022) * body
    windpipe = smooth(np.float32(0.021) - lateral, 0.014)
    bones -= np.float32(0.17) * windpipe * smooth(np.float32(anatomy.apex + 0.20) - v, 0.08)
    squared = lateral * lateral
    collar = v - np.float32(anatomy.apex + 0.085) + np.float32(0.24) * lateral - np.float32(0.22) * squared
    reach = smooth(lateral - np.float32(0.040), 0.03) * smooth(np.float32(0.36) - lateral, 0.10)
    bones += np.float32(0.11) * smooth(np.float32(0.013) - np.abs(collar), 0.010) * reach
    blade = lateral - np.float32(0.90 * anatomy.half_width) - np.float32(0.30) * (v - np.float32(0.3))
    height = smooth(np.float32(0.15) - np.abs(v - np.float32(anatomy.apex + 0.22)), 0.12)
    bones += np.float32(0.06) * smooth(blade, 0.012) * smooth(np.float32(0.10) - blade, 0.08) * height
    return np.asarray(bones)


def _ribs(anatomy: Anatomy, v: Column, lateral: Row, outer: Column) -> Field:
    """Ribs from spine to chest wall behind, and fainter from the wall down to the front."""
    cage = smooth(outer + np.float32(0.012) - lateral, 0.02)
    cage *= smooth(np.float32(anatomy.dome_left + anatomy.dome_height) - v, 0.16)
    spacing, phase = np.float32(1 / anatomy.rib_spacing), np.float32(anatomy.rib_phase)
    squared = lateral * lateral
    droop = np.float32(0.15) * lateral - np.float32(anatomy.rib_droop) * squared
    behind = (v + droop) * spacing + phase
    front = (v + np.float32(0.75) * lateral - np.float32(0.6) * squared) * spacing + phase
    return np.asarray(
        cage
        * (
            _stripes(behind, 0.085) * smooth(lateral - np.float32(0.035), 0.03)
            + _stripes(front, 0.040) * smooth(lateral - np.float32(0.15), 0.10)
        )
    )


def _stripes(phase: Field, strength: float) -> Field:
    """Ribs as a periodic band with a brighter edge: cortical bone."""
    away = np.abs(phase - np.floor(phase) - np.float32(0.5))
    core = np.clip((np.float32(0.22) - away) * 9, 0, 1)
    edge = np.clip(np.float32(1) - np.abs(away - np.float32(0.17)) * 14, 0, 1)
    return np.asarray((core * np.float32(0.7) + edge * np.float32(0.4)) * np.float32(strength))


def _breasts(anatomy: Anatomy, v: Column, lateral: Row) -> Field:
    across = (lateral - np.float32(0.21)) * np.float32(1 / 0.17)
    down = (v - np.float32(0.62)) * np.float32(1 / 0.17)
    return np.float32(anatomy.breast) * smooth(1 - across * across - down * down, 0.5)


def _vessel_tree(anatomy: Anatomy, grain: UInt8[np.ndarray, " n"], size: int) -> Field:
    """Draw the branching vessels that leave the two hila, in [0, 1]."""
    image, unit = Image.new("L", (size, size)), size / 256
    pen = ImageDraw.Draw(image)
    for ends, width, gray in _vessel_pieces(anatomy, grain):
        pen.line([256 * unit * end for end in ends], fill=gray, width=max(1, round(width * unit)))
    blurred = image.filter(ImageFilter.BoxBlur(0.8 * unit))
    return np.asarray(blurred, dtype=np.float32) * np.float32(1 / 255)


def _vessel_pieces(
    anatomy: Anatomy, grain: UInt8[np.ndarray, " n"]
) -> Iterator[tuple[tuple[float, float, float, float], float, int]]:
    """Yield straight pieces of vessels: their ends, their width in an image of 256 pixels, and their gray."""
    chance = iter((grain / 256.0).tolist())
    hilum = anatomy.apex + 0.47 * (anatomy.dome_right - anatomy.apex)
    for side in (-1.0, 1.0):
        for branch in range(_BRANCHES):
            angle = -1.45 + 2.95 * (branch + next(chance)) / _BRANCHES
            x = anatomy.midline + side * (0.07 + 0.025 * next(chance))
            y = hilum + 0.06 * (next(chance) - 0.5) + 0.015 * side
            turn, length = 0.3 * (next(chance) - 0.5), 0.035 + 0.02 * next(chance)
            for part in range(6):
                angle += turn
                ends = (x, y, x + side * length * math.cos(angle), y + length * math.sin(angle))
                yield ends, 2.6 - 0.4 * part, 190 - 26 * part
                x, y = ends[2:]
                if part in (1, 3):
                    fork = angle + (0.55 if branch % 2 else -0.55)
                    twig = (x, y, x + side * 1.6 * length * math.cos(fork), y + 1.6 * length * math.sin(fork))
                    yield twig, 1.2, 110 - 15 * part
