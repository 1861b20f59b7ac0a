"""PNG chunks, checksums and header; pixel data is inflated with libdeflate."""

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass

import deflate

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.limits import announce_pixels
from thorax.imaging.orientation import exif_orientation, xmp_orientation
from thorax.radiograph import check_size

__all__ = [
    "GRAY",
    "GRAY_ALPHA",
    "PALETTE",
    "RGB",
    "RGBA",
    "Png",
    "count_bytes",
    "damaged_png",
    "num_bytes",
    "stored_stream",
    "take_apart",
]

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6

# Valid bit depths of each color type (PNG 3rd edition, table 12).
_DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGBA: (8, 16),
}

_SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}

# First row, first column, row step and column step of each pass of an interlaced image.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))

_SIGNATURE_BYTES = 8

_RAW_EXIF = b"Raw profile type exif\0"
_MAX_TEXT = 1 << 20

_MAX_CHUNKS = 200_000
"""In chunks of 8 KiB, as small as they are usually written, this is a file of 1.6 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Png:
    """The parsed chunks of a PNG file, with a valid header.

    Attributes:
        name: What messages call it.
        width: Columns.
        height: Rows.
        depth: Bits of a sample: 1, 2, 4, 8 or 16.
        color: Color type: GRAY, RGB, PALETTE, GRAY_ALPHA or RGBA.
        interlaced: Whether the rows come in seven passes (Adam7).
        palette: Red, green and blue of each color, one byte each; empty if there is no palette.
        transparency: The tRNS chunk, or None.
        stream: All pixel data, still compressed.
        orientation: Which way up the picture was stored, as in EXIF; 1 is upright, 0 not stated.
    """

    name: str
    width: int
    height: int
    depth: int
    color: int
    interlaced: bool
    palette: bytes
    transparency: bytes | None
    stream: bytes
    orientation: int = 0


def take_apart(data: bytes, name: str) -> Png:
    """Parse the chunks and check the header.

    Raises:
        ImageError: The file is truncated, a checksum or the header is wrong, or there are over 100
            megapixels.
        UnsupportedImage: The file is an animation.
    """
    chunks = _chunks(data, name)
    header = chunks.get(b"IHDR", b"")
    if len(header) != struct.calcsize(">IIBBBBB"):
        raise damaged_png(name, f"its header has {len(header)} bytes instead of 13")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    check_size(height=height, width=width, name=name)
    announce_pixels(height * width)
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise damaged_png(
            name, f"its header gives color type {color} with {depth} bits, which PNG does not allow"
        )
    control = chunks.get(b"acTL", b"\0\0\0\1")
    if int.from_bytes(control[:4], "big") > 1:
        raise UnsupportedImage(
            f"{name}: an animated PNG of {int.from_bytes(control[:4], 'big')} frames; "
            "a radiograph is a single image, so export one frame"
        )
    return Png(
        name=name,
        width=width,
        height=height,
        depth=depth,
        color=color,
        interlaced=bool(interlace),
        palette=chunks.get(b"PLTE", b""),
        transparency=chunks.get(b"tRNS"),
        stream=chunks.get(b"IDAT", b""),
        orientation=_orientation(chunks),
    )


_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


def _chunks(data: bytes, name: str) -> dict[bytes, bytes]:
    """Return the content of each chunk type, chunks of one type joined; bytes after IEND are ignored."""
    parts: dict[bytes, list[memoryview]] = {}
    view = memoryview(data)
    at = _SIGNATURE_BYTES
    num_chunks = 0
    while b"IEND" not in parts:
        num_chunks += 1
        if num_chunks > _MAX_CHUNKS:
            raise damaged_png(name, f"it has over {_MAX_CHUNKS:,} chunks")
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if len(data) < end + 4:
            raise ImageError(
                f"{name}: the PNG file is truncated ({len(data)} bytes of at least {end + 4}); "
                "copy it again from its source"
            )
        # Only critical chunks (with a capital first letter) carry the image; errors elsewhere do no harm.
        critical = kind[:1].isupper()
        if critical and deflate.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            shown = kind.decode() if kind in _CRITICAL else "of an unknown kind"
            raise damaged_png(name, f"the checksum of its chunk {shown} at byte {at} is wrong")
        parts.setdefault(kind, []).append(view[at + 8 : end])
        at = end + 4
    return {kind: b"".join(views) for kind, views in parts.items()}


def _orientation(chunks: dict[bytes, bytes]) -> int:
    """Return the orientation of the eXIf chunk, of ImageMagick's text for it, or of XMP."""
    _, _, profile = chunks.get(b"zTXt", b"").partition(_RAW_EXIF + b"\0")
    with suppress(ValueError, zlib.error):
        # Lines: empty, "exif", the number of bytes, and these in hexadecimal digits.
        text = zlib.decompressobj().decompress(profile, _MAX_TEXT) if profile else b""
        profile = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii", "replace"))
    exif = exif_orientation(chunks.get(b"eXIf", b"")) or exif_orientation(profile)
    return exif or xmp_orientation(chunks.get(b"iTXt", b""))


def damaged_png(name: str, what: object) -> ImageError:
    """Return the error for a damaged file."""
    return ImageError(f"{name}: the PNG file is damaged: {what}; copy it again from its source")


def num_bytes(png: Png) -> int:
    """Return how many bytes the rows take, including the filter byte of each."""
    bits = png.depth * _SAMPLES[png.color]
    needed = 0
    for top, left, down, right in _ADAM7 if png.interlaced else ((0, 0, 1, 1),):
        rows, columns = len(range(top, png.height, down)), len(range(left, png.width, right))
        needed += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return needed


def count_bytes(png: Png) -> None:
    """Refuse pixel data that inflates to fewer bytes than the rows take."""
    needed = num_bytes(png)
    inflated = len(zlib.decompressobj().decompress(png.stream, needed))
    if inflated < needed:
        raise damaged_png(png.name, f"its pixel data ends after {inflated} of {needed} bytes")


_MOST = 1 << 26
"""Most bytes that are inflated at once. Gray images from 64 megapixels on go through Pillow row by row."""

_BLOCK = (1 << 16) - 1
"""Most bytes of a stored block: its length has 16 bits."""

_ZLIB_HEAD = b"\x78\x01"
_CHECKSUM_BYTES = 4


def stored_stream(png: Png) -> bytes | None:
    """Return the pixel data as an uncompressed zlib stream, with the file's own checksum (Adler-32).

    Returns:
        None if the file is too large, or if its stream is not intact and exactly as long as the rows: the
        slower decoder then finds what is wrong.
    """
    needed = num_bytes(png)
    if needed > _MOST:
        return None
    try:
        rows = deflate.zlib_decompress(png.stream, needed)
    except deflate.DeflateError:
        return None
    if len(rows) != needed:
        return None
    view = memoryview(rows)
    blocks: list[bytes | memoryview] = [_ZLIB_HEAD]
    for start in range(0, needed, _BLOCK):
        block = view[start : start + _BLOCK]
        last = start + _BLOCK >= needed
        blocks += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*blocks, png.stream[-_CHECKSUM_BYTES:]])
