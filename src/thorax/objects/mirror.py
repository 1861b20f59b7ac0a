"""A folder of this disk that stands for one of object storage: tables, and images while they are read.

Each image is there as an empty file of its length and time, which takes no space, so that whatever lists the
folder sees what is in the storage. Before an image is read, its bytes are brought; afterwards they go again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thorax.errors import DataError, ThoraxError
from thorax.objects.cache import cache_folder
from thorax.objects.client import Listed, content_of, list_below
from thorax.objects.files import LARGEST, finished, transfers
from thorax.objects.place import Place

__all__ = ["Mirror", "brought", "mirrored", "named_as"]

_TABLES: Final = (".csv", ".csv.gz", ".tsv", ".txt")
"""Endings of the names of files that are brought at once, and stay."""


class Mirror:
    """Such a folder; `mirrored` makes one.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, listed: Sequence[Listed], pool: ThreadPoolExecutor) -> None:
        self.folder = folder
        self._listed = {each.name: each for each in listed}
        self._pool = pool
        for folder_name in sorted({each.name.rpartition("/")[0] for each in listed}):
            (folder / folder_name).mkdir(parents=True, exist_ok=True)
        for name in self._listed:
            self.let_go(name)
        finished(self.bring(name) for name in self._listed if name.lower().endswith(_TABLES))

    def bring(self, name: str) -> "Future[None]":
        """Begin to write a file's bytes; it is replaced as a whole, and keeps its time."""
        return self._pool.submit(self._bring, self._listed[name])

    def _bring(self, listed: Listed) -> None:
        content = content_of(listed.place, at_most=LARGEST)
        path = self.folder / listed.name
        temporary = path.with_name(f".{path.name}.partial")
        temporary.write_bytes(content)
        os.utime(temporary, ns=(listed.mtime_ns, listed.mtime_ns))
        temporary.replace(path)

    def let_go(self, name: str) -> None:
        """Make a file empty, with its length and time."""
        listed = self._listed[name]
        path = self.folder / name
        with path.open("wb") as file:
            file.truncate(listed.size)
        os.utime(path, ns=(listed.mtime_ns, listed.mtime_ns))


@contextmanager
def mirrored(place: Place) -> Iterator[Mirror]:
    """Yield a mirror of what is below a place; it is removed at the end. Messages name the place.

    Raises:
        DataError: There is nothing below the place, or an object has a name that no file can have.
    """
    listed = list_below(place)
    if not listed:
        raise DataError(f"there is nothing below {place}/; correct the address")
    with _stand_in(place, listed) as mirror:
        yield mirror


@contextmanager
def brought(place: Place, listed: Sequence[Listed]) -> Iterator[Path]:
    """Yield a folder with copies of objects below a place; it is removed at the end. Messages name the place.

    Args:
        place: The place.
        listed: Its objects that are copied.

    Raises:
        DataError: One of them cannot be read, or has a name that no file can have.
    """
    with _stand_in(place, listed) as mirror:
        finished(mirror.bring(each.name) for each in listed)
        yield mirror.folder


@contextmanager
def _stand_in(place: Place, listed: Sequence[Listed]) -> Iterator[Mirror]:
    for each in listed:
        if any(part in {"", ".", ".."} for part in each.name.split("/")):
            raise DataError(f"{each.place} has a name that no file can have; rename it there")
    above = Path(tempfile.mkdtemp(prefix="source-", dir=cache_folder()))
    folder = above / place.name
    folder.mkdir()
    try:
        with transfers() as pool, named_as(place, folder):
            yield Mirror(folder, listed, pool)
    finally:
        shutil.rmtree(above, ignore_errors=True)


@contextmanager
def named_as(place: Place, folder: Path) -> Iterator[None]:
    """Let the messages of errors name a place instead of the folder that stands for it."""
    try:
        yield
    except ThoraxError as error:
        error.args = (str(error).replace(str(folder), str(place)),)
        raise
