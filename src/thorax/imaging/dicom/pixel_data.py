"""Check and decode DICOM pixel data to stored values."""

import struct
from dataclasses import dataclass
from typing import Any

import gdcm
import numpy as np
from jaxtyping import UInt8, UInt16
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.header import whole_number_of
from thorax.imaging.dicom.known import uid_name
from thorax.imaging.limits import announce_pixels
from thorax.radiograph import check_size

__all__ = ["Codes", "Codestream", "Layout", "decode_codes", "decode_colors", "read_codestream", "read_layout"]

Codes = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
"""Stored values as bit patterns 0 .. 2**bits - 1 (two's complement if signed)."""


_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"

_MARKER = 0xFF
_START_OF_SCAN = 0xDA
# Segments that may precede the scan: frames and tables, DQT, DRI, APPn, and JPEG-LS's LSE and COM.
_SEGMENTS = set(range(0xC0, 0xD0)) | {0xDB, 0xDD, *range(0xE0, 0xF0), 0xF7, 0xF8, 0xFE}
_FRAME_BYTES = 9  # marker, length, precision, height and width; one byte for the samples follows
_SIZ_BYTES = 43  # start of codestream, and SIZ up to the precision of the first component

# Start of frame: JPEG's C0 to CF without the tables C4, C8, CC, and JPEG-LS's F7 (ITU-T T.81, T.87).
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """The header of a compressed image: size in pixels, bits per sample, samples per pixel."""

    height: int
    width: int
    precision: int
    samples: int


def read_codestream(frame: bytes) -> Codestream | None:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 image; None for other data."""
    if frame.startswith(_JPEG_START):
        return _read_jpeg(frame)
    # JPEG 2000 in DICOM is a bare codestream; some writers leave JP2 boxes in front of it.
    start = frame.find(_JPEG_2000_START)
    return _read_jpeg_2000(frame[start:]) if start >= 0 else None


def _read_jpeg(frame: bytes) -> Codestream | None:
    """Walk the marker segments up to the start of scan; None if they do not lead there."""
    header = None
    at = 2
    while at + _FRAME_BYTES < len(frame) and frame[at] == _MARKER:
        marker = frame[at + 1]
        if marker == _MARKER:  # fill bytes
            at += 1
            continue
        if marker == _START_OF_SCAN:
            return header
        if marker not in _SEGMENTS or (marker in _FRAMES and header is not None):
            return None
        if marker in _FRAMES:
            precision, height, width, samples = struct.unpack_from(">BHHB", frame, at + 4)
            header = Codestream(height=height, width=width, precision=precision, samples=samples)
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


_BYTE = 8

# One decoder per codec, the one that raises an exception on damaged data. By default pydicom tries all of
# them: GDCM ends the process on some damaged JPEG files, as does pylibjpeg's RLE decoder on damaged RLE (a
# panic, which is not an Exception). GDCM is the only decoder for JPEG lossless.
_PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
    RLELossless: "pydicom",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Layout of the pixel data (DICOM PS3.3 C.7.6.3), checked to be decodable."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool


def read_layout(dataset: Dataset, name: str) -> Layout:
    """Read the layout from the header.

    Raises:
        ImageError: There is no pixel data, a value is missing or contradicts another, or there are over 100
            megapixels.
        UnsupportedImage: The samples are neither gray nor RGB, or do not have 8 or 16 bits.
    """
    if "PixelData" not in dataset:
        raise ImageError(
            f"{name}: the DICOM file has no Pixel Data (it is not an image, or only its header was sent); "
            "send the image again"
        )
    stored = whole_number_of(dataset, "BitsStored", name)
    layout = Layout(
        rows=whole_number_of(dataset, "Rows", name),
        columns=whole_number_of(dataset, "Columns", name),
        samples=whole_number_of(dataset, "SamplesPerPixel", name),
        allocated=whole_number_of(dataset, "BitsAllocated", name),
        stored=stored,
        high_bit=whole_number_of(dataset, "HighBit", name) if "HighBit" in dataset else stored - 1,
        signed=whole_number_of(dataset, "PixelRepresentation", name) == 1,
    )
    check_size(height=layout.rows, width=layout.columns, name=name)
    announce_pixels(layout.rows * layout.columns)
    if layout.allocated not in {8, 16} or layout.samples not in {1, 3}:
        raise UnsupportedImage(
            f"{name}: {layout.samples} samples of {layout.allocated} bits per pixel; radiographs have one "
            "sample of 8 or 16 bits, so export the image in that form"
        )
    if not 1 <= layout.stored <= layout.high_bit + 1 <= layout.allocated:
        raise ImageError(
            f"{name}: Bits Allocated {layout.allocated}, Bits Stored {layout.stored} and High Bit "
            f"{layout.high_bit} contradict each other; export the image again from its source"
        )
    return layout


def decode_codes(dataset: Dataset, layout: Layout, name: str) -> Codes:
    """Decode a gray image to the bit patterns of its stored values, 0 .. 2**bits - 1.

    Bits outside Bits Stored are cut off: older files keep overlays there. Lossy codecs with more bits than
    Bits Stored overshoot at white instead of wrapping around, so their unsigned values are clipped.
    """
    decoder, frame = _checked_decoder(dataset, layout, name)
    codestream = read_codestream(frame)
    syntax = decoder.UID
    if syntax == JPEGExtended12Bit and codestream is not None and codestream.precision > _BYTE:
        values = _decode_jpeg_extended(frame, layout, precision=codestream.precision)
    else:
        as_array: Any = decoder.as_array  # pydicom's annotation does not cover these options
        options = {
            "raw": True,
            "correct_unused_bits": False,
            "decoding_plugin": _PLUGINS.get(decoder.UID, ""),
        }
        values, _ = as_array(dataset, index=0, **options)
    unsigned = np.dtype(f"u{layout.allocated // 8}")
    codes: Codes = values.astype(values.dtype.newbyteorder("="), copy=False).view(unsigned)
    largest = unsigned.type(2**layout.stored - 1)
    if codestream is None:
        codes = codes >> unsigned.type(layout.high_bit + 1 - layout.stored)
        codes &= largest
    else:
        codes = codes & largest if layout.signed else np.minimum(codes, largest)
    return codes


def decode_colors(dataset: Dataset, layout: Layout, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an 8-bit color image to RGB."""
    decoder, _ = _checked_decoder(dataset, layout, name)
    colors: UInt8[np.ndarray, "h w 3"] = decoder.as_array(
        dataset, index=0, raw=False, decoding_plugin=_PLUGINS.get(decoder.UID, "")
    )[0]
    return colors


