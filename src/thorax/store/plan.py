"""The plan of a store, written first: settings, input hashes and file listing that a resumed run must match.

`plan.json` has every setting and a hash of every input; `listing.csv` lists the image files, so that a
changed file can be named.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int64

from thorax.atomic_io import atomic_write
from thorax.datasets import id_space
from thorax.datasets.splits import registered_images
from thorax.datasets.table import Source, read_columns
from thorax.errors import DataError
from thorax.packages import versions
from thorax.recipe.schema import Preparation
from thorax.store.columns import column_bytes, column_sha256
from thorax.store.manifest import MANIFEST, PLAN, REJECTED, TABLE, StoreManifest, StorePlan, load_section

__all__ = [
    "LISTING",
    "SHARD_ROWS",
    "Listing",
    "Settings",
    "list_files",
    "make_plan",
    "refuse_change",
    "write_listing",
]

LISTING = "listing.csv"
_SOFTWARE = ("thorax", "pillow", "numpy", "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm")
_LISTED = ("path", "file_bytes", "mtime_ns")

SHARD_ROWS = 4096
"""Source rows per shard: 268 MB at 256 pixels, 27 shards for NIH."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a store.

    Attributes:
        preparation: How radiographs become squares.
        split_sha256: SHA-256 of the whole list of each registered split, by name.
        shard_rows: Source rows per shard.
    """

    preparation: Preparation
    split_sha256: Mapping[str, str] = field(default_factory=dict)
    shard_rows: int = SHARD_ROWS


@dataclass(frozen=True)
class Listing:
    """The image files of a source, in row order, before any is opened.

    Attributes:
        paths: Paths relative to the source's folder.
        sizes: Sizes in bytes.
        mtimes_ns: Modification times in nanoseconds since 1970.
    """

    paths: pd.Series
    sizes: Int64[np.ndarray, " n"]
    mtimes_ns: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, rows: slice) -> "Listing":
        """Return some of the files, in the same order."""
        return Listing(self.paths.iloc[rows], self.sizes[rows], self.mtimes_ns[rows])

    def sha256(self) -> str:
        """Return a SHA-256 over every path, size and modification time."""
        digest = hashlib.sha256(column_bytes(self.paths))
        digest.update(self.sizes.astype("<i8").tobytes())
        digest.update(self.mtimes_ns.astype("<i8").tobytes())
        return digest.hexdigest()


def list_files(source: Source) -> Listing:
    """List every image file of a source without opening any.

    Raises:
        DataError: A file is missing, or the source has no rows.
    """
    paths = source.table.frame["path"]
    if not len(paths):
        raise DataError(f"the source {source.root} has no image to prepare; check its label file and folder")
    sizes_and_times = np.empty((len(paths), 2), np.int64)
    for row, path in enumerate(paths):
        try:
            status = (source.root / path).stat()
        except OSError as error:
            raise DataError(
                f"{source.root / path} cannot be found ({error.strerror or error}), though the data set's "
                "tables were just read; put it back, or read the data set again"
            ) from error
        sizes_and_times[row] = status.st_size, status.st_mtime_ns
    return Listing(paths, sizes_and_times[:, 0].copy(), sizes_and_times[:, 1].copy())


def write_listing(listing: Listing, path: Path) -> None:
    """Write a listing as CSV (path, file_bytes, mtime_ns), line by line to save memory."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_LISTED)
        writer.writerows(zip(listing.paths, listing.sizes.tolist(), listing.mtimes_ns.tolist(), strict=True))


def _read_listing(path: Path) -> Iterator[tuple[int, str, int, int]]:
    """Yield row, path, size and modification time of each file in a listing or a store's table.

    Raises:
        ValueError: The listing is damaged.
        OSError: It cannot be read.
    """
    if path.name == TABLE:
        table = read_columns(path, ["row", *_LISTED])
        yield from zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
        return
    with path.open(encoding="utf-8", newline="") as text:
        lines = csv.reader(text)
        next(lines, None)
        for row, (name, size, mtime_ns) in enumerate(lines):
            yield row, name, int(size), int(mtime_ns)


