"""The sample table: one row per image, the same for every data set.

Columns, in this order:

| column | type | meaning |
| --- | --- | --- |
| image | string | name of the image; unique |
| path | string | file relative to the source's folder, with forward slashes |
| patient | string | the patient's id within the data set |
| age | nullable int16 | whole years |
| sex | string | "M", "F", "O" or "" |
| view | string | "PA", "AP", "LL" or "" |
| follow_up | nullable int16 | number of the image within the patient, from 0 |
| official | string | part in the data set's own split: "train", "train_val", "val", "test" or "" |
| boxes | list of structs | boxes of findings: finding, x, y, width, height |
| one per finding | nullable int8 | 1 present, 0 absent, -1 uncertain, null not labeled |
"""

import csv
import os
import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from thorax.arrays import NOT_LABELED, Rows, Targets
from thorax.atomic_io import atomic_write, sha256_of_lines
from thorax.boxes import Box, FindingBox
from thorax.datasets import UNNAMED
from thorax.errors import DataError
from thorax.findings import Findings, finding_or_new
from thorax.quoting import cut, is_formula, quoted
from thorax.tabular import open_text, refuse_wide, separated_lines

__all__ = [
    "DESCRIPTION",
    "LARGEST_AGE",
    "Patients",
    "SampleTable",
    "Source",
    "parse_ages",
    "parse_counts",
    "parse_patients",
    "patient_codes",
    "read_columns",
    "read_csv",
    "read_sample_table",
    "refuse_acting",
    "refuse_duplicates",
    "with_optional_gz",
    "write_table",
]

LARGEST_AGE = 120
"""Larger ages are errors: NIH's first label file has ages such as 411 and 414."""

_AGE = re.compile(r"(?=\d)0*+(\d{0,30})([YMWD]?)")


def read_csv(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV, gzipped or not, as text; an empty field is "".

    Raises:
        DataError: The file cannot be read, has no rows, or lacks a needed column.
    """
    with open_text(path, what="CSV", remedy="download it again") as file:
        separator, lines = separated_lines(file)
        header = next(filter(None, csv.reader(lines, delimiter=separator)), [])
    if not header:
        raise DataError(f"{path} is empty; download it again")
    refuse_wide(path, header)
    try:
        with open_text(path, what="CSV", remedy="download it again") as file, warnings.catch_warnings():
            # pandas only warns about a line with more fields than the header, and shifts its values.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); download it again") from error
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} has no column {quoted(missing[0])} (it has "
            f"{cut(', '.join(map(str, frame.columns)), 200)}); give the file as the data set provides it"
        )
    if frame.empty:
        raise DataError(f"{path} has no rows; download it again")
    return frame


def parse_ages(texts: pd.Series, path: Path) -> tuple[pd.Series, int]:
    """Read ages such as 58, 058Y, 013M or 005D into whole years; impossible ones become null.

    Returns:
        The ages as nullable int16, and how many were above `LARGEST_AGE`.

    Raises:
        DataError: A text is not an age; the message has its line.
    """
    parsed: dict[str, int | None] = {"": None}
    for text in texts.unique():
        match = _AGE.fullmatch(text.strip().upper())
        if text and not match:
            line = int(np.flatnonzero((texts == text).to_numpy())[0]) + 2
            raise DataError(
                f"{path}, line {line}: {quoted(text)} is not an age; write whole years, such as 58 or 058Y"
            )
        if match:
            number, unit = int(match[1] or 0), match[2]
            units_per_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[unit]
            parsed[text] = min(number // units_per_year, LARGEST_AGE + 1)
    years = texts.map(parsed).astype("Int64")
    impossible = years > LARGEST_AGE
    return years.mask(impossible).astype("Int16"), int(impossible.sum())


def parse_counts(texts: pd.Series, path: Path, *, column: str) -> pd.Series:
    """Read whole numbers from 0 to 9,999 as nullable int16; "" becomes null.

    Raises:
        DataError: A text is not such a number; the message has its line.
    """
    wrong = np.flatnonzero(~texts.str.fullmatch(r"0*\d{0,4}").to_numpy(dtype=bool))
    if len(wrong):
        raise DataError(
            f"{path}, line {wrong[0] + 2}: {column} is {quoted(texts.iloc[wrong[0]])}; "
            "write a whole number below 10000"
        )
    return texts.map(lambda text: int(text) if text else None).astype("Int16")


def parse_patients(texts: pd.Series, path: Path) -> pd.Series:
    """Return patient ids without surrounding spaces.

    Raises:
        DataError: An id is empty, or would act where it is shown; the message has its line.
    """
    ids = texts.str.strip()
    refuse_acting(ids, path, what="patient")
    empty = np.flatnonzero((ids == "").to_numpy())
    if len(empty):
        raise DataError(
            f"{path}, line {empty[0] + 2}: the patient is missing, and images of one patient must stay "
            "together; fill it in, or leave out the whole column"
        )
    return ids


def refuse_acting(texts: pd.Series, path: Path, *, what: str) -> None:
    """Refuse ids with control characters, and those that a spreadsheet would run: reports repeat them.

    Raises:
        DataError: There is one; the message has its line.
    """
    for row, text in enumerate(texts):
        if is_formula(text) or not text.isprintable():
            fault = "is a spreadsheet's formula" if is_formula(text) else "has characters that do not print"
            raise DataError(f"{path}, line {row + 2}: the {what} {quoted(text)} {fault}; give another id")


def refuse_duplicates(images: pd.Series, path: Path) -> None:
    """Raise a DataError with both lines if an image is listed twice."""
    double = np.flatnonzero(images.duplicated().to_numpy())
    if len(double):
        name = images.iloc[double[0]]
        first = int(np.flatnonzero((images == name).to_numpy())[0])
        raise DataError(
            f"{path}: image {name} is listed twice, in lines {first + 2} and {double[0] + 2}; keep one"
        )


def with_optional_gz(path: Path) -> Path | None:
    """Return the file, or the same name with .gz appended, whichever exists; None if neither does."""
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


DESCRIPTION = ("image", "path", "patient", "age", "sex", "view", "follow_up", "official", "boxes")
"""Names of the columns that describe an image; the others are findings."""


@dataclass(frozen=True)
class Patients:
    """The labeled images of a data set with their patients: everything that a split depends on.

    Attributes:
        images: Names of all labeled images, available or not.
        patients: The patient of each image.
        official: The part of each image in the data set's own split ("" if it has none).
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]
    official: tuple[str, ...]

    def default_name(self) -> str:
        """Return the name of a data set that was given none, made from its images and their patients."""
        lines = sorted(
            f"{image}\t{patient}" for image, patient in zip(self.images, self.patients, strict=True)
        )
        return f"{UNNAMED}-{sha256_of_lines(lines)[:12]}"


