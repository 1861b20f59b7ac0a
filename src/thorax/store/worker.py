"""Shards under construction: preparing files into a draft, and the record of row outcomes."""

import errno
import hashlib
import json
import os
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thorax.atomic_io import atomic_write, sha256_of_file, temporary_name
from thorax.errors import DataError, ImageError
from thorax.imaging import prepare, read_radiograph
from thorax.recipe.schema import Preparation, Section
from thorax.store.manifest import HEADER_BYTES, Shard, StorePlan, disk_errors, load_section, shard_name

__all__ = [
    "DRAFTS",
    "RECORDS",
    "DraftTask",
    "FileEntry",
    "Outcome",
    "ShardDraft",
    "ShardRecord",
    "is_finished",
    "load_shard_record",
    "prepare_file",
    "prepare_row",
]

# A larger file is not a radiograph and is rejected unread: 100 megapixels of 16-bit color with transparency
# take 0.8 GB.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One row of the source as listed.

    Attributes:
        row: Row number in the source.
        path: Path of the file, relative to the source's folder.
        size: Size in bytes.
        mtime_ns: Modification time in nanoseconds since 1970.
    """

    row: int
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTask:
    """What the rows of an unfinished shard have in common.

    Attributes:
        root: The source's folder.
        preparation: How to prepare its files.
        draft: The unfinished shard, already at full length.
        first_row: Source row of the draft's slot 0.
    """

    root: Path
    preparation: Preparation
    draft: Path
    first_row: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of preparing a row.

    Attributes:
        row: Row number in the source.
        sha256: SHA-256 of the bytes that were decoded; "" for a rejected row.
        height: Rows of the image as read.
        width: Columns of the image as read.
        intensity: How stored values became gray values (`Origin.intensity`).
        reason: Why the file is unusable; "" for a usable row.
        doubts: What may be wrong with the picture and what was assumed (`Origin.doubts`); "" if nothing.
    """

    row: int
    sha256: str = ""
    height: int = 0
    width: int = 0
    intensity: str = ""
    reason: str = ""
    doubts: str = ""


def prepare_file(task: DraftTask, entry: FileEntry) -> tuple[dict[str, Any], bytes]:
    """Read and prepare a file, and write it into its slot: a task of a `DecodePool`.

    Returns:
        The fields of its `Outcome`, and nothing.

    Raises:
        DataError: The file has changed since it was listed, or the draft cannot be written.
    """
    return asdict(prepare_row(task, entry)), b""


def prepare_row(task: DraftTask, entry: FileEntry) -> Outcome:
    """Read and prepare a file, and write it into its slot.

    Raises:
        DataError: The file has changed since it was listed, or the draft cannot be written.
    """
    if entry.size > _MAX_BYTES:
        return Outcome(entry.row, reason=f"{entry.size:,} bytes are too many for a radiograph")
    try:
        # Not a Path: pathlib interns the components, 2 MB for 10,000 names in every worker.
        data = _read(os.path.join(task.root, entry.path), entry)  # noqa: PTH118
        radiograph = read_radiograph(data, name=entry.path)
        pixels = prepare(radiograph, task.preparation)
    except ImageError as error:
        return Outcome(entry.row, reason=str(error))
    # A plain write: on a full disk it raises an error, whereas a store through a memory map is a SIGBUS.
    with disk_errors(task.draft.parent):
        descriptor = os.open(task.draft, os.O_WRONLY)
        try:
            _write(descriptor, pixels.tobytes(), HEADER_BYTES + (entry.row - task.first_row) * pixels.size)
        finally:
            os.close(descriptor)
    height, width = radiograph.pixels.shape
    intensity = sys.intern(radiograph.origin.intensity)  # one string for thousands of rows
    doubts = "; ".join(radiograph.origin.doubts)
    return Outcome(entry.row, hashlib.sha256(data).hexdigest(), height, width, intensity, doubts=doubts)


def _read(path: str, entry: FileEntry) -> bytes:
    """Return the file's bytes, which must be unchanged since the listing.

    One `fstat` after reading is enough: it shows changes before and during the read. What has become a pipe
    is not waited for, and what has become a device without an end is not read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            # Files of the system, such as those in /proc, are listed as empty, and reading them may fail.
            is_read = stat.S_ISREG(status.st_mode) and entry.size > 0
            data = file.read(entry.size + 1) if is_read else b""
            status = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise DataError(
            f"{path} vanished while the store was being made; put it back and run the same command again"
        ) from error
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EISDIR}:
            # A network share's temporary failure must not drop an image and so change the store's bytes.
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}); when the disk responds again, run the "
                "same command: it resumes where it stopped; or prepare a list without this file"
            ) from error
        raise ImageError(
            f"{entry.path}: cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from error
    is_same = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
    is_empty = status.st_size == entry.size == 0  # as it was, though in /proc as if written just now
    if not (stat.S_ISREG(status.st_mode) and (is_same or is_empty)):
        raise DataError(
            f"{path} changed while the store was being made ({entry.size:,} bytes when listed, now "
            f"{status.st_size:,}; or another modification time); let nothing write to the source, "
            "then prepare into a new folder"
        )
    return data


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


RECORDS = "pixels-*.json"
"""Pattern of the names of a folder's shard records, of finished shards and of drafts that were kept."""

