"""Reads CSV files with a column of images, as people and spreadsheets write them.

They may be gzipped, in UTF-8, UTF-16 or Latin-1, and separated by commas, semicolons, tabs or vertical bars.
"""

import codecs
import csv
import gzip
import io
import itertools
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, cast

from thorax.atomic_io import open_regular
from thorax.errors import DataError
from thorax.quoting import quoted

__all__ = [
    "IMAGE_COLUMNS",
    "SEPARATORS",
    "Table",
    "find_column",
    "open_text",
    "read_table",
    "refuse_wide",
    "separated_lines",
]

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
    "imagefile",
    "filepath",
    "imgname",
    "imgpath",
    "source",
    "id",
)
"""Names of a column of images, likeliest first, as `find_column` compares them."""

SEPARATORS: Final = ",;\t|"
"""What may separate the fields of a line, likeliest first; a German spreadsheet writes semicolons."""

MOST_COLUMNS: Final = 1000
"""Columns of a CSV; NIH's label file has 11."""

MOST_BYTES: Final = 512 * 2**20
"""Bytes of a CSV, unpacked: as much as ten million lines of labels."""

MOST_OF_A_LINE: Final = 2**20
"""Bytes of a line."""

_LONGEST_HEADING: Final = 200
_BLOCK: Final = 1 << 16
_FIELD_IN_QUOTES: Final = re.compile(r'"[^"]*"')

_UNFOLDED = str.maketrans("", "", " _-")

_ANOTHER: Final = "give another file"
_SAVE_AS_CSV: Final = "save it as CSV first"
_OTHER_KINDS: Final = (
    (0, b"\x89PNG", "a PNG image", _ANOTHER),
    (0, b"\xff\xd8\xff", "a JPEG image", _ANOTHER),
    (128, b"DICM", "a DICOM file", _ANOTHER),
    (0, b"PK\x03\x04", "an Excel workbook or another ZIP file", _SAVE_AS_CSV),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel workbook", _SAVE_AS_CSV),
    (0, b"PAR1", "a Parquet file", _SAVE_AS_CSV),
    (0, b"\x93NUMPY", "a NumPy array", _SAVE_AS_CSV),
    (0, b"%PDF", "a PDF file", _ANOTHER),
    (0, b"<", "a web page or XML", _ANOTHER),
    (0, b"{", "JSON", "give a CSV"),
)
"""Offset and first bytes of files that are given for text by mistake, what they are, and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A CSV file as text.

    Attributes:
        path: The file.
        header: Names of the columns, without surrounding spaces.
        rows: One field per column, as written; empty lines are left out.
        lines: The line of the file in which each row ends, counted from 1.
        separator: What separates the fields.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    separator: str = ","

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

    def number(self, text: str) -> float:
        """Return a field as a number; NaN if it is none.

        Where commas do not separate the fields, "0,53" is read as 0.53.
        """
        if self.separator != ",":
            text = text.replace(",", ".")
        try:
            return float(text)
        except ValueError:
            return math.nan


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
    """Open a text file, gzipped or not, skipping a byte order mark.

    It is read as UTF-16 if it begins with that byte order mark, else as UTF-8. Bytes that are not UTF-8 are
    read as Windows-1252, which agrees with Latin-1 in all letters.

    Args:
        path: The file.
        what: What it should be, for the message, such as "CSV".
        remedy: What to do if it cannot be read.

    Raises:
        DataError: The file does not exist, cannot be opened or is not text, or reading it within the context
            fails.
    """
    try:
        with open_regular(path) as file, _unpacked(file) as content:
            bounded = io.BufferedReader(_Bounded(content), _BLOCK)
            start = bounded.peek(_BLOCK)
            _refuse_other_kinds(path, start, what=what)
            is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            encoding, errors = ("utf-16", "strict") if is_utf16 else ("utf-8-sig", _SINGLE_BYTES)
            with io.TextIOWrapper(bounded, encoding=encoding, errors=errors, newline="") as text:
                yield text
    except _TooLargeError as error:
        raise DataError(f"{path} {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; correct the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as {what} (it is not text); {remedy}") from error
    except (OSError, EOFError, csv.Error, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read as {what} ({reason}); {remedy}") from error


def _unpacked(file: io.FileIO) -> BinaryIO:
    """Return the content of a file, unpacked if it is gzipped, whatever its name."""
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file) if is_gzip else file)


def _refuse_other_kinds(path: Path, start: bytes, *, what: str) -> None:
    for offset, first_bytes, kind, remedy in _OTHER_KINDS:
        if start[offset:].lstrip(b"\xef\xbb\xbf \r\n" if not offset else b"").startswith(first_bytes):
            raise DataError(f"{path} is {kind} and cannot be read as {what}; {remedy}")


_SINGLE_BYTES: Final = "thorax.single-bytes"


def _single_bytes(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as Windows-1252, unless the file is not text at all."""
    if not isinstance(error, UnicodeDecodeError) or b"\0" in error.object:
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(bytes((byte,)).decode("cp1252", "replace") for byte in wrong), error.end


codecs.register_error(_SINGLE_BYTES, _single_bytes)


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


def separated_lines(file: TextIO) -> tuple[str, Iterator[str]]:
    """Return what separates the fields of a CSV, and its lines from the first.

    It is the one of `SEPARATORS` that the header has most often outside quotation marks.
    """
    head: list[str] = []
    for line in file:
        head.append(line)
        if line.strip():
            break
    header = _FIELD_IN_QUOTES.sub("", head[-1] if head else "")
    return max(SEPARATORS, key=header.count), itertools.chain(head, file)


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
        separator, text_lines = separated_lines(file)
        reader = csv.reader(text_lines, delimiter=separator)
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
        separator=separator,
    )
