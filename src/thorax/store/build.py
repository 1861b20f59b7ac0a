"""Builds a store from image files: in parallel, resumably, with the same bytes after any interruption.

Files are written atomically, in this order: `listing.csv` and `plan.json`; each shard followed by its record
of row outcomes; `table.parquet`, `rejected.csv` and finally `store.json`. Then records, listing and plan are
removed. A call that Ctrl-C or an error stops keeps its unfinished shard, with a record; a killed process
loses that shard.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa

from thorax.arrays import Rows
from thorax.atomic_io import exclusive_lock, sha256_of_file, write_json, write_text
from thorax.boxes import Box, FindingBox
from thorax.cluster import Cluster
from thorax.datasets.table import SampleTable, Source, write_table
from thorax.errors import DataError
from thorax.imaging import map_box
from thorax.objects.mirror import Mirror
from thorax.outputs import refuse_full, refuse_unwritable
from thorax.progress import CountCallback, ProgressCallback, stage_progress
from thorax.quoting import path_cell, visible
from thorax.recipe.schema import Preparation
from thorax.store.manifest import (
    DOUBTS,
    MANIFEST,
    PLAN,
    REJECTED,
    TABLE,
    Shard,
    StoreManifest,
    StorePlan,
    disk_errors,
    load_section,
)
from thorax.store.plan import LISTING, Listing, Settings, list_files, make_plan, refuse_change, write_listing
from thorax.store.shards import Sent, ShardJob, make_shards
from thorax.store.shards_elsewhere import make_shards_elsewhere
from thorax.store.store import open_store
from thorax.store.worker import DRAFTS, RECORDS, is_finished, load_shard_record

__all__ = ["StoreSummary", "build", "build_store", "finalize_store", "refuse_used_folder"]


@dataclass
class _Outcomes:
    """The records of all shards, as compact columns of the usable rows."""

    rows: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    hashes: list[pa.Array] = field(default_factory=list)
    intensities: list[pa.Array] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    doubtful: list[tuple[int, str]] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    content: "hashlib._Hash" = field(default_factory=hashlib.sha256)


def finalize_store(source: Source, out: Path, plan: StorePlan, listing: Listing) -> StoreManifest:
    """Write `table.parquet`, `rejected.csv`, `doubts.csv` and, last, `store.json`, from the shards' records.

    `doubts.csv` is written only if there are doubts about a picture.

    The table has the source's columns for the usable rows, with boxes in prepared pixels, and also:

    | column | type | meaning |
    | --- | --- | --- |
    | row | int64 | row of the source: slot row % shard_rows of shard row // shard_rows |
    | file_bytes, mtime_ns | int64 | the file's size and modification time when it was read |
    | sha256 | string | SHA-256 of the file's content |
    | height, width | int32 | the image as read, in pixels |
    | intensity | string | how stored values became gray values |

    Raises:
        DataError: No row is usable; `rejected.csv` is written in this case, but not `store.json`.
    """
    outcomes = _read_outcomes(out, plan)
    rejected = [(listing.paths.iloc[row], reason) for row, reason in outcomes.rejected]
    rejected += [(path, "does not exist") for path in source.missing]
    _write_reasons(out / REJECTED, "reason", rejected)
    if outcomes.doubtful:
        doubtful = [(listing.paths.iloc[row], doubt) for row, doubt in outcomes.doubtful]
        _write_reasons(out / DOUBTS, "doubt", doubtful)
    if not outcomes.rows:
        row, reason = outcomes.rejected[0]
        path = listing.paths.iloc[row]
        what = reason.removeprefix(f"{visible(PurePosixPath(path).name)}: ").partition(";")[0]
        raise DataError(
            f"none of the {plan.num_rows} images of {source.root} can be used (first: {path}: {what}); see "
            f"{out / REJECTED}, then prepare the right files"
        )
    rows = np.array(outcomes.rows, np.int64)
    table = _prepared_table(source, plan, outcomes)
    write_table(table, out / TABLE, extra=_extra_columns(rows, outcomes, listing))
    manifest = StoreManifest(
        **dict(plan),
        num_images=len(rows),
        num_rejected=len(rejected),
        content_sha256=outcomes.content.hexdigest(),
        table_sha256=sha256_of_file(out / TABLE),
        rejected_sha256=sha256_of_file(out / REJECTED),
        shards=tuple(outcomes.shards),
    )
    write_json(out / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _read_outcomes(out: Path, plan: StorePlan) -> _Outcomes:
    columns = _Outcomes()
    for number in range(plan.num_shards):
        record = load_shard_record(out, number)
        columns.shards.append(record.shard)
        usable = [outcome for outcome in record.outcomes if not outcome.reason]
        columns.rejected += [(outcome.row, outcome.reason) for outcome in record.outcomes if outcome.reason]
        columns.doubtful += [(outcome.row, outcome.doubts) for outcome in usable if outcome.doubts]
        columns.rows += [outcome.row for outcome in usable]
        columns.heights += [outcome.height for outcome in usable]
        columns.widths += [outcome.width for outcome in usable]
        columns.hashes.append(pa.array([outcome.sha256 for outcome in usable], pa.string()))
        columns.intensities.append(pa.array([outcome.intensity for outcome in usable], pa.string()))
        columns.content.update("".join(f"{outcome.row} {outcome.sha256}\n" for outcome in usable).encode())
    return columns


def _write_reasons(path: Path, heading: str, rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", heading])
    writer.writerows((path_cell(name), reason) for name, reason in rows)
    write_text(path, text.getvalue())


def _extra_columns(rows: Rows, outcomes: _Outcomes, listing: Listing) -> dict[str, pa.Array]:
    return {
        "row": pa.array(rows),
        "file_bytes": pa.array(listing.sizes[rows]),
        "mtime_ns": pa.array(listing.mtimes_ns[rows]),
        "sha256": pa.concat_arrays(outcomes.hashes),
        "height": pa.array(outcomes.heights, pa.int32()),
        "width": pa.array(outcomes.widths, pa.int32()),
        "intensity": pa.concat_arrays(outcomes.intensities),
    }


def _prepared_table(source: Source, plan: StorePlan, outcomes: _Outcomes) -> SampleTable:
    """Return the usable rows of the source's table, with their boxes in prepared pixels."""
    table = source.table.take(np.array(outcomes.rows, np.int64))
    boxes = [
        _prepared_boxes(boxes, plan, height=height, width=width) if boxes else ()
        for boxes, height, width in zip(table.frame["boxes"], outcomes.heights, outcomes.widths, strict=True)
    ]
    return SampleTable(table.frame.assign(boxes=pd.Series(boxes, dtype=object)), table.findings)


