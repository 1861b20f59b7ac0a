"""Decode DICOM pixel data to stored values, each codec with the decoder that fails most clearly."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import gdcm
import numpy as np
from jaxtyping import UInt8, UInt16
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
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

from thorax.errors import ImageError
from thorax.imaging.dicom.pixel_data import BY_GDCM, EncodedImage, Layout, check_image, encapsulated
from thorax.imaging.dicom.rle import decode_rle
from thorax.imaging.dicom.wholeness import check_whole
from thorax.imaging.jpeg import decode_jpeg
from thorax.imaging.jpeg_markers import LOSSLESS, JpegHeader

__all__ = ["Codes", "decode_codes", "decode_colors"]

Codes = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
"""Stored values as bit patterns 0 .. 2**bits - 1 (two's complement if signed)."""

_BYTE = 8

_Result = TypeVar("_Result")

# One decoder per codec, the one that raises an exception on damaged data. By default pydicom tries all of
# them: GDCM ends the process on some damaged JPEG files. It is the only decoder for JPEG lossless and for
# 12-bit JPEG, and gets those images only after their tables have been checked.
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
}
_LOSSLESS = {
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
}
_BY_PILLOW = {JPEGBaseline8Bit, JPEGExtended12Bit}

_MOST_OVERSHOT = 0.01
"""Share of the pixels of a lossy image that may exceed its range by more than a sixteenth."""


def decode_codes(dataset: FileDataset, layout: Layout, name: str) -> Codes:
    """Decode a gray image to the bit patterns of its stored values, 0 .. 2**bits - 1.

    Bits outside Bits Stored are cut off if they are the same in all pixels, repeat the sign, or hold an
    overlay as in older files. Lossy codecs with more bits than Bits Stored overshoot at white instead of
    wrapping around, so their unsigned values are clipped.

    Raises:
        ImageError: The image is truncated or damaged, or its values do not fit Bits Stored and High Bit.
        UnsupportedImage: No decoder covers the transfer syntax.
    """
    image = check_image(dataset, layout, name)
    dataset.PhotometricInterpretation = "MONOCHROME2"  # pydicom knows no other spelling; stored values stay
    unsigned = np.dtype(f"u{layout.allocated // 8}")
    values = _decode_gray(image, dataset, layout, name)
    codes = values.astype(values.dtype.newbyteorder("="), copy=False)
    codes = codes.view(f"u{codes.itemsize}").astype(unsigned, copy=False)
    is_lossy = image.codestream is not None and image.syntax not in _LOSSLESS
    if is_lossy and not layout.signed:
        return _clipped(codes, layout, name)
    lowest = 0 if image.codestream is not None else layout.high_bit + 1 - layout.stored
    return _cut(codes, layout, lowest, overlays=_overlay_bits(dataset, layout), name=name)


def _decode_gray(image: EncodedImage, dataset: FileDataset, layout: Layout, name: str) -> np.ndarray:
    codestream = image.codestream
    shape = (layout.rows, layout.columns)
    if image.syntax == RLELossless:
        count = layout.allocated // 8
        planes = decode_rle(image.frame, pixels=shape[0] * shape[1], segments=count, name=name)
        if count == 1:
            return planes.reshape(shape)
        words: np.ndarray = planes[0].astype(np.uint16) << 8 | planes[1]
        return words.reshape(shape)
    if codestream is not None and codestream.jpeg is not None:
        if image.syntax in _BY_PILLOW and codestream.precision == _BYTE:
            return np.asarray(decode_jpeg(image.frame, codestream.jpeg, name))
        if image.syntax in BY_GDCM:
            return _decode_with_gdcm(image, layout, name, header=codestream.jpeg)
    as_array: Any = image.decoder.as_array  # pydicom's annotation does not cover these options
    options = {
        "raw": True,
        "correct_unused_bits": False,
        "decoding_plugin": _PLUGINS.get(image.syntax, ""),
    }
    values: np.ndarray = _decoded(lambda: as_array(dataset, index=0, **options)[0], image, name)
    return values


def _decoded(decode: Callable[[], _Result], image: EncodedImage, name: str) -> _Result:
    """Decode; say in our own words what went wrong."""
    try:
        return decode()
    except ImageError:
        raise
    except Exception:  # noqa: BLE001  (its text may quote the file)
        raise ImageError(
            f"{name}: the image ({image.syntax.name}, {len(image.frame)} bytes) does not decode: it is "
            "truncated or damaged, so send it again"
        ) from None


