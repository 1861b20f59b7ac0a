"""The images of a store in object storage that is larger than the folder of copies may be.

Each shard is read once as a whole and compared with its SHA-256; from then on the checksums of its images are
known, and any image can be read alone. A bounded file keeps images. Training announces the order in which it
will read, which is a function of seed and epoch: what comes next is read ahead, and where the file is full,
the image makes room whose turn comes last.
"""

import os
import tempfile
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int32, Int64, UInt8, UInt32

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import write_bytes
from thorax.errors import DataError
from thorax.objects.cache import BOUND, cache_bound, folder_size, make_room
from thorax.objects.client import open_range_reader, retried
from thorax.objects.files import fetch, transfers
from thorax.objects.place import Place
from thorax.outputs import text_size
from thorax.store.manifest import HEADER_BYTES, StoreManifest, shard_name

__all__ = ["StreamedImages"]

_CONCURRENT: Final = 32
"""Images that are requested at once: each is small, so that the way there and back is most of the time."""

_WINDOW: Final = 512
"""Images that are read ahead; they wait in memory."""

_WINDOW_BYTES: Final = 64 << 20
"""Their bytes."""

_KNOWN: Final = 4
"""Passes whose order is known: training and validation, of this epoch and the next."""

_DRAWN: Final = 64
"""Kept images of which one makes room: the best of so many is nearly the best of all."""

_FEWEST: Final = 32
"""Images that must fit."""

_NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Pass:
    """A pass that was announced: position `first` + i reads row `order[i]`, at place `place[row]`."""

    first: int
    order: Rows
    place: Int32[np.ndarray, " rows"]

    @property
    def end(self) -> int:
        return self.first + len(self.order)


