"""The journal of a folder of predictions: what became of each file, in the order in which they were done.

It makes an interrupted `predict` resumable: tables and pages are written from it. A line has the files that
were computed together. It is whole or, if the process was killed while it was written, dropped, so that all
files are computed in the same company as without the interruption: the last bits of a network's output depend
on how many images it gets at once.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from thorax.atomic_io import parse_json
from thorax.errors import DataError

__all__ = ["JOURNAL", "Journal", "Row", "open_journal"]

JOURNAL: Final = "journal.jsonl"
"""Name of the journal in the folder of predictions."""

_FORMAT: Final = 1
_KEYS: Final = {"number", "place", "path", "name", "size", "time"}
_REMEDY: Final = "give another folder, or set `overwrite` to begin again"

Row = dict[str, Any]
"""What is known of one file, as JSON."""


class Journal:
    """An open journal; `open_journal` makes one.

    Args:
        file: The file, opened for reading and writing.
        path: Its path.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._done: dict[str, int] = {}
        self._next = 1
        self._latest: tuple[int, list[Row]] = (0, [])
        self._index()

    def _index(self) -> None:
        """Note where the row of each file is; later rows replace earlier ones. Cut an unfinished line."""
        self._file.seek(0)
        self._file.readline()
        end = self._file.tell()
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self._note(_rows(line, self._path), end)
            end += len(line)
        self._file.truncate(end)

    def _note(self, rows: Sequence[Row], offset: int) -> None:
        for index, row in enumerate(rows):
            source = row["place"]
            self._places[source] = offset, index
            self._next = max(self._next, row["number"] + 1)
            if "reason" in row:
                self._done.pop(source, None)
            else:
                self._done[source] = hash((row["size"], row["time"]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def has(self, place: str, state: tuple[int, int]) -> bool:
        """Return whether a file is done: predicted or not an image, and of the same size and time since."""
        return self._done.get(place) == hash(state)

    def knows(self, place: str) -> bool:
        """Return whether a file was tried, whatever became of it."""
        return place in self._places

    def number_of(self, place: str) -> int:
        """Return the number of a file: the one it has, or the next one, which is then taken."""
        if place in self._places:
            return int(self._at(self._places[place])["number"])
        self._next += 1
        return self._next - 1

    def append(self, rows: Sequence[Row]) -> None:
        """Add the rows of files that were computed together, and flush them to disk.

        Raises:
            OSError: They cannot be written.
        """
        end = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(rows, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._note(rows, end)

    def rows(self) -> Iterator[Row]:
        """Yield the latest row of each file, in the order in which the files were first done."""
        for place in list(self._places.values()):
            yield self._at(place)

    def _at(self, place: tuple[int, int]) -> Row:
        offset, index = place
        if self._latest[0] != offset:
            self._file.seek(offset)
            self._latest = offset, _rows(self._file.readline(), self._path)
        return self._latest[1][index]


def open_journal(folder: Path, settings: Mapping[str, Any]) -> Journal:
    """Open the journal of a folder, or begin one.

    Args:
        folder: The folder of predictions.
        settings: What determines the predictions, as JSON; each has the same value when work is resumed.

    Raises:
        DataError: The journal was begun with other settings, or is not one.
    """
    path = folder / JOURNAL
    file = path.open("r+b" if path.exists() else "w+b")
    try:
        head, first = file.readline(), json.dumps({"format": _FORMAT, **settings}).encode() + b"\n"
        if head.endswith(b"\n") or not first.startswith(head):
            _refuse_other(path, _parsed(head, path), settings)
        else:  # new, or killed before its first line was whole
            file.seek(0)
            file.truncate()
            file.write(first)
            file.flush()
            os.fsync(file.fileno())
        return Journal(file, path)
    except BaseException:
        file.close()
        raise


def _refuse_other(path: Path, begun: Any, settings: Mapping[str, Any]) -> None:
    if not isinstance(begun, dict):
        raise DataError(f"{path} is not a journal of predictions; give another folder")
    if begun.get("format") != _FORMAT:
        raise DataError(
            f"{path} is of format {begun.get('format')!r}, and this version of Thorax continues format "
            f"{_FORMAT}; give another folder"
        )
    for name, value in settings.items():
        if begun.get(name) != value:
            raise DataError(
                f"{path.parent} was begun with {name} {_shown(begun.get(name))}, and now it would be "
                f"{_shown(value)}; set it as before to continue, give another folder, or set `overwrite` to "
                "begin again"
            )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) or "none"


def _rows(line: bytes, path: Path) -> list[Row]:
    rows = _parsed(line, path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= _KEYS for row in rows):
        raise DataError(f"{path} is damaged (a line has no rows of files); {_REMEDY}")
    return rows


def _parsed(line: bytes, path: Path) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise DataError(f"{path} is damaged (a line is not JSON); {_REMEDY}") from error
