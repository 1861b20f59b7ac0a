"""Reader of images that lie in train/, val/ and test/ folders, with label files beside them.

The split is the folders' own, `folder-official`. Below the folder of a part, images may lie in further
folders, whose names mean nothing here. Label files are the CSVs beside the folders or in them, in NIH's
layout (columns "Image Index", "Finding Labels" and "Patient ID") or with one column per finding, and any
number of them: one for all images, or one for each part. A row belongs to the image of its name, in whichever
folder that is.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import pandas as pd

from thorax.atomic_io import sha256_of_file
from thorax.datasets import NIH_DATASET, NIH_LAYOUT
from thorax.datasets.columns import described_images
from thorax.datasets.nih import IMAGE_SUFFIXES, find_image_folders, is_nih, label_table
from thorax.datasets.splits import crossing_patients
from thorax.datasets.table import Patients, SampleTable, Source, read_csv
from thorax.errors import DataError
from thorax.findings import NIH15, Finding, Findings
from thorax.tabular import IMAGE_COLUMNS, find_column

__all__ = ["find_part_folders", "read_part_folders"]

_PARTS: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_PATIENT_COLUMNS: Final = ("patientid", "patient", "subjectid", "subject")
_NIH_COLUMNS: Final = {"Image Index", "Finding Labels", "Patient ID"}
_NIH_NAME: Final = re.compile(r"(\d{8})_\d{3}\.\w+")
_BOXES: Final = "BBox_List_2017.csv"


def find_part_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the parts by name, the training part among two or more; empty if there are none.

    Raises:
        DataError: Two folders have names of the same part, such as val/ and validation/.
    """
    if any(folder.is_dir() for folder in find_image_folders(root)):
        return {}
    folders: dict[str, Path] = {}
    for name, part in _PARTS.items():
        folder = root / name
        if folder.is_dir() and folders.setdefault(part, folder) != folder:
            raise DataError(f"{root} has both {folders[part].name}/ and {name}/; keep one of them")
    return folders if "train" in folders and len(folders) > 1 else {}


def read_part_folders(
    root: Path, folders: Mapping[str, Path], *, view: str | None = None, dataset: str = ""
) -> Source:
    """Read the names of the images and their labels, without opening any image.

    Args:
        root: The folder that holds the parts' folders.
        folders: Those, as `find_part_folders` returns them.
        view: Keep only images of this view position, "PA" or "AP".
        dataset: Name of the data set, by default one made from its content; NIH's own images, and labels in
            NIH's layout, keep theirs.

    Raises:
        DataError: A label file is malformed, an image is in two places or has two different rows, or no image
            has a label.
    """
    files = _image_files(root, folders)
    labels = _read_labels(root, folders)
    table = labels.table
    part = "train" if "val" in folders else "train_val"
    parts = {name: part if found == "train" else found for name, (found, _) in files.items()}
    table["official"] = table["image"].map(parts).fillna("")
    table["path"] = table["image"].map({name: path for name, (_, path) in files.items()})
    table["boxes"] = pd.Series([()] * len(table), dtype=object)
    whole = Patients(*(tuple(map(sys.intern, table[name])) for name in ("image", "patient", "official")))
    table = table[table["path"].notna()]
    notices = [_count(table, folders, labeled=len(whole.images)), *_unlabeled(files, table), *labels.notices]
    if view is not None:
        table = table[table["view"] == view]
        notices.append(f"{len(table):,} of them have view {view}")
    if table.empty:
        raise DataError(
            f"{root} has {len(files):,} images in {_named(folders)} and labels of {len(whole.images):,}, but "
            f"no image {f'with view {view} ' if view else ''}has a label; compare the names in "
            f"{', '.join(path.name for path in labels.files)} with those of the files"
        )
    return Source(
        root=root,
        dataset=_dataset(whole, labels, dataset),
        table=SampleTable(table.reset_index(drop=True), labels.findings),
        whole=whole,
        label_files=tuple((path.relative_to(root).as_posix(), sha256_of_file(path)) for path in labels.files),
        box_side=None,
        notices=(*notices, *_crossing(whole)),
    )


@dataclass(frozen=True)
class _Labels:
    """All label files together: one row per image, in the order of the files, without paths and parts."""

    table: pd.DataFrame
    findings: Findings
    files: tuple[Path, ...]
    in_nih_layout: bool
    notices: tuple[str, ...]


def _image_files(root: Path, folders: Mapping[str, Path]) -> dict[str, tuple[str, str]]:
    """Return part and path, relative to `root`, of each image by its name."""
    files: dict[str, tuple[str, str]] = {}
    double: list[tuple[str, str]] = []
    for part, folder in folders.items():
        for parent, inner, names in os.walk(folder, onerror=_refuse_unlisted):
            inner.sort()
            for name in sorted(names):
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                    path = (Path(parent) / name).relative_to(root).as_posix()
                    _, first = files.setdefault(name, (part, path))
                    if first != path:
                        double.append((first, path))
    if double:
        crossing = sum(one.partition("/")[0] != other.partition("/")[0] for one, other in double)
        raise DataError(
            f"{root}: {len(double):,} images exist twice, {crossing:,} of them in two parts (first: "
            f"{double[0][0]} and {double[0][1]}); keep one file of each, in the part of its patient"
        )
    return files


def _refuse_unlisted(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be listed ({error.strerror or error}), so its images would be missing; "
        "check the folder and its permissions"
    ) from error


