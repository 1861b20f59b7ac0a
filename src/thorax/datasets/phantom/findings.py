"""Planting findings in a phantom's chest: each where it occurs, as a change of attenuation with its box.

Cardiomegaly and Emphysema are in the anatomy itself (the width of the heart, the air in the lungs and
the height of the diaphragm); they only get their boxes here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from thorax.datasets.phantom.anatomy import FIELD_MM, Field, band, smooth
from thorax.datasets.phantom.chest import Chest
from thorax.errors import DataError
from thorax.findings import NIH14, Finding

__all__ = ["BOX_SIDE", "NUM_SITE_DRAWS", "PlantedFinding", "plant"]

BOX_SIDE: Final = 1024
"""NIH's boxes are in pixels of an image of this side, whatever the size of the file."""

NUM_SITE_DRAWS: Final = 10
"""Uniform draws that place one finding."""

_VISIBLE: Final = 0.008
"""Changes of attenuation below this (about two gray levels of 255) are outside the box."""

Draws = Float64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True)
class PlantedFinding:
    """One occurrence of one finding.

    Attributes:
        finding: The finding.
        change: What it adds to the attenuation of the healthy chest; None where the anatomy shows it.
        box: Left, top, width and height in pixels of a 1024 x 1024 image.
    """

    finding: Finding
    change: Field | None
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Site:
    """One side of the chest with the draws that place a finding there."""

    chest: Chest
    right: bool
    draws: Draws
    severity: float

    @property
    def half(self) -> Field:
        """The lung of this side."""
        return np.asarray(self.chest.lung * (self.chest.on_right == self.right))

    @property
    def opaque(self) -> Field:
        """Where a density of this side shows: in the lung, and half as well through the heart."""
        dense = self.chest.lung + np.float32(0.5) * self.chest.heart
        return np.asarray(dense * (self.chest.on_right == self.right))

    @property
    def dome(self) -> float:
        """V of the top of this side's diaphragm."""
        return self.chest.anatomy.dome_right if self.right else self.chest.anatomy.dome_left

    def height(self, share: float) -> float:
        """V at a share of the way from apex (0) to dome (1)."""
        return self.chest.anatomy.apex + share * (self.dome - self.chest.anatomy.apex)

    def disc(self, *, lateral: float, v: float, radii: tuple[float, float]) -> Field:
        """1 at the center of an ellipse, 0 on its border, negative outside."""
        across = (self.chest.lateral - np.float32(lateral)) * np.float32(1 / radii[0])
        down = (self.chest.v - np.float32(v)) * np.float32(1 / radii[1])
        return np.asarray(1 - across * across - down * down)


def plant(finding: Finding, chest: Chest, *, site: Draws, severity: float) -> list[PlantedFinding]:
    """Place one finding of NIH14 in a chest, at one or more places.

    Args:
        finding: What to plant.
        chest: Where; it stays as it is.
        site: `NUM_SITE_DRAWS` uniform draws: side, position, shape.
        severity: In [0, 1): faint and small to dense and large.

    Raises:
        DataError: Phantoms cannot show this finding.
    """
    masks = {"Cardiomegaly": chest.heart, "Emphysema": chest.lung}
    if finding.name in masks:
        mask = masks[finding.name] > np.float32(0.02)
        if finding.name == "Cardiomegaly":
            mask &= chest.v > np.float32(chest.anatomy.heart_base)
        return [PlantedFinding(finding, None, _extent(mask))]
    if finding.name not in _PLANTERS:
        known = ", ".join(each.name for each in NIH14)
        raise DataError(f"phantoms cannot show {finding.name!r} in a chest; choose one of {known}")
    both, draw = _PLANTERS[finding.name]
    sides = (True, False) if site[1] < both else (round(float(site[0])) == 0,)
    changes = [draw(_Site(chest, right, site[2:], severity)) for right in sides]
    return [PlantedFinding(finding, change, _extent(np.abs(change) > _VISIBLE)) for change in changes]