class StreamedImages:
    """Images that are read one by one, and a bounded file of them; used by one thread.

    Args:
        place: The store.
        folder: The folder of its copy.
        manifest: The content of its `store.json`.

    Raises:
        DataError: There is too little room.
    """

    def __init__(self, place: Place, folder: Path, manifest: StoreManifest) -> None:
        self._place, self._folder, self._manifest = place, folder, manifest
        self._size = manifest.preparation.size**2
        shard = manifest.shard_bytes(0)
        processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        capacity = (cache_bound() - folder_size(folder) - 3 * shard) // processes // self._size
        if capacity < _FEWEST:
            raise DataError(
                f"{place} is read through copies of single images, and {text_size(cache_bound())} are too "
                f"few for {_FEWEST} images beside three shards; set {BOUND} to at least "
                f"{(3 * shard + processes * _FEWEST * self._size) / 1e9 + 0.001:.3f}"
            )
        make_room(capacity * self._size + 3 * shard, place)
        self._kept = _KeptImages(folder, min(capacity, manifest.num_rows), self._size, manifest.num_rows)
        self._window = max(1, min(_WINDOW, _WINDOW_BYTES // self._size))
        self._pool = ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="s3-images")
        self._coming: dict[int, Future[UInt8[np.ndarray, " size"]]] = {}
        self._sums: dict[int, UInt32[np.ndarray, " slots"]] = {}
        self._recent: dict[int, np.ndarray] = {}
        self._readers: dict[int, Callable[[int, int], bytes]] = {}
        self._lock = threading.Lock()
        self._announced: Iterator[Rows] = iter(())
        self._passes: deque[_Pass] = deque()
        self._done = 0
        self._ahead = 0

    def read(self, rows: Rows) -> PixelsBatch:
        """Return copies of images: kept ones, those read ahead, and others, which are waited for."""
        side = self._manifest.preparation.size
        batch = np.empty((len(rows), side, side), np.uint8)
        flat = batch.reshape(len(rows), -1)
        self._consume(rows)
        for row in rows.tolist():
            if not self._is_near(row):
                self._request(row)
        for image, row in zip(flat, rows.tolist(), strict=True):
            if self._kept.copy(row, image):
                continue
            shard, slot = divmod(row, self._manifest.shard_rows)
            coming = self._coming.pop(row, None)
            if coming is not None:
                image[:] = coming.result()
            elif shard in self._recent:
                image[:] = self._recent[shard][slot]
            else:
                self._request(row)
                if row in self._coming:
                    image[:] = self._coming.pop(row).result()
                else:
                    image[:] = self._recent[shard][slot]
            self._kept.keep(row, image, use=self._next_use(row), now=self._done)
        self._read_ahead()
        return batch

    def expect(self, rows: Rows) -> None:
        """Read images ahead, unless an order was announced, by which this is done anyway."""
        if self._passes:
            return
        for row in rows.tolist():
            if len(self._coming) < self._window and self._knows(row // self._manifest.shard_rows):
                self._request(row)

    def follow(self, passes: Iterator[Rows]) -> None:
        """Begin to read ahead in an order that is announced."""
        self._announced = passes
        self._passes.clear()
        self._done = self._ahead = 0
        self._kept.use = self._next_use
        self._read_ahead()

    def check(self, number: int) -> None:
        """Compare a shard with its SHA-256, unless that was done: then each image has its own checksum.

        Raises:
            DataError: It cannot be read, or is damaged.
        """
        if not self._knows(number):
            self._learn(number)

    # ---- the order ------------------------------------------------------------------------------------

    def _consume(self, rows: Rows) -> None:
        """Move to the position after these rows."""
        for announced in self._passes:
            places = announced.place[rows]
            if (places >= 0).all() and announced.first + int(places.max()) >= self._done:
                self._done = announced.first + int(places.max()) + 1
                break
        while self._passes and self._passes[0].end <= self._done:
            self._passes.popleft()

    def _plan(self) -> None:
        """Know the order of some passes."""
        while len(self._passes) < _KNOWN:
            order = next(self._announced, None)
            if order is None:
                return
            first = self._passes[-1].end if self._passes else self._done
            place = np.full(self._manifest.num_rows, -1, np.int32)
            place[order] = np.arange(len(order))
            self._passes.append(_Pass(first, order, place))

    def _next_use(self, row: int) -> int:
        """Return the position at which a row is read next."""
        for announced in self._passes:
            place = int(announced.place[row])
            if place >= 0 and announced.first + place >= self._done:
                return announced.first + place
        return _NEVER

    def _read_ahead(self) -> None:
        """Request the images that come next, as far as the window goes."""
        self._plan()
        self._ahead = max(self._ahead, self._done)
        furthest = self._done + 8 * self._window
        for announced in list(self._passes):
            while announced.first <= self._ahead < min(announced.end, furthest):
                if len(self._coming) >= self._window:
                    return
                row = int(announced.order[self._ahead - announced.first])
                if not self._is_near(row) and self._knows(row // self._manifest.shard_rows):
                    self._request(row)
                self._ahead += 1

    # ---- the images -----------------------------------------------------------------------------------

    def _is_near(self, row: int) -> bool:
        return row in self._coming or self._kept.has(row) or row // self._manifest.shard_rows in self._recent

    def _request(self, row: int) -> None:
        """Begin to read an image, after its shard if that was never compared with its SHA-256."""
        shard = row // self._manifest.shard_rows
        if not self._knows(shard):
            self._learn(shard)
        elif not self._is_near(row):
            self._coming[row] = self._pool.submit(self._fetched, row)

    def _fetched(self, row: int) -> UInt8[np.ndarray, " size"]:
        """Return an image as the storage has it, with its checksum; called in the threads of the pool."""
        shard, slot = divmod(row, self._manifest.shard_rows)
        place = self._place / shard_name(shard)
        with self._lock:
            read = self._readers.get(shard)
        if read is None:
            read = open_range_reader(place)
            with self._lock:
                self._readers[shard] = read
        expected = int(self._sums[shard][slot])

        def attempt() -> bytes:
            if not threading.main_thread().is_alive():  # Python is ending
                return bytes(self._size)
            content = read(HEADER_BYTES + slot * self._size, self._size)
            if zlib.crc32(content) != expected:
                raise OSError(f"the bytes of image {slot} do not have their checksum")
            return content

        return np.frombuffer(retried(place, "read", attempt), np.uint8)

    def _knows(self, number: int) -> bool:
        """Return whether the checksums of a shard's images are known."""
        if number not in self._sums:
            path = self._sums_file(number)
            if not path.is_file():
                return False
            sums = np.frombuffer(path.read_bytes(), "<u4")
            if len(sums) != len(self._manifest.rows_of(number)):
                return False
            self._sums[number] = sums
        return True

    def _sums_file(self, number: int) -> Path:
        return self._folder / f"{shard_name(number)}.crc32"

    def _learn(self, number: int) -> None:
        """Read a shard as a whole, compare its SHA-256, and note the checksum of each image."""
        name = shard_name(number)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder, transfers() as pool:
            path = Path(folder) / name
            fetch(
                self._place / name,
                path,
                pool=pool,
                size=self._manifest.shard_bytes(number),
                sha256=self._manifest.shards[number].sha256,
                durable=False,
            )
            # Its pages stay until nothing refers to the array.
            mapped = np.memmap(path, np.uint8, "r", HEADER_BYTES)
        images = mapped.reshape(len(self._manifest.rows_of(number)), self._size)
        sums = np.fromiter((zlib.crc32(image.data) for image in images), np.uint32, len(images))
        write_bytes(self._sums_file(number), sums.astype("<u4").tobytes())
        self._sums[number] = sums
        while len(self._recent) > 1:
            self._recent.pop(next(iter(self._recent)))
        self._recent[number] = images
        for row, image in zip(self._manifest.rows_of(number), images, strict=True):
            if not self._kept.has_room:
                break
            self._kept.keep(row, image, use=self._next_use(row), now=self._done)


class _KeptImages:
    """A file of images that is gone when the process ends.

    Args:
        folder: Where it is made.
        capacity: How many it may hold.
        size: Bytes of each.
        num_rows: Rows of the store's source.
    """

    def __init__(self, folder: Path, capacity: int, size: int, num_rows: int) -> None:
        self._file, name = tempfile.mkstemp(dir=folder)
        os.unlink(name)  # noqa: PTH108  (it has a descriptor, and needs no name)
        weakref.finalize(self, os.close, self._file)
        self._size = size
        self._slot: Int32[np.ndarray, " rows"] = np.full(num_rows, -1, np.int32)
        self._row: Int64[np.ndarray, " capacity"] = np.full(capacity, -1, np.int64)
        self._use: Int64[np.ndarray, " capacity"] = np.full(capacity, _NEVER, np.int64)
        self._filled = 0
        self._draw = np.random.default_rng(0)
        self.use: Callable[[int], int] = lambda _row: _NEVER

    @property
    def has_room(self) -> bool:
        return self._filled < len(self._row)

    def has(self, row: int) -> bool:
        return bool(self._slot[row] >= 0)

    def copy(self, row: int, image: UInt8[np.ndarray, " size"]) -> bool:
        """Copy a row's image; return whether it was kept."""
        slot = int(self._slot[row])
        if slot < 0:
            return False
        if os.preadv(self._file, [image.data], slot * self._size) != self._size:
            self._slot[row] = self._row[slot] = -1
            return False
        self._use[slot] = self.use(row)
        return True

    def keep(self, row: int, image: UInt8[np.ndarray, " size"], *, use: int, now: int) -> None:
        """Keep an image, unless those that are kept are all read sooner."""
        if self.has(row):
            return
        slot = self._filled if self.has_room else self._latest(now)
        if not self.has_room and self._use[slot] <= use:
            return
        try:
            written = os.pwrite(self._file, image.data, slot * self._size)
        except OSError:  # the disk is full: what is kept stays
            return
        if written != self._size:
            return
        self._filled += self.has_room
        if self._row[slot] >= 0:
            self._slot[self._row[slot]] = -1
        self._slot[row], self._row[slot], self._use[slot] = slot, row, use

    def _latest(self, now: int) -> int:
        """Return the slot, of some that are drawn, whose image is read last."""
        slots = self._draw.integers(len(self._row), size=_DRAWN)
        for slot in slots[self._use[slots] < now].tolist():  # it was not read when it was announced
            self._use[slot] = self.use(int(self._row[slot]))
        return int(slots[np.argmax(self._use[slots])])
