"""The radiograph as a value, its metadata, and the size limits of an image."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from thorax.arrays import GrayPixels
from thorax.errors import ImageError

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Origin", "Radiograph", "Sex", "ViewPosition", "check_size"]

MIN_SIDE = 64
"""Least number of rows and columns of a radiograph; smaller images are icons and test images."""

MAX_PIXELS = 100_000_000
"""Largest number of pixels that is decoded. The largest detectors in use have about 20 megapixels."""


class ViewPosition(StrEnum):
    """Direction of the X-rays through the chest (DICOM View Position, 0018,5101)."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LL"
    UNKNOWN = ""


class Sex(StrEnum):
    """The patient's sex (DICOM 0010,0040)."""

    MALE = "M"
    FEMALE = "F"
    OTHER = "O"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a radiograph came from and how its gray values were computed.

    Attributes:
        name: File name, or the caller's name for the bytes, without folders, since paths may name patients.
        format: "PNG", "JPEG" or "DICOM".
        intensity: How stored values became gray values, for example "8-bit as stored",
            "VOI window 1 (linear)" or "range of the image without padding".
        bits: Bits of a stored value.
        doubts: What may be wrong with the picture and what was assumed, sentences without their periods;
            empty for most images.
    """

    name: str
    format: str
    intensity: str
    bits: int
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph:
    """One gray image; larger is brighter (bone is bright), black is 0.

    Attributes:
        pixels: Gray values over the full range of their type; 8-bit sources stay uint8, deeper ones are
            uint16.
        origin: Where it came from.
        view: View position; `UNKNOWN` if the file does not state it.
        laterality: "L", "R", "B" or "" (DICOM Image Laterality), "U" for unpaired.
        spacing_mm: Distance of pixel centers (between rows, between columns) in millimeters at the
            detector or, if the file is calibrated, in the patient; None if not stated.
        age_years: The patient's age in whole years.
        sex: The patient's sex.
        colored: Share of the pixels that were colored before the image became gray, in [0, 1].
        other_part: Another part of the body that a DICOM description names, such as "ABDOMEN"; "" if none
            does, or if one also names the chest.
        stated_chest: Whether the header's Body Part Examined is the chest.
    """

    pixels: GrayPixels
    origin: Origin
    view: ViewPosition = ViewPosition.UNKNOWN
    laterality: str = ""
    spacing_mm: tuple[float, float] | None = None
    age_years: int | None = None
    sex: Sex = Sex.UNKNOWN
    colored: float = 0.0
    other_part: str = ""
    stated_chest: bool = False

    def __post_init__(self) -> None:
        """Refuse an image that is too small."""
        height, width = self.pixels.shape
        if min(height, width) < MIN_SIDE:
            raise ImageError(
                f"{self.origin.name}: {width} x {height} pixels are too few for a radiograph "
                f"(at least {MIN_SIDE} per side are needed); give the full image, not a thumbnail"
            )

    def pixels_sha256(self) -> str:
        """Return the SHA-256 of size, type and gray values: equal for the same image in any lossless file."""
        height, width = self.pixels.shape
        content = hashlib.sha256(f"{height} {width} {self.pixels.dtype}\n".encode())
        content.update(self.pixels.tobytes())
        return content.hexdigest()


def check_size(*, height: int, width: int, name: str) -> None:
    """Refuse an image without pixels, or with so many that decoding it could exhaust memory."""
    if height < 1 or width < 1:
        raise ImageError(
            f"{name}: the header says {width} x {height} pixels, so there is no image; "
            "export the file again from its source"
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels are {height * width / 1e6:.0f} megapixels, more than the "
            f"{MAX_PIXELS / 1e6:.0f} that are allowed; shrink the image first"
        )
