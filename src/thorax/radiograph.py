"""What is refused from an image's header alone, before a pixel is decoded."""

from dataclasses import dataclass
from enum import StrEnum

from thorax.arrays import GrayPixels
from thorax.errors import ImageError

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Origin", "Radiograph", "Sex", "ViewPosition", "check_size"]

MIN_SIDE = 64
"""Fewest rows or columns that can be a radiograph; the tiny ones are icons and test images."""

MAX_PIXELS = 100_000_000
"""Most pixels that are decoded. The largest detectors in use make about 20 megapixels."""


class ViewPosition(StrEnum):
    """How the X-rays went through the chest (DICOM View Position, 0018,5101)."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LL"
    UNKNOWN = ""


class Sex(StrEnum):
    """Patient's sex (DICOM 0010,0040)."""

    MALE = "M"
    FEMALE = "F"
    OTHER = "O"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a radiograph came from and how its grey values were made.

    Attributes:
        name: File name, or what the caller called the bytes. No folder: paths may name patients.
        format: "PNG", "JPEG" or "DICOM".
        intensity: How stored values became grey values, for example "8-bit as stored",
            "VOI window 1 (linear)" or "range of the image without padding".
        bits: Bits that a stored value used.
    """

    name: str
    format: str
    intensity: str
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph:
    """One grey image; larger is brighter (bone is bright), black is 0.

    Attributes:
        pixels: Grey values over the full range of their type; 8-bit sources stay uint8, deeper
            ones are uint16.
        origin: Where it came from.
        view: View position, `UNKNOWN` where the file does not say.
        laterality: "L", "R", "B" or "" (DICOM Image Laterality), "U" for unpaired.
        spacing_mm: Distance of pixel centres (between rows, between columns) in millimetres at the
            detector or, where the file is calibrated, in the patient; None where not said.
        age_years: Patient's age in whole years.
        sex: Patient's sex.
    """

    pixels: GrayPixels
    origin: Origin
    view: ViewPosition = ViewPosition.UNKNOWN
    laterality: str = ""
    spacing_mm: tuple[float, float] | None = None
    age_years: int | None = None
    sex: Sex = Sex.UNKNOWN

    def __post_init__(self) -> None:
        """Refuse what cannot be a radiograph."""
        height, width = self.pixels.shape
        if min(height, width) < MIN_SIDE:
            raise ImageError(
                f"{self.origin.name}: {width} x {height} pixels are too few for a radiograph "
                f"({MIN_SIDE} a side are needed); give the full image, not a thumbnail"
            )


def check_size(*, height: int, width: int, name: str) -> None:
    """Refuse an image without pixels, or with so many that decoding it could exhaust the memory."""
    if height < 1 or width < 1:
        raise ImageError(
            f"{name}: the header says {width} x {height} pixels, so there is no image; "
            "export the file again from its source"
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels are {height * width / 1e6:.0f} megapixels, more than the "
            f"{MAX_PIXELS / 1e6:.0f} that are decoded; shrink the image first"
        )
