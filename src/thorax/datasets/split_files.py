"""Reads which image is in which part from a file: a CSV of image,part, or lists of one part each as NIH's."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thorax.datasets.table import with_optional_gz
from thorax.errors import DataError
from thorax.image_names import ImageNames, has_ending
from thorax.quoting import quoted
from thorax.tabular import IMAGE_COLUMNS, SEPARATORS, find_column, open_text, read_table

__all__ = ["PART_COLUMNS", "PART_SPELLINGS", "TRAIN_VAL", "ListedParts", "is_plain_list", "read_split_file"]

TRAIN_VAL: Final = "train_val"
"""The part of images in training or validation, which a list does not tell apart."""

PART_COLUMNS: Final = ("part", "split", "fold", "subset", "set")
"""Names of a column of parts, likeliest first, as `find_column` compares them."""

PART_SPELLINGS: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "train_val": TRAIN_VAL,
    "trainval": TRAIN_VAL,
}
"""The parts by their spellings, in lower case."""

_SPELLING_IN_NAME: Final = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(PART_SPELLINGS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ListedParts:
    """The part of each image that a file lists.

    Attributes:
        path: The file.
        parts: "train", "val", "test", or `TRAIN_VAL` where the file does not say more, by the image's name as
            written.
    """

    path: Path
    parts: Mapping[str, str]

    def of_images(self, images: Sequence[str]) -> list[str]:
        """Return the part of each of these images, "" for those that are not listed.

        Raises:
            DataError: An image is listed in two parts, under two names.
        """
        names = ImageNames(images)
        parts = [""] * len(images)
        for written, part in self.parts.items():
            row = names.row(written)
            if row is not None and parts[row] not in {"", part}:
                raise DataError(
                    f"{self.path}: {images[row]} is in {parts[row]} and in {part}; keep one of them"
                )
            if row is not None:
                parts[row] = part
        return parts


def is_plain_list(path: Path) -> bool:
    """Return whether a file has one image a line, without columns.

    Raises:
        DataError: The file cannot be read.
    """
    with open_text(path, what="a split list", remedy="give a CSV of image,part") as file:
        first = next((line.strip() for line in file if line.strip()), "")
    return bool(first) and not any(mark in first for mark in SEPARATORS)


def read_split_file(path: Path) -> ListedParts:
    """Read the part of each image from a file.

    The name of a list with one image a line says the part, as "test_list.txt" does; the lists of the other
    parts beside it, such as "train_val_list.txt", are read as well.

    Args:
        path: A CSV with a column of images and one of parts, or a list of images; gzipped or not.

    Raises:
        DataError: The file cannot be read, does not say the parts, or has an image in two of them.
    """
    return ListedParts(path, _from_lists(path) if is_plain_list(path) else _from_table(path))


def _from_table(path: Path) -> dict[str, str]:
    table = read_table(path, what="a split list", remedy="give a CSV of image,part")
    image_column, part_column = (find_column(table.header, names) for names in (IMAGE_COLUMNS, PART_COLUMNS))
    if image_column is None or part_column is None:
        raise DataError(
            f"{path} needs the columns image and part in its first line, but has {', '.join(table.header)}"
        )
    listed: dict[str, str] = {}
    for row, line in zip(table.rows, table.lines, strict=True):
        part = PART_SPELLINGS.get(row[part_column].strip().casefold())
        if part is None:
            raise DataError(
                f"{path}, line {line}: part {quoted(row[part_column])} of {row[image_column]} is unknown; "
                "use train, val or test"
            )
        _add(listed, row[image_column].strip(), part, f"{path}, line {line}")
    return listed


def _from_lists(path: Path) -> dict[str, str]:
    """Read the list of one part, and the lists of the others beside it."""
    matches = list(_SPELLING_IN_NAME.finditer(path.name))
    if len({PART_SPELLINGS[match[1].casefold()] for match in matches}) > 1:
        raise DataError(
            f"{path} lists images without their parts, and its name says several of them "
            f"({', '.join(match[1] for match in matches)}); call it for example test_list.txt, or give a CSV "
            "with the columns image and part"
        )
    found = next(iter(matches), None)
    if found is None:
        raise DataError(
            f"{path} lists images without their parts, and its name does not say which part they are; call "
            "it for example test_list.txt, or give a CSV with the columns image and part"
        )
    listed: dict[str, str] = {}
    read: set[Path] = set()
    own = PART_SPELLINGS[found[1].casefold()]
    for spelling, part in PART_SPELLINGS.items():
        if part == own and spelling != found[1].casefold():
            continue
        name = f"{path.name[: found.start(1)]}{_in_case_of(found[1], spelling)}{path.name[found.end(1) :]}"
        beside = path if part == own else with_optional_gz(path.with_name(name.removesuffix(".gz")))
        if beside is not None and beside not in read:
            read.add(beside)
            for image in _lines(beside):
                _add(listed, image, part, str(beside))
    return listed


def _in_case_of(model: str, spelling: str) -> str:
    if model.isupper():
        return spelling.upper()
    return spelling.capitalize() if model[0].isupper() else spelling


def _lines(path: Path) -> list[str]:
    with open_text(path, what="a list of images", remedy="give one image a line") as file:
        lines = [line.strip() for line in file if line.strip()]
    if lines and find_column(lines[:1], IMAGE_COLUMNS) is not None and not has_ending(lines[0]):
        del lines[0]
    if not lines:
        raise DataError(f"{path} lists no image; give one image a line")
    return lines


def _add(listed: dict[str, str], image: str, part: str, where: str) -> None:
    if listed.setdefault(image, part) != part:
        raise DataError(f"{where}: {image} is in {listed[image]} and in {part}; keep one of them")
