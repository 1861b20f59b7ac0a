"""Reader of NIH ChestX-ray14 in its original files, and of anything with the same layout.

Wang et al., CVPR 2017, provided by the NIH Clinical Center. It reads both label files and the Kaggle
sample's `sample_labels.csv`, each as .csv or .csv.gz; images in `images/`, in `images_001/images/` and so
on, or in `sample/images/`; `BBox_List_2017.csv`; and the split lists. Any subset of the images will do.
"""

import csv
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.atomic_io import sha256_of_file
from thorax.boxes import Box, FindingBox
from thorax.datasets import NIH_DATASET, NIH_LAYOUT
from thorax.datasets.nih_splits import NIH_IMAGES, nih_official_test_patients
from thorax.datasets.table import (
    LARGEST_AGE,
    Patients,
    SampleTable,
    Source,
    parse_ages,
    parse_counts,
    parse_patients,
    read_csv,
    refuse_duplicates,
    with_optional_gz,
)
from thorax.errors import DataError
from thorax.findings import NIH15, NO_FINDING, Finding, parse_finding
from thorax.quoting import quoted
from thorax.tabular import open_text, separated_lines

__all__ = [
    "IMAGE_SUFFIXES",
    "LABEL_FILES",
    "find_image_folders",
    "find_label_file",
    "is_label_file",
    "is_nih",
    "label_table",
    "official_parts",
    "read_nih",
]

LABEL_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
"""Names of the label files, newest first: NIH's two versions differ in the labels of some images."""

_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_OPTIONAL = ("Follow-up #", "Patient Age", "Patient Sex", "View Position")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
_LARGEST_NIH_PATIENT = 30_805
_NIH_NAME = re.compile(r"(\d{8,})_\d{3}\.png")
_NUMBER = re.compile(r"^0*(\d+)(?:\.0+)?$")
"""A number with leading zeros, or as a spreadsheet saves it: 00000013, 13.0."""


def find_label_file(root: Path) -> Path | None:
    """Return the label file of a folder in NIH's layout, or None.

    A CSV of another name is one if it has its columns, such as "Data_Entry_2017 (1).csv".

    Raises:
        DataError: Several CSVs of other names have these columns.
    """
    candidates = (
        folder / f"{name}{suffix}"
        for name in LABEL_FILES
        for folder in (root, root / "sample")
        for suffix in ("", ".gz")
    )
    named = next((path for path in candidates if path.is_file()), None)
    if named is not None:
        return named
    others = [path for path in sorted([*root.glob("*.csv"), *root.glob("*.csv.gz")]) if is_label_file(path)]
    if len(others) > 1:
        listed = ", ".join(path.name for path in others)
        raise DataError(
            f"{root} has {len(others)} label files in NIH's layout ({listed}); give the one to use instead "
            "of the folder"
        )
    return others[0] if others else None


def is_label_file(path: Path) -> bool:
    """Return whether a CSV has the columns of NIH's label file, whatever its name."""
    try:
        with open_text(path, what="CSV", remedy="") as file:
            separator, lines = separated_lines(file)
            header = next(filter(None, csv.reader(lines, delimiter=separator)), [])
    except DataError:
        return False
    return set(header) >= set(_COLUMNS)


