"""Addresses of objects: `s3://BUCKET/KEY`, also as a path, which has lost a slash."""

import os
import re
from dataclasses import dataclass, replace
from typing import Final

from thorax.atomic_io import StrPath, is_remote
from thorax.errors import DataError

__all__ = ["Place", "place_of"]

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class Place:
    """An object, or the objects below a name.

    Attributes:
        bucket: Name of the bucket.
        key: Name in the bucket, without a slash at either end; "" for the bucket itself.
    """

    bucket: str
    key: str

    def __truediv__(self, name: str) -> "Place":
        return replace(self, key=f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.path}"

    @property
    def path(self) -> str:
        """Bucket and key, as `pyarrow.fs` names an object."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> "Place":
        """The place above this one."""
        return replace(self, key=self.key.rpartition("/")[0])


def place_of(path: StrPath) -> Place:
    """Return the place that an address names.

    Raises:
        DataError: There is no bucket in it, or its name is none.
    """
    text = str(os.fspath(path))
    bucket, _, key = text.partition(":")[2].lstrip("/").partition("/")
    if not is_remote(text) or not _BUCKET.fullmatch(bucket):
        raise DataError(f"{text} is not an address in object storage; write s3://BUCKET/KEY")
    return Place(bucket, key.strip("/"))
