"""Types of a store's JSON files, and the names of its files.

A folder has `plan.json` while its store is being built, and `store.json` (the plan and its results) once it
is finished. A folder with `store.json` is a store.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_serializer

from thorax.atomic_io import canonical_json, read_json
from thorax.errors import DataError
from thorax.recipe.schema import Preparation, Section

__all__ = [
    "DOUBTS",
    "FORMAT",
    "HEADER_BYTES",
    "MANIFEST",
    "PLAN",
    "REJECTED",
    "TABLE",
    "Shard",
    "StoreManifest",
    "StorePlan",
    "disk_errors",
    "load_section",
    "shard_name",
]

FORMAT = 1
HEADER_BYTES = 128
"""Length of a shard's header: NumPy's format requires a multiple of 64."""
MANIFEST = "store.json"
PLAN = "plan.json"
REJECTED = "rejected.csv"
DOUBTS = "doubts.csv"
TABLE = "table.parquet"

AnySection = TypeVar("AnySection", bound=Section)


class StorePlan(Section):
    """Everything that determines the bytes of a store; equal plans give equal stores."""

    format: Literal[1] = 1
    dataset: str
    preparation: Preparation
    shard_rows: int = Field(ge=1)
    """Source rows per shard; the last shard may have fewer."""
    num_rows: int = Field(ge=1)
    """Rows of the source, including those that will be rejected."""
    box_side: int | None
    """Side of the square that the source's boxes refer to; None: the image's own pixels."""
    label_files: dict[str, str]
    """SHA-256 of each label file, by name."""
    files_sha256: str
    """SHA-256 over path, size and modification time of every image file."""
    columns: dict[str, str]
    """SHA-256 of each column of the source's table."""
    split_sha256: dict[str, str]
    """SHA-256 of the whole list of each registered split, by name."""
    split_images: dict[str, dict[str, int]] | None = None
    """Number of images in each part of these splits, where labeled images are missing from the source."""
    software: dict[str, str]
    """Versions of the packages that turn files into pixels."""

    @model_serializer(mode="wrap")
    def _without_absent_counts(self, write: Callable[["StorePlan"], dict[str, Any]]) -> dict[str, Any]:
        return {
            name: value for name, value in write(self).items() if name != "split_images" or value is not None
        }

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_rows // self.shard_rows)

    def rows_of(self, shard: int) -> range:
        """Return the source rows of a shard."""
        first = shard * self.shard_rows
        return range(first, min(first + self.shard_rows, self.num_rows))

    def shard_shape(self, shard: int) -> tuple[int, int, int]:
        """Return the shape of a shard: (slots, side, side)."""
        return (len(self.rows_of(shard)), self.preparation.size, self.preparation.size)

    def shard_header(self, shard: int) -> bytes:
        """Return the first `HEADER_BYTES` of a shard's file, in version 1.0 of NumPy's format.

        It is built here byte by byte, so that all versions of NumPy write the same file and a reader can
        compare it: NumPy's own reader takes a damaged length for a shorter header and shifts the pixels.
        """
        shape = self.shard_shape(shard)
        start = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
        return start + text.encode().ljust(HEADER_BYTES - 11) + b"\n"

    def shard_bytes(self, shard: int) -> int:
        """Return the length of a shard's file."""
        return HEADER_BYTES + prod(self.shard_shape(shard))


class Shard(Section):
    """One finished shard."""

    rows: int
    """Slots of the shard, including unused ones."""
    sha256: str


class StoreManifest(StorePlan):
    """Content of `store.json`: the plan and its results, without times, host names or folders."""

    num_images: int
    """Usable rows, which are those of `table.parquet`."""
    num_rejected: int
    """Rows of `rejected.csv`."""
    content_sha256: str
    """SHA-256 over the SHA-256 of every usable file's content, in row order."""
    table_sha256: str
    rejected_sha256: str
    shards: tuple[Shard, ...]

    def fingerprint(self) -> str:
        """Return a SHA-256 of the store's content: pixels, labels and the files they came from.

        It does not depend on the folder, on times or on the registered splits.
        """
        parts = {
            "format": self.format,
            "dataset": self.dataset,
            "preparation": self.preparation.model_dump(mode="json"),
            "columns": self.columns,
            "box_side": self.box_side,
            "content": self.content_sha256,
            "shards": [[shard.rows, shard.sha256] for shard in self.shards],
        }
        return hashlib.sha256(canonical_json(parts)).hexdigest()


def shard_name(number: int) -> str:
    """Return the file name of shard `number`."""
    return f"pixels-{number:05d}.npy"


def load_section(kind: type[AnySection], path: Path) -> AnySection:
    """Read one of a store's JSON files.

    Raises:
        DataError: The file cannot be read, is damaged, or was written by a newer version of Thorax.
    """
    try:
        value = read_json(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); check the folder") from error
    except ValueError as error:
        raise DataError(
            f"{path} is damaged: it is not JSON ({error}); delete the folder and prepare it again"
        ) from error
    version = value.get("format") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise DataError(
            f"{path} has format {version} and this version of Thorax reads {FORMAT}; "
            "update Thorax, or prepare the store again"
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its top level"
        raise DataError(
            f"{path} is damaged or not a store's file: {where}: {first['msg']}; "
            "delete the folder and prepare it again"
        ) from error


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn an `OSError` while writing in `out` into a `DataError` that says what to do."""
    try:
        yield
    except OSError as error:
        remedy = "check the folder and its permissions,"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            remedy = "free some space,"
        # pyarrow puts its own sentence where the system's message belongs.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(
            f"{out} cannot be written ({reason}); {remedy} then run the same command again: "
            "it resumes where it stopped"
        ) from error
