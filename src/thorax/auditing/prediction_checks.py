"""Checks of a model's predictions: rows, values, ranking, and which images they belong to."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float64

from thorax.auditing.lists import ABSENT, Listed, Lists, Locator
from thorax.auditing.report import Problem, Severity, problem_if_any
from thorax.datasets.table import SampleTable
from thorax.evaluation.inputs.prediction_csv import ROUNDING, PredictionFile
from thorax.evaluation.statistics.ranking import auroc_score
from thorax.findings import NO_FINDING

__all__ = [
    "check_columns_left_out",
    "check_predicted_rows",
    "check_predicted_values",
    "check_ranking",
    "only_of_part",
]

_EMPTY: Final = Listed((), np.empty(0, np.int64), ())
_ENOUGH = 20
_BINARY = 2
_FEW_VALUES = 20
_ROWS_FOR_FEW_VALUES = 200
# An untrained net's probabilities are near one half for every image and finding; those of a trained one
# follow prevalences of a few percent.
_UNTRAINED = (0.3, 0.7)
_UNTRAINED_SPREAD = 0.1
# In standard errors: a mean AUC within the first is at chance level; a column beyond the second is reversed.
_CHANCE = 3.0
_WRONG = 6.0
# Beyond it a mean AUC at chance level is a warning: where images are few, models of use are within three
# standard errors too, such as AUC .683 of 34 positives among 100 images, with an interval of .57 to .78.
_FARTHEST_ERROR = 0.15


def check_predicted_rows(file: PredictionFile, listed: Listed, lists: Lists, part: str) -> list[Problem]:
    """Find rows that are repeated, missing, or for images outside the part."""
    problems = _repeated_rows(file, listed)
    expected = lists.parts.get(part, _EMPTY)
    for other, others in lists.parts.items():
        inside = _images_of(others, listed) - set(expected.images) if other != part else set()
        problems += problem_if_any(
            "error",
            f"rows-of-{other}",
            inside,
            what=f"predictions for patients of the {other} part, not of {part}: {len(inside):,}",
            remedy=f"evaluate on the {part} part only, or name the part that the predictions are for",
        )
    present = {image for image, row in zip(expected.images, expected.rows, strict=True) if row != ABSENT}
    missing = present.difference(listed.images)
    outside = set(listed.images).difference(
        *(_images_of(listed_part, listed) for listed_part in lists.parts.values())
    )
    return [
        *problems,
        *problem_if_any(
            "warning",
            "rows-missing",
            missing,
            what=f"images of the {part} part without a prediction: {len(missing):,} of {len(present):,}",
            remedy=f"predict all images of {part}; a result on some of them is not a result on {part}",
        ),
        *problem_if_any(
            "warning",
            "rows-of-no-part",
            outside,
            what=f"predicted images of patients who are in no part: {len(outside):,}",
            remedy="find out where they come from, and evaluate on images of the part only",
        ),
    ]


def _images_of(part: Listed, listed: Listed) -> set[str]:
    """Return the predicted images that a part lists, or that belong to one of its patients."""
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
    return problem_if_any(
        "error",
        "rows-repeated",
        rows,
        what=f"images with more than one row: {len(rows):,}, of which {differing:,} have different values",
        remedy="keep one row per image; average the views of test-time augmentation first",
    )


def only_of_part(file: PredictionFile, locator: Locator, lists: Lists, part: str) -> PredictionFile:
    """Return the rows for images of one part: those that are evaluated where the others are left out."""
    rows = locator.locate(file.images).rows
    inside = np.flatnonzero(np.isin(rows, lists.parts[part].present))
    return replace(
        file, images=tuple(file.images[row] for row in inside.tolist()), values=file.values[inside]
    )


def check_columns_left_out(
    file: PredictionFile, table: SampleTable, lists: Lists, part: str
) -> list[Problem]:
    """Find labeled findings without a column of predictions: a mean over the others is another mean."""
    targets = table.targets(table.findings)[lists.parts[part].present]
    positives = {
        finding: int((column == 1).sum()) for finding, column in zip(table.findings, targets.T, strict=True)
    }
    labeled = {finding: count for finding, count in positives.items() if count and finding != NO_FINDING}
    without = [
        f"{finding.name}: {count:,} positive"
        for finding, count in labeled.items()
        if finding not in file.findings
    ]
    return problem_if_any(
        "warning",
        "columns-left-out",
        without,
        what=f"findings that {part} has positives of, without a column of predictions: {len(without)} of "
        f"{len(labeled)}",
        remedy="predict them too, or state with every mean which findings it is over",
    )


def check_predicted_values(file: PredictionFile, listed: Listed) -> list[Problem]:
    """Find values that are not probabilities, and columns that point to an error in the program."""
    values, images = file.values, listed.images
    unknown = [images[row] for row in np.flatnonzero(np.isnan(values).any(axis=1))]
    outside = [
        images[row] for row in np.flatnonzero(((values < -ROUNDING) | (values > 1 + ROUNDING)).any(axis=1))
    ]
    span = f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}" if outside else ""
    return [
        *problem_if_any(
            "error",
            "not-a-number",
            unknown,
            what=f"rows with a value that is empty or not a number: {len(unknown):,}",
            remedy="find out why the model returned no number for these images, and predict them again: "
            "without them, a result is not one on all images",
        ),
        *problem_if_any(
            "error",
            "not-probabilities",
            outside,
            what=f"rows with logits instead of probabilities (values range from {span}): {len(outside):,}",
            remedy="apply the model's sigmoid once, or declare them as logits where a setting allows it",
        ),
        *_check_columns(file),
    ]


def _check_columns(file: PredictionFile) -> list[Problem]:
    """Check each column as a whole, if there are at least 20 rows."""
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
    "columns with only two values, so that the AUC is that of a single threshold, and too low",
    "evaluate the probabilities, before any threshold",
)
_CONSTANT: Final = (
    "columns with the same value in every row",
    "check that the checkpoint was loaded, and that the images differ after preparation",
)
_COARSE: Final = (
    "columns with so few distinct values that ties distort every curve",
    "write the probabilities with all their digits",
)
_UNTRAINED_NET: Final = (
    "columns near one half for all images, as from an untrained net",
    "check that the checkpoint was loaded: if the names of its weights do not match, the net stays untrained",
)
_EQUAL: Final = (
    "columns that are copies of another column",
    "check how the columns were written: each finding has an output of its own",
)


def _columns_problem(
    severity: Severity, kind: str, columns: Sequence[str], text: tuple[str, str]
) -> list[Problem]:
    what, remedy = text
    return problem_if_any(severity, kind, columns, what=f"{what}: {len(columns)}", remedy=remedy)


def _looks_untrained(values: Float64[np.ndarray, " n"]) -> bool:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return bool(_UNTRAINED[0] < middle < _UNTRAINED[1] and high - low < _UNTRAINED_SPREAD)


def _equal_columns(columns: Mapping[str, Float64[np.ndarray, " _"]]) -> list[str]:
    first: dict[bytes, str] = {}
    originals = {name: first.setdefault(column.tobytes(), name) for name, column in columns.items()}
    return [f"{name} of {original}" for name, original in originals.items() if name != original]


def check_ranking(file: PredictionFile, listed: Listed, table: SampleTable) -> list[Problem]:
    """Check that the predictions rank the images of the store better than chance.

    Findings with fewer than 20 positives or 20 negatives are left out. The standard errors assume independent
    images; images of one patient are not independent, so a column must be off by six of them.
    """
    present = np.flatnonzero(listed.rows != ABSENT)
    common = tuple(finding for finding in file.findings if finding in table.findings)
    if not len(present) or not common:
        return []
    targets = table.targets(common)[listed.rows[present]]
    auc_and_error: dict[str, tuple[float, float]] = {}
    for column, finding in enumerate(common):
        values = file.values[present, file.findings.index(finding)]
        counted = (targets[:, column] >= 0) & ~np.isnan(values)
        positive = targets[counted, column] == 1
        positives, negatives = int(positive.sum()), int((~positive).sum())
        if min(positives, negatives) >= _ENOUGH:
            error = math.sqrt((positives + negatives + 1) / (12 * positives * negatives))
            auc_and_error[finding.name] = (auroc_score(positive, values[counted]), error)
    return _ranking_problems(auc_and_error)


def _ranking_problems(auc_and_error: Mapping[str, tuple[float, float]]) -> list[Problem]:
    if not auc_and_error:
        return []
    mean = sum(auc for auc, _ in auc_and_error.values()) / len(auc_and_error)
    error = math.sqrt(sum(error**2 for _, error in auc_and_error.values())) / len(auc_and_error)
    deviations = {name: (auc - 0.5) / error for name, (auc, error) in auc_and_error.items()}
    chance = abs(mean - 0.5) <= _CHANCE * error and max(map(abs, deviations.values())) <= _WRONG
    examples = {name: f"{name}: AUC {auc:.3f}" for name, (auc, _) in auc_and_error.items()}
    reversed_columns = [examples[name] for name, deviation in deviations.items() if deviation < -_WRONG]
    return [
        *problem_if_any(
            "error" if abs(mean - 0.5) <= _FARTHEST_ERROR else "warning",
            "no-better-than-chance",
            list(examples.values()) if chance else (),
            what=f"columns whose mean AUC, {mean:.3f}, is at chance level: {len(auc_and_error)}",
            remedy="check that the checkpoint was loaded, that images were prepared as in training, and "
            "that each row has the name of its own image",
        ),
        *problem_if_any(
            "warning",
            "worse-than-chance",
            reversed_columns,
            what=f"columns that rank the images the wrong way round: {len(reversed_columns)}",
            remedy="check that the columns are in the model's order of findings, and that none is 1 - p",
        ),
    ]
