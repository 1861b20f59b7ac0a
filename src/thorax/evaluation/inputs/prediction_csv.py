"""Predictions from any CSV with a column of images and one per finding, with or without a prefix.

`read_predictions` keeps repeated and incomplete rows; `usable_predictions` drops them, with counts and names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import Rows
from thorax.atomic_io import sha256_of_file
from thorax.calibration import sigmoid
from thorax.errors import DataError
from thorax.evaluation.labeled_images import ScoredImages
from thorax.findings import Finding, Findings, find_finding
from thorax.tabular import read_table

__all__ = ["PredictionFile", "finding_of_column", "read_predictions", "usable_predictions"]

_TRUTH: Final = ("true", "truth", "target", "label", "gt", "y", "y_true", "bi")
"""Prefixes of columns that hold labels or decisions rather than scores; "bi" stands for binarized."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictionFile:
    """A model's output as it is in a file.

    Attributes:
        path: The file.
        sha256: SHA-256 of its bytes.
        images: Name of each row's image, without folders.
        findings: The findings that have a column.
        values: The scores; NaN where a cell is empty or not a number.
        ignored: Names of the other columns.
    """

    path: Path
    sha256: str
    images: tuple[str, ...]
    findings: Findings
    values: Float64[np.ndarray, "n k"]
    ignored: tuple[str, ...]


def read_predictions(path: Path, *, findings: Findings = ()) -> PredictionFile:
    """Read predictions, refusing only files that cannot be read at all.

    Args:
        path: A CSV, also gzipped.
        findings: Findings of the labels, which may not be in the vocabulary.

    Raises:
        DataError: The file is not a CSV, has no rows, no column of images or of a finding, or two columns for
            one finding.
    """
    table = read_table(path)
    header, image = table.header, table.image_column
    columns: dict[Finding, int] = {}
    for number, name in enumerate(header):
        finding = None if number == image else finding_of_column(name, findings)
        if finding is not None and columns.setdefault(finding, number) != number:
            raise DataError(
                f"{path} has two columns for {finding}, {header[columns[finding]]!r} and {name!r}; "
                "keep the one with the model's probabilities"
            )
    if not columns:
        raise DataError(
            f"{path} has no column of a finding (it has {', '.join(header)}); "
            "name each column after its finding"
        )
    used = {image, *columns.values()}
    return PredictionFile(
        path=path,
        sha256=sha256_of_file(path),
        images=tuple(PurePosixPath(row[image].strip().replace("\\", "/")).name for row in table.rows),
        findings=tuple(columns),
        values=np.array([[_number(row[number]) for number in columns.values()] for row in table.rows]),
        ignored=tuple(name for number, name in enumerate(header) if number not in used),
    )


def usable_predictions(file: PredictionFile, *, logits: bool = False) -> tuple[ScoredImages, tuple[str, ...]]:
    """Return the scores that can be evaluated, and warnings that count and name what was left out.

    Rows with a missing value are left out, and so are exact repeats of another row.

    Args:
        file: The file as read.
        logits: Whether the values are logits, to which the sigmoid is applied.

    Raises:
        DataError: Values are not probabilities (or, with `logits`, look like probabilities), an image has two
            different rows, or no row is left.
    """
    finite = np.isfinite(file.values).all(axis=1)
    _refuse_scale(file, finite, logits=logits)
    rows, repeated = _first_rows(file, np.flatnonzero(finite))
    if len(rows) == 0:
        raise DataError(f"{file.path} has no row with a number for every finding; look at how it was written")
    missing = [file.images[row] for row in np.flatnonzero(~finite)]
    values = file.values[rows]
    warnings = [
        _counted(missing, "rows of {} with a value that is empty or not a number are left out", file),
        _counted(repeated, "rows of {} repeat another row and are left out", file),
    ]
    scored = ScoredImages(
        model=file.path.name,
        images=tuple(file.images[row] for row in rows),
        scores=sigmoid(values) if logits else values,
        findings=file.findings,
    )
    return scored, tuple(warning for warning in warnings if warning)


def finding_of_column(name: str, findings: Findings = ()) -> Finding | None:
    """Return the finding of a column, named by itself or after a prefix and an underscore.

    None for other columns, and for columns of labels ("label_Edema").
    """
    own = {finding.name.casefold(): finding for finding in findings}
    pieces = name.strip().split("_")
    for start in range(len(pieces)):
        if "_".join(pieces[:start]).casefold() in _TRUTH:
            return None
        spelling = "_".join(pieces[start:])
        finding = own.get(spelling.casefold()) or find_finding(spelling)
        if finding is not None:
            return finding
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _refuse_scale(file: PredictionFile, finite: Bool[np.ndarray, " n"], *, logits: bool) -> None:
    outside = ((file.values < 0) | (file.values > 1)).any(axis=1)
    if logits and len(finite) and not outside.any():
        raise DataError(
            f"all values of {file.path} are in [0, 1]: they are probabilities, not logits; leave out `logits`"
        )
    if outside.any() and not logits:
        rows = np.flatnonzero(outside)
        row = int(rows[0])
        column = int(np.argmax((file.values[row] < 0) | (file.values[row] > 1)))
        raise DataError(
            f"{len(rows):,} of {len(file.images):,} rows of {file.path} have a value outside [0, 1] (first: "
            f"{file.findings[column]} of {file.images[row]} is {file.values[row, column]:g}); give "
            "probabilities, or say with `logits` that they are logits"
        )


def _first_rows(file: PredictionFile, rows: Rows) -> tuple[Int64[np.ndarray, " image"], list[str]]:
    """Return the first row of each image, and the images of repeated rows."""
    first: dict[str, int] = {}
    repeated: list[str] = []
    differing: list[str] = []
    for row in rows:
        image = file.images[row]
        if first.setdefault(image, int(row)) == row:
            continue
        same = np.array_equal(file.values[first[image]], file.values[row])
        (repeated if same else differing).append(image)
    if differing:
        raise DataError(
            f"{len(set(differing)):,} images of {file.path} have two rows with different values (first: "
            f"{differing[0]}); keep one row of each, or average the views of test-time augmentation first"
        )
    return np.array(list(first.values()), dtype=np.int64), repeated


def _counted(images: Sequence[str], what: str, file: PredictionFile) -> str:
    """Return a sentence with the count and the first three images; "" without images."""
    if not images:
        return ""
    more = ", ..." if images[3:] else ""
    return f"{len(images):,} {what.format(file.path.name)} ({', '.join(images[:3])}{more})."
