"""Read any image source as a radiograph; a file's format is decided by content, never by suffix."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from thorax.atomic_io import is_remote
from thorax.errors import DataError, ImageError, UnsupportedImage
from thorax.imaging.in_memory import ValueRange, read_array, read_pil
from thorax.imaging.jpeg import read_jpeg
from thorax.imaging.png import read_png
from thorax.imaging.stored import StoredImage, stored_as_read
from thorax.quoting import with_addresses
from thorax.radiograph import Radiograph

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    ImageSource = (
        str
        | os.PathLike[str]
        | bytes
        | bytearray
        | memoryview
        | IO[bytes]
        | np.ndarray
        | Image.Image
        | Dataset
        | Radiograph
    )
else:
    # `read_radiograph` checks the type at run time; importing pydicom takes 0.3 s.
    ImageSource = object

__all__ = [
    "ImageSource",
    "decodes_safely",
    "file_content",
    "image_format",
    "name_of",
    "read_radiograph",
    "read_stored",
    "source_name",
]

_HEAD = 144
"""Bytes that identify the format: a DICOM preamble of 128, the word DICM, and the first elements."""

_MAX_BYTES = 1 << 30
"""Largest file that is read; 100 megapixels of 16-bit color with transparency take 0.8 GB."""

_ELEMENT = 8
"""Header bytes of a DICOM element: tag, then VR and length, or length alone."""

_LONGEST_FIRST_ELEMENT = 1024
"""Without a VR, a longer first element is not DICOM: the first elements are lengths, dates and UIDs."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"

_META = b"\x02\x00"
"""Group of a file's meta information, which is always explicit and little-endian (PS3.10 7.1)."""

_META_TYPES = {b"AE", b"OB", b"SH", b"UI", b"UL"}

_TRANSFER_SYNTAX = b"\x10\x00"

_PLAIN = {b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"}
"""Transfer syntaxes without compression: implicit, explicit, and explicit big-endian (PS3.5 A.1 to A.3)."""

# Formats that are often given by mistake, so that the message can name them. The first match wins.
_OTHERS = (
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"RIFF", "a WebP image or another RIFF file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image outside DICOM"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream outside DICOM"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip-compressed file"),
    (b"{", "JSON text"),
    (b"<", "HTML, SVG or XML text"),
)


def read_radiograph(
    source: ImageSource, *, name: str = "", value_range: ValueRange | None = None
) -> Radiograph:
    """Read one image, in a file or in memory, as a radiograph.

    Args:
        source: The path of a PNG, JPEG or DICOM file, also at s3://, the file's bytes, or the file opened for
            reading; an uint8 or uint16 array of shape (H, W) or (H, W, 3), larger is brighter; a PIL image; a
            pydicom `Dataset`; or a radiograph, which is returned unchanged. Only DICOM can say that larger is
            darker (MONOCHROME1).
        name: What messages and `Origin.name` call the image; the file's own name if empty. Folders are
            dropped because they may name patients.
        value_range: The values of black and white in an array whose type does not imply them, such as floats.

    Returns:
        The radiograph: gray, larger is brighter, not resized.

    Raises:
        ImageError: The file does not exist, is empty or damaged, or is too large or too small; the source is
            not an image; the type or shape of an array does not fit; or `value_range` is set for anything but
            an array or PIL image.
        UnsupportedImage: An intact image in another format, multi-frame, not a projection radiograph, or
            not of a chest.
    """
    if value_range is not None and not isinstance(source, np.ndarray | Image.Image):
        raise ImageError(
            f"{name.rpartition('/')[2] or source_name(source)}: value_range applies to arrays, and this is "
            f"{type(source).__name__}; leave value_range out"
        )
    name = name_of(source, name)
    match source:
        case np.ndarray():
            return read_array(source, name, value_range=value_range)
        case Image.Image():
            return read_pil(source, name, value_range=value_range)
        case Radiograph():
            return source
    if _is_dataset(source):
        from thorax.imaging.dicom import read_dataset

        return read_dataset(cast("Dataset", source), name)
    data = file_content(source)
    if data is None:
        hint = ", here with image.numpy(force=True)" if type(source).__module__ == "torch" else ""
        several = (
            "; for several images, call predict_many" if isinstance(source, Iterable) and not hint else ""
        )
        raise ImageError(
            f"{type(source).__name__} is not an image; give the path, the bytes or the opened file of a PNG, "
            f"JPEG or DICOM image, a NumPy array{hint}, a PIL image or a pydicom Dataset{several}"
        )
    return _read_file(data, name)


