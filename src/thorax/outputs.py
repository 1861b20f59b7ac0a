"""Checks of where a result will be written, made before any work: in the way, not writable, disk too full."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from thorax.atomic_io import refuse_existing, refuse_remote
from thorax.errors import DataError

__all__ = [
    "check_folder",
    "check_output",
    "make_folder",
    "refuse_full",
    "refuse_unwritable",
    "report_size",
    "text_size",
]

_MARGIN: Final = 1.05
"""Times an estimate: a file system needs some space of its own for many files."""

_KILO: Final = 1000

_PAGE: Final = 5_000_000
"""Bytes of a report's page with examples, its figures and its numbers."""


def check_output(path: Path, *, overwrite: bool, folder: bool = False, needed: int = 0) -> None:
    """Check that a result can be written, before it is computed; folders that are missing will be made.

    Args:
        path: Where the result is to be written.
        overwrite: Whether an existing result may be replaced.
        folder: Whether the result is a folder.
        needed: About how many bytes will be written.

    Raises:
        DataError: As `refuse_existing` and `refuse_full` say.
    """
    refuse_existing(path, overwrite=overwrite, folder=folder)
    refuse_full(path, needed=needed)


def refuse_unwritable(path: Path) -> None:
    """Refuse a path at which neither a file nor a folder can be made; nothing is left there.

    Raises:
        DataError: Some part of the path is a file, the folder that is there cannot be written to, or it is an
            address in object storage.
    """
    refuse_remote(path)
    place = _existing(path if path.is_dir() else path.parent)
    if not place.is_dir():
        raise DataError(f"{path} cannot be made, because {place} is a file; give another path")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {place} takes no new file ({error.strerror}); check its permissions, "
            "or give another path"
        ) from error


def check_folder(path: Path) -> None:
    """Check that a folder is there and can be written to, or can be made.

    Raises:
        DataError: There is a file, or `refuse_unwritable` refuses it.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a folder")
    refuse_unwritable(path)


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Make a folder for results, with those above it, if it is not there.

    Args:
        path: The folder.
        mode: Who may use it, if it is made.

    Raises:
        DataError: It cannot be made, or written to.
    """
    check_folder(path)
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {path} cannot be made ({error.strerror}); give another path") from error


def refuse_full(path: Path, *, needed: int) -> None:
    """Refuse to begin what cannot be written, or has no space on its disk.

    Args:
        path: Where it will be written; what is missing of the path will be made.
        needed: About how many bytes; a twentieth is added.

    Raises:
        DataError: As `refuse_unwritable` says, or there are fewer bytes free; the message has both figures.
    """
    refuse_unwritable(path)
    place = _existing(path)
    free = shutil.disk_usage(place).free
    wanted = int(needed * _MARGIN)
    if wanted > free:
        raise DataError(
            f"{path} will take about {text_size(wanted)}, and {place} has {text_size(free)} free; free some "
            "space, or give a path on another disk"
        )


def report_size(data: Path, *, times: int = 10) -> int:
    """Return about how many bytes a report on a store, or on a table of labels or predictions, takes.

    Args:
        data: The store or the table.
        times: Bytes of what has a line for each image, for each byte of the table.
    """
    table = data / "table.parquet" if data.is_dir() else data
    return _PAGE + times * (table.stat().st_size if table.is_file() else 0)


def text_size(number: float) -> str:
    """Return a number of bytes as people write it: "512 bytes", "1.2 MB", "3.4 GB"."""
    if number < _KILO:
        return f"{int(number)} {'byte' if number == 1 else 'bytes'}"
    for unit in ("kB", "MB", "GB"):
        number /= _KILO
        if number < _KILO:
            return f"{number:.3g} {unit}"
    return f"{number / _KILO:,.4g} TB"


def _existing(path: Path) -> Path:
    """Return the part of a path that exists already."""
    path = Path(os.path.abspath(path))  # noqa: PTH100  (without following links, and without an end to "..")
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
