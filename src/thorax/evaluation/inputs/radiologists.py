"""Radiologists' adjudicated labels as a second reference standard.

NIH's labels are mined from reports. For 4,376 images there are adjudicated labels of four findings (Majkowska
et al., Radiology 2020), two of which NIH does not have. These are compared with the most probable of the NIH
findings that they cover. That mapping is ours, and every number that depends on it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64, Int8

from thorax.arrays import NOT_LABELED, Probabilities, Rows, Targets
from thorax.errors import DataError
from thorax.evaluation.decisions import Decisions
from thorax.evaluation.labeled_images import check_shapes
from thorax.findings import Finding, Findings, find_finding, parse_finding
from thorax.image_names import ImageNames
from thorax.quoting import quoted
from thorax.tabular import Table, read_table

__all__ = [
    "MAPPING",
    "RADIOLOGIST_FINDINGS",
    "RadiologistLabels",
    "RadiologistReference",
    "UnscoredFinding",
    "against_radiologists",
    "read_radiologist_labels",
]


def _named(*names: str) -> Findings:
    return tuple(parse_finding(name, where="the radiologists' findings") for name in names)


RADIOLOGIST_FINDINGS: Final[Findings] = _named(
    "Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass"
)
"""The four findings of Majkowska et al. 2020, in the order of their file."""

MAPPING: Final[Mapping[Finding, Findings]] = dict(
    zip(
        _named("Nodule or mass", "Airspace opacity"),
        (
            _named("Nodule", "Mass"),
            _named("Infiltration", "Consolidation", "Pneumonia", "Edema", "Atelectasis"),
        ),
        strict=True,
    )
)
"""Our mapping: a radiologists' finding is scored by the most probable of these, and positive if one is.

NIH's Mass is a large Nodule; Infiltration to Atelectasis are NIH's names for the causes of airspace opacity.
"""

_VALUES: Final = {"YES": 1, "NO": 0, "1": 1, "0": 0}


@dataclass(frozen=True, slots=True, eq=False)
class RadiologistLabels:
    """Radiologists' labels of some images.

    Attributes:
        findings: The findings of the file, as columns of `targets`.
        images: Names of the images.
        targets: 1 and 0, `NOT_LABELED` where a field is empty.
    """

    findings: Findings
    images: tuple[str, ...]
    targets: Targets


@dataclass(frozen=True, slots=True)
class UnscoredFinding:
    """A radiologists' finding that cannot be scored, and the reason."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class RadiologistReference:
    """Radiologists' labels and a model's predictions for the images that have both.

    Attributes:
        findings: The radiologists' findings that can be scored.
        scored_by: For each of them, the model's findings that score it: itself, or those of our mapping.
        unscored: The findings that cannot be scored, shown as n/a.
        rows: The covered rows of the given images.
        targets: The radiologists' labels.
        scores: The largest probability of `scored_by`. It ranks images; it is calibrated only where a single
            finding scores.
        decisions: 1 if one of `scored_by` is positive, 0 if all are negative, `NOT_LABELED` otherwise.
        num_not_covered: Given images that the radiologists did not read.
        num_elsewhere: Images that the radiologists read but that were not given.
    """

    findings: Findings
    scored_by: tuple[Findings, ...]
    unscored: tuple[UnscoredFinding, ...]
    rows: Rows
    targets: Targets
    scores: Float64[np.ndarray, "covered finding"]
    decisions: Int8[np.ndarray, "covered finding"]
    num_not_covered: int
    num_elsewhere: int

    @property
    def num_covered(self) -> int:
        """The number of covered images."""
        return len(self.rows)

    @property
    def mapped(self) -> Findings:
        """The findings whose numbers depend on our mapping, and must say so."""
        return tuple(
            finding for finding, by in zip(self.findings, self.scored_by, strict=True) if by != (finding,)
        )


