"""Labels that a list of images carries, beside those of the store: versions of NIH's file differ in some.

Read are numbers behind each name, one for each of the 14 findings in CheXNet's order (as arnoweng's and
zoogzog's lists have them), a column "Finding Labels", and columns of 0 and 1 that are named after findings.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thorax.arrays import NOT_LABELLED, Targets
from thorax.audit.lists import ABSENT, Locator, find_image_column, read_lines, read_rows, split_line
from thorax.audit.problem import Problem, found
from thorax.datasets.table import SampleTable
from thorax.findings import NIH14, Findings, find_finding

__all__ = ["ListedLabels", "check_listed_labels", "read_listed_labels"]

_COMBINED = "Finding Labels"
_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class ListedLabels:
    """What a list says of its images.

    Attributes:
        images: Names as they are written.
        findings: What it says something about.
        targets: Its labels, int8 (n, k).
    """

    images: tuple[str, ...]
    findings: Findings
    targets: Targets


def read_listed_labels(path: Path) -> ListedLabels | None:
    """Read the labels of a list; None where it has none.

    Raises:
        DataError: The file cannot be read.
    """
    lines = [split_line(line) for line in read_lines(path)]
    if all(len(numbers) == len(NIH14) for _, numbers in lines):
        targets = [[_VALUES.get(number, NOT_LABELLED) for number in numbers] for _, numbers in lines]
        return ListedLabels(tuple(name for name, _ in lines), NIH14, np.array(targets, np.int8))
    return _read_columns(path) if "," in read_lines(path)[0] else None


def _read_columns(path: Path) -> ListedLabels | None:
    header, rows = read_rows(path)
    image = find_image_column(header, path)
    images = tuple(row[image] for row in rows)
    if _COMBINED in header:
        texts = [row[header.index(_COMBINED)] for row in rows]
        # A few hundred texts stand in a hundred thousand rows.
        parsed = {text: {find_finding(name) for name in text.split("|")} for text in set(texts)}
        known = {text: [finding in names for finding in NIH14] for text, names in parsed.items()}
        return ListedLabels(images, NIH14, np.array([known[text] for text in texts], np.int8))
    columns = {finding: number for number, name in enumerate(header) if (finding := find_finding(name))}
    if not columns:
        return None
    cells = [[_VALUES.get(row[number].strip(), NOT_LABELLED) for number in columns.values()] for row in rows]
    return ListedLabels(images, tuple(columns), np.array(cells, np.int8))


def check_listed_labels(table: SampleTable, locator: Locator, listed: ListedLabels) -> list[Problem]:
    """Look for images that a list labels otherwise than the store."""
    common = tuple(finding for finding in listed.findings if finding in table.findings)
    rows = locator.locate(listed.images).rows
    at_hand = np.flatnonzero(rows != ABSENT)
    if not common or not len(at_hand):
        return []
    theirs = listed.targets[at_hand][:, [listed.findings.index(finding) for finding in common]]
    ours = table.targets(common)[rows[at_hand]]
    differ = (theirs != ours) & (theirs >= 0) & (ours >= 0)
    images = table.images
    differing = {
        images[rows[at_hand[row]]]: ", ".join(
            f"{common[column]} {theirs[row, column]} (store {ours[row, column]})"
            for column in np.flatnonzero(differ[row])
        )
        for row in np.flatnonzero(differ.any(axis=1))
    }
    return found(
        "warning",
        "labels-differ",
        [f"{image}: {what}" for image, what in differing.items()],
        what=f"images that a list labels otherwise than the store: {len(differing):,} of {len(at_hand):,}",
        remedy="find out which version of the label file the list was made from; figures do not compare",
    )
