"""Decisions at thresholds, beside the labels and probabilities of the same images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int8, Int64

from thorax.arrays import NOT_LABELED, Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.labeled_images import check_shapes
from thorax.findings import NO_FINDING, Findings

__all__ = ["Decisions", "LabeledPredictions", "binarize"]

Decisions = Int8[np.ndarray, "n k"]
"""The decision for each image and finding: 1 positive, 0 negative, `NOT_LABELED` without a threshold."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabeledPredictions:
    """A model's predictions for some images, with their labels.

    Attributes:
        targets: Labels; only 1 and 0 count.
        probabilities: In [0, 1].
        decisions: The probabilities at the thresholds of an operating point; see `binarize`.
        patients: The patient of each image.
        findings: The findings of the columns.
    """

    targets: Targets
    probabilities: Probabilities
    decisions: Decisions
    patients: Sequence[str] | Int64[np.ndarray, " n"]
    findings: Findings

    def __post_init__(self) -> None:
        """Refuse arrays of different shapes, and probabilities outside [0, 1]."""
        check_shapes(
            len(self.patients),
            self.findings,
            targets=self.targets,
            probabilities=self.probabilities,
            decisions=self.decisions,
        )
        outside = ~((self.probabilities >= 0) & (self.probabilities <= 1))
        if np.any(outside):
            row, column = (int(indices[0]) for indices in np.nonzero(outside))
            raise DataError(
                f"{self.findings[column]}: {int(np.sum(outside))} probabilities are not in [0, 1] (first: "
                f"{self.probabilities[row, column]} in row {row}); give probabilities, not logits"
            )

    @property
    def known(self) -> Bool[np.ndarray, "n k"]:
        """Which labels are known: present or absent."""
        return np.asarray((self.targets == 0) | (self.targets == 1))

    @property
    def patient_numbers(self) -> Int64[np.ndarray, " n"]:
        """The number of each image's patient, from 0 in the order of names."""
        _, number = np.unique(np.asarray(self.patients), return_inverse=True)
        return np.asarray(number, dtype=np.int64)

    @property
    def in_mean(self) -> Bool[np.ndarray, " k"]:
        """Which findings enter averages: all except No Finding, which is the absence of the others."""
        return np.array([finding != NO_FINDING for finding in self.findings])


def binarize(probabilities: Probabilities, thresholds: Sequence[float | None]) -> Decisions:
    """Decide positive where a probability is at or above its finding's threshold, and negative below it.

    Args:
        probabilities: One column per finding.
        thresholds: One per finding; None leaves the column without decisions.

    Raises:
        DataError: There is not one threshold per finding, or one is not a number.
    """
    if len(thresholds) != probabilities.shape[1]:
        raise DataError(
            f"{len(thresholds)} thresholds do not fit {probabilities.shape[1]} findings; "
            "give one per finding, None where there is none"
        )
    decisions = np.full(probabilities.shape, NOT_LABELED, dtype=np.int8)
    for column, threshold in enumerate(thresholds):
        if threshold is None:
            continue
        if math.isnan(threshold):
            raise DataError(
                f"threshold {column} of {len(thresholds)} is not a number; give None where there is none"
            )
        decisions[:, column] = probabilities[:, column] >= threshold
    return decisions
