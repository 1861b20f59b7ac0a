"""Opens zip archives with bounded lists of entries: a list of a hundred megabytes would take a gigabyte."""

import io
import zipfile
from pathlib import Path
from typing import Final

__all__ = ["open_archive"]

_LONGEST_LIST: Final = 8 * 2**20
"""Bytes of the list of an archive's entries: 50,000 tensors."""


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive.

    Raises:
        BadZipFile: It is damaged, or its list of entries is too long.
        OSError: It cannot be read.
    """
    file = _ShortReads(path)
    try:
        archive = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    file.longest = None
    return archive


class _ShortReads(io.FileIO):
    """A file of which at most so many bytes are read at a time, until there is no limit any more."""

    longest: int | None = _LONGEST_LIST

    def __del__(self) -> None:
        """Close it with the archive, which closes no file that it was given."""
        self.close()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.longest is not None and size is not None and size > self.longest:
            raise zipfile.BadZipFile(f"its list of entries has {size:,} bytes")
        return super().read(size)