def _prepared_boxes(
    boxes: Sequence[FindingBox], plan: StorePlan, *, height: int, width: int
) -> tuple[FindingBox, ...]:
    """Map boxes to prepared pixels, dropping those that the crop removes entirely."""
    across, down = (1.0, 1.0) if plan.box_side is None else (width / plan.box_side, height / plan.box_side)
    mapped = []
    for finding, box in boxes:
        original = Box(box.x * across, box.y * down, box.width * across, box.height * down)
        prepared = map_box(original, height=height, width=width, preparation=plan.preparation)
        if prepared.width > 0 and prepared.height > 0:
            mapped.append(FindingBox(finding, prepared))
    return tuple(mapped)


_PARTIAL = ".*.partial"
_ROW_BYTES = 400
"""Bytes of a row: 70 in the table of NIH's images, and two lines of text, in listing and record."""
_UNSENT = 3
"""Shards that are here at once where they are sent: one being filled, one begun, one on its way."""
_WHILE_BUILDING = (RECORDS, DRAFTS, LISTING, PLAN)


@dataclass(frozen=True)
class StoreSummary:
    """The result of `build_store`.

    Attributes:
        path: The store's folder.
        size: Side of the prepared images in pixels.
        num_images: Usable images.
        num_rejected: Unusable files, listed in `rejected.csv`.
        num_shards: Shards of the store.
        resumed_shards: Shards that were finished before this call.
        notices: Notices about the source for the user, one sentence per entry.
    """

    path: Path
    size: int
    num_images: int
    num_rejected: int
    num_shards: int
    resumed_shards: int
    notices: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        """Return the store's folder, so that a summary is accepted wherever a store's path is."""
        return str(self.path)


def build_store(  # noqa: PLR0913  (a source, a folder, and how)
    source: Source,
    out: Path,
    preparation: Preparation,
    *,
    split_sha256: Mapping[str, str] = MappingProxyType({}),
    workers: int | None = None,
    cluster: Cluster | None = None,
    progress: ProgressCallback | None = None,
    mirror: Mirror | None = None,
) -> StoreSummary:
    """Prepare every image of a source into a store, resuming an interrupted call.

    The bytes of the store depend only on the source and the settings, not on the number of workers or on
    interruptions. An unusable file is left out, with the reason in `rejected.csv`. On a finished store, this
    only checks that nothing has changed.

    Args:
        source: The data set, as `open_source` returns it.
        out: The store's folder; created if missing.
        preparation: How radiographs become squares.
        split_sha256: SHA-256 of the whole list of each registered split, by name; kept in `store.json`.
        workers: Number of processes; None: one per core. One worker with up to 64 images is this process.
        cluster: Makes the shards, instead of processes here; every node must see the source and `out`.
        progress: Receives the number of finished source rows, including those of an earlier call.
        mirror: Brings the files of the source, if they are in object storage.

    Raises:
        DataError: `out` has other content, is being written by another process, was started with another
            source or other settings, or cannot be written; a file changed meanwhile; a worker process
            died; no file is usable.
    """
    settings = Settings(preparation=preparation, split_sha256=split_sha256)
    count = stage_progress(progress, "preparing")
    summary = build(source, out, settings, workers=workers, cluster=cluster, progress=count, mirror=mirror)
    return replace(summary, notices=(*source.notices, *summary.notices))