def read_stored(data: bytes, name: str) -> StoredImage:
    """Read a file's bytes as stored values with the gray of each, for a display that changes the window.

    PNG and JPEG files are shown as `read_radiograph` reads them.

    Raises:
        ImageError: As for `read_radiograph`.
        UnsupportedImage: As for `read_radiograph`.
    """
    if image_format(data[:_HEAD], name) != "DICOM":
        return stored_as_read(_read_file(data, name))
    from thorax.imaging.dicom import read_stored_dicom

    return read_stored_dicom(data, name)


def name_of(source: ImageSource, name: str = "") -> str:
    """Return what messages call an image: its name, or else the source's own, without folders."""
    # Not Path(name).name: pathlib interns every part of every path, 1.8 MB for 10,000 images.
    return name.rpartition("/")[2] or os.path.basename(source_name(source))  # noqa: PTH119


def decodes_safely(head: bytes) -> bool:
    """Return whether a file is read by our own code alone, which neither crashes nor hangs.

    That is so for PNG, and for DICOM files whose meta information states one of the transfer syntaxes with
    plain pixel data. All others belong into the processes of a `DecodePool`.

    Args:
        head: The first kilobyte of the file.
    """
    return head.startswith(_PNG) or _plain_syntax(head) in _PLAIN


def _plain_syntax(head: bytes) -> bytes:
    """Return the transfer syntax of a DICOM file; b"" if anything about its meta information is unusual.

    Every parser must see the same one. So the elements follow each other in order, each once, up to another
    group.
    """
    at, last, syntax = 132, -1, b""
    if head[128:at] != b"DICM":
        return b""
    while head[at : at + 2] == _META:
        long = head[at + 4 : at + 6] == b"OB"
        start, length = (at + 12, head[at + 8 : at + 12]) if long else (at + 8, head[at + 6 : at + 8])
        end = start + int.from_bytes(length, "little")
        number = int.from_bytes(head[at + 2 : at + 4], "little")
        if head[at + 4 : at + 6] not in _META_TYPES or number <= last:
            return b""
        if head[at + 2 : at + 4] == _TRANSFER_SYNTAX:
            syntax = head[start:end].rstrip(b"\0 ")
        at, last = end, number
    return syntax if at + _ELEMENT <= len(head) else b""


def source_name(source: ImageSource) -> str:
    """Return the name of an image that was given without one; for a file, the whole path."""
    if isinstance(source, str | os.PathLike):
        return with_addresses(os.fspath(source))
    if isinstance(source, Radiograph):
        return source.origin.name
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or "<image>"
    if isinstance(source, np.ndarray):
        return "<array>"
    if _is_dataset(source):
        return "<dataset>"
    return _name_of_open(source) if hasattr(source, "read") else "<bytes>"


def _is_dataset(source: object) -> bool:
    """Return whether an object is a pydicom Dataset; no import needed, since a Dataset implies it."""
    pydicom = sys.modules.get("pydicom.dataset")
    return pydicom is not None and isinstance(source, pydicom.Dataset)


