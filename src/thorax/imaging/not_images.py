"""What people give or keep beside images that is not an image: addresses, and the other files of a disc."""

import os
import re
from pathlib import Path
from typing import Final

from thorax.atomic_io import is_remote
from thorax.errors import DataError, UnsupportedImage
from thorax.imaging.read import image_format

__all__ = ["address_in", "is_not_an_image", "why_not_a_file"]

_SUFFIXES: Final = frozenset(
    {
        *("png", "jpg", "jpeg", "jpe", "jfif", "dcm", "dicom", "dic", "ima"),
        *("tif", "tiff", "bmp", "dib", "gif", "webp", "jp2", "j2k", "jpf", "jpx", "jls"),
    }
)
"""Endings of the names of images, also in formats that are not read."""

_PICTURES: Final = (*(b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),)
"""First bytes of pictures in formats that are not read."""

_DIRECTORY: Final = "DICOMDIR"
"""The table of contents of a disc (PS3.10 8.6): a DICOM file without an image."""

_HEAD: Final = 144
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+]+):/+(?=[^/])", re.IGNORECASE)


def is_not_an_image(path: Path) -> bool:
    """Return whether a file is an image neither by its name nor by its content, such as Thumbs.db.

    A name without an ending, or with a number as its ending, may be that of a DICOM file.
    """
    if path.name.upper() == _DIRECTORY:
        return True
    suffix = path.suffix[1:].lower()
    if not suffix or suffix.isdigit() or suffix in _SUFFIXES:
        return False
    try:
        head = _head_of(path)
    except (OSError, DataError):
        return False
    if not head:
        return True
    try:
        image_format(head, path.name)
    except UnsupportedImage:
        return not head.startswith(_PICTURES)
    return False


def _head_of(path: Path) -> bytes:
    if is_remote(path):
        from thorax.objects.ahead import read_object

        return read_object(path)[:_HEAD]
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        return file.read(_HEAD) or b""


def why_not_a_file(source: str) -> str:
    """Return what to do instead of giving an address or `-` as an image; "" for anything else.

    Args:
        source: As it was given; of an address, a path may have lost a slash.
    """
    if source == "-":
        return "standard input is not read; save the image to a file and give its name"
    whole = address_in(source)
    if not whole or os.path.lexists(source):
        return ""
    return f"only files are read; download it first, as with curl -O {whole}, and give the file"


def address_in(source: str) -> str:
    """Return the address that was given as a path, with the slash that a path loses; "" if it is none."""
    address = _ADDRESS.match(source)
    return f"{address[1]}://{source[address.end() :]}" if address else ""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
