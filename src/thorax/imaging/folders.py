"""The image files in folders, of this disk and of object storage."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.objects.place import Place

if TYPE_CHECKING:
    from thorax.objects.client import Listed

__all__ = ["image_files", "image_objects"]

_TEXTS = {"README", "LICENSE"}
"""Names, without an extension, of files in a folder of images that are about the images."""

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""Errors of links to nothing, to itself, and of a file that is gone since the folder was listed."""


def image_files(paths: Iterable[Path], *, failed: Callable[[Path, str], None]) -> Iterator[Path]:
    """Yield files, and the files in folders recursively, sorted by name.

    Of a folder, hidden files are left out, and README and LICENSE with any extension, which describe it.

    Args:
        paths: Files and folders, in order; a path that is not a folder is yielded as it is.
        failed: Receives a folder that is empty or cannot be listed, or a link that leads to a folder or
            nowhere, and the reason.
    """
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for a path that is too long)
            yield path
            continue
        empty = True
        for file in _files_in(path, failed):
            empty = False
            yield file
        if empty:
            failed(path, "no file in this folder")


def _files_in(folder: Path, failed: Callable[[Path, str], None]) -> Iterator[Path]:
    # A stack, since folders may be nested deeper than calls. Only names are kept, not 0.6 KiB of a Path for
    # each file.
    pending = [(folder, _names_in(folder, failed))]
    while pending:
        folder, names = pending[-1]
        name = next(names, None)
        if name is None:
            pending.pop()
            continue
        path = folder / name
        try:
            kind = path.stat().st_mode
            if stat.S_ISDIR(kind) and path.is_symlink():
                failed(path, "a link to a folder is not followed; give the folder itself")
            elif stat.S_ISDIR(kind):
                pending.append((path, _names_in(path, failed)))
            elif stat.S_ISREG(kind) and _may_be_image(name):
                yield path
        except OSError as error:  # such as a path that is too long
            # Path.is_symlink raises for a path that is too long.
            if os.path.islink(path) and not name.startswith("."):  # noqa: PTH114
                failed(path, "this link leads nowhere; fetch what it points to (git annex get, dvc pull)")
            elif error.errno not in _NOTHING_THERE:
                failed(path, f"this cannot be opened ({error.strerror or error})")


def _names_in(folder: Path, failed: Callable[[Path, str], None]) -> Iterator[str]:
    try:
        return iter(sorted(os.listdir(folder)))  # noqa: PTH208  (names alone)
    except OSError as error:
        failed(folder, f"this folder cannot be listed ({error.strerror or error})")
        return iter(())


def image_objects(place: Place) -> "list[Listed]":
    """Return the objects below a place that `image_files` would yield of such a folder, in its order.

    Raises:
        DataError: The place cannot be listed.
    """
    from thorax.objects.client import list_below

    found = [listed for listed in list_below(place) if _may_be_image(listed.place.name)]
    return sorted(found, key=lambda listed: listed.name.split("/"))


def _may_be_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).stem not in _TEXTS
