"""The end of making a store: one table, the list of the rejected, and `store.json`."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from thorax.arrays import Rows
from thorax.atomic_io import sha256_of_file, write_json, write_text
from thorax.boxes import Box, FindingBox
from thorax.datasets.table import SampleTable, Source, write_table
from thorax.errors import DataError
from thorax.imaging import map_box
from thorax.store.manifest import MANIFEST, REJECTED, TABLE, Shard, StoreManifest, StorePlan
from thorax.store.plan import Listing
from thorax.store.worker import load_shard_record

__all__ = ["finalize_store"]


@dataclass
class _Gathered:
    """What the notes say, as compact columns of the usable rows."""

    rows: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    hashes: list[pa.Array] = field(default_factory=list)
    intensities: list[pa.Array] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    content: "hashlib._Hash" = field(default_factory=hashlib.sha256)


def finalize_store(source: Source, out: Path, plan: StorePlan, listing: Listing) -> StoreManifest:
    """Write `table.parquet`, `rejected.csv` and, last, `store.json`, from the notes of all shards.

    The table has the source's columns for the usable rows, with boxes in prepared pixels, and:

    | column | type | meaning |
    | --- | --- | --- |
    | row | int64 | row of the source: slot row % shard_rows of shard row // shard_rows |
    | file_bytes, mtime_ns | int64 | the file's size and modification time when it was read |
    | sha256 | string | SHA-256 of the file's content |
    | height, width | int32 | the image as read, in pixels |
    | intensity | string | how stored values became grey values |

    Raises:
        DataError: No row is usable; `rejected.csv` has been written then, and `store.json` has not.
    """
    notes = _gather(out, plan)
    _write_rejected(out / REJECTED, notes, listing)
    if not notes.rows:
        row, reason = notes.rejected[0]
        raise DataError(
            f"none of the {plan.num_rows} images of {source.root} can be used (first: "
            f"{listing.paths.iloc[row]}: {reason}); see {out / REJECTED}, then prepare the right files"
        )
    rows = np.array(notes.rows, np.int64)
    write_table(_prepared_table(source, plan, notes), out / TABLE, extra=_extra_columns(rows, notes, listing))
    manifest = StoreManifest(
        **dict(plan),
        num_images=len(rows),
        num_rejected=len(notes.rejected),
        content_sha256=notes.content.hexdigest(),
        table_sha256=sha256_of_file(out / TABLE),
        rejected_sha256=sha256_of_file(out / REJECTED),
        shards=tuple(notes.shards),
    )
    write_json(out / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _gather(out: Path, plan: StorePlan) -> _Gathered:
    gathered = _Gathered()
    for number in range(plan.num_shards):
        note = load_shard_record(out, number)
        gathered.shards.append(note.shard)
        usable = [outcome for outcome in note.outcomes if not outcome.reason]
        gathered.rejected += [(each.row, each.reason) for each in note.outcomes if each.reason]
        gathered.rows += [each.row for each in usable]
        gathered.heights += [each.height for each in usable]
        gathered.widths += [each.width for each in usable]
        gathered.hashes.append(pa.array([each.sha256 for each in usable], pa.string()))
        gathered.intensities.append(pa.array([each.intensity for each in usable], pa.string()))
        gathered.content.update("".join(f"{each.row} {each.sha256}\n" for each in usable).encode())
    return gathered


def _write_rejected(path: Path, notes: _Gathered, listing: Listing) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows((listing.paths.iloc[row], reason) for row, reason in notes.rejected)
    write_text(path, text.getvalue())


def _extra_columns(rows: Rows, notes: _Gathered, listing: Listing) -> dict[str, pa.Array]:
    return {
        "row": pa.array(rows),
        "file_bytes": pa.array(listing.sizes[rows]),
        "mtime_ns": pa.array(listing.mtimes_ns[rows]),
        "sha256": pa.concat_arrays(notes.hashes),
        "height": pa.array(notes.heights, pa.int32()),
        "width": pa.array(notes.widths, pa.int32()),
        "intensity": pa.concat_arrays(notes.intensities),
    }


def _prepared_table(source: Source, plan: StorePlan, notes: _Gathered) -> SampleTable:
    """Return the usable rows of the source's table, with their boxes in prepared pixels."""
    table = source.table.take(np.array(notes.rows, np.int64))
    boxes = [
        _prepared_boxes(boxes, plan, height=height, width=width) if boxes else ()
        for boxes, height, width in zip(table.frame["boxes"], notes.heights, notes.widths, strict=True)
    ]
    return SampleTable(table.frame.assign(boxes=pd.Series(boxes, dtype=object)), table.findings)


def _prepared_boxes(
    boxes: Sequence[FindingBox], plan: StorePlan, *, height: int, width: int
) -> tuple[FindingBox, ...]:
    """Map boxes to prepared pixels; one of which the crop leaves nothing is dropped."""
    across, down = (1.0, 1.0) if plan.box_side is None else (width / plan.box_side, height / plan.box_side)
    mapped = []
    for finding, box in boxes:
        original = Box(box.x * across, box.y * down, box.width * across, box.height * down)
        prepared = map_box(original, height=height, width=width, preparation=plan.preparation)
        if prepared.width > 0 and prepared.height > 0:
            mapped.append(FindingBox(finding, prepared))
    return tuple(mapped)