def file_content(source: Any) -> bytes | None:
    """Return the bytes of a path, of bytes-like data or of an opened file; None for anything else.

    Raises:
        ImageError: The file does not exist or cannot be read, or its format is not one that is read.
    """
    if isinstance(source, str | os.PathLike):
        return _load_object(source) if is_remote(source) else _load(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    return _read_open(source) if hasattr(source, "read") and not _is_dataset(source) else None


def _read_open(file: Any) -> bytes:
    """Return the rest of an opened file."""
    name = _name_of_open(file)
    try:
        content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{name}: the opened file cannot be read ({error}); open it again for reading, in binary mode"
        ) from error
    if not isinstance(content, bytes):
        raise ImageError(f'{name}: the file was opened as text; open it in binary mode, open(path, "rb")')
    if not content:
        raise ImageError(f"{name}: the opened file is at its end; go back to the beginning with file.seek(0)")
    if len(content) > _MAX_BYTES:
        raise ImageError(
            f"{name}: the opened file holds more than a radiograph can ({_MAX_BYTES} bytes are read at "
            "most); give a single image"
        )
    return content


def _name_of_open(file: Any) -> str:
    """Return the name of an opened file; a file opened from a descriptor has a number instead."""
    name = getattr(file, "name", "")
    return name if isinstance(name, str) and name else "<file>"


def _read_file(data: bytes, name: str) -> Radiograph:
    match image_format(data[:_HEAD], name):
        case "PNG":
            return read_png(data, name)
        case "JPEG":
            return read_jpeg(data, name)
        case _:
            # Imported here: pydicom takes 0.3 s to import, and most images are PNG.
            from thorax.imaging.dicom import read_dicom

            return read_dicom(data, name)


def _load(path: Path) -> bytes:
    """Return a file's bytes; other formats are refused after reading the head only."""
    try:
        if not path.is_file():
            from thorax.imaging.not_images import address_in, why_not_a_file  # it imports this module

            if advice := why_not_a_file(str(path)):
                raise ImageError(f"{address_in(str(path)) or path}: {advice}")
            what = "is a folder" if path.is_dir() else "does not exist, or is not a regular file"
            raise ImageError(f"{path} {what}; give the path of a PNG, JPEG or DICOM file")
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            image_format(file.read(_HEAD), path.name)
            size = path.stat().st_size
            if size > _MAX_BYTES:
                raise ImageError(
                    f"{path.name}: {size} bytes are more than a radiograph can hold "
                    f"({_MAX_BYTES} are read at most); give a single image"
                )
            file.seek(0)
            return file.read()
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from error


def _load_object(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of an object at s3://."""
    from thorax.objects.ahead import read_object

    try:
        return read_object(path)
    except DataError as error:
        raise ImageError(str(error)) from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; one that has just become a pipe is empty, instead of keeping us waiting for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def image_format(head: bytes, name: str) -> str:
    """Return "PNG", "JPEG" or "DICOM" for the first bytes of a file; refuse other formats by name.

    Raises:
        ImageError: It is empty.
        UnsupportedImage: It has another format.
    """
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes); copy it again from its source")
    if head.startswith(_PNG):
        return "PNG"
    if head.startswith(_JPEG):
        return "JPEG"
    if head[128:132] == b"DICM" or _starts_like_dicom(head):
        return "DICOM"
    kind = next((kind for magic, kind in _OTHERS if head.startswith(magic)), "not a known image")
    raise UnsupportedImage(
        f"{name}: the file is {kind}; PNG, JPEG and DICOM are read, so export the original image as one of "
        "these"
    )


def _starts_like_dicom(head: bytes) -> bool:
    """Return whether a data set without preamble may start here: group 0002 or 0008, then VR or length.

    Files straight from a modality or an old archive lack the 128-byte preamble and the word DICM (PS3.10
    7.1).
    """
    if len(head) < _ELEMENT:
        return False
    vr = head[4:6]
    explicit = vr.isalpha() and vr.isupper()
    short = int.from_bytes(head[4:8], "little") < _LONGEST_FIRST_ELEMENT
    little = head[:2] in {b"\x02\x00", b"\x08\x00"} and (explicit or short)
    return little or (head[:2] in {b"\x00\x02", b"\x00\x08"} and explicit)
