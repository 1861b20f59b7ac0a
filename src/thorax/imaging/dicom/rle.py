"""RLE Lossless (PS3.5 annex G), in time that grows with the file and not with how it is cut into runs."""

import struct
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from thorax.errors import ImageError

__all__ = ["decode_rle"]

_HEADER = 64
_LITERAL, _NOTHING = 128, 128
"""A byte below 128 is followed by one byte more than it says; 128 is followed by nothing; above, by a byte
that is repeated 257 minus it times."""


def decode_rle(frame: bytes, *, pixels: int, segments: int, name: str) -> UInt8[np.ndarray, "segment pixel"]:
    """Decode the segments of an image: for each sample its bytes, the most significant first.

    Raises:
        ImageError: There are more or fewer segments than needed, or one has too few bytes.
    """
    count, *offsets = struct.unpack_from("<16I", frame) if len(frame) >= _HEADER else (0,)
    if count != segments:
        raise ImageError(
            f"{name}: the RLE image has {count} segments, where its header needs {segments}: the file is "
            "damaged or truncated, so send the image again"
        )
    bounds = [*offsets[:count], len(frame)]
    rows = [_unpacked(frame[begin:end], pixels) for begin, end in pairwise(bounds)]
    short = next((len(row) for row in rows if len(row) < pixels), pixels)
    if short < pixels:
        raise ImageError(
            f"{name}: a segment of the RLE image has {short} of {pixels} bytes: the file is truncated or "
            "damaged, so send the image again"
        )
    return np.stack(rows)


def _unpacked(segment: bytes, length: int) -> UInt8[np.ndarray, " byte"]:
    """Return the first bytes of a segment, fewer if it holds fewer."""
    unpacked = bytearray()
    at, end = 0, len(segment)
    while len(unpacked) < length and at < end:
        control = segment[at]
        if control < _LITERAL:
            unpacked += segment[at + 1 : at + control + 2]
            at += control + 2
        elif control > _NOTHING:
            unpacked += segment[at + 1 : at + 2] * (257 - control)
            at += 2
        else:
            at += 1
    return np.frombuffer(unpacked, np.uint8)[:length]