def build(  # noqa: PLR0913  (as above)
    source: Source,
    out: Path,
    settings: Settings,
    *,
    workers: int | None = None,
    cluster: Cluster | None = None,
    progress: CountCallback | None = None,
    mirror: Mirror | None = None,
    sent: Sent | None = None,
) -> StoreSummary:
    """Build a store like `build_store`, with all settings in one value.

    Args:
        source: See `build_store`.
        out: See `build_store`.
        settings: The settings.
        workers: See `build_store`.
        cluster: See `build_store`.
        progress: Receives the number of finished source rows.
        mirror: Brings the files of the source, if they are in object storage.
        sent: Takes finished shards, if the store will be in object storage; `out` is then the work folder.

    Raises:
        DataError: See `build_store`.
    """
    refuse_used_folder(out)
    listing = list_files(source)
    plan = make_plan(source, listing, settings)
    # Reading the tables left unused pages in Arrow's pool: 6 MB for 10,000 rows.
    pa.default_memory_pool().release_unused()
    with _locked(out):
        # ---- the plan: new, or equal to the old one ----------------------------------------------
        if not _begin(out, plan, listing):
            with disk_errors(out):
                _remove(out, _WHILE_BUILDING)
            # Opening checks every file, so a store that lost one does not pass as finished.
            manifest = load_section(StoreManifest, out / MANIFEST) if sent else open_store(out).manifest
            summary = _summary(out, manifest, resumed=plan.num_shards)
            return replace(summary, notices=("the store was complete already", *summary.notices))
        # ---- shards ------------------------------------------------------------------------------
        todo = _unfinished(out, plan, sent)
        kept = todo if sent is None else todo[:_UNSENT]
        refuse_full(out, needed=sum(map(plan.shard_bytes, kept)) + _ROW_BYTES * plan.num_rows)
        job = ShardJob(source.root, out, plan, listing, mirror, sent)
        try:
            if cluster is not None and todo:
                make_shards_elsewhere(job, todo, cluster, progress=progress)
            else:
                make_shards(job, todo, workers=workers, progress=progress)
        finally:
            _remove(out, (_PARTIAL,))
        # ---- table.parquet, rejected.csv and store.json ------------------------------------------
        with disk_errors(out):
            manifest = finalize_store(source, out, plan, listing)
            _remove(out, _WHILE_BUILDING)
        return _summary(out, manifest, resumed=plan.num_shards - len(todo))


def _unfinished(out: Path, plan: StorePlan, sent: Sent | None) -> list[int]:
    """Return the shards that must be made; those that were made and not sent are sent."""
    if sent is None:
        return [number for number in range(plan.num_shards) if not is_finished(out, plan, number)]
    sent.begin()
    todo = []
    for number in range(plan.num_shards):
        if sent.has(plan, number):
            continue
        if is_finished(out, plan, number):
            sent.send(number)
        else:
            todo.append(number)
    return todo


def _summary(out: Path, manifest: StoreManifest, *, resumed: int) -> StoreSummary:
    return StoreSummary(
        path=out,
        size=manifest.preparation.size,
        num_images=manifest.num_images,
        num_rejected=manifest.num_rejected,
        num_shards=manifest.num_shards,
        resumed_shards=resumed,
        notices=_doubt_notices(out / DOUBTS),
    )


def _doubt_notices(path: Path) -> tuple[str, ...]:
    """Return how many pictures are in doubt, with the first of them."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            doubtful = list(csv.DictReader(file))
    except FileNotFoundError:
        return ()
    count = "1 image was" if len(doubtful) == 1 else f"{len(doubtful):,} images were"
    first = f"{PurePosixPath(doubtful[0]['path']).name}: {doubtful[0]['doubt']}"
    return (f"{count} used although something about the picture is in doubt ({first}); see {path}",)


def refuse_used_folder(out: Path) -> None:
    """Refuse a folder with files that are not a store's, or in which none can be made; before any work.

    Raises:
        DataError: It has other files, or cannot be written.
    """
    refuse_unwritable(out)
    with disk_errors(out):
        names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if PLAN in names or MANIFEST in names:
        return
    foreign = [name for name in names if not _is_ours(name)]
    if foreign:
        raise DataError(
            f"{out} is not empty and is not a store (it has {foreign[0]}); give a new or empty folder"
        )


def _is_ours(name: str) -> bool:
    return name == LISTING or fnmatch(name, _PARTIAL)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Create the folder if it is missing, and lock it, so that two calls never write to it at once."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(out, doing="preparing into"):
        yield


def _begin(out: Path, plan: StorePlan, listing: Listing) -> bool:
    """Write the plan, or compare with the existing one; return whether there is anything to do."""
    with disk_errors(out):
        _remove(out, (_PARTIAL,))  # left by killed processes: the folder is locked, so none is in use
    if (out / PLAN).is_file() or (out / MANIFEST).is_file():
        refuse_change(out, plan, listing)
    else:
        with disk_errors(out):
            write_listing(listing, out / LISTING)
            write_json(out / PLAN, plan.model_dump(mode="json"))
    return not (out / MANIFEST).is_file()


def _remove(out: Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for path in out.glob(pattern):
            path.unlink(missing_ok=True)
