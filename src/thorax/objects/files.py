"""Objects to files of this disk and back: large ones in parallel ranges, folders as a whole."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thorax.atomic_io import atomic_write, sha256_of_file
from thorax.errors import DataError
from thorax.objects.client import RANGE, Listed, list_below, open_range_reader, put, retried
from thorax.objects.place import Place

__all__ = ["CONCURRENT", "LARGEST", "fetch", "fetch_folder", "finished", "put_folder", "transfers"]

CONCURRENT: Final = 16
"""Requests at once."""

LARGEST: Final = 1 << 30
"""Bytes of an object that is read into memory."""

_TIMES: Final = 3
"""How often an object is read whose bytes do not have the sum that they should have."""


@contextmanager
def transfers() -> Iterator[ThreadPoolExecutor]:
    """Yield the threads for requests; what has not begun is dropped at the end, also on Ctrl-C."""
    pool = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="s3")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def fetch(
    place: Place,
    path: Path,
    *,
    pool: ThreadPoolExecutor,
    size: int,
    sha256: str | None = None,
    durable: bool = True,
) -> None:
    """Copy an object to a file, which is there whole or not at all.

    Args:
        place: The object.
        path: The file.
        pool: The threads that read its ranges.
        size: Its length.
        sha256: What its bytes must have; they are read again if they have another one.
        durable: See `atomic_write`.

    Raises:
        DataError: It cannot be read, or has other bytes each time.
    """
    with atomic_write(path, durable=durable) as temporary:
        for _ in range(_TIMES):
            with temporary.open("wb") as file:
                file.truncate(size)
                _read_ranges(place, file.fileno(), size, pool)
            if sha256 is None or sha256_of_file(temporary) == sha256:
                return
        raise DataError(
            f"{place} is damaged: its SHA-256 is not {(sha256 or '')[:12]}..., read {_TIMES} times; copy the "
            "whole folder there again"
        )


def _read_ranges(place: Place, descriptor: int, size: int, pool: ThreadPoolExecutor) -> None:
    read = open_range_reader(place)

    def copy(start: int) -> None:
        length = min(RANGE, size - start)
        os.pwrite(descriptor, retried(place, "read", lambda: read(start, length)), start)

    finished(pool.submit(copy, start) for start in range(0, size, RANGE))


def finished(futures: "Iterator[Future[None]]") -> None:
    """Wait for all; the first error cancels those that have not begun."""
    waiting = list(futures)
    try:
        for future in as_completed(waiting):
            future.result()
    except BaseException:
        for future in waiting:
            future.cancel()
        raise


def fetch_folder(place: Place, folder: Path, *, wanted: Callable[[Listed], bool] = lambda _: True) -> int:
    """Copy the objects below a place into a folder, and return how many there were.

    Raises:
        DataError: One of them cannot be read, or has a name that is not one of a file below the folder.
    """
    listed = [each for each in list_below(place) if wanted(each)]
    for each in listed:
        if any(part in {"", ".", ".."} for part in each.name.split("/")):
            raise DataError(f"{each.place} has a name that no file can have; rename it there")
    with transfers() as pool:
        for each in listed:
            path = folder / each.name
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(each.place, path, pool=pool, size=each.size)
    return len(listed)


def put_folder(folder: Path, place: Place, *, last: Sequence[str] = ()) -> None:
    """Write the files of a folder as objects, each whole.

    Args:
        folder: The folder; files that are still being written are left out.
        place: Where they go.
        last: The files that are written after all others, in this order: what makes the others count.
    """
    names = sorted(
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith(".partial")
    )
    first = [name for name in names if name not in last]
    with transfers() as pool:
        finished(pool.submit(put, folder / name, place / name) for name in first)
    for name in last:
        if name in names:
            put(folder / name, place / name)