def make_plan(source: Source, listing: Listing, settings: Settings) -> StorePlan:
    """Return the plan of a store: every setting, and a hash of every input."""
    table = source.table.frame
    return StorePlan(
        dataset=source.dataset,
        preparation=settings.preparation,
        shard_rows=settings.shard_rows,
        num_rows=len(listing),
        box_side=source.box_side,
        label_files=dict(source.label_files),
        files_sha256=listing.sha256(),
        columns={str(name): column_sha256(table[name]) for name in table.columns},
        split_sha256=dict(sorted(settings.split_sha256.items())),
        split_images=_split_images(source),
        software=versions(*_SOFTWARE),
    )


def _split_images(source: Source) -> dict[str, dict[str, int]] | None:
    """Return how many images the parts of each split have, unless all labeled images are in the source."""
    if len(source.table) == len(source.whole.images):
        return None
    return registered_images(source.whole, source.dataset) or None


def refuse_change(out: Path, new: StorePlan, listing: Listing) -> None:
    """Refuse to resume in `out` with a different source or different settings.

    Raises:
        DataError: Something differs; the message names it with its old and new value.
    """
    finished = (out / MANIFEST).is_file()
    old: StorePlan = (
        load_section(StoreManifest, out / MANIFEST) if finished else load_section(StorePlan, out / PLAN)
    )
    _refuse_other_settings(out, old, new)
    if old.files_sha256 != new.files_sha256:
        where = out / (TABLE if finished else LISTING)
        raise DataError(f"{_changed_file(where, listing)}; {_remedy(out)}")
    for name in {**old.columns, **new.columns}:
        if old.columns.get(name) != new.columns.get(name):
            raise DataError(
                f"column {name!r} of the source's table has changed since {out} was started; {_remedy(out)}"
            )
    if not finished:
        # An unfinished store would mix the pixels of two versions; a finished one is consistent.
        _refuse(out, "software", old.software, new.software)


def _refuse_other_settings(out: Path, old: StorePlan, new: StorePlan) -> None:
    # Names made from the content differ where labels do; the message for these is more precise.
    _refuse(out, "data set", id_space(old.dataset), id_space(new.dataset))
    for name in Preparation.model_fields:
        _refuse(out, name, getattr(old.preparation, name), getattr(new.preparation, name))
    _refuse(out, "rows per shard", old.shard_rows, new.shard_rows)
    _refuse(out, "side of the boxes' square", old.box_side, new.box_side)
    for name in {**old.label_files, **new.label_files}:
        _refuse(out, f"label file {name} with SHA-256", old.label_files.get(name), new.label_files.get(name))
    for name in {**old.split_sha256, **new.split_sha256}:
        _refuse(out, f"split {name} with SHA-256", old.split_sha256.get(name), new.split_sha256.get(name))


def _refuse(out: Path, what: str, old: object, new: object) -> None:
    if old != new:
        raise DataError(
            f"{out} was started with {what} {_describe(old)}, which is now {_describe(new)}; {_remedy(out)}"
        )


def _describe(value: object) -> str:
    match value:
        case None:
            return "absent"
        case dict():
            return ", ".join(f"{name} {version}" for name, version in value.items())
        case _:
            return str(value)


def _remedy(out: Path) -> str:
    return f"prepare into another folder, or delete {out} to start again"


def _changed_file(old: Path, new: Listing) -> str:
    """Describe the first file that differs between the listing in `old` and the current one."""
    num_listed = 0
    try:
        for row, path, size, mtime_ns in _read_listing(old):
            num_listed = row + 1
            if row >= len(new):
                return f"{path} is no longer in the source"
            now, now_size = str(new.paths.iloc[row]), int(new.sizes[row])
            if path != now:
                return f"the source's image {row + 1} was {path} and is now {now}"
            if (size, mtime_ns) != (now_size, int(new.mtimes_ns[row])):
                how = f"{size:,} bytes, now {now_size:,}" if size != now_size else "another modification time"
                return f"{path} has changed since {old.parent} was started ({how})"
    except (OSError, ValueError, pa.ArrowException):
        return f"the image files have changed since {old.parent} was started, and its listing is damaged"
    if old.name == LISTING and num_listed < len(new):
        return f"{new.paths.iloc[num_listed]} is new in the source since {old.parent} was started"
    # A finished store lists no sizes and times of rejected files or of rows after the last usable one.
    return f"files have been added since {old.parent} was made, or one of those in its {REJECTED} has changed"
