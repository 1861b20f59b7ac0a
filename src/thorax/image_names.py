"""Finds images under the names that other files give them: in folders, or with another ending or none."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

__all__ = ["ImageNames", "has_ending", "without_ending", "without_folders"]

_ENDING = re.compile(r"\.(png|jpe?g|dcm|dicom|tiff?|bmp)$", re.IGNORECASE)


class ImageNames:
    """The names of images, by which a name in another file is looked up.

    Attributes:
        names: The names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Index the names, without repeats."""
        self.names = names
        self._whole = {name: row for row, name in enumerate(names)}

    def row(self, written: str) -> int | None:
        """Return the index of an image; None if none or several could be meant.

        A whole name is looked for first, then the name without folders, then also without its ending. Folders
        may be missing on either side, and those that are on both must be the same.
        """
        written = written.strip()
        if written in self._whole:
            return self._whole[written]
        short = without_folders(written)
        row = self._short.get(short, self.row_of_stem(without_ending(short)))
        return row if row is None or _same_folders(written, self.names[row]) else None

    def row_of_stem(self, stem: str) -> int | None:
        """Return the index of the only image with this name without folders and ending."""
        return self._stems.get(stem)

    @cached_property
    def _short(self) -> Mapping[str, int]:
        return _unambiguous([without_folders(name) for name in self.names])

    @cached_property
    def _stems(self) -> Mapping[str, int]:
        return _unambiguous([without_ending(without_folders(name)) for name in self.names])


def without_folders(name: str) -> str:
    """Return the part of a path after its last slash or backslash."""
    return name.strip().replace("\\", "/").rpartition("/")[2]


def has_ending(name: str) -> bool:
    """Return whether a name has the ending of an image file."""
    return _ENDING.search(name) is not None


def without_ending(name: str) -> str:
    """Return a name without the ending of an image file, such as ".png"."""
    return _ENDING.sub("", name)


def _same_folders(first: str, second: str) -> bool:
    """Return whether the folders of two paths are the same, from the innermost to where one of them ends."""
    folders = (name.strip().replace("\\", "/").split("/")[-2::-1] for name in (first, second))
    return all(one == other for one, other in zip(*folders, strict=False))


def _unambiguous(keys: Sequence[str]) -> dict[str, int]:
    """Return the index of each key that occurs once."""
    rows = {key: row for row, key in enumerate(keys)}
    if len(rows) == len(keys):
        return rows
    counts = Counter(keys)
    return {key: row for key, row in rows.items() if counts[key] == 1}