def read_radiologist_labels(path: Path) -> RadiologistLabels:
    """Read a CSV, gzipped or not, with a column of images and YES or NO, or 1 or 0, for each finding.

    Columns of other findings than `RADIOLOGIST_FINDINGS` are ignored.

    Raises:
        DataError: The file cannot be read, lacks a column, has an invalid field or repeats an image; the
            message gives the line.
    """
    table = read_table(path, remedy="download it again")
    columns = {find_finding(name): number for number, name in enumerate(table.header)}
    findings = tuple(finding for finding in RADIOLOGIST_FINDINGS if finding in columns)
    if not findings:
        raise DataError(
            f"{path} has none of the columns {', '.join(map(str, RADIOLOGIST_FINDINGS))} "
            f"(it has {', '.join(table.header)}); give the radiologists' labels as they are published"
        )
    images = _image_names(table)
    rows = list(zip(table.rows, table.lines, strict=True))
    targets = np.full((len(rows), len(findings)), NOT_LABELED, dtype=np.int8)
    for column, finding in enumerate(findings):
        for row, (fields, line) in enumerate(rows):
            targets[row, column] = _label(fields[columns[finding]], path, line=line, finding=finding)
    return RadiologistLabels(findings, images, targets)


def against_radiologists(
    labels: RadiologistLabels,
    images: Sequence[str],
    *,
    probabilities: Probabilities,
    decisions: Decisions,
    findings: Findings,
) -> RadiologistReference:
    """Join radiologists' labels with a model's predictions, for the images that have both.

    Args:
        labels: The radiologists' labels.
        images: Names of the predicted images.
        probabilities: The model's probabilities for these images.
        decisions: Its decisions at an operating point.
        findings: The findings of the columns.

    Raises:
        DataError: The arrays do not match the images and the findings.
    """
    check_shapes(len(images), findings, probabilities=probabilities, decisions=decisions)
    names = ImageNames(labels.images)
    matched = {row: number for row, name in enumerate(images) if (number := names.row(name)) is not None}
    rows, label_rows = (np.array(list(part), dtype=np.int64) for part in (matched, matched.values()))
    scorers = {finding: _scored_by(finding, findings) for finding in labels.findings}
    unscored = tuple(
        UnscoredFinding(finding, reason) for finding, reason in scorers.items() if isinstance(reason, str)
    )
    scored = {finding: by for finding, by in scorers.items() if not isinstance(by, str)}
    columns = [[findings.index(scorer) for scorer in by] for by in scored.values()]
    label_columns = [labels.findings.index(finding) for finding in scored]
    return RadiologistReference(
        findings=tuple(scored),
        scored_by=tuple(scored.values()),
        unscored=unscored,
        rows=rows,
        targets=labels.targets[label_rows][:, label_columns],
        scores=_columns([probabilities[rows][:, column].max(axis=1) for column in columns], len(rows)),
        decisions=_columns(
            [_any_positive(decisions[rows][:, column]) for column in columns], len(rows)
        ).astype(np.int8),
        num_not_covered=len(images) - len(rows),
        num_elsewhere=len(labels.images) - len(set(matched.values())),
    )


def _image_names(table: Table) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for name, line in zip(table.column(table.image_column), table.lines, strict=True):
        if name in first:
            raise DataError(
                f"{table.path}: image {quoted(name)} is listed twice, in lines {first[name]} and {line}; "
                "keep one of them"
            )
        first[name] = line
    return tuple(first)


def _label(text: str, path: Path, *, line: int, finding: Finding) -> int:
    folded = text.strip().upper()
    if folded and folded not in _VALUES:
        raise DataError(
            f"{path}, line {line}: {finding} is {quoted(text)}; write YES or NO, "
            "or leave it empty without a reading"
        )
    return _VALUES.get(folded, NOT_LABELED)


def _scored_by(finding: Finding, findings: Findings) -> Findings | str:
    """Return the model's findings that a radiologists' finding is scored by, or why there are none."""
    if finding in findings:
        return (finding,)
    if finding not in MAPPING:
        return f"the model does not give {finding}, and none of its findings covers it"
    missing = [scorer.name for scorer in MAPPING[finding] if scorer not in findings]
    if missing:
        return f"our mapping needs {', '.join(missing)}, which the model does not give"
    return MAPPING[finding]


def _any_positive(decisions: Decisions) -> Int8[np.ndarray, " n"]:
    negative_or_unknown = np.where(np.all(decisions == 0, axis=1), 0, NOT_LABELED)
    return np.where(np.any(decisions == 1, axis=1), 1, negative_or_unknown).astype(np.int8)


def _columns(columns: list[np.ndarray], num_rows: int) -> Float64[np.ndarray, "covered finding"]:
    empty = np.zeros((num_rows, 0))
    return np.stack(columns, axis=1).astype(np.float64) if columns else empty
