"""Predictions as CSV: a column of images and one per finding, or a row per image and finding.

`read_predictions` keeps repeated and incomplete rows; `usable_predictions` drops them, with counts and names.
"""

import csv
import difflib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import Probabilities, Rows
from thorax.atomic_io import sha256_of_file, write_text
from thorax.calibration import sigmoid
from thorax.errors import DataError
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.findings import NO_FINDING, VOCABULARY, Finding, Findings, find_finding
from thorax.image_names import ImageNames, without_folders
from thorax.quoting import is_formula, quoted
from thorax.tabular import IMAGE_COLUMNS, Table, find_column, read_table

__all__ = [
    "PREDICTIONS_FILE",
    "ROUNDING",
    "VALIDATION_FILE",
    "PredictionFile",
    "finding_of_column",
    "near_finding",
    "read_predictions",
    "usable_predictions",
    "write_predictions",
]

_TRUTH: Final = ("true", "truth", "target", "label", "gt", "y", "y_true", "bi")
"""Prefixes of columns that hold labels or decisions rather than scores; "bi" stands for binarized."""

_ALMOST_EQUAL: Final = 0.8
"""Similarity (`difflib`) from which a name is taken for a misspelled finding: "Effuson" has .93 with
Effusion, "Edama" .8 with Edema, and no two findings of the vocabulary have more than .69."""


PREDICTIONS_FILE: Final = "predictions.csv"
"""Name of the predictions in the folder of a report, or of predicted images."""

VALIDATION_FILE: Final = "validation.csv"
"""Name of the predictions on validation images in the folder of a report."""

ROUNDING: Final = 1e-6
"""By how much a probability that was computed in float32 may leave [0, 1]; it is read as 0 or 1."""


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
        unknown: Those of them that seem to be predictions, of findings that are not known.
    """

    path: Path
    sha256: str
    images: tuple[str, ...]
    findings: Findings
    values: Float64[np.ndarray, "n k"]
    ignored: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def read_predictions(path: Path, *, findings: Findings = (), images: Sequence[str] = ()) -> PredictionFile:
    """Read predictions, refusing only files that cannot be read at all.

    The columns of findings may have a prefix, as in "prob_Edema". A file with columns `finding` and
    `probability`, as `thorax predict --csv` prints it, has one row per image and finding.

    Args:
        path: A CSV, also gzipped; or a folder with a `predictions.csv`, such as that of a report.
        findings: Findings of the labels, which may not be in the vocabulary.
        images: Names of labeled images, which the file may give with folders, or with another ending or none;
            a name that is not among them is read without its folders.

    Raises:
        DataError: The file is not a CSV, has no rows, no column of images or of a finding, two columns for
            one finding, or a column whose name is almost that of a finding.
    """
    path = path / PREDICTIONS_FILE if path.is_dir() else path
    table = read_table(path)
    _refuse_formulas(table)
    names = ImageNames(images)
    if "finding" in table.header and "probability" in table.header:
        return _read_long(table, findings, names)
    header, image = table.header, table.image_column
    columns: dict[Finding, int] = {}
    for number, name in enumerate(header):
        finding = None if number == image else finding_of_column(name, findings)
        if finding is not None and columns.setdefault(finding, number) != number:
            raise DataError(
                f"{path} has two columns for {finding}, {quoted(header[columns[finding]])} and "
                f"{quoted(name)}; keep the one with the model's probabilities"
            )
    if not columns and "Finding Labels" in header:
        raise DataError(f"{path} has labels in NIH's layout, not predictions; give it as the labels")
    if not columns:
        raise DataError(
            f"{path} has no column of a finding (it has {', '.join(header)}); "
            "name each column after its finding"
        )
    used = {image, *columns.values()}
    others = {name: number for number, name in enumerate(header) if number not in used}
    numeric = [name for name, number in others.items() if _has_numbers(table, number)]
    prefixes = {_prefix(header[number]) for number in columns.values()} - {""}
    _refuse_misspelled(path, numeric, tuple(columns), findings)
    return PredictionFile(
        path=path,
        sha256=sha256_of_file(path),
        images=tuple(_image_name(row[image], names) for row in table.rows),
        findings=tuple(columns),
        values=_values(table, tuple(columns.values())),
        ignored=tuple(others),
        unknown=tuple(name for name in numeric if _prefix(name) in prefixes),
    )


def _values(table: Table, columns: Sequence[int]) -> Float64[np.ndarray, "n k"]:
    """Return the numbers in columns, without a Python object for each at once."""
    values = np.empty((len(table.rows), len(columns)))
    for place, number in enumerate(columns):
        values[:, place] = np.fromiter((table.number(row[number]) for row in table.rows), np.float64)
    return values


def _refuse_formulas(table: Table) -> None:
    """Refuse names of images that a spreadsheet would run: a report's own tables repeat them."""
    column = find_column(table.header, ("source", *IMAGE_COLUMNS))
    for line, row in zip(table.lines, table.rows, strict=True):
        if column is not None and is_formula(row[column]):
            raise DataError(
                f"{table.path}, line {line}: the image {quoted(row[column])} is a spreadsheet's formula; "
                "give it another name"
            )