def _extent(mask: Bool[np.ndarray, "s s"]) -> tuple[float, float, float, float]:
    """Smallest box around the pixels of a mask, in pixels of a 1024 x 1024 image."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    assert columns.size, "a finding must show"
    scale = BOX_SIDE / mask.shape[0]
    left, top = float(columns[0]) * scale, float(rows[0]) * scale
    return (left, top, (float(columns[-1]) + 1) * scale - left, (float(rows[-1]) + 1) * scale - top)


def _effusion(site: _Site) -> Field:
    """Fluid in the costophrenic angle; its surface climbs at the chest wall (meniscus)."""
    chest = site.chest
    depth = 0.05 + 0.13 * site.severity
    reach = chest.lateral * np.float32(1 / chest.anatomy.half_width)
    climb = reach * reach
    surface = np.float32(site.dome + 0.03 - 0.4 * depth) - np.float32(depth) * climb * climb
    return np.asarray(site.half * smooth(chest.v - surface, 0.03) * np.float32(0.9 * chest.anatomy.lucency))


def _pneumothorax(site: _Site) -> Field:
    """Air between lung and chest wall, widest at the apex: no vessels, and a thin pleural line."""
    chest = site.chest
    gap = 0.07 + 0.09 * site.severity
    low = site.height(0.65 + 0.3 * site.draws[0])
    along = np.clip((np.float32(low) - chest.v) * np.float32(1 / (low - chest.anatomy.apex)), 0, 1)
    inside = chest.lateral - chest.outer + np.float32(gap) * along
    half = site.half * (along > 0)
    line = band(inside, 0.010) * np.float32(0.16)
    air = smooth(inside, 0.012) * (chest.vessels + np.float32(0.10))
    return np.asarray(half * smooth(along, 0.1) * (line - air))


def _round(site: _Site, radius: float, strength: float) -> Field:
    chest = site.chest
    v = site.height(0.18 + 0.68 * site.draws[0])
    row = min(int(v * chest.v.size), chest.v.size - 1)
    outer = float(chest.outer[row, 0])
    low, high = 0.09 + radius, outer - 0.8 * radius
    lateral = low + (high - low) * site.draws[1]
    stretch = 0.9 + 0.2 * site.draws[2]
    disc = site.disc(lateral=lateral, v=v, radii=(radius * stretch, radius / stretch))
    ragged = smooth(disc + np.float32(0.25) * site.chest.texture - np.float32(0.2), 0.5)
    return np.asarray(site.opaque * ragged * np.float32(strength))


def _nodule(site: _Site) -> Field:
    """Round, 11 to 28 mm across: masses begin at 30 mm."""
    return _round(site, (5.5 + 6.0 * site.severity) / FIELD_MM, 0.26 + 0.10 * site.draws[3])


def _mass(site: _Site) -> Field:
    """Round or lobulated, more than 30 mm across."""
    return _round(site, (19.0 + 17.0 * site.severity) / FIELD_MM, 0.30 + 0.08 * site.draws[3])


def _patch(site: _Site, *, v: float, radii: tuple[float, float], ragged: float) -> Field:
    """A patch with a ragged border beside the heart, in [0, 1]."""
    lateral = site.chest.anatomy.half_width * (0.52 + 0.22 * site.draws[1])
    disc = site.disc(lateral=lateral, v=v, radii=radii)
    return smooth(disc + np.float32(ragged) * site.chest.texture - np.float32(0.35), 1.1)


def _consolidation(site: _Site) -> Field:
    """Airless lung: dense, ragged, with its bronchi as dark branches (air bronchogram)."""
    size = 0.09 + 0.05 * site.severity
    v = site.height(0.3 + 0.55 * site.draws[0])
    patch = _patch(site, v=v, radii=(size * (0.9 + 0.5 * site.draws[2]), size), ragged=1.0)
    strength = np.float32(0.24 + 0.10 * site.draws[3])
    return np.asarray(site.opaque * patch * (strength - np.float32(1.2) * site.chest.vessels))


def _pneumonia(site: _Site) -> Field:
    """A lobe's consolidation, cut off straight by a fissure at its upper border."""
    size = 0.11 + 0.05 * site.severity
    v = site.height(0.62 + 0.15 * site.draws[0])
    patch = _patch(site, v=v, radii=(size * 1.3, size), ragged=0.6)
    tilt = np.float32(0.25 * (site.draws[2] - 0.5)) * site.chest.lateral
    fissure = smooth(site.chest.v - np.float32(v - 0.3 * size) + tilt, 0.01)
    return np.asarray(site.opaque * patch * fissure * np.float32(0.20 + 0.08 * site.draws[3]))


