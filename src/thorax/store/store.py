"""Reads a store: memory-mapped pixels and the sample table."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import StrPath, is_remote
from thorax.datasets.splits import build_split
from thorax.datasets.table import SampleTable, read_columns, read_sample_table
from thorax.errors import DataError
from thorax.notebook import facts, notes, page, shortened, table
from thorax.objects.place import place_of
from thorax.progress import CountCallback
from thorax.recipe.schema import Preparation
from thorax.store.columns import column_sha256
from thorax.store.fetched import fetched_tables, open_shards
from thorax.store.manifest import (
    MANIFEST,
    PLAN,
    REJECTED,
    TABLE,
    StoreManifest,
    load_section,
    shard_name,
)
from thorax.store.mapped import REMEDY, MappedShards, ShardImages, refuse_changed
from thorax.wording import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store", "open_store"]


@dataclass(frozen=True, repr=False)
class Store:
    """A finished store.

    Attributes:
        path: Its folder; of a store at s3://, that of the copy on this disk, which may lack shards.
        table: One row per usable image, in source order; boxes are in prepared pixels.
        manifest: Content of `store.json`.
        notices: What `prepare` noticed about the source, one sentence per entry; empty when opened later.
        address: Where it is in object storage; "" for a store on this disk.
    """

    path: Path
    table: SampleTable
    manifest: StoreManifest
    _source_rows: Rows
    _images: ShardImages
    notices: tuple[str, ...] = ()
    address: str = ""

    def __len__(self) -> int:
        return len(self.table)

    def __fspath__(self) -> str:
        """Return its folder or address, so that a store is accepted wherever its path is."""
        return self.address or str(self.path)

    @property
    def location(self) -> Path:
        """Its folder or address: what opens it again, and what messages name."""
        return Path(os.fspath(self))

    def __repr__(self) -> str:
        return (
            f"Store({shortened(os.fspath(self))!r}: {len(self):,} images of {self.num_patients:,} patients, "
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
            f"Store {os.fspath(self)}",
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
        return self._images.read(self._source_rows[rows])

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
        self._images.expect(self._source_rows[rows])

    def follow(self, passes: Iterator[Rows]) -> None:
        """Announce all that will be read, pass by pass, so that a store at s3:// is read ahead.

        Args:
            passes: The rows of each pass, in the order in which they will be read; none is twice in a pass.
        """
        self._images.follow(self._source_rows[rows] for rows in passes)

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
        for number, (name, expected) in enumerate(sums.items()):
            if number < self.manifest.num_shards:
                self._images.check(number)
            else:
                refuse_changed(self.path / name, expected)
            if progress is not None:
                progress(number + 1, len(sums))
        if len(self) != self.manifest.num_images:
            raise DataError(
                f"{self.path / TABLE} has {len(self):,} images, and {MANIFEST} says "
                f"{self.manifest.num_images:,}; {REMEDY}"
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
                    f"describes: the table was changed after the store was made; {REMEDY}"
                )


def open_store(path: StrPath) -> Store:
    """Open a finished store, checking shards by name, length and header; `Store.verify` reads them whole.

    Of a store at s3://, shards are read when they are needed, and checked then.

    Raises:
        DataError: There is no store, it is unfinished or from a newer version, or a file is missing or
            damaged.
    """
    place = place_of(path) if is_remote(path) else None
    path = Path(path) if place is None else fetched_tables(place)
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
    refuse_changed(path / TABLE, manifest.table_sha256)
    table = read_sample_table(path / TABLE)
    rows = read_columns(path / TABLE, ["row"])["row"].to_numpy()
    images = MappedShards(path, manifest) if place is None else open_shards(place, path, manifest)
    return Store(path, table, manifest, rows, images, address="" if place is None else str(place))
