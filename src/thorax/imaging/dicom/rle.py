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
    heads = _heads(segment, length)
    data = np.frombuffer(segment, np.uint8)
    control = data[heads].astype(np.int32)
    counts = np.where(control < _LITERAL, control + 1, 257 - control)
    # The last run may be cut off by the end of the segment.
    source = np.repeat(heads + 1, counts)
    within = np.arange(len(source), dtype=np.int32) - np.repeat(
        (np.cumsum(counts) - counts).astype(np.int32), counts
    )
    source += np.where(np.repeat(control < _LITERAL, counts), within, 0)
    source = source[:length]
    unpacked: UInt8[np.ndarray, " byte"] = data[source[source < len(data)]]
    return unpacked


def _heads(segment: bytes, length: int) -> np.ndarray:
    """Return where the runs begin that hold the first `length` bytes."""
    heads: list[int] = []
    at, held, end = 0, 0, len(segment)
    while held < length and at < end:
        control = segment[at]
        if control < _LITERAL:
            heads.append(at)
            held += control + 1
            at += control + 2
        elif control > _NOTHING:
            heads.append(at)
            held += 257 - control
            at += 2
        else:
            at += 1
    return np.array(heads, np.int32)
