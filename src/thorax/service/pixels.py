"""The pixels of an upload as its file stores them, for the page's viewer."""

import json
import sys
import zlib
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

from thorax.arrays import GrayPixels
from thorax.imaging.guarded import read_stored_guarded
from thorax.imaging.stored import StoredImage
from thorax.radiograph import MAX_PIXELS
from thorax.service.refusals import UPLOAD, refuse_many_pixels

__all__ = ["pixels_of_upload"]

_UINT16_PER_UINT8: Final = 257
_GZIP: Final = 16 + zlib.MAX_WBITS


def pixels_of_upload(content: bytes, *, packed: bool, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the stored values of an image, and the gray that each becomes for the model.

    The answer is a line of JSON, ending in a newline; one byte for each possible value, its gray; and the
    values row by row, in one byte each or in two, the low one first. Packed, each value is its difference
    from its left neighbor (modulo 256 or 65,536), the low bytes of all differences come before the high ones,
    and all of the answer is compressed with gzip.

    Args:
        content: The bytes of a PNG, JPEG or DICOM file.
        packed: Whether to make the answer small, for networks.
        max_pixels: The most pixels of an image that is answered.

    Raises:
        ImageError: It cannot be read as a radiograph.
        Refused: It has more pixels.
    """
    image = read_stored_guarded(content, name=UPLOAD)
    refuse_many_pixels(image.values.size, most=max_pixels)
    said = json.dumps(_described(image) | {"coding": "delta" if packed else "raw"}).encode()
    parts = (said, b"\n", _eight_bit(image.table).tobytes())
    if not packed:
        return b"".join((*parts, _little(image.values).tobytes()))
    packer = zlib.compressobj(1, wbits=_GZIP)
    return b"".join(map(packer.compress, (*parts, *_differences(image.values)))) + packer.flush()


def _described(image: StoredImage) -> dict[str, Any]:
    rows, columns = image.values.shape
    return {
        "rows": rows,
        "columns": columns,
        "bytes": image.values.itemsize,
        "grays": len(image.table),
        "slope": image.slope,
        "intercept": image.intercept,
        "window": None if image.window is None else asdict(image.window),
        "inverted": image.inverted,
        "padding": image.padding,
        "view": image.view,
        "laterality": image.laterality,
        "orientation": image.orientation,
        "format": image.origin.format,
        "bits": image.origin.bits,
        "intensity": image.origin.intensity,
    }


def _eight_bit(table: np.ndarray) -> UInt8[np.ndarray, " value"]:
    """Return grays as screens show them."""
    if table.dtype == np.uint8:
        return table
    return np.round(table / _UINT16_PER_UINT8).astype(np.uint8)


def _little(values: GrayPixels) -> GrayPixels:
    """Return values whose low byte comes first."""
    return values if sys.byteorder == "little" else values.astype(values.dtype.newbyteorder("<"))


def _differences(values: GrayPixels) -> tuple[bytes, ...]:
    """Return the differences along rows, byte by byte: those of neighbors are small, so high bytes repeat."""
    steps = values.copy()
    steps[:, 1:] -= values[:, :-1]
    if steps.dtype == np.uint8:
        return (steps.tobytes(),)
    return ((steps & 0xFF).astype(np.uint8).tobytes(), (steps >> 8).astype(np.uint8).tobytes())
