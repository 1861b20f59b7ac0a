"""Which way up a picture was stored, as EXIF or XMP in its file says. Damaged metadata say nothing."""

import re
import struct
from typing import Final

from PIL.Image import Image, Transpose

__all__ = ["exif_orientation", "turned", "xmp_orientation"]

_EXIF: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_ENTRY: Final = 12
_SHORT, _LONG = 3, 4
_XMP_PACKET: Final = 1 << 20
"""Most bytes of XMP that are searched."""

# EXIF 2.32, tag 274: the transformation that makes each stored orientation upright; 1 is upright.
_UPRIGHT: Final = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def turned(image: Image, orientation: int) -> Image:
    """Return a picture turned upright; of an orientation that EXIF does not define, as it is."""
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def exif_orientation(exif: bytes) -> int:
    """Return the orientation that EXIF data state, 1 to 8; 0 if they do not, or are damaged."""
    tiff = exif.rpartition(_EXIF)[2] if exif.startswith(_EXIF) else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(count):
            at = directory + 2 + _ENTRY * entry
            tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if tag == _ORIENTATION and kind in {_SHORT, _LONG}:
                (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", tiff, at + 8)
                return value if value in {1, *_UPRIGHT} else 0
    except struct.error:
        return 0
    return 0


def xmp_orientation(xmp: bytes) -> int:
    """Return the orientation that an XMP packet states, 1 to 8; 0 if it does not."""
    match = re.search(rb'tiff:Orientation(?:="|>)([1-8])["<]', xmp[:_XMP_PACKET])
    return int(match[1]) if match else 0
