"""What can be wrong with a model's predictions: rows, values, and whose images they are of.

Read is any CSV with a column of images and one per finding, with or without a prefix such as "prob_".
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from thorax.auditing.lists import ABSENT, Listed, Lists
from thorax.auditing.report import Problem, Severity, found
from thorax.datasets.table import SampleTable
from thorax.evaluation.inputs.prediction_csv import PredictionFile
from thorax.evaluation.statistics.ranking import auroc_score

__all__ = [
    "check_predicted_rows",
    "check_predicted_values",
    "check_ranking",
]

_NOTHING: Final = Listed((), np.empty(0, np.int64), ())
_ENOUGH = 20
_BINARY = 2
_FEW_VALUES = 20
_ROWS_FOR_FEW_VALUES = 200
# An untrained net's sigmoid is near one half for every image and finding; a trained one follows a prevalence
# of a few per cent.
_UNTRAINED = (0.3, 0.7)
_UNTRAINED_SPREAD = 0.1
# Standard errors: the mean of all columns is that of chance within, one column is reversed beyond.
_CHANCE = 3.0
_WRONG = 6.0


def check_predicted_rows(file: PredictionFile, listed: Listed, lists: Lists, part: str) -> list[Problem]:
    """Look for rows that are there twice, missing, or of images that do not belong to the part."""
    problems = _repeated_rows(file, listed)
    wanted = lists.parts.get(part, _NOTHING)
    for other, others in lists.parts.items():
        inside = _images_of(others, listed) - set(wanted.images) if other != part else set()
        problems += found(
            "error",
            f"rows-of-{other}",
            inside,
            what=f"predictions of patients of the {other} part, not of {part}: {len(inside):,}",
            remedy=f"measure on the {part} part alone, or name the part that the predictions are of",
        )
    at_hand = {image for image, row in zip(wanted.images, wanted.rows, strict=True) if row != ABSENT}
    missing = at_hand.difference(listed.images)
    strange = set(listed.images).difference(
        *(_images_of(listed_part, listed) for listed_part in lists.parts.values())
    )
    return [
        *problems,
        *found(
            "warning",
            "rows-missing",
            missing,
            what=f"images of the {part} part without a prediction: {len(missing):,} of {len(at_hand):,}",
            remedy=f"predict all images of {part}; a figure on some of them is not one on {part}",
        ),
        *found(
            "warning",
            "rows-of-no-part",
            strange,
            what=f"predicted images of which no part has a patient: {len(strange):,}",
            remedy="find out where they come from, and measure on images of the part alone",
        ),
    ]


def _images_of(part: Listed, listed: Listed) -> set[str]:
    """Return the predicted images that a part lists, or that are of one of its patients."""
    images, patients = set(part.images), set(part.patients) - {""}
    pairs = zip(listed.images, listed.patients, strict=True)
    return {image for image, patient in pairs if image in images or patient in patients}


def _repeated_rows(file: PredictionFile, listed: Listed) -> list[Problem]:
    counts = Counter(listed.images)
    rows: dict[str, set[bytes]] = {}
    for image, values in zip(listed.images, file.values, strict=True):
        if counts[image] > 1:
            rows.setdefault(image, set()).add(values.tobytes())
    differing = sum(len(values) > 1 for values in rows.values())
    return found(
        "error",
        "rows-repeated",
        rows,
        what=f"images with more than one row: {len(rows):,}, of which {differing:,} have different values",
        remedy="keep one row for each image; average the views of test-time augmentation first",
    )


def check_predicted_values(file: PredictionFile, listed: Listed) -> list[Problem]:
    """Look for values that are no probabilities, or say more about the program than about the images."""
    values, images = file.values, listed.images
    unknown = [images[row] for row in np.flatnonzero(np.isnan(values).any(axis=1))]
    outside = [images[row] for row in np.flatnonzero(((values < 0) | (values > 1)).any(axis=1))]
    span = f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}" if outside else ""
    return [
        *found(
            "error",
            "not-a-number",
            unknown,
            what=f"rows with a value that is empty or no number: {len(unknown):,}",
            remedy="find out why the model gave no number for these images; they cannot be left out",
        ),
        *found(
            "error",
            "not-probabilities",
            outside,
            what=f"rows with logits, not probabilities, for values go from {span}: {len(outside):,}",
            remedy="apply the model's sigmoid once, or say that they are logits where a command asks",
        ),
        *_check_columns(file),
    ]


def _check_columns(file: PredictionFile) -> list[Problem]:
    """Look at each column as a whole; fewer than 20 rows say nothing."""
    if len(file.values) < _ENOUGH:
        return []
    columns = {
        finding.name: column[~np.isnan(column)]
        for finding, column in zip(file.findings, file.values.T, strict=True)
    }
    distinct = {name: len(np.unique(column)) for name, column in columns.items()}
    binary = [name for name, count in distinct.items() if count == _BINARY]
    constant = [name for name, count in distinct.items() if count <= 1]
    coarse = [f"{name}: {count} values" for name, count in distinct.items() if _BINARY < count <= _FEW_VALUES]
    if len(file.values) < _ROWS_FOR_FEW_VALUES:
        coarse = []
    moving = {name: column for name, column in columns.items() if name not in constant}
    untrained = list(moving) if all(_looks_untrained(column) for column in moving.values()) else []
    return [
        *_columns_problem("error", "binarised", binary, _BINARIZED),
        *_columns_problem("error", "constant", constant, _CONSTANT),
        *_columns_problem("warning", "few-values", coarse, _COARSE),
        *_columns_problem("error", "untrained", untrained, _UNTRAINED_NET),
        *_columns_problem("error", "equal-columns", _equal_columns(moving), _EQUAL),
    ]


_BINARIZED: Final = (
    "columns of two values, whose AUC is that of a single threshold, and too low",
    "measure on the probabilities, before any threshold",
)
_CONSTANT: Final = (
    "columns with the same value in every row",
    "look whether the checkpoint was loaded, and whether the images differ after preparation",
)
_COARSE: Final = (
    "columns of so few values that ties blur every curve",
    "write the probabilities with all their digits",
)
_UNTRAINED_NET: Final = (
    "columns near one half for all images, as an untrained net gives them",
    "look whether the checkpoint was loaded: one with other names of weights leaves chance",
)
_EQUAL: Final = (
    "columns that are copies of another one",
    "look at how the columns were written: each finding has an output of its own",
)


def _columns_problem(
    severity: Severity, kind: str, columns: Sequence[str], text: tuple[str, str]
) -> list[Problem]:
    what, remedy = text
    return found(severity, kind, columns, what=f"{what}: {len(columns)}", remedy=remedy)


def _looks_untrained(values: Float64[np.ndarray, " n"]) -> bool:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return bool(_UNTRAINED[0] < middle < _UNTRAINED[1] and high - low < _UNTRAINED_SPREAD)


def _equal_columns(columns: Mapping[str, Float64[np.ndarray, " _"]]) -> list[str]:
    first: dict[bytes, str] = {}
    originals = {name: first.setdefault(column.tobytes(), name) for name, column in columns.items()}
    return [f"{name} of {original}" for name, original in originals.items() if name != original]


def check_ranking(file: PredictionFile, listed: Listed, table: SampleTable) -> list[Problem]:
    """Look whether the predictions rank the images of the store better than chance.

    Findings with fewer than 20 images of either kind are left out. The standard errors are
    those of images that are independent; the images of a patient are not, hence six of them for one column.
    """
    at_hand = np.flatnonzero(listed.rows != ABSENT)
    common = tuple(finding for finding in file.findings if finding in table.findings)
    if not len(at_hand) or not common:
        return []
    targets = table.targets(common)[listed.rows[at_hand]]
    measured: dict[str, tuple[float, float]] = {}
    for column, finding in enumerate(common):
        values = file.values[at_hand, file.findings.index(finding)]
        counted = (targets[:, column] >= 0) & ~np.isnan(values)
        positive = targets[counted, column] == 1
        positives, negatives = int(positive.sum()), int((~positive).sum())
        if min(positives, negatives) >= _ENOUGH:
            error = math.sqrt((positives + negatives + 1) / (12 * positives * negatives))
            measured[finding.name] = (auroc_score(positive, values[counted]), error)
    return _ranking_problems(measured)


def _ranking_problems(measured: Mapping[str, tuple[float, float]]) -> list[Problem]:
    if not measured:
        return []
    mean = sum(auc for auc, _ in measured.values()) / len(measured)
    error = math.sqrt(sum(error**2 for _, error in measured.values())) / len(measured)
    far = {name: (auc - 0.5) / error for name, (auc, error) in measured.items()}
    chance = abs(mean - 0.5) <= _CHANCE * error and max(map(abs, far.values())) <= _WRONG
    told = {name: f"{name}: AUC {auc:.3f}" for name, (auc, _) in measured.items()}
    wrong = [told[name] for name, deviations in far.items() if deviations < -_WRONG]
    return [
        *found(
            "error",
            "no-better-than-chance",
            list(told.values()) if chance else (),
            what=f"columns whose mean AUC, {mean:.3f}, is that of chance: {len(measured)}",
            remedy="look whether the checkpoint was loaded, images were prepared as in training, and "
            "each row has its own image's name",
        ),
        *found(
            "warning",
            "worse-than-chance",
            wrong,
            what=f"columns that rank the images the wrong way round: {len(wrong)}",
            remedy="look whether the columns are in the model's order of findings, and whether one is 1 - p",
        ),
    ]
