"""The header inside compressed pixel data: its size and precision, before anything is decoded.

A DICOM header that lies would otherwise be found out only after a decoder has taken the memory for what
the compressed image says. And GDCM, the only decoder of JPEG lossless, ends the process on marker
segments that do not hang together or samples wider than its buffer: nothing such may reach it.
"""

import struct
from dataclasses import dataclass

__all__ = ["Codestream", "read_codestream"]

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"

_MARKER = 0xFF
_START_OF_SCAN = 0xDA
# What may stand before the scan: frames and tables, DQT, DRI, APPn, and JPEG-LS's LSE and COM.
_SEGMENTS = set(range(0xC0, 0xD0)) | {0xDB, 0xDD, *range(0xE0, 0xF0), 0xF7, 0xF8, 0xFE}
_FRAME_BYTES = 9  # marker, length, precision, height and width; one for the samples follows
_SIZ_BYTES = 43  # start of codestream, and SIZ up to the precision of its first component

# Start of frame: JPEG's C0 to CF without the tables C4, C8, CC, and JPEG-LS's F7 (ITU-T T.81, T.87).
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """What a compressed image says about itself: pixels, bits a sample, and samples a pixel."""

    height: int
    width: int
    precision: int
    samples: int


def read_codestream(frame: bytes) -> Codestream | None:
    """Return what a JPEG, JPEG-LS or JPEG 2000 image says about itself; None for any other data."""
    if frame.startswith(_JPEG_START):
        return _read_jpeg(frame)
    # JPEG 2000 in DICOM is a bare codestream; some writers leave the JP2 boxes before it.
    start = frame.find(_JPEG_2000_START)
    return _read_jpeg_2000(frame[start:]) if start >= 0 else None


def _read_jpeg(frame: bytes) -> Codestream | None:
    """Walk the marker segments up to the start of scan; None where they do not lead there."""
    found = None
    at = 2
    while at + _FRAME_BYTES < len(frame) and frame[at] == _MARKER:
        marker = frame[at + 1]
        if marker == _MARKER:  # repeated as filling
            at += 1
            continue
        if marker == _START_OF_SCAN:
            return found
        if marker not in _SEGMENTS or (marker in _FRAMES and found is not None):
            return None
        if marker in _FRAMES:
            precision, height, width, samples = struct.unpack_from(">BHHB", frame, at + 4)
            found = Codestream(height=height, width=width, precision=precision, samples=samples)
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _read_jpeg_2000(codestream: bytes) -> Codestream | None:
    """Read the SIZ segment, which always comes first (ITU-T T.800 A.5.1)."""
    if len(codestream) < _SIZ_BYTES:
        return None
    width, height, left, top = struct.unpack_from(">4I", codestream, 8)
    return Codestream(
        height=height - top,
        width=width - left,
        precision=(codestream[42] & 0x7F) + 1,
        samples=int.from_bytes(codestream[40:42], "big"),
    )
