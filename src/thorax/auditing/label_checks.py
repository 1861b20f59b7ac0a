"""Checks of labels: label file version, prevalence, dropped findings, and labels in lists of images.

A list may carry labels as 14 numbers after each name in CheXNet's order (as in arnoweng's and zoogzog's
lists), as a column "Finding Labels", or as columns of 0 and 1 named after findings.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Int8

from thorax.arrays import NOT_LABELED, Rows, Targets
from thorax.auditing.lists import ABSENT, Lists, Locator, read_lines, split_line
from thorax.auditing.report import Prevalence, Problem, problem_if_any
from thorax.datasets.splits import NIH_DATASET, NIH_OFFICIAL_TEST_IMAGES, nih_official_test_patients
from thorax.datasets.table import SampleTable, patient_codes
from thorax.findings import NIH14, Findings, find_finding
from thorax.tabular import SEPARATORS, read_table
from thorax.wording import percent

__all__ = [
    "NIH_OFFICIAL_TEST_POSITIVES",
    "ListedLabels",
    "check_dropped_findings",
    "check_label_version",
    "check_listed_labels",
    "check_prevalence",
    "count_prevalence",
    "measurable",
    "read_listed_labels",
]

NIH_OFFICIAL_TEST_POSITIVES: Final[Mapping[str, int]] = {
    "Atelectasis": 3279,
    "Cardiomegaly": 1069,
    "Effusion": 4658,
    "Infiltration": 6112,
    "Mass": 1748,
    "Nodule": 1623,
    "Pneumonia": 555,
    "Pneumothorax": 2665,
    "Consolidation": 1815,
    "Edema": 925,
    "Emphysema": 1093,
    "Fibrosis": 435,
    "Pleural_Thickening": 1143,
    "Hernia": 86,
    "No Finding": 9861,
}
"""Positives among the 25,596 official test images, as counted in Data_Entry_2017_v2020.csv."""

_NEWEST = "Data_Entry_2017_v2020.csv"
_OLDEST = 95
_NUMBERED = r"\d{8}_(\d{3})\.png"
# In the newest file, 3,154 of the 13,302 patients with several images have a follow-up number that differs
# from the number in the image's name; the probability that none of 100 such patients has one is 1e-12.
_ENOUGH_PATIENTS = 100
_RATIO = 1.5
_DEVIATIONS = 4.0
_CHANCE = 1e-4


def check_label_version(table: SampleTable, dataset: str, label_files: Mapping[str, str]) -> list[Problem]:
    """Find signs that NIH's labels are not those of the newest file, whatever its name.

    Args:
        table: The store's table.
        dataset: Its data set; only NIH's has versions.
        label_files: SHA-256, by name, of the files that the store was made from.
    """
    if dataset != NIH_DATASET:
        return []
    signs = [
        *_sign_of_name(label_files),
        *_sign_of_ages(table),
        *_sign_of_follow_ups(table),
        *_sign_of_counts(table),
    ]
    return problem_if_any(
        "warning",
        "label-version",
        signs,
        what=f"the labels are not those of {_NEWEST}",
        remedy=f"download {_NEWEST} and prepare the store anew; labels differ between versions",
    )


def _sign_of_name(label_files: Mapping[str, str]) -> list[str]:
    older = sorted(name for name in label_files if re.match(r"Data_Entry_2017\.csv|sample_labels\.csv", name))
    return [f"they come from {older[0]}"] if older else []


def _sign_of_ages(table: SampleTable) -> list[str]:
    """Check ages: the newest file has one for every image, at most `_OLDEST`; older files have 411 and such.

    The reader leaves out impossible ages.
    """
    ages = table.frame["age"]
    absent, highest = int(ages.isna().sum()), ages.max()
    signs = [f"{absent:,} images have no age below 121"] if 0 < absent < len(ages) else []
    older = ages.notna().any() and highest > _OLDEST
    return signs + ([f"a patient is {highest} years old"] if older else [])


def _sign_of_follow_ups(table: SampleTable) -> list[str]:
    numbers = table.frame["image"].str.extract(_NUMBERED, expand=False).astype("Int64")
    several = table.frame["patient"].duplicated(keep=False)
    comparable = several & table.frame["follow_up"].notna() & numbers.notna()
    patients = table.frame["patient"][comparable].nunique()
    equal = bool((table.frame["follow_up"] == numbers)[comparable].all())
    if patients < _ENOUGH_PATIENTS or not equal:
        return []
    return ["every follow-up number is the one in the image's name"]


def _sign_of_counts(table: SampleTable) -> list[str]:
    test = table.frame["patient"].isin(nih_official_test_patients())
    if int(test.sum()) != NIH_OFFICIAL_TEST_IMAGES:
        return []
    counts = {f.name: int((table.frame[f.name][test] == 1).sum()) for f in table.findings}
    differing = [
        name for name, count in counts.items() if NIH_OFFICIAL_TEST_POSITIVES.get(name, count) != count
    ]
    return [f"the official test has different counts of {', '.join(differing)}"] if differing else []


def count_prevalence(table: SampleTable, lists: Lists) -> tuple[Prevalence, ...]:
    """Return the prevalence of each finding in each part that has images in the store."""
    targets = table.targets(table.findings)
    prevalences = []
    for part, listed in lists.parts.items():
        labels = targets[listed.present]
        prevalences += [
            Prevalence(
                finding=finding.name,
                part=part,
                num_known=int(np.sum(labels[:, column] >= 0)),
                num_positive=int(np.sum(labels[:, column] == 1)),
            )
            for column, finding in enumerate(table.findings)
            if len(labels)
        ]
    return tuple(prevalences)


def check_prevalence(table: SampleTable, lists: Lists) -> list[Problem]:
    """Find findings that are much rarer or more common in the test part than in training.

    A shift is reported when the higher prevalence is more than 1.5 times the lower one and the difference
    is more than four standard errors, clustered by patient.
    """
    if not {"train", "test"} <= set(lists.parts):
        return []
    train, test = (lists.parts[part].present for part in ("train", "test"))
    if not (len(train) and len(test)):
        return []
    targets, patients = table.targets(table.findings), patient_codes(table)
    shifted = []
    for column, finding in enumerate(table.findings):
        in_train, in_test = (_prevalence(targets[rows, column], patients[rows]) for rows in (train, test))
        if _differ(in_train, in_test):
            shifted.append(
                f"{finding.label}: {percent(in_train[0], 2)} in train, {percent(in_test[0], 2)} in test"
            )
    return problem_if_any(
        "note",
        "prevalence-shift",
        shifted,
        what=f"findings much rarer or more common in test: {len(shifted)} of {len(table.findings)}",
        remedy="report calibration and predictive values at a stated prevalence",
    )


def _prevalence(labels: Int8[np.ndarray, " n"], patients: Rows) -> tuple[float, float]:
    """Return the prevalence and its standard error, clustered by patient; NaN without labels."""
    known = labels >= 0
    if not known.any():
        return math.nan, math.nan
    positive = (labels[known] == 1).astype(np.float64)
    share = float(positive.mean())
    residuals = np.bincount(patients[known], positive - share)
    return share, float(np.sqrt(np.sum(residuals**2)) / len(positive))


def _differ(a: tuple[float, float], b: tuple[float, float]) -> bool:
    low, high = sorted((a[0], b[0]))
    far = high - low > _DEVIATIONS * math.hypot(a[1], b[1])
    return far and high > _RATIO * low


def check_dropped_findings(
    table: SampleTable, candidate: Bool[np.ndarray, " n"], kept: Bool[np.ndarray, " n"], *, where: str
) -> list[Problem]:
    """Find findings whose images were left out of the evaluation.

    Candidates with a finding should be kept about as often as all candidates. A finding is reported if it is
    kept less than half as often and dropping images or patients at random does not explain it.

    Args:
        table: The store's table.
        candidate: Which rows could be evaluated.
        kept: Which of them are.
        where: What they are kept in, such as "the test part".
    """
    kept = kept & candidate
    if not kept.any() or int(kept.sum()) == int(candidate.sum()):
        return []
    targets, patients = table.targets(table.findings), patient_codes(table)
    overall = float(kept[candidate].mean())
    dropped = []
    for column, finding in enumerate(table.findings):
        positive = candidate & (targets[:, column] == 1)
        num_kept, num_positive = int((positive & kept).sum()), int(positive.sum())
        if num_kept < num_positive * overall / 2 and _is_picked(candidate, kept, positive, patients):
            dropped.append(f"{finding.label}: {num_kept:,} of {num_positive:,} kept")
    return problem_if_any(
        "error",
        "findings-dropped",
        dropped,
        what=f"findings left out of {where} (which has {percent(overall, 0)} of all images): {len(dropped)}",
        remedy="evaluate on all images of the part: without its rare findings it is a different task",
    )


def measurable(table: SampleTable, lists: Lists, dataset: str) -> Bool[np.ndarray, " n"]:
    """Return which rows could be in the test part: those of patients that a model does not learn from.

    If the test part contains only NIH's official test patients, only their rows count.
    """
    learned_from = {patient for listed in lists.learned_from() for patient in listed.patients}
    candidate = ~table.frame["patient"].isin(learned_from).to_numpy()
    official = table.frame["patient"].isin(nih_official_test_patients()).to_numpy()
    if dataset == NIH_DATASET and bool(official[lists.parts["test"].present].all()):
        candidate &= official
    return np.asarray(candidate)


def _is_picked(
    candidate: Bool[np.ndarray, " n"],
    kept: Bool[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    patients: Rows,
) -> bool:
    """Return whether so few kept positives are unlikely under random drops of images and of patients."""
    images = (candidate, candidate & kept, positive, positive & kept)
    of_images = _fewer_by_chance(*(int(rows.sum()) for rows in images))
    of_patients = _fewer_by_chance(*(len(np.unique(patients[rows])) for rows in images))
    return of_images < _CHANCE and of_patients < _CHANCE


def _fewer_by_chance(total: int, kept: int, positive: int, both: int) -> float:
    """Return the probability of at most `both` kept positives, by the hypergeometric distribution."""
    from scipy.stats import hypergeom  # noqa: PLC0415  (0.5 s, and only where a finding is rare)

    return float(hypergeom.cdf(both, total, positive, kept))


_COMBINED = "Finding Labels"
_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class ListedLabels:
    """The labels in a list of images.

    Attributes:
        images: Names as written in the list.
        findings: The findings that it labels.
        targets: Its labels, int8 (n, k).
    """

    images: tuple[str, ...]
    findings: Findings
    targets: Targets


def read_listed_labels(path: Path) -> ListedLabels | None:
    """Read the labels of a list; None if it has none.

    Raises:
        DataError: The file cannot be read.
    """
    lines = [split_line(line) for line in read_lines(path)]
    if all(len(numbers) == len(NIH14) for _, numbers in lines):
        targets = [[_VALUES.get(number, NOT_LABELED) for number in numbers] for _, numbers in lines]
        return ListedLabels(tuple(name for name, _ in lines), NIH14, np.array(targets, np.int8))
    header = read_lines(path)[0]
    return _read_columns(path) if any(mark in header for mark in SEPARATORS) else None


def _read_columns(path: Path) -> ListedLabels | None:
    table = read_table(path, fill=True)
    images, header = table.column(table.image_column), table.header
    if _COMBINED in header:
        texts = table.column(header.index(_COMBINED))
        # A hundred thousand rows have only a few hundred distinct texts.
        parsed = {text: {find_finding(name) for name in text.split("|")} for text in set(texts)}
        known = {text: [finding in names for finding in NIH14] for text, names in parsed.items()}
        return ListedLabels(images, NIH14, np.array([known[text] for text in texts], np.int8))
    columns = {finding: number for number, name in enumerate(header) if (finding := find_finding(name))}
    if not columns:
        return None
    cells = [
        [_VALUES.get(row[number].strip(), NOT_LABELED) for number in columns.values()] for row in table.rows
    ]
    return ListedLabels(images, tuple(columns), np.array(cells, np.int8))


def check_listed_labels(table: SampleTable, locator: Locator, listed: ListedLabels) -> list[Problem]:
    """Find images that a list labels differently from the store."""
    common = tuple(finding for finding in listed.findings if finding in table.findings)
    rows = locator.locate(listed.images).rows
    present = np.flatnonzero(rows != ABSENT)
    if not common or not len(present):
        return []
    theirs = listed.targets[present][:, [listed.findings.index(finding) for finding in common]]
    ours = table.targets(common)[rows[present]]
    differ = (theirs != ours) & (theirs >= 0) & (ours >= 0)
    images = table.images
    differing = {
        images[rows[present[row]]]: ", ".join(
            f"{common[column]} {theirs[row, column]} (store {ours[row, column]})"
            for column in np.flatnonzero(differ[row])
        )
        for row in np.flatnonzero(differ.any(axis=1))
    }
    return problem_if_any(
        "warning",
        "labels-differ",
        [f"{image}: {labels}" for image, labels in differing.items()],
        what=f"images that a list labels differently from the store: {len(differing):,} of {len(present):,}",
        remedy="find out which version of the label file the list was made from; results are not comparable",
    )