def _label_files(root: Path, folders: Mapping[str, Path]) -> list[Path]:
    return [
        path
        for folder in (root, *folders.values())
        for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")])
        if path.name.removesuffix(".gz") != _BOXES
    ]


def _read_labels(root: Path, folders: Mapping[str, Path]) -> _Labels:
    tables, findings, files, kinds, notices = [], [], [], [], []
    for path in _label_files(root, folders):
        rows = read_csv(path, ())
        if find_column(list(rows.columns), IMAGE_COLUMNS) is None:
            notices.append(f"{path.name} has no column of images and was not read")
            continue
        distinct = rows.drop_duplicates(ignore_index=True)
        if len(distinct) < len(rows):
            notices.append(f"{len(rows) - len(distinct):,} of {len(rows):,} rows of {path.name} are repeats")
        in_nih_layout = set(rows.columns) >= _NIH_COLUMNS
        table, own, told = _nih_rows(distinct, path) if in_nih_layout else _csv_rows(distinct, path)
        tables.append(table)
        findings += [finding for finding in own if finding not in findings]
        files.append(path)
        kinds.append(in_nih_layout)
        notices += told
    if not tables:
        raise DataError(
            f"{root} has images in {_named(folders)}, but beside them no CSV with a column of images and "
            "their labels; put the label file there, such as Data_Entry_2017_v2020.csv"
        )
    table = _united(tables, files, findings)
    return _Labels(table, tuple(findings), tuple(files), all(kinds), tuple(notices))


def _nih_rows(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, Findings, list[str]]:
    table, notices = label_table(rows, path)
    return table, NIH15, notices


def _csv_rows(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, Findings, list[str]]:
    """Read a CSV with one column per finding; images go by the name of their file."""
    header = list(rows.columns)
    image = header[find_column(header, ("path", *IMAGE_COLUMNS)) or 0]
    rows = rows.rename(columns={image: "path"}).drop(columns=["image", "split"], errors="ignore")
    rows["path"] = [PurePosixPath(name.replace("\\", "/")).name for name in rows["path"]]
    column = find_column(header, _PATIENT_COLUMNS)
    notices = []
    if column is not None:
        rows = rows.rename(columns={header[column]: "patient"})
    elif rows["path"].str.fullmatch(_NIH_NAME.pattern).all():
        rows["patient"] = rows["path"].str.extract(_NIH_NAME.pattern)[0].str.lstrip("0")
        notices.append(f"{path.name} has no column 'patient'; the names of the images say whose they are")
    else:
        notices.append(f"{path.name} has no column 'patient': each image counts as a separate patient")
    table, findings = described_images(rows, path)
    return table.drop(columns=["path", "official"]), findings, notices


def _united(tables: list[pd.DataFrame], files: list[Path], findings: list[Finding]) -> pd.DataFrame:
    """Join the rows of several files; an image that several list must be described alike."""
    for table, path in zip(tables, files, strict=True):
        table["file"] = path.name
    whole = pd.concat(tables, ignore_index=True)
    for finding in findings:
        whole[finding.name] = whole[finding.name].astype("Int8")
    distinct = whole.drop_duplicates([name for name in whole.columns if name != "file"])
    again = distinct[distinct["image"].duplicated(keep=False)].sort_values("image", kind="stable")
    if len(again):
        name = again["image"].iloc[0]
        where = sorted(set(again.loc[again["image"] == name, "file"]))
        raise DataError(
            f"{again['image'].nunique():,} images have several rows that differ (first: {name}, in "
            f"{', '.join(where)}); keep one row for each"
        )
    return distinct.drop(columns="file").reset_index(drop=True)


def _dataset(whole: Patients, labels: _Labels, name: str) -> str:
    if is_nih(whole):
        own = NIH_DATASET
    elif labels.in_nih_layout:
        own = NIH_LAYOUT
    else:
        if name in {NIH_DATASET, NIH_LAYOUT}:
            raise DataError(
                f"these images are not NIH's, so {name} is not their name; give another `dataset`"
            )
        return name or whole.default_name()
    if name:
        raise DataError(f"these labels are in NIH's layout, which sets the name; omit `dataset={name}`")
    return own


def _named(folders: Mapping[str, Path]) -> str:
    return ", ".join(f"{folder.name}/" for folder in folders.values())


def _count(table: pd.DataFrame, folders: Mapping[str, Path], *, labeled: int) -> str:
    counts = Counter(path.partition("/")[0] for path in table["path"])
    each = ", ".join(f"{counts[folder.name]:,} in {folder.name}/" for folder in folders.values())
    return f"{len(table):,} of {labeled:,} labeled images exist: {each}"


def _unlabeled(files: Mapping[str, tuple[str, str]], table: pd.DataFrame) -> list[str]:
    unlabeled = sorted(files.keys() - set(table["image"]))
    if not unlabeled:
        return []
    first = files[unlabeled[0]][1]
    return [f"{len(unlabeled):,} of {len(files):,} images have no label and are left out (first: {first})"]


def _crossing(whole: Patients) -> list[str]:
    """Warn of patients in several folders, whose split cannot be used; the images can."""
    crossing = crossing_patients(whole.official, whole)
    if not crossing:
        return []
    notice = (
        f"{len(crossing):,} of {len(set(whole.patients)):,} patients have images in several folders (first: "
        f"{next(iter(crossing.values()))}), so the folders' own split folder-official will be refused; use a "
        "split by patient, such as data.split=patient-70-15-15"
    )
    return [notice]
