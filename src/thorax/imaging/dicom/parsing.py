"""DICOM files to data sets within bounds: inflation, number of elements, fragments of the pixel data."""

import io
import struct
import zlib
from typing import Final

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from thorax.errors import ImageError
from thorax.radiograph import MAX_PIXELS

__all__ = ["NATIVE", "parse", "parse_header"]

NATIVE: Final = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
"""Transfer syntaxes without compressed images."""

_PIXEL_DATA: Final = 0x7FE00010
_LONG_VRS: Final = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
"""Value representations with 4 bytes of length after 2 reserved ones."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_END_OF_SEQUENCE: Final = b"\xfe\xff\xdd\xe0"
_ITEM_HEAD: Final = 8

_READS: Final = 60_000
"""Reads of a header: radiographs have some hundred elements, each read in two or three pieces."""

_MAX_FRAGMENTS: Final = 100_000
_MAX_META_ELEMENTS: Final = 1_000

_MAX_INFLATED: Final = 4 * MAX_PIXELS
"""Most bytes that a deflated file may inflate to: the largest image, and as much again for its header."""

_INFLATED_AT_ONCE: Final = 1 << 24


class _Bounded(io.BytesIO):
    """A file that may not be read as a whole, nor in too many small pieces."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._left = _READS + len(data) // 1024
        self._name = name

    def read(self, size: int | None = -1, /) -> bytes:
        """Read some bytes, as pydicom reads elements."""
        if size is None or size < 0:
            # pydicom inflates the rest of the file, without any limit.
            raise ImageError(
                f"{self._name}: the DICOM file is deflated, and its meta information does not lead to the "
                "data set; export the image again without deflation"
            )
        self._left -= 1
        if self._left < 0:
            raise ImageError(
                f"{self._name}: the DICOM file has over {_READS // 2:,} elements before its pixel data, more "
                "than a radiograph needs; export the image again from its source"
            )
        return super().read(size)


def parse_header(data: bytes) -> FileDataset:
    """Parse a data set up to its pixel data, within the bounds of `parse`; the file may end there.

    Raises:
        ImageError: It has too many elements, or inflates to too much.
    """
    return pydicom.dcmread(_Bounded(_inflated(data, ""), ""), force=True, stop_before_pixels=True)


def parse(data: bytes, name: str) -> FileDataset:
    """Parse a data set up to its pixel data; elements after them are not read.

    If no transfer syntax is stated, the one that it was parsed with is set. The fragments of a compressed
    image become one, since a radiograph has one frame: its offset table may be wrong, and the delimiter
    behind it missing.

    Raises:
        ImageError: The file is truncated inside a fragment, inflates to too much, or has too many elements.
    """
    data = _inflated(data, name)
    source = _Bounded(data, name)
    dataset = pydicom.dcmread(source, force=True, stop_before_pixels=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        match dataset.original_encoding:
            case (True, _):
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            case (_, False):
                dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            case _:
                dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pixels = _pixel_data(dataset, data, source.tell(), name)
    if pixels is not None:
        dataset.add(pixels)
    return dataset


# ---- deflated data sets -----------------------------------------------------------------------------


def _inflated(data: bytes, name: str) -> bytes:
    """Return a deflated file as one that is not; other files unchanged."""
    deflated = DeflatedExplicitVRLittleEndian.encode()
    if deflated not in data:
        return data
    syntax_at, syntax_end, start = _meta(data)
    if data[syntax_at:syntax_end].rstrip(b"\0 ") != deflated:
        return data
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pending, parts, inflated = data[start:], [], 0
    while pending and not inflater.eof:
        parts.append(inflater.decompress(pending, _INFLATED_AT_ONCE))
        inflated += len(parts[-1])
        pending = inflater.unconsumed_tail
        if inflated > _MAX_INFLATED:
            raise ImageError(
                f"{name}: the deflated DICOM file holds more than {_MAX_INFLATED} bytes, more than a "
                "radiograph can hold; export the image again without deflation"
            )
    if not inflater.eof or (parts and parts[0][:2] == b"\x02\x00"):
        raise ImageError(
            f"{name}: the deflated DICOM file is truncated or damaged (it inflates to {inflated} bytes); "
            "send it again, or export the image without deflation"
        )
    explicit = ExplicitVRLittleEndian.encode().ljust(syntax_end - syntax_at, b"\0")
    return b"".join([data[:syntax_at], explicit, data[syntax_end:start], *parts])


def _meta(data: bytes) -> tuple[int, int, int]:
    """Return where the value of the transfer syntax begins and ends, and where the meta information ends.

    Whatever length the meta information states for itself is ignored, as pydicom does.
    """
    at = 132 if data[128:132] == b"DICM" else 0
    begin = end = 0
    for _ in range(_MAX_META_ELEMENTS):
        if data[at : at + 2] != b"\x02\x00":
            break
        is_long = data[at + 4 : at + 6] in _LONG_VRS
        value = at + (12 if is_long else 8)
        length = int.from_bytes(data[value - 4 : value] if is_long else data[value - 2 : value], "little")
        if data[at + 2 : at + 4] == b"\x10\x00":
            begin, end = value, value + length
        at = value + length
    return begin, end, at


# ---- pixel data -------------------------------------------------------------------------------------


def _pixel_data(dataset: FileDataset, data: bytes, at: int, name: str) -> DataElement | None:
    """Return the pixel data that begin at a position; None if the file ends there."""
    implicit, little = dataset.original_encoding
    head = data[at : at + 12]
    order = "<" if little else ">"
    if len(head) < _ITEM_HEAD or struct.unpack(f"{order}HH", head[:4]) != divmod(_PIXEL_DATA, 1 << 16):
        return None
    vr = head[4:6]
    if implicit or not (vr.isalpha() and vr.isupper()):
        vr, begin, length = b"OW", at + 8, struct.unpack(f"{order}I", head[4:8])[0]
    elif vr in _LONG_VRS:
        begin, length = at + 12, int.from_bytes(head[8:12], "little" if little else "big")
    else:
        begin, length = at + 8, struct.unpack(f"{order}H", head[6:8])[0]
    kind = vr.decode() if vr in {b"OB", b"OW"} else "OW"
    if length != _UNDEFINED:
        return DataElement(_PIXEL_DATA, kind, data[begin : begin + length], already_converted=True)
    if dataset.file_meta.TransferSyntaxUID in NATIVE:
        element = DataElement(_PIXEL_DATA, kind, data[begin:], already_converted=True)
    else:
        frame = b"".join(_fragments(data, begin, name)[1:])
        element = DataElement(_PIXEL_DATA, "OB", encapsulate([frame]), already_converted=True)
    element.is_undefined_length = True
    return element


def _fragments(data: bytes, at: int, name: str) -> list[bytes]:
    """Return the items of the pixel data: the offset table, then the fragments of the image.

    Writers leave out the delimiter behind the last one, or write zeros for it.
    """
    fragments: list[bytes] = []
    while data[at : at + 4] == _ITEM and len(fragments) < _MAX_FRAGMENTS:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += _ITEM_HEAD
        if at + length > len(data):
            raise ImageError(
                f"{name}: the DICOM file is truncated: fragment {len(fragments)} of its compressed image has "
                f"{len(data) - at} of {length} bytes; send the image again"
            )
        fragments.append(data[at : at + length])
        at += length
    rest = data[at : at + 4]
    if rest not in {_END_OF_SEQUENCE, bytes(len(rest))}:
        raise ImageError(
            f"{name}: the DICOM file is damaged: neither a fragment of its compressed image nor its end "
            f"begins at byte {at}; send the image again"
        )
    return fragments
