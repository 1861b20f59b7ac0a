"""How much AUC, calibration and decisions change when the images are perturbed, with paired intervals.

Each level is compared with the unchanged images of the same patients, so that what makes a patient easy or
hard for the model cancels. Intervals are analytic, with the patient as the unit: DeLong's covariance of the
two AUCs, and the variance of a ratio of sums over patients for means and shares. They are not corrected for
the number of levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import Probabilities
from thorax.errors import DataError
from thorax.evaluation.decisions import Decisions, binarize
from thorax.evaluation.labeled_images import LabeledImages, check_shapes
from thorax.evaluation.statistics.auc_intervals import auc_intervals, mean_auc_interval, measure_aucs
from thorax.evaluation.statistics.delong import auc_contrast, auc_covariance
from thorax.evaluation.statistics.intervals import (
    LEVEL,
    Interval,
    effective_patients,
    mean_patients,
    share_interval,
    student_quantile,
)
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank
from thorax.evaluation.thresholds import ThresholdSet
from thorax.findings import NO_FINDING, Finding
from thorax.imaging.perturbations import Perturbation

__all__ = [
    "Changes",
    "FindingChanges",
    "LevelChanges",
    "Robustness",
    "Unchanged",
    "measure_robustness",
    "paired_mean",
]

_NONE: Final = Interval(math.nan, math.nan, math.nan)
_ROUNDING: Final = 1e-9
"""Standard error below which differences are equal up to rounding: one pair of 500,000 positives and
negatives changes an AUC by 4e-12, but 1e-9 is nothing to a reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one level changes, for one finding or for their mean.

    Attributes:
        auc: The AUC on the changed images.
        auc_change: This AUC less that on the unchanged images, paired.
        brier_change: The same difference of Brier losses, over the images with a known label.
        probability_change: The same difference of mean probabilities. Labels do not change, so this is also
            the change of mean probability less share of positives: calibration in the large.
        flipped: Share of all decisions that the change turns around; for the mean, over all findings with a
            threshold but No Finding.
        to_positive: Share of all decisions that turn from negative to positive.
        to_negative: Share of all decisions that turn from positive to negative.
    """

    auc: Interval
    auc_change: Interval
    brier_change: Interval
    probability_change: Interval
    flipped: Interval
    to_positive: Interval
    to_negative: Interval


@dataclass(frozen=True, slots=True)
class FindingChanges:
    """What one level changes for one finding."""

    finding: Finding
    changes: Changes


@dataclass(frozen=True, slots=True)
class LevelChanges:
    """What one level of a perturbation changes.

    Attributes:
        perturbation: The perturbation and its level.
        findings: One entry per finding, in the labels' order.
        mean: The unweighted mean over the findings, without No Finding, that have an AUC or a known label;
            shares of decisions are pooled.
    """

    perturbation: Perturbation
    findings: tuple[FindingChanges, ...]
    mean: Changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """One finding on the unchanged images.

    Attributes:
        finding: The finding.
        num_known: Images labeled present or absent.
        num_positive: Images labeled present.
        auc: The AUC, with the interval that `evaluate` shows.
        threshold: The threshold of decisions; None without one.
    """

    finding: Finding
    num_known: int
    num_positive: int
    auc: Interval
    threshold: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """All levels beside the unchanged images.

    Attributes:
        unchanged: Each finding on the unchanged images.
        mean_auc: Mean AUC on the unchanged images.
        levels: What each level changes.
        points: The thresholds of the decisions.
        num_findings: The number of findings that the mean AUC averages.
        num_images: The number of images.
        num_patients: The number of patients.
    """

    unchanged: tuple[Unchanged, ...]
    mean_auc: Interval
    levels: tuple[LevelChanges, ...]
    points: ThresholdSet
    num_findings: int
    num_images: int
    num_patients: int


def measure_robustness(
    labeled: LabeledImages,
    probabilities: Probabilities,
    changed: Sequence[tuple[Perturbation, Probabilities]],
    *,
    points: ThresholdSet,
) -> Robustness:
    """Measure what perturbations of the images change.

    Args:
        labeled: The images with their labels.
        probabilities: Of the unchanged images, in [0, 1], one column per finding of the labels.
        changed: Each perturbation with the probabilities of the perturbed images.
        points: A threshold for each finding of the labels.

    Raises:
        DataError: Shapes differ, a probability is not in [0, 1], or the thresholds belong to other findings.
    """
    base = _Measured(labeled, probabilities, points)
    columns = range(len(labeled.findings))
    levels = []
    for perturbation, of_changed in changed:
        level = _Level(base, _Measured(labeled, of_changed, points))
        levels.append(
            LevelChanges(
                perturbation=perturbation,
                findings=tuple(
                    FindingChanges(finding, level.changes([k], [k], [k]))
                    for k, finding in enumerate(labeled.findings)
                ),
                mean=level.changes(base.with_auc, base.with_labels, base.counted),
            )
        )
    aucs = measure_aucs(base.ranked, num_units=base.num_patients)
    intervals = auc_intervals(aucs)
    return Robustness(
        unchanged=tuple(
            Unchanged(
                finding=finding,
                num_known=int(np.sum(base.known[:, k])),
                num_positive=len(base.ranked[k].positives),
                auc=intervals[k],
                threshold=points.thresholds[k],
            )
            for k, finding in enumerate(labeled.findings)
        ),
        mean_auc=mean_auc_interval(aucs, np.isin(columns, base.with_auc)),
        levels=tuple(levels),
        points=points,
        num_findings=len(base.with_auc),
        num_images=len(labeled.images),
        num_patients=base.num_patients,
    )


class _Measured:
    """Probabilities with everything that comparing them with others needs."""

    def __init__(self, labeled: LabeledImages, probabilities: Probabilities, points: ThresholdSet) -> None:
        check_shapes(len(labeled.images), labeled.findings, probabilities=probabilities)
        if points.findings != labeled.findings:
            raise DataError(
                f"the thresholds are of {', '.join(map(str, points.findings))}, and the labels of "
                f"{', '.join(map(str, labeled.findings))}; give thresholds of the same findings in this order"
            )
        if not np.all((probabilities >= 0) & (probabilities <= 1)):
            raise DataError("some probabilities are not in [0, 1]; give probabilities, not logits")
        names, patient = np.unique(np.asarray(labeled.patients), return_inverse=True)
        self.patient: Int64[np.ndarray, " n"] = np.asarray(patient, dtype=np.int64)
        self.num_patients = len(names)
        self.target = labeled.targets == 1
        self.known: Bool[np.ndarray, "n k"] = np.asarray((labeled.targets == 0) | (labeled.targets == 1))
        self.probabilities = probabilities.astype(np.float64)
        self.decisions: Decisions = binarize(probabilities, points.thresholds)
        self.decided = np.array([threshold is not None for threshold in points.thresholds])
        self.ranked: list[Ranked] = [
            rank(self.target[rows, k], probabilities[rows, k], self.patient[rows])
            for k, rows in enumerate(self.known.T)
        ]
        self.counted = [k for k, finding in enumerate(labeled.findings) if finding != NO_FINDING]
        self.with_labels = [k for k in self.counted if self.known[:, k].any()]
        self.with_auc = [
            k for k in self.counted if len(self.ranked[k].positives) and len(self.ranked[k].negatives)
        ]


class _Level:
    """One level beside the unchanged images."""

    def __init__(self, base: _Measured, changed: _Measured) -> None:
        self._base, self._changed = base, changed
        self._ranked = [*base.ranked, *changed.ranked]
        self._covariance = auc_covariance(self._ranked, num_units=base.num_patients)
        self._aucs = measure_aucs(changed.ranked, num_units=base.num_patients)
        squared = (changed.probabilities - base.target) ** 2 - (base.probabilities - base.target) ** 2
        self._brier = np.where(base.known, squared, 0.0)
        self._probability = np.where(base.known, changed.probabilities - base.probabilities, 0.0)

    def changes(self, with_auc: list[int], with_labels: list[int], columns: list[int]) -> Changes:
        """Return the means of the changes over these findings.

        Args:
            with_auc: The findings whose AUCs are averaged.
            with_labels: The findings whose losses and probabilities are averaged.
            columns: The findings whose decisions count, as far as they have a threshold.
        """
        base, changed = self._base, self._changed
        decided = [k for k in columns if base.decided[k]]
        before, after = base.decisions[:, decided], changed.decisions[:, decided]
        return Changes(
            auc=mean_auc_interval(self._aucs, np.isin(np.arange(len(base.ranked)), with_auc)),
            auc_change=self._auc_change(with_auc),
            brier_change=self._mean(self._brier, with_labels),
            probability_change=self._mean(self._probability, with_labels),
            flipped=self._share(before != after),
            to_positive=self._share(before < after),
            to_negative=self._share(before > after),
        )

    def _auc_change(self, columns: list[int]) -> Interval:
        total = len(self._base.ranked)
        auc = self._covariance.auc
        columns = [k for k in columns if not math.isnan(auc[k])]
        if not columns:
            return _NONE
        weights = np.zeros(2 * total)
        weights[columns] = -1 / len(columns)
        weights[[total + k for k in columns]] = 1 / len(columns)
        patients = mean_patients([self._ranked[k] for k in columns])
        change = auc_contrast(self._covariance, weights, patients=patients)
        value = float(np.mean(auc[[total + k for k in columns]] - auc[columns]))
        if not change.variance > _ROUNDING**2:  # no image changed its rank: nothing says how others would
            return Interval(value, math.nan, math.nan)
        return replace(change.interval, value=value)

    def _mean(self, values: Float64[np.ndarray, "n k"], columns: list[int]) -> Interval:
        known = self._base.known[:, columns]
        return paired_mean(values[:, columns], known, self._base.patient)

    def _share(self, matching: Bool[np.ndarray, "n k"]) -> Interval:
        size = self._base.num_patients
        count = np.full(len(matching), float(matching.shape[1]))
        return share_interval(
            np.bincount(self._base.patient, weights=matching.sum(axis=1), minlength=size),
            np.bincount(self._base.patient, weights=count, minlength=size),
        )


def paired_mean(
    values: Float64[np.ndarray, "n k"], known: Bool[np.ndarray, "n k"], patient: Int64[np.ndarray, " n"]
) -> Interval:
    """Return the mean over columns of each column's mean over its known rows, with an interval by patient.

    Its variance is that of a ratio of sums over patients (Rao and Scott, Biometrics 1992), its quantile
    Student's by `effective_patients`. Where all patients have the same mean, and where there are fewer than
    two effective patients, there is no interval.

    Args:
        values: Paired differences; 0 where not known.
        known: Which rows of each column count; a column without any makes the mean NaN.
        patient: The number of each row's patient.
    """
    count = known.sum(axis=0)
    if not len(count) or not count.all():
        return _NONE
    means = values.sum(axis=0) / count
    value = float(np.mean(means))
    residual = ((values - means) * known / count).sum(axis=1) / len(count)
    by_patient = np.bincount(patient, weights=residual)
    rows = np.bincount(patient, weights=known.any(axis=1)).astype(np.int64)
    effective, patients = effective_patients(rows), int(np.count_nonzero(rows))
    variance = float(np.sum(by_patient**2)) * patients / max(patients - 1, 1)
    if not (effective >= 2 and variance > _ROUNDING**2):  # noqa: PLR2004  (two patients)
        return Interval(value, math.nan, math.nan)
    reach = student_quantile((1 + LEVEL) / 2, effective - 1) * math.sqrt(variance)
    return Interval(value, value - reach, value + reach)
