"""Opens a data set: NIH in its own layout, folders of its parts, or any folder described by a CSV."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.atomic_io import sha256_of_file
from thorax.datasets import NIH_DATASET, NIH_LAYOUT
from thorax.datasets.columns import described_images, with_known_names
from thorax.datasets.nih import LABEL_FILES, find_label_file, is_label_file, read_nih
from thorax.datasets.part_folders import find_part_folders, read_part_folders
from thorax.datasets.table import Patients, SampleTable, Source, read_csv, refuse_duplicates
from thorax.errors import DataError

__all__ = ["open_source", "read_folder"]

_TAKEN = (NIH_DATASET, NIH_LAYOUT)


def read_folder(path: Path, *, view: str | None = None, dataset: str = "") -> Source:
    """Read a CSV that describes images, without opening any image.

    Args:
        path: The CSV (.csv or .csv.gz).
        view: Keep only images of this view position, "PA" or "AP".
        dataset: Name of the data set, by default one made from its content; patient ids are unique within
            it.

    Raises:
        DataError: The CSV is malformed or none of its images exists. The message names line and value.
    """
    if dataset in _TAKEN:
        raise DataError(
            f"a CSV cannot use the name {dataset}, reserved for data in NIH's layout with NIH's ids; "
            "give another name as `dataset`"
        )
    rows, renamed = with_known_names(read_csv(path, ()), path)
    table, findings = described_images(rows, path)
    refuse_duplicates(table["image"], path)
    table["boxes"] = pd.Series([()] * len(table), dtype=object)
    whole = Patients(*(tuple(table[name].astype(str)) for name in ("image", "patient", "official")))
    notices = list(renamed)
    if "patient" not in rows:
        notices.append("no column 'patient': each image counts as a separate patient")
    usable = np.array([os.path.isfile(path.parent / name) for name in table["path"]])  # noqa: PTH113  (no error for a name too long)
    absent = ~usable
    first = f" (first missing: {table['path'][absent].iloc[0]})" if absent.any() else ""
    notices.append(f"{int(usable.sum()):,} of {len(table):,} described images exist{first}")
    if view is not None:
        has_view = (table["view"] == view).to_numpy()
        usable, absent = usable & has_view, absent & has_view
        notices.append(f"{int(usable.sum()):,} of them have view {view}")
    if not usable.any():
        raise DataError(f"{path} describes {len(table)} images, but none exists{first}; correct the paths")
    return Source(
        root=path.parent,
        dataset=dataset or whole.default_name(),
        table=SampleTable(table[usable].reset_index(drop=True), findings),
        whole=whole,
        label_files=((path.name, sha256_of_file(path)),),
        box_side=None,
        notices=tuple(notices),
        missing=tuple(table["path"][absent]),
    )


def open_source(path: Path, *, view: str | None = None, dataset: str = "") -> Source:
    """Read the tables of a data set: a folder in NIH's layout, folders of its parts, or a CSV.

    Args:
        path: The folder or the CSV.
        view: Keep only images of this view position, "PA" or "AP".
        dataset: Name of a data set described by a CSV; patient ids are unique within it.

    Raises:
        DataError: The path has no data set, or its files are malformed.
    """
    if path.is_file():
        if is_label_file(path):
            return _read_nih(path.parent, path, view=view, dataset=dataset)
        return read_folder(path, view=view, dataset=dataset)
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist; give a folder in NIH's layout, or a CSV with a column 'path'"
        )
    parts = find_part_folders(path)
    if parts:
        return read_part_folders(path, parts, view=view, dataset=dataset)
    labels = find_label_file(path)
    if labels is not None:
        return _read_nih(path, labels, view=view, dataset=dataset)
    tables = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
    if len(tables) != 1:
        others = f"{len(tables)} other CSV files" if tables else "no other CSV file"
        raise DataError(f"{path} has none of {', '.join(LABEL_FILES)} and {others}; {_elsewhere(path)}")
    return read_folder(tables[0], view=view, dataset=dataset)


def _elsewhere(path: Path) -> str:
    """Return what to give instead of a folder without a data set, which may be above it or below."""
    above = find_label_file(path.absolute().parent)
    if above is not None:
        return f"{above.name} is in the folder above it, so give that one: {path.parent}"
    below = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _has_data_set(folder)]
    if len(below) == 1:
        return f"there is a data set in the folder below it, so give that one: {below[0]}"
    if below:
        return (
            f"there are data sets in folders below it, so give one of those: {', '.join(map(str, below[:3]))}"
        )
    return "give the CSV itself, or download NIH's label file into the folder"


def _has_data_set(folder: Path) -> bool:
    """Return whether a folder looks like one that can be prepared."""
    try:
        return find_label_file(folder) is not None or bool(find_part_folders(folder))
    except (OSError, DataError):  # it cannot be listed, or something in it is wrong
        return False


def _read_nih(root: Path, labels: Path, *, view: str | None, dataset: str) -> Source:
    if dataset:
        raise DataError(f"{labels} is in NIH's layout, which sets the name; omit `dataset={dataset}`")
    return read_nih(root, labels=labels, view=view)
