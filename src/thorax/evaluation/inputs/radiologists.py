"""Radiologists as another reference standard: images that several of them read and agreed on.

NIH's labels are mined from reports. For 4,376 images there are adjudicated labels of four findings (Majkowska
et al., Radiology 2020), two of which NIH does not have. They are compared with the likeliest of the NIH
findings that they cover: that mapping is ours, and every number that rests on it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64, Int8

from thorax.arrays import NOT_LABELED, Probabilities, Rows, Targets
from thorax.errors import DataError
from thorax.evaluation.classification import Decisions
from thorax.evaluation.labeled import check_shapes
from thorax.findings import Finding, Findings, find_finding, parse_finding
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
"""Our mapping: a radiologists' finding is scored by the likeliest of these, and called when one of them is.

NIH's Mass is a large Nodule; Infiltration to Atelectasis are what NIH calls the ways in which airspace turns
opaque.
"""

_VALUES: Final = {"YES": 1, "NO": 0}


@dataclass(frozen=True, slots=True, eq=False)
class RadiologistLabels:
    """What radiologists said of some images.

    Attributes:
        findings: Those that the file has, as columns of `targets`.
        images: Names of the images.
        targets: 1 and 0, `NOT_LABELED` where a field is empty.
    """

    findings: Findings
    images: tuple[str, ...]
    targets: Targets


@dataclass(frozen=True, slots=True)
class UnscoredFinding:
    """A radiologists' finding that the model says nothing about, and why."""

    finding: Finding
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class RadiologistReference:
    """The covered images, ready to be measured: `targets`, `scores` and `calls` fit one another.

    Attributes:
        findings: The radiologists' findings that can be scored.
        scored_by: For each of them, whose likeliest is its score: itself, or those of our mapping.
        unscored: Those that cannot, shown as n/a.
        rows: Which of the given images are covered.
        targets: What the radiologists say of them.
        scores: What the model gives them: largest probability of `scored_by`. It ranks; it is calibrated
            only where there is one finding to take the largest of.
        decisions: 1 where one of `scored_by` is called, 0 where all are called negative, else `NOT_LABELED`.
        num_not_covered: Images given that the radiologists did not read.
        num_elsewhere: Images that the radiologists read and that were not given.
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
        """How many images can be measured."""
        return len(self.rows)

    @property
    def mapped(self) -> Findings:
        """The findings whose numbers rest on our mapping, and must say so."""
        return tuple(
            finding for finding, by in zip(self.findings, self.scored_by, strict=True) if by != (finding,)
        )


def read_radiologist_labels(path: Path) -> RadiologistLabels:
    """Read a CSV, gzipped or not, with a column of images and YES or NO for each finding.

    Columns that are none of `RADIOLOGIST_FINDINGS` are not looked at.

    Raises:
        DataError: The file cannot be read, lacks a column, or a field or an image's name is not as it must
            be; the message has the line.
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
    """Put the radiologists' labels beside a model's predictions, for the images that have both.

    Args:
        labels: What the radiologists say.
        images: Names of the images that were predicted.
        probabilities: Of these images.
        decisions: The same at an operating point.
        findings: What their columns stand for.

    Raises:
        DataError: The arrays do not fit the images and the findings.
    """
    check_shapes(len(images), findings, probabilities=probabilities, decisions=decisions)
    read = {name: row for row, name in enumerate(labels.images)}
    rows = np.array([row for row, name in enumerate(images) if name in read], dtype=np.int64)
    label_rows = np.array([read[images[row]] for row in rows], dtype=np.int64)
    by = {finding: _scored_by(finding, findings) for finding in labels.findings}
    unscored = tuple(UnscoredFinding(finding, why) for finding, why in by.items() if isinstance(why, str))
    scored = {finding: parts for finding, parts in by.items() if not isinstance(parts, str)}
    columns = [[findings.index(part) for part in parts] for parts in scored.values()]
    label_columns = [labels.findings.index(finding) for finding in scored]
    return RadiologistReference(
        findings=tuple(scored),
        scored_by=tuple(scored.values()),
        unscored=unscored,
        rows=rows,
        targets=labels.targets[label_rows][:, label_columns],
        scores=_columns([probabilities[rows][:, each].max(axis=1) for each in columns], len(rows)),
        decisions=_columns([_any_called(decisions[rows][:, each]) for each in columns], len(rows)).astype(
            np.int8
        ),
        num_not_covered=len(images) - len(rows),
        num_elsewhere=len(labels.images) - len({images[row] for row in rows}),
    )


def _image_names(table: Table) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for name, line in zip(table.column(table.image_column), table.lines, strict=True):
        if name in first:
            raise DataError(
                f"{table.path}: image {name!r} stands twice, in lines {first[name]} and {line}; keep one of "
                "them"
            )
        first[name] = line
    return tuple(first)


def _label(text: str, path: Path, *, line: int, finding: Finding) -> int:
    folded = text.strip().upper()
    if folded and folded not in _VALUES:
        raise DataError(
            f"{path}, line {line}: {finding} is {text!r}; write YES or NO, "
            "or leave it empty where nobody said"
        )
    return _VALUES.get(folded, NOT_LABELED)


def _scored_by(finding: Finding, findings: Findings) -> Findings | str:
    """Return the model's findings that a radiologists' finding is scored by, or why there are none."""
    if finding in findings:
        return (finding,)
    if finding not in MAPPING:
        return f"the model does not give {finding}, and none of its findings stands for it"
    missing = [part.name for part in MAPPING[finding] if part not in findings]
    if missing:
        return f"our mapping needs {', '.join(missing)}, which the model does not give"
    return MAPPING[finding]


def _any_called(decisions: Decisions) -> Int8[np.ndarray, " n"]:
    unsaid = np.where(np.all(decisions == 0, axis=1), 0, NOT_LABELED)
    return np.where(np.any(decisions == 1, axis=1), 1, unsaid).astype(np.int8)


def _columns(columns: list[np.ndarray], num_rows: int) -> Float64[np.ndarray, "covered finding"]:
    empty = np.zeros((num_rows, 0))
    return np.stack(columns, axis=1).astype(np.float64) if columns else empty