def write_predictions(path: Path, labeled: LabeledImages, probabilities: Probabilities) -> None:
    """Write predictions atomically, with every digit, so that `read_predictions` returns the same numbers.

    The columns are `Image Index`, `Patient ID` and one per finding.

    Args:
        path: The file.
        labeled: The images; their labels are not written.
        probabilities: One row per image, one column per finding.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("Image Index", "Patient ID", *(finding.name for finding in labeled.findings)))
    for image, patient, row in zip(labeled.images, labeled.patients, probabilities.tolist(), strict=True):
        writer.writerow((image, patient, *map(repr, row)))
    write_text(path, text.getvalue())


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
    if not logits:
        file = _without_rounding(file)
    _refuse_scale(file, finite, logits=logits)
    rows, repeated = _first_rows(file, np.flatnonzero(finite))
    if len(rows) == 0:
        raise DataError(f"{file.path} has no row with a number for every finding; look at how it was written")
    missing = [file.images[row] for row in np.flatnonzero(~finite)]
    values = file.values[rows]
    warnings = [
        _counted(file.unknown, file, "finding{s} of {} {is} neither labeled nor known and {is} left out"),
        _counted(missing, file, "row{s} of {} with a value that is empty or not a number {is} left out"),
        _counted(repeated, file, "row{s} of {} repeat{no_s} another row and {is} left out"),
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


def near_finding(name: str, findings: Findings) -> Finding | None:
    """Return the finding that a column probably means, whose name is almost one of these; None if none is.

    "prob_Effuson" probably means Effusion. No Finding is never meant, because "Finding" is a heading.
    """
    folded = {
        _folded(spelling): finding for finding in findings for spelling in (finding.name, finding.label)
    }
    folded = {spelling: finding for spelling, finding in folded.items() if finding != NO_FINDING}
    pieces = name.strip().split("_")
    if any("_".join(pieces[:end]).casefold() in _TRUTH for end in range(1, len(pieces))):
        return None
    for start in range(len(pieces)):
        spelling = _folded("".join(pieces[start:]))
        near = difflib.get_close_matches(spelling, folded, n=1, cutoff=_ALMOST_EQUAL)
        if near:
            return folded[near[0]]
    return None


def _folded(spelling: str) -> str:
    return "".join(letter for letter in spelling.casefold() if letter.isalnum())


def _prefix(name: str) -> str:
    """Return the part of a name before its first underscore, "prob" of "prob_Mass"; "" for a finding."""
    return name.strip().partition("_")[0].casefold() if "_" in name and find_finding(name) is None else ""


def _has_numbers(table: Table, column: int) -> bool:
    return any(math.isfinite(table.number(row[column])) for row in table.rows)


def _refuse_misspelled(path: Path, names: Sequence[str], predicted: Findings, labeled: Findings) -> None:
    """Refuse a name that is almost that of a finding which would otherwise have no predictions."""
    missing = tuple(finding for finding in labeled or VOCABULARY if finding not in predicted)
    for name in names:
        if finding_of_column(name, labeled) is None and (near := near_finding(name, missing)) is not None:
            raise DataError(
                f"{path}: {quoted(name)} is not a finding; did you mean {near}? Correct the name, or "
                "remove it if it is something else"
            )


def _image_name(text: str, names: ImageNames) -> str:
    """Return a name as the labels have it; one that they do not have is returned without folders."""
    row = names.row(text)
    return without_folders(text) if row is None else names.names[row]


def _read_long(table: Table, findings: Findings, names: ImageNames) -> PredictionFile:
    """Read a file with one row per image and finding; a repeated row starts another row of its image."""
    image = find_column(table.header, ("source", *IMAGE_COLUMNS))
    if image is None:
        raise DataError(
            f"{table.path} has a row per image and finding, but no column of images (it has "
            f"{', '.join(table.header)}); call it 'source' or 'Image Index'"
        )
    finding_column, value_column = (table.header.index(name) for name in ("finding", "probability"))
    columns: dict[Finding, None] = {}
    rows: list[tuple[str, dict[Finding, float]]] = []
    latest: dict[str, dict[Finding, float]] = {}
    unknown: dict[str, None] = {}
    for row in table.rows:
        finding = finding_of_column(row[finding_column], findings)
        if finding is None:
            unknown[row[finding_column]] = None
            continue
        columns[finding] = None
        source = row[image].strip()
        if source not in latest or finding in latest[source]:
            latest[source] = {}
            rows.append((source, latest[source]))
        latest[source][finding] = table.number(row[value_column])
    if not columns:
        raise DataError(f"{table.path} names no finding that is known; use the names of the labels")
    _refuse_misspelled(table.path, tuple(unknown), tuple(columns), findings)
    used = {image, finding_column, value_column}
    return PredictionFile(
        path=table.path,
        sha256=sha256_of_file(table.path),
        images=tuple(_image_name(source, names) for source, _ in rows),
        findings=tuple(columns),
        values=np.array([[values.get(finding, math.nan) for finding in columns] for _, values in rows]),
        ignored=tuple(name for number, name in enumerate(table.header) if number not in used),
        unknown=tuple(unknown),
    )


def _without_rounding(file: PredictionFile) -> PredictionFile:
    """Return probabilities with what float32 adds to 0 and 1 taken away."""
    clipped = np.clip(file.values, 0, 1)
    near = np.abs(file.values - clipped) <= ROUNDING
    return replace(file, values=np.where(near, clipped, file.values))


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
            f"{file.findings[column]} of {file.images[row]} is {file.values[row, column]:.10g}); give "
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


def _counted(names: Sequence[str], file: PredictionFile, what: str) -> str:
    """Return a sentence with the count and the first three names; "" without names."""
    if not names:
        return ""
    one = {"s": "", "no_s": "s", "is": "is"} if len(names) == 1 else {"s": "s", "no_s": "", "is": "are"}
    more = ", ..." if names[3:] else ""
    return f"{len(names):,} {what.format(file.path.name, **one)} ({', '.join(names[:3])}{more})."
