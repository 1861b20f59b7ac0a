"""An image as its file stores it, for displays that change the window."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8, UInt16

from thorax.arrays import GrayPixels
from thorax.radiograph import Origin, Radiograph, ViewPosition

__all__ = ["GrayTable", "StoredImage", "Window", "stored_as_read"]

GrayTable = UInt8[np.ndarray, " value"] | UInt16[np.ndarray, " value"]
"""One gray per value, larger is brighter, over the full range of its type."""


@dataclass(frozen=True, slots=True)
class Window:
    """The range of values shown from black to white (VOI LUT function, DICOM PS3.3 C.11.2.1).

    Attributes:
        center: In the unit of the values.
        width: In the unit of the values; 0 if all of them are equal.
        function: How gray rises within the range.
    """

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredImage:
    """An image as its file stores it, and the gray that each value becomes.

    A value means `slope * value + intercept` in the unit that the file uses.

    Attributes:
        values: One value per pixel, (H, W) of uint8 or uint16; larger stored values are larger.
        table: The gray of each value; `table[values]` is what a model receives, larger is brighter.
        slope: Not 0.
        intercept: In the unit of the file.
        window: What the table shows from black to white; None if a lookup table of the file decides.
        inverted: Whether the table makes the smallest value white.
        padding: Smallest and largest value around the image itself, not part of it; None without padding.
        origin: Where the image came from and how the table was made.
        view: View position.
        laterality: As for `Radiograph`.
        orientation: The patient's direction along rows and columns, letters of DICOM Patient Orientation such
            as ("L", "F"); None if the file does not state it.
    """

    values: GrayPixels
    table: GrayTable
    slope: float = 1.0
    intercept: float = 0.0
    window: Window | None
    inverted: bool = False
    padding: tuple[int, int] | None = None
    origin: Origin
    view: ViewPosition = ViewPosition.UNKNOWN
    laterality: str = ""
    orientation: tuple[str, str] | None = None


def stored_as_read(radiograph: Radiograph) -> StoredImage:
    """Return a radiograph whose grays are shown as they were read: PNG, JPEG, and DICOM in color."""
    white = np.iinfo(radiograph.pixels.dtype).max
    return StoredImage(
        values=radiograph.pixels,
        table=np.arange(white + 1, dtype=radiograph.pixels.dtype),
        window=Window(white / 2, float(white), "LINEAR_EXACT"),
        origin=radiograph.origin,
        view=radiograph.view,
        laterality=radiograph.laterality,
    )