def _clipped(codes: Codes, layout: Layout, name: str) -> Codes:
    largest = 2**layout.stored - 1
    if 2**layout.stored <= np.iinfo(codes.dtype).max:
        beyond = np.mean(codes > largest + largest // 16)
        if beyond > _MOST_OVERSHOT:
            raise _contradiction(codes, layout, name)
    clipped: Codes = np.minimum(codes, codes.dtype.type(largest))
    return clipped


def _cut(codes: Codes, layout: Layout, lowest: int, *, overlays: int, name: str) -> Codes:
    """Return the stored bits; refuse others that vary from pixel to pixel."""
    whole = codes.dtype.type
    largest = 2**layout.stored - 1
    mask = whole((2 ** (8 * codes.itemsize) - 1) & ~(largest << lowest) & ~overlays)
    outside = codes & mask
    inside: Codes = (codes >> whole(lowest)) & whole(largest)
    if mask and outside.min() != outside.max():
        repeats_sign = layout.signed and np.array_equal(
            outside & whole(mask), np.where(inside >> whole(layout.stored - 1), mask, whole(0))
        )
        if not repeats_sign:
            raise _contradiction(codes, layout, name)
    return inside


def _overlay_bits(dataset: FileDataset, layout: Layout) -> int:
    """Return the bits of the pixel data that hold overlays (retired; PS3.3-2004 C.9.2)."""
    bits = 0
    for group in range(0x6000, 0x6020, 2):
        allocated, position = dataset.get((group, 0x0100)), dataset.get((group, 0x0102))
        if allocated is None or position is None or (group, 0x3000) in dataset:
            continue
        if allocated.value == layout.allocated and isinstance(position.value, int):
            bits |= 1 << position.value if 0 <= position.value < layout.allocated else 0
    return bits


def _contradiction(codes: Codes, layout: Layout, name: str) -> ImageError:
    return ImageError(
        f"{name}: its values go up to {int(codes.max())}, with bits that differ from pixel to pixel outside "
        f"Bits Stored {layout.stored} and High Bit {layout.high_bit}, so their meaning is unknown; correct "
        "the header or export the image again"
    )


def decode_colors(dataset: FileDataset, layout: Layout, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an 8-bit color image to RGB; colors have no sign (PS3.3 C.7.6.3.1.1), whether stated or not."""
    image = check_image(dataset, layout, name)
    dataset.PixelRepresentation = 0
    header = None if image.codestream is None else image.codestream.jpeg
    if header is not None and image.syntax in _BY_PILLOW:
        decode_jpeg(image.frame, header, name)  # pydicom does not see what is missing
    if image.syntax == RLELossless:
        planes = decode_rle(image.frame, pixels=layout.rows * layout.columns, segments=3, name=name)
        dataset["PixelData"] = DataElement("PixelData", "OB", planes.tobytes(), already_converted=True)
        dataset.PlanarConfiguration = 1
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = replace(image, decoder=get_decoder(ExplicitVRLittleEndian))
    as_array: Any = image.decoder.as_array
    plugin = _PLUGINS.get(image.decoder.UID, "")

    def decode(frame: bytes) -> np.ndarray:
        if frame:
            dataset["PixelData"] = encapsulated(frame)
        values: np.ndarray = as_array(dataset, index=0, raw=False, decoding_plugin=plugin)[0]
        return values

    if header is not None and header.frame == LOSSLESS:
        return _whole(decode, image, header, name).view(np.uint8)
    return _decoded(lambda: decode(b""), image, name).view(np.uint8)


def _decode_with_gdcm(image: EncodedImage, layout: Layout, name: str, *, header: JpegHeader) -> np.ndarray:
    """Decode a gray 12-bit (process 4) or lossless JPEG image, and make sure that it is whole.

    Given Bits Stored, GDCM cuts values to it, and white wraps around to black; pydicom therefore refuses
    12-bit JPEG. Given the precision of the codestream instead, GDCM returns the decoded values.
    """
    allocated = _BYTE if header.precision <= _BYTE else 2 * _BYTE
    precision = max(header.precision, _BYTE)  # for fewer bits, GDCM raises an exception that ends the process
    gray = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    syntax = gdcm.TransferSyntax.GetTSType(str.__str__(image.syntax))

    def decode(frame: bytes) -> np.ndarray:
        fragment = gdcm.Fragment()
        fragment.SetByteStringValue(frame)
        fragments = gdcm.SequenceOfFragments.New()
        fragments.AddFragment(fragment)
        element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
        element.SetValue(fragments.__ref__())
        picture = gdcm.Image()
        picture.SetNumberOfDimensions(2)
        picture.SetDimensions((layout.columns, layout.rows, 1))
        picture.SetDataElement(element)
        picture.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
        picture.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        picture.SetPixelFormat(gdcm.PixelFormat(1, allocated, precision, precision - 1, int(layout.signed)))
        # GDCM returns bytes as text with surrogate escapes; None if it fails.
        data = picture.GetBuffer().encode("utf-8", "surrogateescape")
        return np.frombuffer(data, f"<u{allocated // 8}").reshape(layout.rows, layout.columns)

    return _whole(decode, image, header, name)


def _whole(
    decode: Callable[[bytes], np.ndarray], image: EncodedImage, header: JpegHeader, name: str
) -> np.ndarray:
    """Decode with GDCM; refuse what is not whole."""
    values = _decoded(lambda: decode(image.frame), image, name)
    _decoded(lambda: check_whole(image.frame, header, values, decode, name), image, name)
    return values
