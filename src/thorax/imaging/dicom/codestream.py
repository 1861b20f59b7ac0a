"""Compressed images in DICOM: what their own headers say, and what decoders would stumble over."""

import struct
from dataclasses import dataclass
from typing import Final

from thorax.imaging.jpeg_markers import (
    LOSSLESS,
    JpegHeader,
    Segment,
    joined,
    read_jpeg_header,
)

__all__ = ["Codestream", "bare", "is_sound", "read_codestream"]

_JPEG_START: Final = b"\xff\xd8"
_JPEG_2000_START: Final = b"\xff\x4f\xff\x51"
_SIZ_BYTES: Final = 43
"""Start of codestream, and SIZ up to the precision of the first component."""

_TABLES, _QUANTIZATION, _RESTART, _SCAN = 0xC4, 0xDB, 0xDD, 0xDA
_APPLICATION: Final = range(0xE0, 0xF0)
_COMMENT: Final = 0xFE
_JPEG_LS: Final = 0xF7
_CLASS: Final = 16
"""Added to the number of a table of coefficients; tables of differences have class 0."""

_MAX_TILES: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """The header of a compressed image.

    Attributes:
        height: Rows.
        width: Columns.
        precision: Bits per sample.
        samples: Samples per pixel.
        jpeg: The marker segments of a JPEG or JPEG-LS image; None for JPEG 2000.
    """

    height: int
    width: int
    precision: int
    samples: int
    jpeg: JpegHeader | None = None


def read_codestream(frame: bytes) -> Codestream | None:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 image; None for other data."""
    if frame.startswith(_JPEG_START):
        header = read_jpeg_header(frame)
        return (
            None
            if header is None
            else Codestream(
                height=header.height,
                width=header.width,
                precision=header.precision,
                samples=header.samples,
                jpeg=header,
            )
        )
    start = frame.find(_JPEG_2000_START)
    return _read_jpeg_2000(frame[start : start + _SIZ_BYTES]) if start >= 0 else None


def _read_jpeg_2000(codestream: bytes) -> Codestream | None:
    """Read the SIZ segment, which always comes first (ITU-T T.800 A.5.1); None if its tiles are absurd."""
    if len(codestream) < _SIZ_BYTES:
        return None
    width, height, left, top, across, down, tile_left, tile_top = struct.unpack_from(">8I", codestream, 8)
    if not across or not down or left >= width or top >= height:
        return None
    if -(-(width - tile_left) // across) * -(-(height - tile_top) // down) > _MAX_TILES:
        return None
    return Codestream(
        height=height - top,
        width=width - left,
        precision=(codestream[42] & 0x7F) + 1,
        samples=int.from_bytes(codestream[40:42], "big"),
    )


def bare(frame: bytes, codestream: Codestream) -> bytes:
    """Return the image alone.

    JPEG without application segments and comments: a JFIF or Adobe marker that they do not expect makes some
    decoders end the process, and DICOM's header says everything that they could. JPEG 2000 without the boxes
    that some writers leave in front of the codestream: a box of length 0 makes OpenJPEG's reader hang.
    """
    header = codestream.jpeg
    if header is None:
        return frame[frame.find(_JPEG_2000_START) :]
    if header.frame == _JPEG_LS:
        return frame
    kept = [part for part in header.segments if part.marker not in {*_APPLICATION, _COMMENT}]
    return joined(frame, header, kept=kept)


def is_sound(frame: bytes, header: JpegHeader) -> bool:
    """Return whether the tables and the scan header of a sequential or lossless JPEG image fit its frame.

    Decoders abort on some that do not.
    """
    tables: set[int] = set()
    quantized: set[int] = set()
    for segment in header.segments:
        body = frame[segment.begin + 4 : segment.end]
        match segment.marker:
            case marker if marker == _TABLES:
                read = _huffman_tables(body, most=16 if header.frame == LOSSLESS else 15)
                if read is None:
                    return False
                tables |= read
            case marker if marker == _QUANTIZATION:
                read = _quantization_tables(body)
                if read is None:
                    return False
                quantized |= read
            case marker if marker == _RESTART and len(body) != 2:  # noqa: PLR2004  (one number of 16 bits)
                return False
    if header.frame != LOSSLESS and not set(_quantization_of(frame, header)) <= quantized:
        return False
    return _scan_fits(frame, header, tables)


def _huffman_tables(body: bytes, *, most: int) -> set[int] | None:
    """Return class and number of each Huffman table (T.81 B.2.4.2); None if the segment is damaged.

    Args:
        body: The segment.
        most: Largest category of a difference: 16 in lossless images, 15 in others.
    """
    tables: set[int] = set()
    while body:
        counts = body[1:17]
        symbols = sum(counts)
        room = 1
        for count in counts:  # the codes of each length must leave one unused
            room = 2 * room - count
            if room < 1:
                return None
        if len(counts) < 16 or not 0 < symbols <= 256 or len(body) < 17 + symbols:  # noqa: PLR2004  (T.81)
            return None
        if body[0] & 0xEC or (body[0] < _CLASS and max(body[17 : 17 + symbols]) > most):
            return None
        tables.add(body[0])
        body = body[17 + symbols :]
    return tables


def _quantization_tables(body: bytes) -> set[int] | None:
    """Return the number of each quantization table (T.81 B.2.4.1); None if the segment is damaged."""
    tables: set[int] = set()
    while body:
        length = 129 if body[0] >> 4 else 65
        if body[0] & 0xEC or len(body) < length:
            return None
        tables.add(body[0] & 3)
        body = body[length:]
    return tables


def _frame_of(header: JpegHeader) -> Segment:
    return next(segment for segment in header.segments if segment.marker == header.frame)


def _components(frame: bytes, header: JpegHeader) -> list[tuple[int, int]]:
    """Return identifier and quantization table of each component."""
    at = _frame_of(header).begin + 10
    return [(frame[at + 3 * number], frame[at + 3 * number + 2]) for number in range(header.samples)]


def _quantization_of(frame: bytes, header: JpegHeader) -> list[int]:
    return [table for _, table in _components(frame, header)]


def _scan_fits(frame: bytes, header: JpegHeader, tables: set[int]) -> bool:
    """Return whether the scan has the frame's components, and tables that exist (T.81 B.2.3)."""
    scan = header.segments[-1]
    body = frame[scan.begin + 4 : scan.end]
    count = body[0] if body else 0
    if count != header.samples or len(body) != 4 + 2 * count:
        return False
    identifiers = [body[1 + 2 * number] for number in range(count)]
    if identifiers != [identifier for identifier, _ in _components(frame, header)]:
        return False
    chosen = [body[2 + 2 * number] for number in range(count)]
    first, last, approximation = body[-3:]
    if header.frame == LOSSLESS:
        fits = 1 <= first <= 7 and last == 0 and approximation < header.precision  # noqa: PLR2004  (T.81)
        return fits and {table >> 4 for table in chosen} <= tables
    # Sequential images use all coefficients, whatever range is stated.
    return {table >> 4 for table in chosen} | {16 + (table & 15) for table in chosen} <= tables
