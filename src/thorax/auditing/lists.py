"""Lists of images per part, from a registered split or from files, matched to the images of a store.

A list may be plain names, names followed by label columns (as in arnoweng's and zoogzog's CheXNet), or a CSV
with a column of images, each optionally gzipped; names may include folders. Errors that an audit can report
are accepted here: an image may be repeated, be in two parts, or be absent from the store.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from thorax.arrays import Rows
from thorax.atomic_io import sha256_of_lines
from thorax.datasets.split_files import PART_COLUMNS, PART_SPELLINGS
from thorax.datasets.splits import NIH_DATASET, PARTS, Split
from thorax.datasets.table import SampleTable
from thorax.errors import DataError
from thorax.image_names import ImageNames, has_ending, without_ending, without_folders
from thorax.tabular import IMAGE_COLUMNS, SEPARATORS, find_column, open_text, read_table

__all__ = [
    "ABSENT",
    "Listed",
    "Lists",
    "Locator",
    "lists_of_split",
    "locate_parts",
    "read_image_list",
    "read_lines",
    "read_part_lists",
    "split_line",
]

ABSENT: Final = -1
"""The row of an image that is not in the store."""

_NUMBERS_BEHIND = re.compile(r"(?P<name>.*?\S)(?P<numbers>(?:[\s,;]+-?\d+(?:\.\d+)?)+)")
_SPACED = re.compile(r"[\s,;]")
_SEPARATORS = re.compile(r"([_\-. ()]+)")
_NIH_NAME = re.compile(r"(\d{8})_\d{3}\.png")


@dataclass(frozen=True)
class Listed:
    """The images of one part as listed, including repeats.

    Attributes:
        images: Name of each image, as in the store; for an absent image, its name without folders.
        rows: Row of each image in the store's table, or `ABSENT`.
        patients: Patient of each image; "" if unknown.
    """

    images: tuple[str, ...]
    rows: Rows
    patients: tuple[str, ...]

    @property
    def present(self) -> Rows:
        """Rows of the images that are in the store, each once, ascending."""
        return np.unique(self.rows[self.rows != ABSENT])


@dataclass(frozen=True)
class Lists:
    """A split as lists, which may contain any error.

    Attributes:
        name: The split's name, or "lists".
        sha256: SHA-256 over the whole list; equals `Split.sha256` if the lists are complete.
        parts: The list of each part.
    """

    name: str
    sha256: str
    parts: Mapping[str, Listed]

    def learned_from(self) -> tuple[Listed, ...]:
        """Return the parts that a model learns from: training and validation."""
        return tuple(listed for part, listed in self.parts.items() if part != "test")


class Locator:
    """Finds images of a store by the names used in other files."""

    def __init__(self, table: SampleTable, dataset: str) -> None:
        """Index the names of a table; in NIH's `dataset`, a name contains the patient's id."""
        self.images = table.images
        self._patients = [str(patient) for patient in table.frame["patient"]]
        self._is_nih = dataset == NIH_DATASET
        self._names = ImageNames(self.images)

    def locate(self, names: Iterable[str]) -> Listed:
        """Return the images of a list with rows and patients, ignoring folders and missing suffixes."""
        written = list(names)
        short = [without_folders(name) for name in written]
        found = (self._names.row(name) for name in written)
        rows = [ABSENT if row is None else row for row in found]
        return Listed(
            images=tuple(
                last if row == ABSENT else self.images[row] for last, row in zip(short, rows, strict=True)
            ),
            rows=np.array(rows, np.int64),
            patients=tuple(
                self._named_patient(last) if row == ABSENT else self._patients[row]
                for last, row in zip(short, rows, strict=True)
            ),
        )

    def originals(self, names: Iterable[str]) -> dict[str, str]:
        """Return, for each name that looks like a modified copy, the store's image that it is a copy of.

        "00000013_005_flip.png" and "aug1-00000013_005.png" are copies of "00000013_005.png".
        """
        originals = {}
        for name in names:
            pieces = _SEPARATORS.split(without_ending(name))
            for count in range(len(pieces) - 2, 0, -2):
                starts = range(0, len(pieces) - count + 1, 2)
                rows = (self._names.row_of_stem("".join(pieces[start : start + count])) for start in starts)
                row = next((row for row in rows if row is not None), None)
                if row is not None:
                    originals[name] = self.images[row]
                    break
        return originals

    def _named_patient(self, name: str) -> str:
        named = _NIH_NAME.fullmatch(name) if self._is_nih else None
        return named[1].lstrip("0") if named else ""


def lists_of_split(split: Split, dataset: str) -> Lists:
    """Return the lists of a split that was built on a store's table."""
    locator = Locator(split.table, dataset)
    images = split.table.images
    parts = {part: [images[row] for row in rows] for part, rows in split.parts.items()}
    located = {part: locator.locate(names) for part, names in parts.items()}
    return Lists(split.name, split.sha256, located)


def locate_parts(name: str, parts: Mapping[str, Iterable[str]], locator: Locator) -> Lists:
    """Return lists with their hash, over the part and name of every distinct listed image."""
    located = {part: locator.locate(names) for part, names in parts.items()}
    lines = {f"{part}\t{image}" for part, listed in located.items() for image in listed.images}
    return Lists(name, sha256_of_lines(sorted(lines)), located)


def read_image_list(path: Path) -> tuple[str, ...]:
    """Read one part's images, in order, including repeats.

    Args:
        path: One name per line, optionally followed by numbers (labels); or a CSV with a header that names
            the column of images. Either may be gzipped.

    Raises:
        DataError: The file cannot be read, is empty, or has no column of images.
    """
    lines = read_lines(path)
    if any(mark in lines[0] for mark in SEPARATORS) and not _begins_with_image(lines[0]):
        table = read_table(path, fill=True)
        return table.column(table.image_column)
    if find_column(lines[:1], IMAGE_COLUMNS) is not None:
        lines = lines[1:]
    return tuple(split_line(line)[0] if _SPACED.search(line) else line for line in lines)


def _begins_with_image(line: str) -> bool:
    return has_ending(re.split(r"[\s,;|]", line, maxsplit=1)[0])


def read_lines(path: Path) -> list[str]:
    """Return the non-empty lines of a text file, gzipped or not.

    Raises:
        DataError: The file cannot be read, or is empty.
    """
    with open_text(path, what="a list of images", remedy="give a text file") as file:
        lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty; give a list of images, one per line")
    return lines


def split_line(line: str) -> tuple[str, list[str]]:
    """Return the name in a line of a list, and the numbers after it."""
    labeled = _NUMBERS_BEHIND.fullmatch(line)
    if labeled and has_ending(labeled["name"]):
        return labeled["name"], re.split(r"[\s,;]+", labeled["numbers"].strip(" \t,;"))
    return line.split(",", maxsplit=1)[0].strip(), []


def read_part_lists(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a CSV with a column of images and one of parts, such as "part", "split" or "fold".

    An image whose part is empty or unknown is in no part.

    Raises:
        DataError: The file cannot be read, or lacks one of these columns.
    """
    table = read_table(path, fill=True)
    image, part = table.image_column, find_column(table.header, PART_COLUMNS)
    if part is None:
        raise DataError(
            f"{path} has no column that names a part (it has {', '.join(table.header)}); call it 'part', "
            "or give one list for each part"
        )
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for row in table.rows:
        spelling = PART_SPELLINGS.get(row[part].strip().casefold())
        if spelling:
            parts[spelling].append(row[image])
    return {name: tuple(images) for name, images in parts.items()}
