"""Performance by sex, age, view position and follow-up, and the gap between each group and the rest.

Each group is compared with the rest of its axis. A patient with images in both counts in both. Of many gaps
some are large by chance: their intervals hold together, all gaps of a kind in 95 of 100 samples (Bonferroni).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.errors import DataError
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.discrimination import FEWEST_PATIENTS
from thorax.evaluation.statistics.auc_intervals import (
    MeasuredAucs,
    auc_intervals,
    mean_auc_interval,
    mean_correlation,
    measure_aucs,
)
from thorax.evaluation.statistics.intervals import LEVEL, Interval, share_interval
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank
from thorax.findings import Finding
from thorax.hardware import parallel_map

__all__ = [
    "AGE_BANDS",
    "FEWEST_PATIENTS",
    "Axis",
    "GapCounts",
    "Subgroup",
    "SubgroupFinding",
    "age_axis",
    "evaluate_subgroups",
    "follow_up_axis",
    "sex_axis",
    "view_axis",
]

AGE_BANDS: Final = ("under 20", "20 to 39", "40 to 59", "60 to 79", "80 and over")
"""Bands of 20 years. Under 1 % of the 112,120 images of NIH ChestX-ray14 show people of 80 and over."""

_SEXES: Final = {"F": "female", "M": "male", "O": "other"}


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """A way to divide images.

    Attributes:
        name: What the images are divided by, as text.
        groups: Names of the groups that have images, in a fixed order.
        group: The number of each image's group; -1 where unknown.
    """

    name: str
    groups: tuple[str, ...]
    group: Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class SubgroupFinding:
    """One finding in one group, compared with the rest.

    Attributes:
        finding: The finding.
        num_known: Images of the group with a known label.
        num_positive: Images of the group with the finding.
        num_positive_patients: Patients of these images.
        auc: NaN with fewer than `FEWEST_PATIENTS` patients with the finding, or with fewer without it.
        auc_gap: AUC of the group minus that of the rest, at the level of all such gaps together; NaN where
            either does not exist.
        sensitivity: At the operating point; NaN without one, or with too few patients with the finding.
        sensitivity_gap: Sensitivity of the group minus that of the rest, at the level of these gaps.
    """

    finding: Finding
    num_known: int
    num_positive: int
    num_positive_patients: int
    auc: Interval
    auc_gap: Interval
    sensitivity: Interval
    sensitivity_gap: Interval


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One group of an axis.

    Attributes:
        axis: What the images are divided by.
        name: The group.
        num_images: The number of images in the group.
        num_patients: The number of their patients.
        findings: One entry per finding, in the order of the predictions.
        macro_auc: Mean over the findings, without No Finding, whose AUC exists both in the group and in the
            rest.
        macro_auc_gap: Mean of the gaps of these findings, at the level of these means.
        num_findings: The number of these findings.
        gaps: How many gaps of each kind there are in all groups of all axes.
    """

    axis: str
    name: str
    num_images: int
    num_patients: int
    findings: tuple[SubgroupFinding, ...]
    macro_auc: Interval
    macro_auc_gap: Interval
    num_findings: int
    gaps: "GapCounts"


@dataclass(frozen=True, slots=True)
class GapCounts:
    """How many gaps of each kind are looked at together. Of two groups, both gaps are one.

    Attributes:
        macro_auc: Gaps of mean AUC.
        auc: Gaps of the AUC of one finding.
        sensitivity: Gaps of the sensitivity of one finding.
    """

    macro_auc: int
    auc: int
    sensitivity: int

    @staticmethod
    def level(count: int) -> float:
        """Return the level of each of so many intervals that hold together in 95 of 100 samples."""
        return 1 - (1 - LEVEL) / max(count, 1)


def sex_axis(sexes: Sequence[str]) -> Axis:
    """Divide by sex: "F", "M" and "O"; anything else is unknown."""
    return _axis("sex", tuple(_SEXES.values()), [_SEXES.get(sex, "") for sex in sexes])


def age_axis(ages: Float64[np.ndarray, " n"]) -> Axis:
    """Divide by `AGE_BANDS`; ages in years, NaN where unknown."""
    band = np.clip(np.floor(np.nan_to_num(ages, nan=0.0) / 20), 0, len(AGE_BANDS) - 1).astype(int)
    names = [AGE_BANDS[k] if known else "" for k, known in zip(band, ages >= 0, strict=True)]
    return _axis("age", AGE_BANDS, names)


