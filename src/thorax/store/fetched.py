"""A store of object storage: its tables are copied, and its shards as they are needed.

Where all shards fit into the folder of copies, they are kept there as they are, each as soon as its SHA-256
was compared. Otherwise `streamed` reads single images.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import sha256_of_file, write_bytes
from thorax.errors import DataError
from thorax.objects.cache import cache_bound, entry, make_room
from thorax.objects.client import NoSuchObject, content_of, described
from thorax.objects.files import CONCURRENT, LARGEST, fetch, transfers
from thorax.objects.place import Place
from thorax.store.manifest import (
    DOUBTS,
    HEADER_BYTES,
    MANIFEST,
    PLAN,
    REJECTED,
    TABLE,
    StoreManifest,
    load_section,
    shard_name,
)
from thorax.store.mapped import ShardImages, map_shard
from thorax.store.streamed import StreamedImages

__all__ = ["FetchedShards", "fetched_tables", "open_shards"]

_LARGEST_MANIFEST: Final = 64 << 20


def fetched_tables(place: Place) -> Path:
    """Return a folder with copies of a store's files other than shards, each with its SHA-256.

    Raises:
        DataError: There is no finished store, or a file is missing or damaged.
    """
    try:
        content = content_of(place / MANIFEST, at_most=_LARGEST_MANIFEST)
    except NoSuchObject as error:
        if described(place / PLAN) is not None:
            raise DataError(
                f"{place} is a store that is not finished; run the same `thorax prepare` again: it resumes "
                "where it stopped"
            ) from error
        raise DataError(f"{place} is not a store: it has no {MANIFEST}; correct the address") from error
    folder = entry("store", f"{place} {content!r}")
    with _only_one_process(folder / "tables.lock"):
        if not (folder / MANIFEST).is_file():
            _fetch_tables(place, folder, content)
    return folder


def _fetch_tables(place: Place, folder: Path, content: bytes) -> None:
    unchecked = folder / f".{MANIFEST}.partial"
    write_bytes(unchecked, content)
    manifest = load_section(StoreManifest, unchecked)
    with transfers() as pool:
        for name, sha256 in ((TABLE, manifest.table_sha256), (REJECTED, manifest.rejected_sha256)):
            listed = described(place / name)
            if listed is None:
                raise DataError(f"{place} has no {name}; copy the whole store there again")
            make_room(listed.size, place)
            fetch(place / name, folder / name, pool=pool, size=listed.size, sha256=sha256)
    if described(place / DOUBTS) is not None:
        write_bytes(folder / DOUBTS, content_of(place / DOUBTS, at_most=LARGEST))
    unchecked.replace(folder / MANIFEST)


def open_shards(place: Place, folder: Path, manifest: StoreManifest) -> ShardImages:
    """Return what reads the images of a store in object storage.

    Args:
        place: The store.
        folder: The folder of its copy.
        manifest: The content of its `store.json`.

    Raises:
        DataError: There is too little room for copies.
    """
    needed = sum(map(manifest.shard_bytes, range(manifest.num_shards)))
    if needed <= cache_bound():
        return FetchedShards(place, folder, manifest)
    return StreamedImages(place, folder, manifest)


class FetchedShards:
    """Shards that are copied as a whole, in the order in which they are needed.

    Args:
        place: The store.
        folder: The folder of its copy.
        manifest: The content of its `store.json`.
    """

    def __init__(self, place: Place, folder: Path, manifest: StoreManifest) -> None:
        self._place, self._folder, self._manifest = place, folder, manifest
        self._arrays: dict[int, np.ndarray] = {}
        self._checked: set[int] = set()
        self._coming: dict[int, Future[None]] = {}
        self._lock = threading.Lock()
        # Two, so that one is compared with its SHA-256 while the other is read.
        self._background = ThreadPoolExecutor(2, thread_name_prefix="s3-shards")
        self._ranges = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="s3-ranges")

    def read(self, rows: Rows) -> PixelsBatch:
        """Return copies of images, after copying the shards that are missing."""
        numbers, slots = np.divmod(rows, self._manifest.shard_rows)
        side = self._manifest.preparation.size
        batch = np.empty((len(rows), side, side), np.uint8)
        for image, number, slot in zip(batch, numbers.tolist(), slots.tolist(), strict=True):
            image[:] = self._shard(number)[slot]
        return batch

    def expect(self, rows: Rows) -> None:
        """Copy the shards of these images soon."""
        for number in np.unique(rows // self._manifest.shard_rows).tolist():
            self._begin(number)

    def follow(self, passes: Iterator[Rows]) -> None:
        """Copy the shards in the order in which the first pass needs them."""
        first = next(passes, np.empty(0, np.int64)) // self._manifest.shard_rows
        numbers, where = np.unique(first, return_index=True)
        for number in numbers[np.argsort(where)].tolist():
            self._begin(number)

    def check(self, number: int) -> None:
        """Copy a shard, or compare the copy that is there with its SHA-256 and copy it again if it differs.

        Raises:
            DataError: It cannot be read, or is damaged.
        """
        if self._has_right_copy(number):
            return
        for following in range(number, min(number + 3, self._manifest.num_shards)):
            self._begin(following)
        self._shard(number)

    def _has_right_copy(self, number: int) -> bool:
        """Return whether there is a copy of a shard; one with another SHA-256 is removed.

        A copy of an earlier process may be damaged by a power failure, since it is not durable.
        """
        path = self._folder / shard_name(number)
        if number in self._checked:
            return True
        if not path.is_file():
            return False
        with _only_one_process(self._folder / f"{path.stem}.lock"):  # it may be replaced meanwhile
            if not path.is_file():
                return False
            if sha256_of_file(path) == self._manifest.shards[number].sha256:
                self._checked.add(number)
                return True
            path.unlink()
        return False

    def _shard(self, number: int) -> np.ndarray:
        array = self._arrays.get(number)
        if array is None:
            if not self._has_right_copy(number):
                self._begin(number)
            coming = self._coming.get(number)
            if coming is not None:
                coming.result()
            mapped = map_shard(self._folder, self._manifest, number)
            array = np.frombuffer(mapped, np.uint8, offset=HEADER_BYTES)
            array = array.reshape(self._manifest.shard_shape(number))
            self._arrays[number] = array
        return array

    def _begin(self, number: int) -> None:
        """Copy a shard in the background, unless it is there or coming."""
        with self._lock:
            if number not in self._coming and not (self._folder / shard_name(number)).is_file():
                self._coming[number] = self._background.submit(self._copy, number)

    def _copy(self, number: int) -> None:
        if not threading.main_thread().is_alive():  # Python is ending
            return
        path = self._folder / shard_name(number)
        with _only_one_process(self._folder / f"{path.stem}.lock"):
            if not path.is_file():
                size = self._manifest.shard_bytes(number)
                make_room(size, self._place)
                sha256 = self._manifest.shards[number].sha256
                place = self._place / path.name
                fetch(place, path, pool=self._ranges, size=size, sha256=sha256, durable=False)
        self._checked.add(number)


@contextmanager
def _only_one_process(path: Path) -> Iterator[None]:
    """Let one process at a time do something; the system lets the next one in when it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
