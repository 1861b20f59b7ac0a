"""PNG chunks, checksums and header, and their pixel data inflated by libdeflate."""

import struct
import zlib
from dataclasses import dataclass

import deflate

from thorax.errors import ImageError, UnsupportedImage
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

# Bit depths that each colour type may have (PNG 3rd edition, table 12).
_DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGBA: (8, 16),
}

_SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}

# First row, first column, and the steps between, of each pass of an interlaced image.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))

_SIGNATURE_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Png:
    """A PNG file taken apart, its header checked.

    Attributes:
        name: What messages call it.
        width: Columns.
        height: Rows.
        depth: Bits of a sample: 1, 2, 4, 8 or 16.
        colour: Colour type: GREY, RGB, PALETTE, GREY_ALPHA or RGBA.
        interlaced: Whether the rows come in seven passes (Adam7).
        palette: Red, green and blue of each colour, one byte each; empty without palette.
        transparency: The tRNS chunk; None without.
        stream: All pixel data, compressed.
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


def take_apart(data: bytes, name: str) -> Png:
    """Walk the chunks and check the header.

    Raises:
        ImageError: Truncated, a checksum or the header is wrong, or over 100 megapixels.
        UnsupportedImage: An animation.
    """
    chunks = _chunks(data, name)
    header = chunks.get(b"IHDR", b"")
    if len(header) != struct.calcsize(">IIBBBBB"):
        raise damaged_png(name, f"its header has {len(header)} bytes instead of 13")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    check_size(height=height, width=width, name=name)
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise damaged_png(name, f"its header asks for colour type {color} with {depth} bits, which is no PNG")
    control = chunks.get(b"acTL", b"\0\0\0\1")
    if int.from_bytes(control[:4], "big") > 1:
        raise UnsupportedImage(
            f"{name}: an animated PNG of {int.from_bytes(control[:4], 'big')} frames; "
            "a radiograph is a single image, so export the frame that is meant"
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
    )


def _chunks(data: bytes, name: str) -> dict[bytes, bytes]:
    """Return the content of each kind of chunk, equal kinds joined; bytes after IEND are ignored."""
    parts: dict[bytes, list[memoryview]] = {}
    view = memoryview(data)
    at = _SIGNATURE_BYTES
    while b"IEND" not in parts:
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if len(data) < end + 4:
            raise ImageError(
                f"{name}: the PNG file is truncated ({len(data)} bytes of at least {end + 4}); "
                "copy it again from its source"
            )
        # Critical chunks (a capital first letter) carry the image; what is wrong elsewhere does no harm.
        critical = kind[:1].isupper()
        if critical and deflate.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise damaged_png(name, f"the checksum of its chunk {kind!r} at byte {at} is wrong")
        parts.setdefault(kind, []).append(view[at + 8 : end])
        at = end + 4
    return {kind: b"".join(views) for kind, views in parts.items()}


def damaged_png(name: str, what: object) -> ImageError:
    """Return the error for a file that is wrong in itself."""
    return ImageError(f"{name}: the PNG file is damaged: {what}; copy it again from its source")


def num_bytes(png: Png) -> int:
    """Return how many bytes the rows take, each with the byte that names its filter."""
    bits = png.depth * _SAMPLES[png.color]
    needed = 0
    for top, left, down, right in _ADAM7 if png.interlaced else ((0, 0, 1, 1),):
        rows, columns = len(range(top, png.height, down)), len(range(left, png.width, right))
        needed += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return needed


def count_bytes(png: Png) -> None:
    """Refuse pixel data that inflates to fewer bytes than the rows take."""
    needed = num_bytes(png)
    found = len(zlib.decompressobj().decompress(png.stream, needed))
    if found < needed:
        raise damaged_png(png.name, f"its pixel data ends after {found} of {needed} bytes")


_MOST = 1 << 26
"""Bytes that are inflated at once. Images from 64 megapixels of grey on go row by row, through Pillow."""

_BLOCK = (1 << 16) - 1
"""Bytes of a block at most: its length has 16 bits."""

_ZLIB_HEAD = b"\x78\x01"
_CHECKSUM_BYTES = 4


def stored_stream(png: Png) -> bytes | None:
    """Return the same pixel data as a zlib stream that is not compressed.

    Its checksum (Adler-32) is the file's own.

    Args:
        png: A file taken apart.

    Returns:
        None where the file is too large, or where its stream is anything but whole and exactly as long as the
        rows: then it takes a slower look to say what is wrong.
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
