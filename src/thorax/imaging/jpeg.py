"""Read JPEG files as radiographs: decode, make sure that nothing is missing, turn upright, convert to gray.

Pillow goes on silently where the entropy-coded data of an image end early or are damaged, and shows gray.
So the data are handed to it in two parts, without the marker of the end: the image must not be complete
before the second part, and must be complete with it.
"""

import re
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from thorax.errors import ImageError
from thorax.imaging.color import colored_share_of
from thorax.imaging.gray_range import doubts_about
from thorax.imaging.jpeg_markers import JpegHeader, Segment, joined, read_jpeg_header, scans
from thorax.imaging.limits import announce_pixels
from thorax.imaging.orientation import exif_orientation, turned, xmp_orientation
from thorax.radiograph import Origin, Radiograph, check_size

__all__ = ["decode_jpeg", "read_jpeg"]

_JFIF, _EXIF_OR_XMP, _ADOBE = 0xE0, 0xE1, 0xEE
_APPLICATION: Final = range(0xE0, 0xF0)
_COMMENT: Final = 0xFE
_RESTART_INTERVAL: Final = 0xDD
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"

_SEQUENTIAL: Final = {0xC0, 0xC1}
"""Processes that need no more data than those of the rows so far: sequential with Huffman coding."""

_ARITHMETIC: Final = range(0xC9, 0xD0)
"""Arithmetic coding may leave out its last bytes."""

_TAIL: Final = 32
"""Bytes at the end of the data that are held back; the last few may mean nothing."""

_AHEAD: Final = bytes(8)
"""What the decoder reads ahead, 64 bits at most, before it decodes a symbol; few blocks are so short."""

_FILLING: Final = bytes((37 * number + 11) % 251 for number in range(256))
"""Bytes that decode to something else than nothing, and never to a marker."""

_EARLY: Final = "its data end before the image does"
_LATE: Final = "its data go on behind the image"

_RESTART_MARKER: Final = re.compile(rb"\xff[\xd0-\xd7]")


def read_jpeg(data: bytes, name: str) -> Radiograph:
    """Read a JPEG file; color becomes luminance (ITU-R BT.601), CMYK via RGB.

    If the file holds several pictures (phones append a preview or gain map), the first is read, as
    viewers do.

    Raises:
        ImageError: The file is damaged, truncated, larger than 100 megapixels, or not 8-bit.
    """
    header = read_jpeg_header(data)
    if header is None:
        raise _damaged(name, "its header does not lead to an image")
    check_size(height=header.height, width=header.width, name=name)
    announce_pixels(header.height * header.width)
    image = turned(decode_jpeg(data, header, name), _orientation(data, header))
    colors = "gray" if image.mode == "L" else "luminance of colors"
    colored = colored_share_of(image)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    pixels = np.asarray(image.convert("L"))
    return Radiograph(
        pixels=pixels,
        origin=Origin(
            name=name,
            format="JPEG",
            intensity=f"8-bit as stored ({colors})",
            bits=8,
            doubts=doubts_about(pixels),
        ),
        colored=colored,
    )


def _orientation(data: bytes, header: JpegHeader) -> int:
    bodies = [
        data[segment.begin + 4 : segment.end] for segment in header.segments if segment.marker == _EXIF_OR_XMP
    ]
    exif = next((body for body in bodies if body.startswith(_EXIF)), b"")
    xmp = next((body for body in bodies if body.startswith(_XMP)), b"")
    return exif_orientation(exif) or xmp_orientation(xmp)


def decode_jpeg(data: bytes, header: JpegHeader, name: str) -> Image.Image:
    """Decode an 8-bit JPEG image with Pillow, from its tables and data alone.

    Raises:
        ImageError: It is truncated, damaged, or of a kind that Pillow does not decode.
    """
    plain = joined(data, header, kept=_kept(header))
    parts, has_end = scans(plain, len(plain) - len(data) + header.data_at)
    try:
        return _decoded(plain, parts, header, has_end=has_end)
    except _IncompleteError as error:
        raise _damaged(name, str(error)) from error
    except Exception:  # noqa: BLE001  (its text may quote the file)
        raise _damaged(name, "it does not decode") from None


def _decoded(plain: bytes, parts: list[tuple[int, int]], header: JpegHeader, *, has_end: bool) -> Image.Image:
    in_one_scan = header.frame in _SEQUENTIAL and len(parts) == 1 and not _restarts(header)
    too_few = sum(end - begin for begin, end in parts) < header.least_bytes()
    if too_few or not (in_one_scan or has_end):
        raise _IncompleteError(_EARLY)
    if in_one_scan:
        return _in_two_parts(plain, *parts[0])
    return _decoded_twice(plain, parts, compare=header.frame not in _ARITHMETIC)


def _kept(header: JpegHeader) -> list[Segment]:
    """Return the segments that decoding needs: of application data, one JFIF and one Adobe segment."""
    once = {_JFIF, _ADOBE}
    kept = []
    for segment in header.segments:
        if segment.marker in once:
            once.remove(segment.marker)
        elif segment.marker in {*_APPLICATION, _COMMENT}:
            continue
        kept.append(segment)
    return kept


def _restarts(header: JpegHeader) -> bool:
    return any(segment.marker == _RESTART_INTERVAL for segment in header.segments)


class _IncompleteError(Exception):
    """The data of an image do not give exactly the image."""


class _InTwoParts(JpegImageFile):
    """A JPEG image whose data arrive in two parts; whoever asks for a third one misses some."""

    def __init__(self, first: bytes, second: bytes) -> None:
        self._parts = [first, second]
        self.num_read = 0
        super().__init__(BytesIO(first))

    def load_read(self, read_bytes: int) -> bytes:  # noqa: ARG002  (Pillow's hook)
        """Return the next part of the data."""
        if self.num_read == len(self._parts):
            raise _IncompleteError(_EARLY)
        self.num_read += 1
        return self._parts[self.num_read - 1]


def _in_two_parts(plain: bytes, begin: int, end: int) -> Image.Image:
    """Decode the one scan of an image; neither too few data nor too many are accepted."""
    end = begin + len(plain[begin:end].rstrip(b"\xff"))
    tail = max(end - _TAIL, begin)
    image = _InTwoParts(plain[:tail], plain[tail:end] + _AHEAD)
    image.load()
    if image.num_read == 1:
        raise _IncompleteError(_LATE)
    return image


def _decoded_twice(plain: bytes, parts: list[tuple[int, int]], *, compare: bool) -> Image.Image:
    """Decode an image with several scans or restarts, as it is and with filling where data may be missing."""
    image = JpegImageFile(BytesIO(plain))
    image.load()
    if compare:
        filled, at = [], 0
        for begin, end in parts:
            scan = _RESTART_MARKER.sub(lambda marker: _FILLING + marker[0], plain[begin:end])
            filled += [plain[at:begin], scan, _FILLING]
            at = end
        again = JpegImageFile(BytesIO(b"".join([*filled, plain[at:]])))
        again.load()
        if again.tobytes() != image.tobytes():
            raise _IncompleteError(_EARLY)
    return image


def _damaged(name: str, what: str) -> ImageError:
    return ImageError(
        f"{name}: the JPEG image is damaged, truncated or of an unsupported kind ({what}); "
        "copy or export it again as 8-bit baseline JPEG or PNG"
    )
