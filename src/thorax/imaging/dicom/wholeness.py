"""Find out whether the data of a JPEG image in DICOM give exactly the image.

GDCM goes on silently where data end early or are damaged. Decoded again with other bytes at its end, a whole
image differs there, and only there; an image whose data ended before, also in front of it; and one whose data
go on behind the image, nowhere.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from thorax.errors import ImageError
from thorax.imaging.jpeg_markers import LOSSLESS, JpegHeader, scans

__all__ = ["check_whole"]

_REPLACED: Final = 6
"""Bytes at the end that are replaced."""

_BITS: Final = 8 * (_REPLACED + 1)
"""More bits than the replaced bytes have, with a symbol that begins before them."""

_FULL: Final = 0.9
"""Share of all codes that a table uses from which on bytes that were made up mean something."""

_TABLES: Final = 0xC4
_BLOCK: Final = 8
_BLOCK_BITS: Final = 2
"""Least bits of a block of 8 x 8 samples: a difference and an end of block."""


def check_whole(
    frame: bytes, header: JpegHeader, image: np.ndarray, decode: Callable[[bytes], np.ndarray], name: str
) -> None:
    """Refuse an image whose data end early or go on behind it.

    Args:
        frame: The compressed image, with one scan.
        header: Its header.
        image: What it decodes to, (rows, columns) or (rows, columns, samples).
        decode: Decodes another frame with the same header.
        name: What messages call it.

    Raises:
        ImageError: The data are not those of a whole image.
    """
    (begin, end), *_ = scans(frame, header.data_at)[0]
    tail = max(end - _REPLACED, begin)
    while tail > begin and frame[tail - 1] == 0xFF:  # noqa: PLR2004  (a byte of two halves, FF 00)
        tail -= 1
    equal = 0
    for other, made_up in _others(frame[begin:tail], end - tail):
        try:
            differing = np.flatnonzero(decode(frame[:tail] + other + frame[end:]) != image)
        except Exception:  # noqa: BLE001, S112  (a code that the tables do not have; the next bytes may do)
            continue
        if len(differing):
            break
        equal += made_up
    else:
        if equal and _used(frame, header) >= _FULL:
            raise _not_whole("go on behind the image", name)
        return  # nothing can be concluded
    if header.frame == LOSSLESS:
        is_early = int(differing[0]) < image.size - _BITS
    else:
        across = -(-header.width // _BLOCK)
        rows, columns = np.divmod(differing, header.width)
        blocks = across * -(-header.height // _BLOCK)
        is_early = int((rows // _BLOCK * across + columns // _BLOCK).min()) < blocks - _BITS // _BLOCK_BITS
    if is_early:
        raise _not_whole("end before the image does", name)


def _others(before: bytes, length: int) -> Iterator[tuple[bytes, bool]]:
    """Yield bytes to replace the last ones with, never a marker, and whether they are made up.

    Those from elsewhere in the data rarely have a code that the tables do not have, but may mean the same.
    """
    for part in (2, 3, 4, 5):
        at = len(before) // part
        yield before[at : at + length].replace(b"\xff", b"\x7f").ljust(length, b"\x55"), False
    for factor, offset in ((37, 11), (101, 83), (59, 170)):
        yield bytes((factor * number + offset) % 251 for number in range(length)), True


def _used(frame: bytes, header: JpegHeader) -> float:
    """Return which share of all codes the emptiest Huffman table uses; decoders read others as nothing."""
    shares = [1.0]
    for segment in header.segments:
        body = frame[segment.begin + 4 : segment.end] if segment.marker == _TABLES else b""
        while body:
            counts = body[1:17]
            shares.append(sum(count / 2**length for length, count in enumerate(counts, start=1)))
            body = body[17 + sum(counts) :]
    return min(shares)


def _not_whole(what: str, name: str) -> ImageError:
    return ImageError(
        f"{name}: the compressed image is truncated or damaged (its data {what}); send the image again"
    )