def read_nih(root: Path, *, labels: Path | None = None, view: str | None = None) -> Source:
    """Read the tables of a folder in NIH's layout; no image is opened.

    Args:
        root: The folder with the label file.
        labels: The label file; None looks for it in the folder.
        view: Keep only images of this view position, "PA" or "AP".

    Raises:
        DataError: The label file is missing or malformed, an image is listed twice or has no label row, or
            no labeled image exists. The message names file, row and value.
    """
    labels = labels or find_label_file(root)
    if labels is None:
        raise DataError(
            f"{root} has none of {', '.join(LABEL_FILES)} (also .gz); give the folder that has one"
        )
    rows = read_csv(labels, _COLUMNS)
    table, notices = label_table(rows, labels)
    table["official"] = official_parts(root, table["image"])
    paths = _image_paths(root)
    _refuse_unlabeled(paths, table["image"], labels)
    # Interned, because ids of patients and names of parts repeat in many rows.
    whole = Patients(*(tuple(map(sys.intern, table[name])) for name in ("image", "patient", "official")))
    table["path"] = table["image"].map(paths)
    notices.insert(0, f"{len(paths):,} of {len(table):,} labeled images are in {root.name or root}")
    table = table[table["path"].notna()]
    if view is not None:
        table = table[table["view"] == view]
        notices.append(f"{len(table):,} of them have view {view}")
    if table.empty:
        raise DataError(
            f"{root} has labels of {len(whole.images):,} images, but no image file "
            f"{f'with view {view} ' if view else ''}of them; unpack the image archives beside {labels.name}"
        )
    dataset = NIH_DATASET if is_nih(whole) else NIH_LAYOUT
    if dataset == NIH_DATASET:
        _check_official_lists(whole, root)
    boxes = _read_boxes(root, set(whole.images))
    table["boxes"] = pd.Series([boxes.get(image, ()) for image in table["image"]], table.index, dtype=object)
    columns = ["image", "path", "patient", "age", "sex", "view", "follow_up", "official", "boxes"]
    frame = table[[*columns, *(finding.name for finding in NIH15)]].reset_index(drop=True)
    return Source(
        root=root,
        dataset=dataset,
        table=SampleTable(frame, NIH15),
        whole=whole,
        label_files=tuple((path.name, sha256_of_file(path)) for path in _read_files(root, labels)),
        box_side=1024,
        notices=tuple(notices),
    )


def label_table(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Turn the rows of a label file into columns of the sample table, with notices for the user.

    Raises:
        DataError: A row is malformed; the message has its line.
    """
    images = rows["Image Index"]
    refuse_duplicates(images, path)
    rows = rows.rename(columns={"Patient Gender": "Patient Sex"})  # as in copies and older versions
    optional = {name: rows[name] if name in rows else pd.Series("", rows.index) for name in _OPTIONAL}
    ages, strange = parse_ages(optional["Patient Age"], path)
    table = pd.DataFrame(
        {
            "image": images,
            "patient": parse_patients(rows["Patient ID"], path).str.replace(_NUMBER, r"\1", regex=True),
            "age": ages,
            "sex": optional["Patient Sex"].str.upper().str[:1],
            "view": optional["View Position"].str.upper(),
            "follow_up": parse_counts(optional["Follow-up #"], path, column="Follow-up #"),
        }
    )
    notices = [f"{strange} ages above {LARGEST_AGE} were left out"] if strange else []
    return table.join(_label_columns(rows["Finding Labels"], path)), notices


def _label_columns(texts: pd.Series, path: Path) -> pd.DataFrame:
    """Turn "Mass|Nodule" into one column per finding; each distinct text is parsed once."""
    position = {finding: index for index, finding in enumerate(NIH15)}
    codes, distinct = pd.factorize(texts)
    present = np.zeros((len(distinct), len(NIH15)), np.int8)
    for index, text in enumerate(distinct):
        line = int(np.flatnonzero(codes == index)[0]) + 2
        for finding in _parse_labels(str(text), f"{path}, line {line}"):
            present[index, position[finding]] = 1
    return pd.DataFrame(
        present[codes], texts.index, columns=[finding.name for finding in NIH15], dtype="Int8"
    )


def _parse_labels(text: str, where: str) -> list[Finding]:
    findings = [parse_finding(name, where=where) for name in text.split("|")]
    for finding in findings:
        if finding not in NIH15:
            raise DataError(f"{where}: {finding} is not one of NIH's labels; put such data in a folder's CSV")
    if NO_FINDING in findings and len(findings) > 1:
        raise DataError(f"{where}: {quoted(text)} has No Finding beside a finding; remove one of them")
    return findings


def official_parts(root: Path, images: pd.Series) -> pd.Series:
    """Return "train_val" or "test" for the images in the folder's own lists, "" for others."""
    parts = pd.Series("", images.index)
    for part in ("train_val", "test"):
        path = with_optional_gz(root / f"{part}_list.txt")
        if path is None:
            continue
        inside = images.isin(_read_lines(path))
        crossing = inside & (parts != "")
        if crossing.any():
            raise DataError(
                f"{path}: {images[crossing].iloc[0]} is also in train_val_list.txt; remove it from one list"
            )
        parts = parts.mask(inside, part)
    return parts


def _read_lines(path: Path) -> pd.Series:
    try:
        with open_text(path, what="a list of images", remedy="download it again") as file:
            lines = pd.read_csv(file, header=None, dtype=str, names=["image"])["image"]
    except ValueError as error:
        raise DataError(f"{path} cannot be read as a list of images ({error}); download it again") from error
    return lines.str.strip()


def find_image_folders(root: Path) -> Iterator[Path]:
    """Yield the folders in which the layout has images, whether or not they exist."""
    yield from (root / "images", root / "sample" / "images", root / "sample" / "sample" / "images")
    for folder in sorted(root.glob("images_*")):
        yield folder / "images"
        yield folder


def _image_paths(root: Path) -> dict[str, str]:
    """Return the path of each image file relative to `root`, by name."""
    paths: dict[str, str] = {}
    for folder in find_image_folders(root):
        if not folder.is_dir():
            continue
        names = (entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES))
        for name in sorted(names):
            path = (folder / name).relative_to(root).as_posix()
            if paths.setdefault(name, path) != path:
                raise DataError(
                    f"{root}: image {name} exists twice, as {paths[name]} and {path}; keep one of them"
                )
    return paths