def _checked_decoder(dataset: Dataset, layout: Layout, name: str) -> tuple[Decoder, bytes]:
    """Return the decoder and the encoded frame (b"" if none is needed); refuse data unlike the header."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UnsupportedImage(
            f"{name}: transfer syntax {uid_name(syntax)} is not supported; convert the file to "
            "Explicit VR Little Endian first (for example with gdcmconv --raw)"
        ) from error
    element = dataset["PixelData"]
    data: bytes = element.value or b""
    if decoder.is_native:
        needed = layout.rows * layout.columns * layout.samples * layout.allocated // 8
        if element.is_undefined_length or len(data) < needed:
            raise ImageError(
                f"{name}: Pixel Data holds {len(data)} bytes, but {layout.columns} x {layout.rows} pixels "
                f"take {needed}: the file is truncated or its header is wrong; send the image again"
            )
        return decoder, b""
    if syntax == RLELossless:
        return decoder, b""
    frame = next(generate_frames(data, number_of_frames=1), b"")
    _check_codestream(frame, layout, name)
    return decoder, frame


def _check_codestream(frame: bytes, layout: Layout, name: str) -> None:
    """Refuse a compressed image that the header does not describe."""
    inside = read_codestream(frame)
    if inside is None:
        raise ImageError(
            f"{name}: the compressed image has no readable header ({len(frame)} bytes): the file is "
            "damaged or truncated, so send the image again"
        )
    same_size = (inside.height, inside.width) == (layout.rows, layout.columns)
    if not same_size or inside.samples != layout.samples or not 1 < inside.precision <= layout.allocated:
        raise ImageError(
            f"{name}: the header says {layout.columns} x {layout.rows} pixels of {layout.samples} x "
            f"{layout.allocated} bits, the compressed image {inside.width} x {inside.height} of "
            f"{inside.samples} x {inside.precision}; export the image again from its source"
        )


def _decode_jpeg_extended(frame: bytes, layout: Layout, *, precision: int) -> UInt16[np.ndarray, "h w"]:
    """Decode 12-bit JPEG (process 4) with GDCM.

    pydicom refuses these because GDCM, given Bits Stored, cuts values to it, and white wraps around to black.
    Given the precision of the codestream instead, GDCM returns the decoded values.
    """
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    syntax = gdcm.TransferSyntax.GetTSType(str.__str__(JPEGExtended12Bit))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, layout.allocated, precision, precision - 1, int(layout.signed)))
    # GDCM returns bytes as text with surrogate escapes.
    data = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(data, "<u2").reshape(layout.rows, layout.columns)
