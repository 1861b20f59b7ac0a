"""A phantom's measures, and the soft edges and smooth noise that it is drawn with."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from thorax.findings import Findings
from thorax.radiograph import Sex, ViewPosition
from thorax.randomness import integer_seed

__all__ = [
    "FIELD_MM",
    "Anatomy",
    "Column",
    "Field",
    "Row",
    "band",
    "cloud",
    "draw_anatomy",
    "smooth",
    "speckle",
]

Field = Float32[np.ndarray, "s s"]
"""One value per pixel."""

Row = Float32[np.ndarray, "1 s"]
"""One value per column of pixels."""

Column = Float32[np.ndarray, "s 1"]
"""One value per row of pixels."""


def smooth(inside: Field | Row | Column, width: float) -> Float32[np.ndarray, "h w"]:
    """Return 0 below -width / 2, 1 above width / 2, and a smooth step between."""
    step = inside * np.float32(1 / width)
    step += np.float32(0.5)
    return _eased(step)


def band(distance: Field | Row | Column, half_width: float) -> Float32[np.ndarray, "h w"]:
    """Return 1 where `distance` is 0, falling to 0 at `half_width` on both sides."""
    falling = np.abs(distance)
    falling *= np.float32(-1 / half_width)
    falling += np.float32(1)
    return _eased(falling)


def _eased(step: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Cut to [0, 1] and ease: 3 s**2 - 2 s**3. In place, as fresh memory costs more than arithmetic."""
    np.clip(step, 0, 1, out=step)
    slope = step * np.float32(-2)
    slope += np.float32(3)
    step *= step
    step *= slope
    return step


def speckle(seed: int, stream: str, *, step: int, count: int) -> UInt8[np.ndarray, " count"]:
    """Return `count` random bytes, a pure function of the other arguments (Philox's raw words)."""
    words = np.random.Philox(key=integer_seed(seed, stream, step=step)).random_raw(-(-count // 8))
    return np.asarray(words, dtype="<u8").view(np.uint8)[:count]


def cloud(grain: UInt8[np.ndarray, " n"], size: int) -> Field:
    """Return smooth noise in [-0.5, 0.5] from a square number of random bytes, one per cell."""
    side = math.isqrt(len(grain))
    image = Image.fromarray(grain.reshape(side, side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255) - np.float32(0.5)


FIELD_MM: Final = 360.0
"""Side of the square that an image shows, in millimetres in the patient."""

Draws = Float64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """The measures of one chest in one image, as shares of the image's side.

    Attributes:
        midline: u of the spine.
        apex: v of the top of the lungs.
        dome_right: v of the top of the right diaphragm dome.
        dome_left: v of the left one, lower by nature.
        dome_height: How far the outer end of a dome lies below its top.
        half_width: Half of the widest inner width of the chest.
        heart_right: Distance of the right heart border from the midline.
        heart_left: Distance of the left heart border from the midline.
        soft_tissue: Thickness of the chest wall at the side.
        breast: Attenuation that the breasts add.
        build: How much the body attenuates; 1 is average.
        rib_spacing: Distance of neighbouring ribs.
        rib_phase: Position of the ribs within their spacing, in [0, 1).
        rib_droop: How steeply they fall towards the chest wall.
        lucency: How much attenuation the lungs' air takes away.
        markings: Strength of the vessels; 1 is average.
    """

    midline: float
    apex: float
    dome_right: float
    dome_left: float
    dome_height: float
    half_width: float
    heart_right: float
    heart_left: float
    soft_tissue: float
    breast: float
    build: float
    rib_spacing: float
    rib_phase: float
    rib_droop: float
    lucency: float
    markings: float

    @property
    def heart_base(self) -> float:
        """V where the heart begins below the great vessels."""
        return self.apex + 0.4 * (self.heart_bottom - self.apex)

    @property
    def heart_bottom(self) -> float:
        """V where the heart ends on the diaphragm."""
        return self.dome_right + 0.03

    @property
    def cardiothoracic_ratio(self) -> float:
        """Widest heart over widest inner chest; above 0.5 is cardiomegaly."""
        return (self.heart_right + self.heart_left) / (2 * self.half_width)


def draw_anatomy(person: Draws, moment: Draws, sex: Sex, view: ViewPosition, findings: Findings) -> Anatomy:
    """Choose the measures of one image.

    Args:
        person: 12 uniform draws that all images of a patient share.
        moment: 8 uniform draws of this image: breath, position, severity.
        sex: Patient's sex.
        view: AP images are taken with less breath, and enlarge the heart.
        findings: Cardiomegaly and Emphysema change the measures; the others leave them alone.
    """
    names = {finding.name for finding in findings}
    supine = view is ViewPosition.AP
    breath = 0.035 * (moment[0] - 0.5) - (0.025 if supine else 0.0)
    half_width = 0.355 + 0.045 * person[0] + (0.012 if sex is Sex.MALE else 0.0)
    ratio = min(0.49, (0.38 + 0.06 * person[1] + 0.02 * moment[1]) * (1.07 if supine else 1.0))
    if "Cardiomegaly" in names:
        ratio = 0.55 + 0.09 * person[2] + 0.04 * moment[1]
    emphysema = "Emphysema" in names
    # Flattened: the domes come down, while the angle at the chest wall stays where it is.
    sunk = (0.035 + 0.03 * person[2]) if emphysema else 0.0
    heart = 2 * half_width * ratio
    right_share = 0.30 + 0.06 * person[3]
    dome = 0.70 + 0.05 * (person[4] - 0.5) + breath + sunk
    return Anatomy(
        midline=0.5 + 0.03 * (moment[2] - 0.5),
        apex=0.09 + 0.05 * person[5] + 0.02 * (moment[3] - 0.5),
        dome_right=dome,
        dome_left=dome + 0.012 + 0.02 * person[6],
        dome_height=0.10 + 0.05 * person[7] - sunk,
        half_width=half_width,
        heart_right=heart * right_share,
        heart_left=heart * (1.0 - right_share),
        soft_tissue=0.035 + 0.09 * person[8],
        breast=(0.05 + 0.09 * person[9]) if sex is Sex.FEMALE else 0.02 * person[9],
        build=0.9 + 0.2 * person[8],
        rib_spacing=0.070 + 0.014 * person[10],
        rib_phase=float(person[11]),
        rib_droop=1.1 + 0.7 * person[5],
        lucency=(0.46 + 0.06 * moment[4]) - (0.03 if supine else 0.0) + (0.09 if emphysema else 0.0),
        markings=0.75 + 0.5 * moment[5],
    )
