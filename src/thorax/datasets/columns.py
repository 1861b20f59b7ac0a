"""Columns of a CSV that describes images: metadata by fixed names, and one column of labels per finding."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.datasets.table import (
    DESCRIPTION,
    parse_ages,
    parse_counts,
    parse_patients,
    refuse_acting,
)
from thorax.errors import DataError
from thorax.findings import VOCABULARY, Finding, Findings, finding_or_new, parse_finding
from thorax.quoting import cut, quoted
from thorax.tabular import IMAGE_COLUMNS, find_column

__all__ = ["described_images", "with_known_names"]

_STORE_COLUMNS = ("row", "file_bytes", "mtime_ns", "sha256", "height", "width", "intensity")
_KNOWN = ("path", "image", "patient", "age", "sex", "view", "follow_up", "split")
_VIEWS = {"PA": "PA", "AP": "AP", "LL": "LL", "LATERAL": "LL", "": ""}
_PARTS = ("train", "val", "test", "")
_LABELS = {
    "1": 1, "0": 0, "-1": -1, "1.0": 1, "0.0": 0, "-1.0": -1, "": None,
    "yes": 1, "no": 0, "true": 1, "false": 0, "positive": 1, "negative": 0, "present": 1, "absent": 0,
    "uncertain": -1,
}  # fmt: skip
_PATIENT_COLUMNS = ("patientid", "subjectid", "subject")
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "path": ("imagepath", "filepath", "imgpath", "file", "filename", *IMAGE_COLUMNS),
    "patient": ("patient", *_PATIENT_COLUMNS),
    "age": ("age", "patientage"),
    "sex": ("sex", "patientsex", "gender", "patientgender"),
    "view": ("view", "viewposition"),
    "follow_up": ("followup", "followup#"),
}
"""Other names of columns in public data sets, likeliest first, as `find_column` compares them."""


def with_known_names(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rename columns with the names of other data sets, such as "filename" and "Patient ID".

    Returns:
        The rows, which have a column "path"; and a notice for each column that was renamed.

    Raises:
        DataError: No column could have the images' paths.
    """
    header = [str(name) for name in rows.columns]
    names: dict[str, str] = {}
    for name, others in _OTHER_NAMES.items():
        column = None if name in header else find_column(header, others)
        if column is not None and header[column] not in names:
            names[header[column]] = name
    if "path" not in {*header, *names.values()}:
        raise DataError(
            f"{path} has no column with the images' paths (it has {cut(', '.join(header), 200)}); call it "
            "'path', as docs/data.md describes, beside the columns patient and one for each finding"
        )
    notices = [f"column {quoted(column)} is read as {name!r}" for column, name in names.items()]
    return rows.rename(columns=names), notices


def described_images(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, Findings]:
    """Turn the rows of a CSV into columns of the sample table, but for the boxes; and name its findings.

    Args:
        rows: The CSV as text, with a column "path".
        path: The file, for messages.

    Raises:
        DataError: A column or a field is malformed; the message has its line and value.
    """
    findings = _finding_columns(rows, path)
    table = _description(rows, path)
    for column, finding in findings.items():
        table[finding.name] = _labels(rows[column], path, column)
    return table, tuple(findings.values())


def _finding_columns(rows: pd.DataFrame, path: Path) -> dict[str, Finding]:
    """Return the finding of each column of labels."""
    findings: dict[str, Finding] = {}
    taken: set[Finding] = set()
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
                raise DataError(
                    f"{error}; a column to be ignored is named {quoted(f'note:{column}')}"
                ) from error
        if finding.name in {*DESCRIPTION, *_STORE_COLUMNS}:
            raise DataError(
                f"{path}: a finding cannot be called {quoted(finding.name)}, because the sample table has "
                "a column of that name; give it another name"
            )
        if finding in taken:
            raise DataError(
                f"{path} has two columns for {finding}, the second one {quoted(column)}; keep one"
            )
        findings[column] = finding
        taken.add(finding)
    if not findings:
        raise DataError(
            f"{path} has no column for a finding; name one as in the vocabulary "
            f"({', '.join(finding.name for finding in VOCABULARY[:4])}...) or 'finding:NAME'"
        )
    return findings


def _description(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    empty = pd.Series("", rows.index)
    images = rows.get("image", rows["path"])
    if "image" in rows:
        refuse_acting(images, path, what="image")
    patients = parse_patients(rows.get("patient", images), path)
    if "patient" in rows:
        _refuse_two_spellings(patients, path)
    return pd.DataFrame(
        {
            "image": images,
            "path": rows["path"],
            "patient": patients,
            "age": parse_ages(rows.get("age", empty), path)[0],
            "sex": rows.get("sex", empty).str.upper().str[:1],
            "view": _choice(rows.get("view", empty).str.upper(), _VIEWS, path=path, column="view"),
            "follow_up": parse_counts(rows.get("follow_up", empty), path, column="follow_up"),
            "official": _choice(
                rows.get("split", empty), dict(zip(_PARTS, _PARTS, strict=True)), path=path, column="split"
            ),
        }
    )


def _refuse_two_spellings(ids: pd.Series, path: Path) -> None:
    """Raise a DataError if ids differ only in leading zeros or a decimal point, as Excel writes them."""
    numbers = ids[ids.str.fullmatch(r"\d+(\.0+)?")]
    plain = numbers.str.replace(r"\.0+$", "", regex=True).str.replace(r"^0+(?=.)", "", regex=True)
    doubtful = plain.index[numbers.groupby(plain).transform("nunique") > 1]
    if len(doubtful):
        same = numbers[plain == plain[doubtful[0]]].drop_duplicates()
        first, second = same.index[0], same.index[1]
        raise DataError(
            f"{path}: the patients in lines {first + 2} and {second + 2} differ only in leading zeros or a "
            "decimal point, so they are probably one, whose images must stay together; write each id in one "
            f"way, or add a letter to those of two patients ({len(doubtful):,} lines have such ids)"
        )


def _choice(texts: pd.Series, choices: dict[str, str], *, path: Path, column: str) -> pd.Series:
    _refuse_other(texts, list(choices), path=path, column=column)
    return texts.map(choices)


def _labels(texts: pd.Series, path: Path, column: str) -> pd.Series:
    folded = texts.str.strip().str.casefold()
    wrong = np.flatnonzero(~folded.isin(list(_LABELS)).to_numpy())
    if len(wrong):
        raise DataError(
            f"{path}, line {wrong[0] + 2}: {column} is {quoted(texts.iloc[wrong[0]])}; write 1, 0 or -1, "
            "present, absent or uncertain, yes or no, or leave it empty"
        )
    return folded.map(_LABELS).astype("Int8")


def _refuse_other(texts: pd.Series, choices: list[str], *, path: Path, column: str) -> None:
    wrong = np.flatnonzero(~texts.isin(choices).to_numpy())
    if len(wrong):
        allowed = ", ".join(choice or "(empty)" for choice in choices)
        raise DataError(
            f"{path}, line {wrong[0] + 2}: {column} is {quoted(texts.iloc[wrong[0]])}; it can be {allowed}"
        )
