"""The images of a store in memory-mapped files of this disk."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import sha256_of_file
from thorax.errors import DataError
from thorax.store.manifest import HEADER_BYTES, MANIFEST, StoreManifest, shard_name

__all__ = ["REMEDY", "MappedShards", "ShardImages", "map_shard", "refuse_changed"]

REMEDY = "copy the whole store again, or prepare it again"


@runtime_checkable
class ShardImages(Protocol):
    """Where the images of a store are read from.

    An image is named by its row of the source: slot row % shard_rows of shard row // shard_rows.
    """

    def read(self, rows: Rows) -> PixelsBatch:
        """Return copies of images, in the order of their source rows."""

    def expect(self, rows: Rows) -> None:
        """Announce that these images will be read soon."""

    def follow(self, passes: Iterator[Rows]) -> None:
        """Announce all that will be read, pass by pass; no image is twice in a pass."""

    def check(self, number: int) -> None:
        """Refuse a shard whose bytes are not those that `store.json` describes."""


class MappedShards:
    """The shards of a store in a folder.

    Args:
        path: The folder.
        manifest: The content of its `store.json`.

    Raises:
        DataError: A shard is missing, or has another length or header than was written.
    """

    def __init__(self, path: Path, manifest: StoreManifest) -> None:
        self._path, self._manifest = path, manifest
        self._files = tuple(map_shard(path, manifest, number) for number in range(manifest.num_shards))
        self._shards: tuple[UInt8[np.ndarray, "_ s s"], ...] = tuple(
            np.frombuffer(file, np.uint8, offset=HEADER_BYTES).reshape(manifest.shard_shape(number))
            for number, file in enumerate(self._files)
        )

    def read(self, rows: Rows) -> PixelsBatch:
        """Return copies of images; only their pages are read from disk, and stay in the page cache."""
        numbers, slots = np.divmod(rows, self._manifest.shard_rows)
        side = self._manifest.preparation.size
        batch = np.empty((len(rows), side, side), np.uint8)
        for image, number, slot in zip(batch, numbers.tolist(), slots.tolist(), strict=True):
            image[:] = self._shards[number][slot]
        return batch

    def expect(self, rows: Rows) -> None:
        """Let the system read these images from disk already."""
        numbers, slots = np.divmod(rows, self._manifest.shard_rows)
        size = self._manifest.preparation.size**2
        for number, slot in zip(numbers.tolist(), slots.tolist(), strict=True):
            first = HEADER_BYTES + slot * size
            page = first - first % mmap.PAGESIZE
            self._files[number].madvise(mmap.MADV_WILLNEED, page, first + size - page)

    def follow(self, passes: Iterator[Rows]) -> None:
        """Do nothing: the system keeps in memory what it can."""

    def check(self, number: int) -> None:
        """Refuse a shard that has changed since it was written.

        Raises:
            DataError: It has changed, or is missing.
        """
        refuse_changed(self._path / shard_name(number), self._manifest.shards[number].sha256)


def map_shard(path: Path, manifest: StoreManifest, number: int) -> mmap.mmap:
    """Map the file of a shard.

    Raises:
        DataError: It is missing, or has another length or header than was written.
    """
    file = path / shard_name(number)
    expected = manifest.shard_bytes(number)
    try:
        size = file.stat().st_size
        if size != expected:
            raise DataError(f"{file} has {size:,} bytes, but {expected:,} were written; {REMEDY}")
        with file.open("rb") as opened:
            header = opened.read(HEADER_BYTES)
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); {REMEDY}") from error
    if header != manifest.shard_header(number):
        raise DataError(f"{file} does not have the header of the shard in {MANIFEST}; {REMEDY}")
    return mapped


def refuse_changed(file: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 is not the one that a store's manifest states.

    Raises:
        DataError: It is another one, or the file cannot be read.
    """
    try:
        actual = sha256_of_file(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); {REMEDY}") from error
    if actual != expected:
        raise DataError(
            f"{file} is not the file that {MANIFEST} describes (SHA-256 {actual[:12]}..., "
            f"expected {expected[:12]}...); {REMEDY}"
        )