def view_axis(views: Sequence[str]) -> Axis:
    """Divide by view position: "PA" (walked in), "AP" (mostly at the bedside) or "LL"; others are unknown."""
    return _axis("view", ("PA", "AP", "LL"), views)


def follow_up_axis(follow_ups: Float64[np.ndarray, " n"]) -> Axis:
    """Divide into a patient's first image (number 0) and later ones; NaN where unknown."""
    names = np.where(np.isnan(follow_ups), "", np.where(follow_ups == 0, "first image", "later image"))
    return _axis("image of the patient", ("first image", "later image"), [str(name) for name in names])


def evaluate_subgroups(predictions: LabeledPredictions, axes: Sequence[Axis]) -> tuple[Subgroup, ...]:
    """Measure each group of each axis against the rest of its axis, with intervals by patient.

    Images of an unknown group belong to no group and to no rest. An axis with a single group has no rest and
    no gap.

    Args:
        predictions: Labels, probabilities and decisions.
        axes: The group of each of these images, for each axis.

    Raises:
        DataError: An axis and the predictions have different numbers of images.
    """
    for axis in axes:
        if len(axis.group) != len(predictions.targets):
            raise DataError(
                f"{len(axis.group)} images are divided by {axis.name}, but {len(predictions.targets)} were "
                "predicted; give both for the same images in the same order"
            )
    compared = [_compare(predictions, axis, number) for axis in axes for number in range(len(axis.groups))]
    gaps = GapCounts(
        macro_auc=_num_gaps(compared, lambda group: int(np.any(group.in_mean))),
        auc=_num_gaps(compared, lambda group: int(np.sum(group.has_auc_gap))),
        sensitivity=_num_gaps(compared, lambda group: int(np.sum(group.has_sensitivity_gap))),
    )
    return tuple(_subgroup(predictions, group, gaps) for group in compared)


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Counts of one finding.

    Attributes:
        counts: The images with a known label, the images with the finding, and the patients of these.
        hits: True positives of each patient; 0 with too few patients.
        positives: Images of each patient with the finding and a decision; 0 with too few patients.
    """

    counts: tuple[int, int, int]
    hits: Float64[np.ndarray, " patient"]
    positives: Float64[np.ndarray, " patient"]


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """A group and the rest of its axis.

    Attributes:
        axis: The axis.
        number: The number of the group.
        num_patients: The number of patients in the group.
        own: Counts of each finding in the group.
        rest: The same in the rest.
        measured: The AUCs of the group, then those of the rest.
        in_mean: Which findings are averaged.
    """

    axis: Axis
    number: int
    num_patients: int
    own: Sequence[_Counted]
    rest: Sequence[_Counted]
    measured: MeasuredAucs
    in_mean: Bool[np.ndarray, " k"]

    @property
    def has_auc_gap(self) -> Bool[np.ndarray, " k"]:
        """Whether each finding has an AUC in the group and in the rest."""
        own, rest = np.split(~np.isnan(self.measured.auc), 2)
        return np.asarray(own & rest)

    @property
    def has_sensitivity_gap(self) -> Bool[np.ndarray, " k"]:
        """Whether each finding has a sensitivity in the group and in the rest."""
        sides = [[np.any(finding.positives) for finding in side] for side in (self.own, self.rest)]
        return np.asarray(np.all(sides, axis=0))


def _num_gaps(compared: Sequence[_Compared], count: Callable[[_Compared], int]) -> int:
    """Return how many gaps there are; of an axis with two groups, the gaps of one."""
    return sum(
        count(group) for group in compared if not (len(group.axis.groups) == len("ab") and group.number)
    )


def _compare(predictions: LabeledPredictions, axis: Axis, number: int) -> _Compared:
    masks = axis.group == number, (axis.group >= 0) & (axis.group != number)
    findings, patient = range(len(predictions.findings)), predictions.patient_numbers
    counted = [parallel_map(partial(_count, predictions, patient, mask), findings) for mask in masks]
    own, rest = ([count for count, _ in side] for side in counted)
    ranked = [ranking for side in counted for _, ranking in side]
    measured = measure_aucs(ranked, num_units=int(patient.max()) + 1)
    in_both = ~np.isnan(measured.auc[: len(own)]) & ~np.isnan(measured.auc[len(own) :])
    return _Compared(
        axis=axis,
        number=number,
        num_patients=len(np.unique(patient[masks[0]])),
        own=own,
        rest=rest,
        measured=measured,
        in_mean=predictions.in_mean & in_both,
    )


def _count(
    predictions: LabeledPredictions, patient: Int64[np.ndarray, " n"], mask: Bool[np.ndarray, " n"], k: int
) -> tuple[_Counted, Ranked]:
    """Return the counts of a finding, and its ranked images; none with too few patients."""
    rows = np.flatnonzero(predictions.known[:, k] & mask)
    present = predictions.targets[rows, k] == 1
    with_finding, without = rows[present], rows[~present]
    counts = len(rows), len(with_finding), len(np.unique(patient[with_finding]))
    num_patients = int(patient.max()) + 1
    if counts[2] < FEWEST_PATIENTS:
        zeros = np.zeros(num_patients)
        return _Counted(counts, zeros, zeros), _rank_nothing()
    enough = len(np.unique(patient[without])) >= FEWEST_PATIENTS
    ranked = rank(present, predictions.probabilities[rows, k], patient[rows]) if enough else _rank_nothing()
    decisions = predictions.decisions[with_finding, k]
    hits, positives = (
        np.bincount(patient[with_finding][selected], minlength=num_patients).astype(np.float64)
        for selected in (decisions == 1, decisions >= 0)
    )
    return _Counted(counts, hits, positives), ranked


def _rank_nothing() -> Ranked:
    return rank(np.zeros(0, dtype=np.bool_), np.zeros(0), np.zeros(0, dtype=np.int64))


def _subgroup(predictions: LabeledPredictions, group: _Compared, gaps: GapCounts) -> Subgroup:
    num_findings = len(group.own)
    own, rest = (
        np.append(*sides)
        for sides in (
            (group.in_mean, np.zeros(num_findings, np.bool_)),
            (np.zeros(num_findings, np.bool_), group.in_mean),
        )
    )
    means = [
        mean_auc_interval(group.measured, side, level=gaps.level(gaps.macro_auc)) for side in (own, rest)
    ]
    return Subgroup(
        axis=group.axis.name,
        name=group.axis.groups[group.number],
        num_images=int(np.sum(group.axis.group == group.number)),
        num_patients=group.num_patients,
        findings=_findings(predictions, group, gaps),
        macro_auc=mean_auc_interval(group.measured, own),
        macro_auc_gap=_gap(*means, correlation=mean_correlation(group.measured, own, rest)),
        num_findings=int(np.sum(group.in_mean)),
        gaps=gaps,
    )


def _findings(
    predictions: LabeledPredictions, group: _Compared, gaps: GapCounts
) -> tuple[SubgroupFinding, ...]:
    aucs = auc_intervals(group.measured)
    together = auc_intervals(group.measured, level=gaps.level(gaps.auc))
    findings = []
    for k, finding in enumerate(predictions.findings):
        own, rest = group.own[k], group.rest[k]
        columns = np.arange(len(aucs)) == k, np.arange(len(aucs)) == k + len(group.own)
        num_known, num_positive, num_positive_patients = own.counts
        findings.append(
            SubgroupFinding(
                finding=finding,
                num_known=num_known,
                num_positive=num_positive,
                num_positive_patients=num_positive_patients,
                auc=aucs[k],
                auc_gap=_gap(
                    together[k],
                    together[k + len(group.own)],
                    correlation=mean_correlation(group.measured, *columns),
                ),
                sensitivity=share_interval(own.hits, own.positives),
                sensitivity_gap=_sensitivity_gap(own, rest, level=gaps.level(gaps.sensitivity)),
            )
        )
    return tuple(findings)


def _sensitivity_gap(own: _Counted, rest: _Counted, *, level: float) -> Interval:
    sides = [share_interval(side.hits, side.positives, level=level) for side in (own, rest)]
    first, second = (
        side.hits - interval.value * side.positives for side, interval in zip((own, rest), sides, strict=True)
    )
    spread = math.sqrt(float(first @ first) * float(second @ second))
    return _gap(*sides, correlation=float(first @ second) / spread if spread > 0 else 0.0)


def _gap(own: Interval, rest: Interval, *, correlation: float) -> Interval:
    """Return the gap of two figures from their intervals (Zou and Donner, Statistics in Medicine 2008)."""
    value = own.value - rest.value
    down, up = (
        math.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0.0))
        for a, b in (
            (own.value - own.low, rest.high - rest.value),
            (own.high - own.value, rest.value - rest.low),
        )
    )
    return Interval(value, value - down, value + up)


def _axis(name: str, groups: tuple[str, ...], names: Sequence[str]) -> Axis:
    present = tuple(group for group in groups if group in set(names))
    number = {group: k for k, group in enumerate(present)}
    return Axis(name, present, np.array([number.get(group, -1) for group in names], dtype=np.int64))
