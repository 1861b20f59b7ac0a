"""The folder on this disk for what came from object storage; it is bounded.

Entries are folders, and where there is no more room, those go that were used longest ago. A process that uses
one holds a lock on it, which the system releases when the process ends; only entries without one are removed.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from thorax.atomic_io import exclusive_lock
from thorax.errors import DataError
from thorax.objects.place import Place
from thorax.outputs import text_size

__all__ = [
    "BOUND",
    "FOLDER",
    "cache_bound",
    "cache_folder",
    "entry",
    "folder_size",
    "is_copy",
    "make_room",
    "work_folder",
    "work_path",
]

FOLDER: Final = "THORAX_CACHE"
"""The environment's variable for the folder."""

BOUND: Final = "THORAX_CACHE_GB"
"""The environment's variable for how many gigabytes the folder may hold."""

_FETCHED: Final = "fetched"
_WORK: Final = "work"
_GIGA: Final = 10**9

_held: dict[Path, int] = {}
"""The entries that this process uses, with their locked descriptors."""


def cache_folder() -> Path:
    """Return the folder, which is this user's alone; it is made if it is missing."""
    named = os.environ.get(FOLDER)
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "thorax"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}, the folder for copies from object storage, cannot be made ({error.strerror}); name "
            f"another one in {FOLDER}"
        ) from error
    return folder


def cache_bound() -> int:
    """Return how many bytes the copies may take: what the environment says, or half of what the disk has.

    Raises:
        DataError: The environment does not say a number of gigabytes.
    """
    text = os.environ.get(BOUND)
    if text:
        try:
            gigabytes = float(text)
        except ValueError:
            gigabytes = -1.0
        if not 0 < gigabytes < float("inf"):
            raise DataError(f"{BOUND} is {text!r}; set it to a number of gigabytes, such as 200")
        return int(gigabytes * _GIGA)
    folder = cache_folder()
    return (shutil.disk_usage(folder).free + folder_size(folder / _FETCHED)) // 2


def entry(kind: str, name: str) -> Path:
    """Return the folder of an entry, made if it is missing, and keep it until this process ends.

    Args:
        kind: What it holds, such as "store".
        name: What identifies its content.
    """
    folder = cache_folder() / _FETCHED / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    while folder not in _held:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:  # it may have been removed before it was locked
            same = os.fstat(descriptor).st_ino == folder.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            _held[folder] = descriptor
        else:
            os.close(descriptor)
    os.utime(folder)
    return folder


def is_copy(folder: Path) -> bool:
    """Return whether a folder is an entry that this process uses: a copy of what is in object storage."""
    return folder in _held


def make_room(needed: int, what: object) -> None:
    """Remove what was used longest ago, until so many bytes more may be written.

    Raises:
        DataError: They are more than the bound, less what other processes use.
    """
    bound, fetched = cache_bound(), cache_folder() / _FETCHED
    folders = sorted(fetched.iterdir(), key=_last_used) if fetched.is_dir() else []
    held = sum(map(folder_size, folders))
    for folder in folders:
        if held + needed <= bound:
            return
        if folder not in _held:
            held -= _removed(folder)
    if held + needed > bound:
        raise DataError(
            f"{what} needs {text_size(needed)} in {cache_folder()}, which may hold {text_size(bound)} and "
            f"has {text_size(held)} in use; set {BOUND} to more gigabytes, or {FOLDER} to a folder on a "
            "larger disk"
        )


def _last_used(folder: Path) -> float:
    """Return when an entry was used last; 0 if another process has removed it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _removed(folder: Path) -> int:
    """Remove an entry, unless a process uses it, and return the bytes that it had."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # another process was faster
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = folder_size(folder)
        shutil.rmtree(folder)
    except BlockingIOError:
        return 0
    finally:
        os.close(descriptor)
    return size


def folder_size(folder: Path) -> int:
    """Return the bytes that the files of a folder take on disk; what goes meanwhile counts nothing."""
    taken = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it has got its final name, or makes room
                taken += Path(inner, name).lstat().st_blocks * 512
    return taken


@contextmanager
def work_folder(place: Place, *, doing: str) -> Iterator[Path]:
    """Yield the folder in which something is made that will be at a place; it is never removed by itself.

    Args:
        place: Where the result will be.
        doing: What is done, for the message of another process that wants the folder too.

    Raises:
        DataError: Another process is doing it.
    """
    folder = work_path(place)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder.parent, doing=doing):
        yield folder
    if not any(folder.iterdir()):
        shutil.rmtree(folder.parent)


def work_path(place: Place) -> Path:
    """Return the folder of this disk in which what will be at a place is made, whether it exists or not."""
    return cache_folder() / _WORK / hashlib.sha256(str(place).encode()).hexdigest()[:32] / place.name