@dataclass(frozen=True)
class SampleTable:
    """One row per image, with labels.

    Attributes:
        frame: The columns listed in the module's docstring; index 0 ... n - 1.
        findings: The findings that have a column.
    """

    frame: pd.DataFrame
    findings: Findings

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def images(self) -> list[str]:
        """Names of the images, in row order."""
        return [str(name) for name in self.frame["image"]]

    def patients(self) -> Patients:
        """Return the images of this table with their patients."""
        columns = (self.frame[name].astype(str) for name in ("image", "patient", "official"))
        return Patients(*(tuple(column) for column in columns))

    def targets(self, findings: Findings) -> Targets:
        """Return the labels of `findings`, int8 (n, k): 1, 0, `UNCERTAIN` or `NOT_LABELED`.

        Raises:
            DataError: The table has no column for one of them.
        """
        for finding in findings:
            if finding not in self.findings:
                known = ", ".join(labeled.name for labeled in self.findings)
                raise DataError(
                    f"finding {finding} is not labeled in this data set (it has {known}); "
                    "choose some of those with `data.findings`"
                )
        columns = [
            self.frame[finding.name].to_numpy(dtype=np.int8, na_value=NOT_LABELED) for finding in findings
        ]
        return np.stack(columns, axis=1)

    def take(self, rows: Rows) -> "SampleTable":
        """Return the table of the given rows, in that order, renumbered."""
        return SampleTable(self.frame.take(rows).reset_index(drop=True), self.findings)


@dataclass(frozen=True)
class Source:
    """A data set as read from its tables, before any image is opened.

    Attributes:
        root: The folder that the table's `path` column is relative to.
        dataset: Name of the data set ("nih-chestxray14", "nih-layout" or the folder's own); patient ids
            are unique within it.
        table: One row per labeled image that is available, in the label file's order.
        whole: All labeled images, available or not.
        label_files: Name and SHA-256 of each label file that was read.
        box_side: Side of the square that the boxes' coordinates refer to, whatever the image's size;
            None if they are in the image's own pixels.
        notices: Notices for the user, one sentence per entry.
        missing: Paths of images that a CSV describes, of the wanted view, and that do not exist. Absent
            images of NIH's label file are not listed, since most sources are a part of its data.
    """

    root: Path
    dataset: str
    table: SampleTable
    whole: Patients
    label_files: tuple[tuple[str, str], ...]
    box_side: int | None
    notices: tuple[str, ...]
    missing: tuple[str, ...] = ()


