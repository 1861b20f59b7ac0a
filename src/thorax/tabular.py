"""Reads CSV files with a column of images: gzipped or not, with or without a byte order mark."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, cast

from thorax.atomic_io import open_regular
from thorax.errors import DataError
from thorax.quoting import quoted

__all__ = ["IMAGE_COLUMNS", "Table", "find_column", "open_text", "read_table", "refuse_wide"]

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

MOST_COLUMNS: Final = 1000
"""Columns of a CSV; NIH's label file has 11."""

MOST_BYTES: Final = 512 * 2**20
"""Bytes of a CSV, unpacked: as much as ten million lines of labels."""

MOST_OF_A_LINE: Final = 2**20
"""Bytes of a line."""

_LONGEST_HEADING: Final = 200
_BLOCK: Final = 1 << 16

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
    try:
        with open_regular(path) as file, _unpacked(path, file) as content:
            bounded = io.BufferedReader(_Bounded(content), _BLOCK)
            with io.TextIOWrapper(bounded, encoding="utf-8-sig", newline="") as text:
                yield text
    except _TooLargeError as error:
        raise DataError(f"{path} {error}") from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read as {what} ({reason}); {remedy}") from error


def _unpacked(path: Path, file: io.FileIO) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file)


class _TooLargeError(Exception):
    """A file is larger than one may be; the text says how, to follow its name."""


class _Bounded(io.RawIOBase):
    """The bytes of a file, until there are too many of them, or too many without the end of a line.

    A file of two megabytes can unpack to two gigabytes, and a line without an end is read into memory whole.
    """

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._total = 0
        self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._content.read(len(buffer))
        buffer[: len(block)] = block
        self._total += len(block)
        if self._total > MOST_BYTES:
            raise _TooLargeError(f"has more than {MOST_BYTES // 2**20} MB of text, unpacked; split it")
        end = b"\n" if b"\n" in block else b"\r"
        first, last = block.find(end), block.rfind(end)
        longest = self._line + (len(block) if first < 0 else first)
        self._line = self._line + len(block) if last < 0 else len(block) - last - 1
        if max(longest, self._line) > MOST_OF_A_LINE:
            raise _TooLargeError(
                f"has a line of more than {MOST_OF_A_LINE // 2**20} MB, and is not a table; give another file"
            )
        return len(block)


def refuse_wide(path: Path, header: Sequence[str]) -> None:
    """Refuse a header of too many columns, or of names that are too long.

    Raises:
        DataError: It has one of the two.
    """
    if len(header) > MOST_COLUMNS:
        raise DataError(
            f"{path} has {len(header):,} columns, and a CSV at most {MOST_COLUMNS:,}; leave out those that "
            "are not needed"
        )
    longest = max(header, key=len, default="")
    if len(longest) > _LONGEST_HEADING:
        raise DataError(
            f"{path} has a column whose name has {len(longest):,} characters, {quoted(longest)}, and at most "
            f"{_LONGEST_HEADING} are read; shorten it"
        )


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
        numbered: list[tuple[int, list[str]]] = []
        for row in filter(None, reader):
            if not numbered:
                refuse_wide(path, row)
            numbered.append((reader.line_num, row))
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
