"""Opens a data set: NIH in its own layout, or any folder described by a CSV."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.atomic_io import sha256_of_file
from thorax.datasets.nih import LABEL_FILES, find_label_file, read_nih
from thorax.datasets.splits import NIH_DATASET
from thorax.datasets.table import (
    DESCRIPTION,
    Patients,
    SampleTable,
    Source,
    parse_ages,
    parse_counts,
    parse_patients,
    read_csv,
    refuse_duplicates,
)
from thorax.errors import DataError
from thorax.findings import VOCABULARY, Finding, finding_or_new, parse_finding

__all__ = ["open_source", "read_folder"]

_TAKEN = (NIH_DATASET, "nih-layout")
_STORE_COLUMNS = ("row", "file_bytes", "mtime_ns", "sha256", "height", "width", "intensity")
_KNOWN = ("path", "image", "patient", "age", "sex", "view", "follow_up", "split")
_VIEWS = {"PA": "PA", "AP": "AP", "LL": "LL", "LATERAL": "LL", "": ""}
_PARTS = ("train", "val", "test", "")
_LABELS = {"1": 1, "0": 0, "-1": -1, "1.0": 1, "0.0": 0, "-1.0": -1, "": None}


def read_folder(path: Path, *, view: str | None = None, dataset: str = "") -> Source:
    """Read a CSV that describes images, without opening any image.

    Args:
        path: The CSV (.csv or .csv.gz).
        view: Keep only images of this view position, "PA" or "AP".
        dataset: Name of the data set, "folder" by default; patient ids are unique within it.

    Raises:
        DataError: The CSV is malformed or none of its images exists. The message names line and value.
    """
    if dataset in _TAKEN:
        raise DataError(
            f"a CSV cannot use the name {dataset}, reserved for data in NIH's layout with NIH's ids; "
            "give another name as `dataset`"
        )
    rows = read_csv(path, ("path",))
    findings = _finding_columns(rows, path)
    table = _description(rows, path)
    refuse_duplicates(table["image"], path)
    for column, finding in findings.items():
        table[finding.name] = _labels(rows[column], path, column)
    table["boxes"] = pd.Series([()] * len(table), dtype=object)
    whole = Patients(*(tuple(table[name].astype(str)) for name in ("image", "patient", "official")))
    notices = [] if "patient" in rows else ["no column 'patient': each image counts as a separate patient"]
    usable = np.array([os.path.isfile(path.parent / name) for name in table["path"]])  # noqa: PTH113  (no error for a name too long)
    missing = f" (first missing: {table['path'][~usable].iloc[0]})" if not usable.all() else ""
    notices.append(f"{int(usable.sum()):,} of {len(table):,} described images exist{missing}")
    if view is not None:
        usable &= (table["view"] == view).to_numpy()
        notices.append(f"{int(usable.sum()):,} of them have view {view}")
    if not usable.any():
        raise DataError(f"{path} describes {len(table)} images, but none exists{missing}; correct the paths")
    return Source(
        root=path.parent,
        dataset=dataset or "folder",
        table=SampleTable(table[usable].reset_index(drop=True), tuple(findings.values())),
        whole=whole,
        label_files=((path.name, sha256_of_file(path)),),
        box_side=None,
        notices=tuple(notices),
    )


def _finding_columns(rows: pd.DataFrame, path: Path) -> dict[str, Finding]:
    """Return the finding of each column of labels."""
    findings: dict[str, Finding] = {}
    for column in rows.columns:
        if column in _KNOWN or column.startswith("note:"):
            continue
        if column.startswith("finding:"):
            name = column.removeprefix("finding:")
            finding = finding_or_new(name)
        else:
            try:
                finding = parse_finding(column, where=f"the header of {path}")
            except DataError as error:
                raise DataError(f"{error}; a column to be ignored is named 'note:{column}'") from error
        if finding.name in {*DESCRIPTION, *_STORE_COLUMNS}:
            raise DataError(
                f"{path}: a finding cannot be called {finding.name!r}, because the sample table has a column "
                "of that name; give it another name"
            )
        if finding in findings.values():
            raise DataError(f"{path} has two columns for {finding}, the second one {column!r}; keep one")
        findings[column] = finding
    if not findings:
        raise DataError(
            f"{path} has no column for a finding; name one as in the vocabulary "
            f"({', '.join(finding.name for finding in VOCABULARY[:4])}...) or 'finding:NAME'"
        )
    return findings


def _description(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    empty = pd.Series("", rows.index)
    images = rows.get("image", rows["path"])
    return pd.DataFrame(
        {
            "image": images,
            "path": rows["path"],
            "patient": parse_patients(rows.get("patient", images), path),
            "age": parse_ages(rows.get("age", empty), path)[0],
            "sex": rows.get("sex", empty).str.upper().str[:1],
            "view": _choice(rows.get("view", empty).str.upper(), _VIEWS, path=path, column="view"),
            "follow_up": parse_counts(rows.get("follow_up", empty), path, column="follow_up"),
            "official": _choice(
                rows.get("split", empty), dict(zip(_PARTS, _PARTS, strict=True)), path=path, column="split"
            ),
        }
    )


def _choice(texts: pd.Series, choices: dict[str, str], *, path: Path, column: str) -> pd.Series:
    _refuse_other(texts, list(choices), path=path, column=column)
    return texts.map(choices)


def _labels(texts: pd.Series, path: Path, column: str) -> pd.Series:
    _refuse_other(texts, list(_LABELS), path=path, column=column)
    return texts.map(_LABELS).astype("Int8")


def _refuse_other(texts: pd.Series, choices: list[str], *, path: Path, column: str) -> None:
    wrong = np.flatnonzero(~texts.isin(choices).to_numpy())
    if len(wrong):
        allowed = ", ".join(choice or "(empty)" for choice in choices)
        raise DataError(
            f"{path}, line {wrong[0] + 2}: {column} is {texts.iloc[wrong[0]]!r}; it can be {allowed}"
        )


def open_source(path: Path, *, view: str | None = None, dataset: str = "") -> Source:
    """Read the tables of a data set: a folder in NIH's layout, a CSV, or a folder with one CSV.

    Args:
        path: The folder or the CSV.
        view: Keep only images of this view position, "PA" or "AP".
        dataset: Name of a data set described by a CSV; patient ids are unique within it.

    Raises:
        DataError: The path has no data set, or its files are malformed.
    """
    if path.is_file():
        return read_folder(path, view=view, dataset=dataset)
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist; give a folder in NIH's layout, or a CSV with a column 'path'"
        )
    if find_label_file(path):
        if dataset:
            raise DataError(f"{path} is in NIH's layout, which sets the name; omit `dataset={dataset}`")
        return read_nih(path, view=view)
    tables = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
    if len(tables) != 1:
        raise DataError(
            f"{path} has none of {', '.join(LABEL_FILES)} and {len(tables)} other CSV files; "
            "give the CSV itself, or download NIH's label file into the folder"
        )
    return read_folder(tables[0], view=view, dataset=dataset)
