"""The marker segments of a JPEG or JPEG-LS image (ITU-T T.81, T.87), walked without decoding anything."""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["LOSSLESS", "PROGRESSIVE", "JpegHeader", "Segment", "joined", "read_jpeg_header", "scans"]

PROGRESSIVE: Final = 0xC2
LOSSLESS: Final = 0xC3

_START: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9

FRAMES: Final = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7})
"""Start of frame: C0 to CF without the tables C4, C8 and CC, and JPEG-LS's F7."""

# Segments that may precede the scan: frames and tables, DQT, DRI, APPn, and JPEG-LS's LSE and COM.
_SEGMENTS: Final = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDD, *range(0xE0, 0xF0), 0xF7, 0xF8, 0xFE})

_FILL: Final = re.compile(rb"\xff*")
_MAX_SEGMENTS: Final = 4_096
"""An ICC profile has at most 255; extended XMP, some hundred."""

# In entropy-coded data, a byte FF is followed by 00, or by a restart marker, and belongs to the data.
_AFTER_SCAN: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_BLOCK_BITS: Final = {0xC0: 2, 0xC1: 2, PROGRESSIVE: 1}
"""Least bits of a block of 8 x 8 samples: in sequential images, a difference and an end of block."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker and its segment: where it lies, from the marker's FF to behind its last byte."""

    marker: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegHeader:
    """Everything before the entropy-coded data of the first scan.

    Attributes:
        frame: Marker of the start of frame, which names the process: C0 baseline, C1 extended, C2
            progressive, C3 lossless, F7 JPEG-LS.
        precision: Bits per sample.
        height: Rows.
        width: Columns.
        samples: Samples per pixel.
        sampling: Horizontal and vertical sampling factor of each component.
        segments: All segments in order, the start of scan last.
    """

    frame: int
    precision: int
    height: int
    width: int
    samples: int
    sampling: tuple[tuple[int, int], ...]
    segments: tuple[Segment, ...]

    @property
    def data_at(self) -> int:
        """Where the entropy-coded data begin."""
        return self.segments[-1].end

    def least_bytes(self) -> int:
        """Return fewer bytes than the entropy-coded data of a whole image can have."""
        across, down = (max(factors) for factors in zip(*self.sampling, strict=True))
        bits = 0
        for horizontal, vertical in self.sampling:
            width, height = self.width * horizontal // across, self.height * vertical // down
            if self.frame == LOSSLESS:
                bits += width * height
            else:
                bits += (width // 8) * (height // 8) * _BLOCK_BITS.get(self.frame, 0)
        return bits // 8


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Walk the segments up to the first scan; None if they do not lead there, or there are two frames."""
    frame: Segment | None = None
    segments: list[Segment] = []
    for segment in _segments(data):
        if segment.marker in FRAMES:
            if frame is not None:
                return None
            frame = segment
        segments.append(segment)
        if segment.marker == _START_OF_SCAN:
            return None if frame is None else _header(data, frame, tuple(segments))
    return None


def _segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments behind the start of image; end where there is none."""
    if not data.startswith(_START):
        return
    at = len(_START)
    for _ in range(_MAX_SEGMENTS):
        fill = _FILL.match(data, at)
        begin = (fill.end() if fill else at) - 1
        if begin < at or begin + 4 > len(data):
            return
        marker = data[begin + 1]
        end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
        if (marker not in _SEGMENTS and marker != _START_OF_SCAN) or end < begin + 4 or end > len(data):
            return
        yield Segment(marker, begin, end)
        at = end


def _header(data: bytes, frame: Segment, segments: tuple[Segment, ...]) -> JpegHeader | None:
    body = data[frame.begin + 4 : frame.end]
    if len(body) < 6:  # noqa: PLR2004  (precision, height, width, samples)
        return None
    precision, height, width, samples = struct.unpack_from(">BHHB", body)
    factors = [divmod(body[at], 16) for at in range(7, min(len(body), 6 + 3 * samples), 3)]
    if len(factors) != samples or not samples or not all(1 <= a <= 4 and 1 <= b <= 4 for a, b in factors):  # noqa: PLR2004  (T.81 B.2.2)
        return None
    return JpegHeader(
        frame=frame.marker,
        precision=precision,
        height=height,
        width=width,
        samples=samples,
        sampling=tuple(factors),
        segments=segments,
    )


def joined(data: bytes, header: JpegHeader, *, kept: Iterable[Segment]) -> bytes:
    """Return the image with some of its segments, and without the filling between them."""
    chosen = set(kept)
    parts = [data[segment.begin : segment.end] for segment in header.segments if segment in chosen]
    return b"".join([_START, *parts, data[header.data_at :]])


def scans(data: bytes, begin: int) -> tuple[list[tuple[int, int]], bool]:
    """Return where the entropy-coded data of each scan begin and end, and whether an end of image follows.

    Args:
        data: An image.
        begin: Where the data of its first scan begin.
    """
    found: list[tuple[int, int]] = []
    while True:
        match = _AFTER_SCAN.search(data, begin)
        if match is None:
            return [*found, (begin, len(data))], False
        found.append((begin, match.start()))
        at = match.end() - 2
        # There may be tables and comments between scans; whatever else follows ends the image.
        while data[at + 1] not in {_START_OF_SCAN, _END_OF_IMAGE}:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            following = _FILL.match(data, at)
            at = (following.end() if following else at) - 1
            if at + 4 > len(data) or data[at : at + 1] != b"\xff":
                return found, data[at : at + 2] == _END
        if data[at + 1] == _END_OF_IMAGE:
            return found, True
        begin = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
