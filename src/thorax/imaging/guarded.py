"""Read one image so that its file cannot take the program down."""

from contextlib import suppress
from pathlib import Path

from thorax.errors import ImageError
from thorax.imaging.in_memory import ValueRange
from thorax.imaging.read import (
    ImageSource,
    decodes_safely,
    file_content,
    image_format,
    name_of,
    read_radiograph,
    read_stored,
)
from thorax.imaging.stored import StoredImage
from thorax.radiograph import Radiograph

__all__ = ["expect_to_read", "read_guarded", "read_stored_guarded"]

_HEAD = 1 << 10


def read_guarded(source: ImageSource, *, name: str = "", value_range: ValueRange | None = None) -> Radiograph:
    """Read one image as `read_radiograph` does, and survive decoders that crash, hang or take all memory.

    PNG and DICOM without compression are read in this process, by our own code. JPEG and other DICOM files,
    and their bytes, are decoded in a process of their own with limits that grow with the image. The first of
    them starts it, in 0.3 s; all threads share as many as there are cores, and they end with the program.

    Arrays, PIL images and pydicom data sets are read in this process whatever they hold: they were decoded or
    parsed here before. Give the path or the bytes of a file that you do not trust.

    Args:
        source: See `read_radiograph`.
        name: See `read_radiograph`.
        value_range: See `read_radiograph`.

    Raises:
        ImageError: See `read_radiograph`; or the decoder crashed, or took more time or memory than an image
            of that size may take.
        UnsupportedImage: See `read_radiograph`.
        DataError: A process cannot be started.
    """
    data = file_content(source) if value_range is None else None
    if data is None:
        return read_radiograph(source, name=name, value_range=value_range)
    name, head = name_of(source, name), data[:_HEAD]
    kind = image_format(head, name)  # another format is refused without a process
    if decodes_safely(head):
        return read_radiograph(data, name=name)
    from thorax.imaging.decoders import read_apart

    return read_apart(data, name, kind)


def read_stored_guarded(data: bytes, *, name: str) -> StoredImage:
    """Read a file's bytes as `read.read_stored` does, its decoder apart as for `read_guarded`.

    Raises:
        ImageError: As for `read_guarded`.
        UnsupportedImage: As for `read_guarded`.
        DataError: As for `read_guarded`.
    """
    head = data[:_HEAD]
    kind = image_format(head, name)
    if decodes_safely(head):
        return read_stored(data, name)
    from thorax.imaging.decoders import read_stored_apart

    return read_stored_apart(data, name, kind)


def expect_to_read(path: Path) -> None:
    """Start the process that a file needs, if it needs one, while the caller prepares other things.

    Args:
        path: A file; anything else is ignored.
    """
    with suppress(OSError, ValueError, ImageError):
        if not path.is_file():
            return
        with path.open("rb", buffering=0) as file:
            head = file.read(_HEAD)
        kind = image_format(head, path.name)
        if not decodes_safely(head):
            from thorax.imaging.decoders import start_decoder

            start_decoder(kind)