DRAFTS = "pixels-*.draft"
"""Pattern of the names of drafts that a stopped call has kept."""


class ShardRecord(Section):
    """The outcomes of a shard's rows, from which the store is finalized, and the checksum of the shard."""

    shard: Shard
    outcomes: tuple[Outcome, ...]
    """In row order."""


class ShardDraft:
    """A shard that workers are filling, under a temporary name; the slots of rejected rows stay zero.

    Attributes:
        path: Path of the draft.
        rows: Source rows of the shard.
    """

    def __init__(self, out: Path, plan: StorePlan, number: int) -> None:
        """Continue the draft that an earlier call kept, or create one at full length.

        Raises:
            DataError: The draft cannot be written.
        """
        self._final = out / shard_name(number)
        self._kept = self._final.with_suffix(".draft")
        self.path = out / temporary_name(f"{self._final.name}.draft")
        self.rows = plan.rows_of(number)
        with disk_errors(out):
            self._outcomes = self._take_kept()
            if not self._outcomes:
                with self.path.open("wb") as file:
                    file.write(plan.shard_header(number))
                    file.truncate(plan.shard_bytes(number))

    @property
    def num_done(self) -> int:
        """How many rows have an outcome."""
        return len(self._outcomes)

    def rows_to_do(self) -> list[int]:
        """Return the rows without an outcome, in order."""
        done = {outcome.row for outcome in self._outcomes}
        return [row for row in self.rows if row not in done]

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a row."""
        assert outcome.row in self.rows
        self._outcomes.append(outcome)

    @property
    def is_complete(self) -> bool:
        """Whether every row has an outcome."""
        return self.num_done == len(self.rows)

    def keep(self) -> None:
        """Keep an unfinished draft for the next call, once no worker writes to it.

        Raises:
            DataError: The draft or its record cannot be written.
        """
        if not self._outcomes:
            return
        with disk_errors(self._final.parent):
            self.path.rename(self._kept)
            self._write_record(self._kept)

    def _take_kept(self) -> list[Outcome]:
        """Move the draft of an earlier call here and return its outcomes; none unless it is as it was."""
        record = _record_path(self._kept)
        try:
            kept = load_section(ShardRecord, record)
            is_same = sha256_of_file(self._kept) == kept.shard.sha256
        except (DataError, OSError):
            return []
        record.unlink()  # from here on the draft changes
        if not is_same:
            return []
        self._kept.rename(self.path)
        return list(kept.outcomes)

    def finish(self) -> None:
        """Give the shard its final name, then write its record; a shard without a record does not count.

        Raises:
            DataError: Shard or record cannot be written.
        """
        with disk_errors(self._final.parent):
            with atomic_write(self._final) as temporary:
                self.path.rename(temporary)
            self._write_record(self._final)

    def _write_record(self, pixels: Path) -> None:
        # Row by row: serialized at once, the record of 4,096 rows takes 5 MB.
        self._outcomes.sort(key=lambda outcome: outcome.row)
        shard = Shard(rows=len(self.rows), sha256=sha256_of_file(pixels))
        with (
            atomic_write(_record_path(pixels)) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.write(f'{{"shard": {shard.model_dump_json()}, "outcomes": [')
            for number, outcome in enumerate(self._outcomes):
                file.write(f"{',' if number else ''}\n{json.dumps(asdict(outcome))}")
            file.write("\n]}\n")


def _record_path(pixels: Path) -> Path:
    """Return where the record of a shard, pixels-00000.json, or draft is, pixels-00000.draft.json."""
    return pixels.with_suffix(".draft.json" if pixels.suffix == ".draft" else ".json")


def load_shard_record(out: Path, number: int) -> ShardRecord:
    """Read a shard's record.

    Raises:
        DataError: The record is missing or damaged.
    """
    return load_section(ShardRecord, _record_path(out / shard_name(number)))


def is_finished(out: Path, plan: StorePlan, number: int) -> bool:
    """Return whether a shard exists and is intact."""
    shard = out / shard_name(number)
    if not (shard.is_file() and shard.stat().st_size == plan.shard_bytes(number)):
        return False
    try:
        record = load_shard_record(out, number)
    except DataError:
        return False
    return len(record.outcomes) == len(plan.rows_of(number)) and sha256_of_file(shard) == record.shard.sha256