def patient_codes(table: SampleTable) -> Rows:
    """Return an integer per row that is equal for equal patients, numbered by first appearance."""
    return pd.factorize(table.frame["patient"])[0].astype(np.int64)


def _schema(findings: Findings) -> pa.Schema:
    box = pa.struct(
        [("finding", pa.string()), *((side, pa.float64()) for side in ("x", "y", "width", "height"))]
    )
    described: dict[str, pa.DataType] = dict.fromkeys(DESCRIPTION, pa.string())
    described |= {"age": pa.int16(), "follow_up": pa.int16(), "boxes": pa.list_(box)}
    return pa.schema([*described.items(), *((finding.name, pa.int8()) for finding in findings)])


def write_table(table: SampleTable, path: Path, *, extra: dict[str, pa.Array] | None = None) -> None:
    """Write `table` as Parquet, atomically; equal tables give equal bytes.

    Args:
        table: The table.
        path: The file's final name.
        extra: Additional columns, written between the description and the findings.
    """
    frame, schema = table.frame, _schema(table.findings)
    arrays: dict[str, pa.Array] = {}
    for name in DESCRIPTION:
        values: Any = frame[name]
        if name == "boxes":
            values = [[_box_struct(boxed) for boxed in boxes] for boxes in frame["boxes"]]
        arrays[name] = pa.array(values, type=schema.field(name).type)
    arrays |= extra or {}
    for finding in table.findings:
        arrays[finding.name] = pa.array(frame[finding.name], type=pa.int8())
    # Opened here, as everywhere: Arrow takes no path that is not UTF-8.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.table(arrays), file, compression="zstd")


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Read these columns of a Parquet file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a Parquet file, or lacks one of the columns.
    """
    with _open_parquet(path) as file:
        table = file.read(list(names), use_threads=False)
    for name in names:
        if name not in table.column_names:
            raise ValueError(f"{path} has no column {quoted(name)}")
    return table


@contextmanager
def _open_parquet(path: Path) -> Generator[pq.ParquetFile]:
    """Open a Parquet file so that Arrow reads it in this thread, by a file of its own.

    With a file of Python's, a thread of Arrow lets go of it last, and aborts the process ("terminate called
    without an active exception") where the interpreter is ending by then: apache/arrow issue 45017.
    """
    with pa.OSFile(os.fsencode(path)) as file:
        yield pq.ParquetFile(file, pre_buffer=False)


def _box_struct(boxed: FindingBox) -> dict[str, Any]:
    return {"finding": boxed.finding.name, **boxed.box._asdict()}


def read_sample_table(path: Path) -> SampleTable:
    """Read a file written by `write_table`; columns other than description and findings are left out.

    Raises:
        DataError: The file is not a sample table.
    """
    try:
        with _open_parquet(path) as file:
            schema = file.schema_arrow
            missing = [name for name in DESCRIPTION if name not in schema.names]
            if missing:
                raise DataError(
                    f"{path} has no column {quoted(missing[0])}, so it is not a sample table; prepare the "
                    "store again"
                )
            names = [
                field.name for field in schema if field.type == pa.int8() and field.name not in DESCRIPTION
            ]
            table = file.read([*DESCRIPTION, *names], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as a sample table ({error}); prepare the store again"
        ) from error
    mapping = {pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype()}
    frame = table.drop_columns("boxes").to_pandas(types_mapper=mapping.get, use_threads=False)
    boxes = [_boxes_of(entry) for entry in table.column("boxes").to_pylist()]
    frame.insert(DESCRIPTION.index("boxes"), "boxes", pd.Series(boxes, dtype=object))
    return SampleTable(frame, tuple(finding_or_new(name) for name in names))


def _boxes_of(structs: Sequence[dict[str, Any]] | None) -> tuple[FindingBox, ...]:
    return tuple(
        FindingBox(finding_or_new(s["finding"]), Box(s["x"], s["y"], s["width"], s["height"]))
        for s in structs or ()
    )
