"""Reads CSV files with a column of images: gzipped or not, with or without a byte order mark."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from thorax.errors import DataError

__all__ = ["IMAGE_COLUMNS", "Table", "find_column", "open_text", "read_table"]

IMAGE_COLUMNS: Final = (
    "imageindex",
    "image",
    "path",
    "filename",
    "imagename",
    "imagepath",
    "file",
    "imageid",
    "img",
)
"""Names of a column of images, likeliest first, as `find_column` compares them."""

_UNFOLDED = str.maketrans("", "", " _-")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A CSV file as text.

    Attributes:
        path: The file.
        header: Names of the columns, without surrounding spaces.
        rows: One field per column, as written; empty lines are left out.
        lines: The line of the file in which each row ends, counted from 1.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    @property
    def image_column(self) -> int:
        """Index of the column of images, such as "Image Index".

        Raises:
            DataError: There is no such column.
        """
        column = find_column(self.header, IMAGE_COLUMNS)
        if column is None:
            raise DataError(
                f"{self.path} has no column of images (it has {', '.join(self.header)}); call it 'Image "
                "Index' or 'image'"
            )
        return column

    def column(self, number: int) -> tuple[str, ...]:
        """Return the field of each row in a column."""
        return tuple(row[number] for row in self.rows)


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index of the first of `names` in a header, ignoring case, spaces, "_" and "-".

    Args:
        header: Names of the columns.
        names: Names to look for, best first, in lower case without spaces, "_" and "-".
    """
    folded = [name.translate(_UNFOLDED).casefold() for name in header]
    return next((folded.index(name) for name in names if name in folded), None)


@contextmanager
def open_text(path: Path, *, what: str, remedy: str) -> Iterator[TextIO]:
    """Open a UTF-8 text file, gzipped if its name ends in ".gz", skipping a byte order mark.

    Args:
        path: The file.
        what: What it should be, for the message, such as "CSV".
        remedy: What to do if it cannot be read.

    Raises:
        DataError: The file cannot be opened, or reading it within the context fails.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DataError(f"{path} cannot be read as {what} ({error}); {remedy}") from error


def read_table(path: Path, *, what: str = "CSV", remedy: str = "write it again", fill: bool = False) -> Table:
    """Read a CSV file with a header.

    Args:
        path: The file.
        what: What it should be, for the message.
        remedy: What to do if it cannot be read.
        fill: Whether to accept rows shorter than the header, filling them with "", and longer ones, cutting
            them.

    Raises:
        DataError: The file cannot be read or has no rows, or, without `fill`, a row has fewer or more fields
            than the header; the message has its line.
    """
    with open_text(path, what=what, remedy=remedy) as file:
        reader = csv.reader(file)
        numbered = [(reader.line_num, row) for row in reader if row]
    if len(numbered) <= 1:
        raise DataError(f"{path} has no rows; give a CSV with a header and one row per image")
    (_, header), *rows = numbered
    count = len(header)
    if fill:
        rows = [(line, [*row, *[""] * (count - len(row))][:count]) for line, row in rows]
    for line, row in rows:
        if len(row) != count:
            raise DataError(f"{path}, line {line}: {len(row)} fields, but the header has {count}; {remedy}")
    return Table(
        path=path,
        header=tuple(name.strip() for name in header),
        rows=tuple(tuple(row) for _, row in rows),
        lines=tuple(line for line, _ in rows),
    )