def _infiltration(site: _Site) -> Field:
    """Faint, patchy and without a border."""
    v = site.height(0.35 + 0.5 * site.draws[0])
    patch = _patch(site, v=v, radii=(0.15 + 0.04 * site.severity, 0.16 + 0.05 * site.draws[2]), ragged=0.8)
    mottled = np.float32(0.8) + np.float32(0.8) * site.chest.texture
    return np.asarray(site.half * patch * mottled * np.float32(0.13 + 0.09 * site.severity))


def _atelectasis(site: _Site) -> Field:
    """Plates of collapsed lung above the diaphragm: thin bands, nearly level."""
    chest = site.chest
    total = np.zeros_like(chest.lung)
    slope = np.float32(0.5 * (site.draws[0] - 0.3))
    middle = (0.15 if site.right else 0.20) + 0.09 * site.draws[1]
    span = smooth(np.float32(0.07 + 0.05 * site.severity) - np.abs(chest.lateral - np.float32(middle)), 0.04)
    for plate in range(2 + int(2 * site.draws[2])):
        v = site.dome - 0.035 - 0.042 * plate
        away = chest.v - np.float32(v) + slope * (chest.lateral - np.float32(middle))
        total += band(away, 0.011 + 0.006 * site.draws[3])
    return np.asarray(site.opaque * total * span * np.float32(0.22 + 0.08 * site.severity))


def _edema(site: _Site) -> Field:
    """Fluid around the hila on both sides: a bat's wings that spare the periphery."""
    disc = site.disc(lateral=0.15, v=site.height(0.5), radii=(0.16, 0.23))
    wing = smooth(disc - np.float32(0.35), 1.0) * (np.float32(1) + np.float32(0.7) * site.chest.texture)
    return np.asarray(site.half * wing * np.float32(0.15 + 0.12 * site.severity))


def _fibrosis(site: _Site) -> Field:
    """A net of fine lines in the lower outer lung."""
    net = band(site.chest.texture, 0.12) * np.float32(0.6) + np.abs(site.chest.fine)
    low = smooth(site.chest.v - np.float32(site.height(0.55 - 0.15 * site.severity)), 0.12)
    out = smooth(site.chest.lateral - np.float32(0.10), 0.08)
    return np.asarray(site.half * net * low * out * np.float32(0.17 + 0.08 * site.draws[0]))


def _pleural_thickening(site: _Site) -> Field:
    """A dense band along the inside of the lateral chest wall."""
    chest = site.chest
    thickness = np.float32(0.018 + 0.022 * site.severity)
    middle, reach = site.height(0.35 + 0.4 * site.draws[0]), 0.10 + 0.08 * site.draws[1]
    span = smooth(np.float32(reach) - np.abs(chest.v - np.float32(middle)), 0.06)
    return np.asarray(
        site.half * smooth(chest.lateral - chest.outer + thickness * span, 0.010) * span * np.float32(0.34)
    )


def _hernia(site: _Site) -> Field:
    """The stomach behind the heart: a round wall, air above a level, fluid below it."""
    chest = site.chest
    radius = 0.055 + 0.03 * site.severity
    v = chest.anatomy.dome_left - 0.35 * radius - 0.01
    u = np.float32(chest.anatomy.midline + 0.03 + 0.035 * site.draws[0])
    across, down = (chest.u - u) * np.float32(1 / radius), (chest.v - np.float32(v)) * np.float32(1 / radius)
    disc = 1 - across * across - down * down
    level = np.float32(0.25) - down
    air = smooth(disc, 0.25) * smooth(level, 0.12) * np.float32(-0.28)
    wall = band(disc, 0.40) * np.float32(0.09)
    fluid = smooth(disc, 0.25) * smooth(-level, 0.12) * np.float32(0.10)
    return np.asarray(air + wall + fluid)


_PLANTERS: Final[dict[str, tuple[float, Callable[[_Site], Field]]]] = {
    "Atelectasis": (0.25, _atelectasis),
    "Effusion": (0.35, _effusion),
    "Infiltration": (0.35, _infiltration),
    "Mass": (0.0, _mass),
    "Nodule": (0.15, _nodule),
    "Pneumonia": (0.1, _pneumonia),
    "Pneumothorax": (0.0, _pneumothorax),
    "Consolidation": (0.2, _consolidation),
    "Edema": (1.0, _edema),
    "Fibrosis": (1.0, _fibrosis),
    "Pleural_Thickening": (0.2, _pleural_thickening),
    "Hernia": (0.0, _hernia),
}
"""Per finding: the chance that both sides have it, and what draws one side."""