def _refuse_unlabeled(paths: dict[str, str], images: pd.Series, labels: Path) -> None:
    unlabeled = sorted(paths.keys() - set(images))
    if unlabeled:
        raise DataError(
            f"{len(unlabeled)} of {len(paths)} images have no row in {labels} "
            f"(first: {paths[unlabeled[0]]}); add their rows or move the files away"
        )


def _read_boxes(root: Path, known: set[str]) -> dict[str, tuple[FindingBox, ...]]:
    """Read `BBox_List_2017.csv` by column position: its header names "Bbox [x", "y", "w" and "h]"."""
    path = with_optional_gz(root / "BBox_List_2017.csv")
    if path is None:
        return {}
    boxes: dict[str, tuple[FindingBox, ...]] = {}
    rows = read_csv(path, ("Image Index", "Finding Label"))
    for line, row in enumerate(rows.itertuples(index=False, name=None), start=2):
        image, where = str(row[0]), f"{path}, line {line}"
        try:
            x, y, width, height = (float(value) for value in row[2:6])
        except ValueError as error:
            raise DataError(
                f"{where}: the box of {image} is not four numbers ({error}); correct the line"
            ) from error
        if not all(math.isfinite(value) for value in (x, y, width, height)):
            raise DataError(f"{where}: the box of {image} is not four finite numbers; correct the line")
        if image not in known:
            raise DataError(f"{where}: {image} has a box but no row in the label file; add its row")
        finding = parse_finding(str(row[1]), where=where)
        boxes[image] = (*boxes.get(image, ()), FindingBox(finding, Box(x, y, width, height)))
    return boxes


def is_nih(whole: Patients) -> bool:
    """Recognize NIH's own images by name and patient: 00000013_005.png belongs to patient 13 of 30,805."""
    if len(whole.images) > NIH_IMAGES:
        return False
    names = (_NIH_NAME.fullmatch(image) for image in whole.images)
    return all(
        name is not None
        and patient.isdecimal()
        and 1 <= int(patient) <= _LARGEST_NIH_PATIENT
        and name[1] == f"{patient:0>8}"
        for name, patient in zip(names, whole.patients, strict=True)
    )


def _check_official_lists(whole: Patients, root: Path) -> None:
    """Refuse lists beside NIH's images that are not NIH's own."""
    test = nih_official_test_patients()
    for image, patient, part in zip(whole.images, whole.patients, whole.official, strict=True):
        if part and (part == "test") != (patient in test):
            raise DataError(
                f"{root}: {image} is in {part}_list.txt, but in the other one of NIH's published lists; "
                "download the lists again, or rename them and use your own as `data.split=file:PATH`"
            )


def _read_files(root: Path, labels: Path) -> list[Path]:
    lists = ("train_val_list.txt", "test_list.txt", "BBox_List_2017.csv")
    paths = (with_optional_gz(root / name) for name in lists)
    return [labels, *(path for path in paths if path)]
