"""Reads a store: memory-mapped pixels and the sample table."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, UInt8

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import StrPath, sha256_of_file
from thorax.datasets.splits import build_split
from thorax.datasets.table import SampleTable, read_columns, read_sample_table
from thorax.errors import DataError
from thorax.notebook import facts, notes, page, shortened, table
from thorax.progress import CountCallback
from thorax.recipe.schema import Preparation
from thorax.store.columns import column_sha256
from thorax.store.manifest import (
    HEADER_BYTES,
    MANIFEST,
    PLAN,
    REJECTED,
    TABLE,
    StoreManifest,
    load_section,
    shard_name,
)
from thorax.wording import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store", "open_store"]


@dataclass(frozen=True, repr=False)
class Store:
    """A finished store.

    Attributes:
        path: Its folder.
        table: One row per usable image, in source order; boxes are in prepared pixels.
        manifest: Content of `store.json`.
        notices: What `prepare` noticed about the source, one sentence per entry; empty when opened later.
    """

    path: Path
    table: SampleTable
    manifest: StoreManifest
    _source_rows: Rows
    _shards: tuple[UInt8[np.ndarray, "_ s s"], ...]
    _files: tuple[mmap.mmap, ...]
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def __fspath__(self) -> str:
        """Return its folder, so that a store is accepted wherever its path is."""
        return str(self.path)

    def __repr__(self) -> str:
        return (
            f"Store({shortened(str(self.path))!r}: {len(self):,} images of {self.num_patients:,} patients, "
            f"{self.preparation.size} pixels a side, {len(self.table.findings)} findings)"
        )

    def _repr_html_(self) -> str:
        findings = self.table.findings
        targets = self.table.targets(findings)
        rows = [
            (finding.label, f"{positive:,}", percent(positive / max(known, 1)), f"{known:,}")
            for finding, positive, known in zip(
                findings, (targets == 1).sum(axis=0), (targets >= 0).sum(axis=0), strict=True
            )
        ]
        return page(
            f"Store {self.path}",
            facts(
                [
                    ("Data set", self.dataset),
                    ("Images", f"{len(self):,} of {self.num_patients:,} patients"),
                    ("Pixels", f"{self.preparation.size} a side, {self.preparation.fit}"),
                    ("Splits", ", ".join(self.split_sha256) or "none registered"),
                    ("Not usable", f"{self.num_rejected:,} files, listed in rejected.csv"),
                ]
            ),
            table(("Finding", "Positive", "Prevalence", "Labeled"), rows),
            notes(f"{notice[:1].upper()}{notice[1:]}." for notice in self.notices),
        )

    def to_frame(self, *, split: str = "") -> "pd.DataFrame":
        """Return a table with one row per image.

        Args:
            split: Name of a split, whose parts become the column part; "" leaves the column out.

        Returns:
            Columns image, patient, age, sex, view, follow_up, and part; then one per finding: 1 present, 0
            absent, -1 uncertain, missing if it is not labeled.

        Raises:
            DataError: There is no such split, or it is not for this data set.

        Example:
            table = store.to_frame(split="folder-official")
            table.groupby("part")["Effusion"].mean()
        """
        frame = self.table.frame.drop(columns=["path", "official", "boxes"])
        if split:
            built = build_split(split, self.table, dataset=self.dataset, whole_sha256=self.split_sha256)
            parts = np.full(len(frame), "", dtype=object)
            for part, rows in built.parts.items():
                parts[rows] = part
            frame.insert(list(frame.columns).index("follow_up") + 1, "part", parts)
        return frame

    @property
    def num_patients(self) -> int:
        """Number of patients."""
        return len(set(self.table.patients().patients))

    @property
    def dataset(self) -> str:
        """Name of the data set; patient ids are unique within it."""
        return self.manifest.dataset

    @property
    def preparation(self) -> Preparation:
        """How files were turned into these pixels."""
        return self.manifest.preparation

    @property
    def fingerprint(self) -> str:
        """SHA-256 that identifies the content: pixels, labels and the files they came from."""
        return self.manifest.fingerprint()

    @property
    def split_sha256(self) -> Mapping[str, str]:
        """SHA-256 of the whole list of each registered split, by name."""
        return self.manifest.split_sha256

    @property
    def split_images(self) -> Mapping[str, Mapping[str, int]]:
        """Number of images in each part of these splits, where labeled images are missing from the source."""
        return self.manifest.split_images or {}

    @property
    def num_rejected(self) -> int:
        """Number of unusable files; `rejected.csv` has the reasons."""
        return self.manifest.num_rejected

    def pixels(self, rows: Rows) -> PixelsBatch:
        """Return a copy of the images of the table's `rows`, in that order; rows may repeat.

        uint8 (n, S, S), larger is brighter. Only the pages of these images are read from disk, and they stay
        in the page cache: the store itself takes no memory.
        """
        numbers, slots = np.divmod(self._source_rows[rows], self.manifest.shard_rows)
        side = self.preparation.size
        batch = np.empty((len(rows), side, side), np.uint8)
        for image, number, slot in zip(batch, numbers.tolist(), slots.tolist(), strict=True):
            image[:] = self._shards[number][slot]
        return batch

    def image_sizes(self) -> Int32[np.ndarray, "n 2"]:
        """Return rows and columns of each image of the table, as it was read and before it was prepared."""
        columns = read_columns(self.path / TABLE, ["height", "width"])
        return np.stack([columns.column(name).to_numpy() for name in ("height", "width")], axis=1)

    def expect(self, rows: Rows) -> None:
        """Announce that the images of these rows will be read soon, so that the system prefetches them.

        Images in random order then arrive as fast as a disk of 290 MB/s reads sequentially
        (`bench/cold_store.py`), without a reader thread or a weaker shuffle within shards. It costs 6
        microseconds per image.
        """
        numbers, slots = np.divmod(self._source_rows[rows], self.manifest.shard_rows)
        size = self.preparation.size**2
        for number, slot in zip(numbers.tolist(), slots.tolist(), strict=True):
            first = HEADER_BYTES + slot * size
            page = first - first % mmap.PAGESIZE
            self._files[number].madvise(mmap.MADV_WILLNEED, page, first + size - page)

    def checksums(self) -> Mapping[str, str]:
        """Return the SHA-256 of each file that `store.json` describes, by name."""
        sums = {shard_name(i): shard.sha256 for i, shard in enumerate(self.manifest.shards)}
        return sums | {TABLE: self.manifest.table_sha256, REJECTED: self.manifest.rejected_sha256}

    def verify(self, *, progress: CountCallback | None = None) -> None:
        """Read every file and compare its SHA-256 with `store.json`, at 1 GB/s or the disk's rate.

        Args:
            progress: Receives the number of files read, and how many there are.

        Raises:
            DataError: A file has changed or is missing, or the table has another number of images than
                `store.json` says; the message names it.
        """
        sums = self.checksums()
        for number, (name, expected) in enumerate(sums.items(), start=1):
            _refuse_changed(self.path / name, expected)
            if progress is not None:
                progress(number, len(sums))
        if len(self) != self.manifest.num_images:
            raise DataError(
                f"{self.path / TABLE} has {len(self):,} images, and {MANIFEST} says "
                f"{self.manifest.num_images:,}; {_REMEDY}"
            )
        self._refuse_other_columns()

    def _refuse_other_columns(self) -> None:
        """Refuse a table with other images, patients or labels than its source had.

        Only a table with every row of the source has columns that can be compared.
        """
        if self.manifest.num_rejected:
            return
        for name in ("image", "patient", *(finding.name for finding in self.table.findings)):
            if column_sha256(self.table.frame[name]) != self.manifest.columns.get(name):
                raise DataError(
                    f"the column {name!r} of {self.path / TABLE} is not that of the source that {MANIFEST} "
                    f"describes: the table was changed after the store was made; {_REMEDY}"
                )


def open_store(path: StrPath) -> Store:
    """Open a finished store, checking shards by name, length and header; `Store.verify` reads them whole.

    Raises:
        DataError: There is no store, it is unfinished or from a newer version, or a file is missing or
            damaged.
    """
    path = Path(path)
    if not (path / MANIFEST).is_file():
        if (path / PLAN).is_file():
            raise DataError(
                f"{path} is a store that is not finished; run the same `thorax prepare` again: "
                "it resumes where it stopped"
            )
        if not path.exists():
            raise DataError(
                f"there is no store {path}, and no file of that name; correct the path, or make a store "
                "with `thorax prepare`"
            )
        raise DataError(f"{path} is not a store: it has no {MANIFEST}; make one with `thorax prepare`")
    manifest = load_section(StoreManifest, path / MANIFEST)
    _refuse_changed(path / TABLE, manifest.table_sha256)
    table = read_sample_table(path / TABLE)
    rows = read_columns(path / TABLE, ["row"])["row"].to_numpy()
    files = tuple(_open_shard(path, manifest, number) for number in range(manifest.num_shards))
    shards = tuple(
        np.frombuffer(file, np.uint8, offset=HEADER_BYTES).reshape(manifest.shard_shape(number))
        for number, file in enumerate(files)
    )
    return Store(path, table, manifest, rows, shards, files)


def _open_shard(path: Path, manifest: StoreManifest, number: int) -> mmap.mmap:
    file = path / shard_name(number)
    expected = manifest.shard_bytes(number)
    try:
        size = file.stat().st_size
        if size != expected:
            raise DataError(f"{file} has {size:,} bytes, but {expected:,} were written; {_REMEDY}")
        with file.open("rb") as opened:
            header = opened.read(HEADER_BYTES)
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); {_REMEDY}") from error
    if header != manifest.shard_header(number):
        raise DataError(f"{file} does not have the header of the shard in {MANIFEST}; {_REMEDY}")
    return mapped


_REMEDY = "copy the whole store again, or prepare it again"


def _refuse_changed(file: Path, expected: str) -> None:
    try:
        actual = sha256_of_file(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); {_REMEDY}") from error
    if actual != expected:
        raise DataError(
            f"{file} is not the file that {MANIFEST} describes (SHA-256 {actual[:12]}..., "
            f"expected {expected[:12]}...); {_REMEDY}"
        )
