"""Any file or bytes to one Radiograph: the format is decided by content, never by suffix."""

from pathlib import Path

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.jpeg import read_jpeg
from thorax.imaging.png import read_png
from thorax.radiograph import Radiograph

__all__ = ["read_radiograph"]

_HEAD = 144
"""Bytes that tell the format: a DICOM preamble of 128, the word DICM, and what follows."""

_MAX_BYTES = 1 << 30
"""Largest file that is read. 100 megapixels of 16-bit colour with transparency make 0.8 GB."""

_ELEMENT = 8
"""Bytes of the head of a DICOM element: tag, then VR and length, or length alone."""

_LONGEST_FIRST_ELEMENT = 1024
"""Where no VR stands, a longer first element is no DICOM: the first ones are lengths, dates and UIDs."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"

# What people hand over by mistake: named, so that the message helps. First match wins.
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


def read_radiograph(source: Path | str | bytes, *, name: str = "") -> Radiograph:
    """Read a PNG, JPEG or DICOM file as a radiograph.

    Args:
        source: A path, or the file's bytes.
        name: What messages and `Origin.name` call the image; a path's own file name where empty.
            Folders in it are dropped, for they may name patients.

    Returns:
        The radiograph: grey, larger is brighter, not resized.

    Raises:
        ImageError: No such file, empty, damaged, too large or too small, or no image at all.
        UnsupportedImage: A sound file, but of another format, multi-frame, not a projection
            radiograph, or not of a chest.
    """
    if isinstance(source, bytes):
        # Not Path(name).name: pathlib interns every part of every path, 1.8 MB for 10,000 images.
        name = name.rpartition("/")[2] or "<bytes>"
        data = source
    else:
        path = Path(source)
        name = Path(name).name or path.name
        data = _load(path)
    match _format(data[:_HEAD], name):
        case "PNG":
            return read_png(data, name)
        case "JPEG":
            return read_jpeg(data, name)
        case _:
            # Here, for pydicom takes 0.3 s to import and most images are PNG.
            from thorax.imaging.dicom import read_dicom

            return read_dicom(data, name)


def _load(path: Path) -> bytes:
    """Return a file's bytes, after a look at its head: other formats are refused unread."""
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist, or is no regular file"
            raise ImageError(f"{path} {what}; give the path of a PNG, JPEG or DICOM file")
        with path.open("rb", buffering=0) as file:
            _format(file.read(_HEAD), path.name)
            size = path.stat().st_size
            if size > _MAX_BYTES:
                raise ImageError(
                    f"{path.name}: {size} bytes are more than a radiograph can have "
                    f"({_MAX_BYTES} are read at most); give a single image"
                )
            file.seek(0)
            return file.read()
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read ({error.strerror or error}); check the file and the rights to it"
        ) from error


def _format(head: bytes, name: str) -> str:
    """Return "PNG", "JPEG" or "DICOM" for the first bytes of a file; refuse the rest by name."""
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes); copy it again from its source")
    if head.startswith(_PNG):
        return "PNG"
    if head.startswith(_JPEG):
        return "JPEG"
    if head[128:132] == b"DICM" or _starts_like_dicom(head):
        return "DICOM"
    found = next((what for magic, what in _OTHERS if head.startswith(magic)), "no known image")
    raise UnsupportedImage(
        f"{name}: the file is {found} (it starts with {head[:8]!r}); PNG, JPEG and DICOM are read, "
        "so export the original image as one of these"
    )


def _starts_like_dicom(head: bytes) -> bool:
    """Tell whether a data set without preamble may start here: group 0002 or 0008, then VR or length.

    Files straight from a modality or an old archive lack the 128 bytes and the word DICM (PS3.10 7.1).
    """
    if len(head) < _ELEMENT:
        return False
    vr = head[4:6]
    explicit = vr.isalpha() and vr.isupper()
    short = int.from_bytes(head[4:8], "little") < _LONGEST_FIRST_ELEMENT
    little = head[:2] in {b"\x02\x00", b"\x08\x00"} and (explicit or short)
    return little or (head[:2] in {b"\x00\x02", b"\x00\x08"} and explicit)
