"""Reading label files: CSV as text, with errors that name the file, the line and the value."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.errors import DataError
from thorax.tabular import open_text

__all__ = [
    "LARGEST_AGE",
    "parse_ages",
    "parse_counts",
    "parse_patients",
    "read_csv",
    "refuse_duplicates",
    "with_optional_gz",
]

LARGEST_AGE = 120
"""NIH's first label file has ages such as 411 and 414; nobody has been older than 122."""

_AGE = re.compile(r"0*(\d+)([YMWD]?)")


def read_csv(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV or gzipped CSV as text; an empty field is "".

    Raises:
        DataError: It cannot be read, has no rows, or lacks a needed column.
    """
    try:
        with open_text(path, what="CSV", remedy="download it again") as file, warnings.catch_warnings():
            # A line with more fields than the header would otherwise be cut, and its values shifted.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(file, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); download it again") from error
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r} (it has {', '.join(map(str, frame.columns))}); "
            "give the file as its data set ships it"
        )
    if frame.empty:
        raise DataError(f"{path} has no rows; download it again")
    return frame


def parse_ages(texts: pd.Series, path: Path) -> tuple[pd.Series, int]:
    """Read ages such as 58, 058Y, 013M or 005D into whole years; impossible ones become null.

    Returns:
        The ages as nullable int16, and how many were above `LARGEST_AGE`.

    Raises:
        DataError: A text is no age; the message has its line.
    """
    parsed: dict[str, int | None] = {"": None}
    for text in texts.unique():
        match = _AGE.fullmatch(text.strip().upper())
        if text and not match:
            line = int(np.flatnonzero((texts == text).to_numpy())[0]) + 2
            raise DataError(f"{path}, line {line}: {text!r} is no age; write whole years, such as 58 or 058Y")
        if match:
            number, unit = int(match[1]), match[2]
            years_each = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[unit]
            parsed[text] = min(number // years_each, LARGEST_AGE + 1)
    years = texts.map(parsed).astype("Int64")
    strange = years > LARGEST_AGE
    return years.mask(strange).astype("Int16"), int(strange.sum())


def parse_counts(texts: pd.Series, path: Path, *, column: str) -> pd.Series:
    """Read whole numbers from 0 to 32,767 as nullable int16; "" becomes null.

    Raises:
        DataError: A text is no such number; the message has its line.
    """
    wrong = np.flatnonzero(~texts.str.fullmatch(r"0*\d{0,4}").to_numpy(dtype=bool))
    if len(wrong):
        raise DataError(
            f"{path}, line {wrong[0] + 2}: {column} is {texts.iloc[wrong[0]]!r}; "
            "write a whole number below 10000"
        )
    return texts.map(lambda text: int(text) if text else None).astype("Int16")


def parse_patients(texts: pd.Series, path: Path) -> pd.Series:
    """Return patients' ids without the spaces around them.

    Raises:
        DataError: An id is empty; the message has its line.
    """
    ids = texts.str.strip()
    empty = np.flatnonzero((ids == "").to_numpy())
    if len(empty):
        raise DataError(
            f"{path}, line {empty[0] + 2}: the patient is not named, and images of one patient must stay "
            "together; fill it in, or leave the whole column out"
        )
    return ids


def refuse_duplicates(images: pd.Series, path: Path) -> None:
    """Raise a DataError with both lines when an image stands twice."""
    double = np.flatnonzero(images.duplicated().to_numpy())
    if len(double):
        name = images.iloc[double[0]]
        first = int(np.flatnonzero((images == name).to_numpy())[0])
        raise DataError(
            f"{path}: image {name} stands twice, in lines {first + 2} and {double[0] + 2}; keep one of them"
        )


def with_optional_gz(path: Path) -> Path | None:
    """Return the file, or the same with .gz behind it, whichever there is."""
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()), None)
