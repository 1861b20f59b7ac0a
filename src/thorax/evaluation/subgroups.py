"""Performance by sex, age, view position and follow-up, and the gap between each group and the rest.

Each group is compared with the rest of its axis on the same resamples of patients, so that a patient with
images in both counts in both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from thorax.errors import DataError
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.statistics.intervals import (
    Interval,
    bounded_interval,
    effective_patients,
    over_resamples,
    ranked_patients,
    resampled_interval,
    share_interval,
)
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank, weighted_auroc
from thorax.findings import Finding
from thorax.hardware import parallel_map

__all__ = [
    "AGE_BANDS",
    "FEWEST_PATIENTS",
    "Axis",
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

FEWEST_PATIENTS: Final = 10
"""How many patients with a finding, and how many without it, a group needs. With fewer, an interval rests on
a handful of people and says less than their number does."""

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
        auc_gap: AUC of the group minus that of the rest; NaN where either does not exist.
        sensitivity: At the operating point; NaN without one, or with too few patients with the finding.
        sensitivity_gap: Sensitivity of the group minus that of the rest.
        undefined_resamples: Resamples in which the gap of the AUCs (or the AUC, where there is no gap) is
            undefined.
    """

    finding: Finding
    num_known: int
    num_positive: int
    num_positive_patients: int
    auc: Interval
    auc_gap: Interval
    sensitivity: Interval
    sensitivity_gap: Interval
    undefined_resamples: int


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
        macro_auc_gap: Mean of the gaps of these findings.
        num_findings: The number of these findings.
    """

    axis: str
    name: str
    num_images: int
    num_patients: int
    findings: tuple[SubgroupFinding, ...]
    macro_auc: Interval
    macro_auc_gap: Interval
    num_findings: int


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


def evaluate_subgroups(
    predictions: LabeledPredictions, axis: Axis, *, resamples: int = 1000, seed: int = 0
) -> tuple[Subgroup, ...]:
    """Measure each group of an axis against the rest of it, with patient-bootstrap intervals.

    Images of an unknown group belong to no group and to no rest. An axis with a single group has no rest and
    no gap.

    Args:
        predictions: Labels, probabilities and decisions.
        axis: The group of each of these images.
        resamples: The number of resamples of the patients, at least 1; the same as those of `evaluate`.
        seed: The seed of the resamples.

    Raises:
        DataError: The axis and the predictions have different numbers of images.
    """
    if len(axis.group) != len(predictions.targets):
        raise DataError(
            f"{len(axis.group)} images are divided by {axis.name}, but {len(predictions.targets)} were "
            "predicted; give both for the same images in the same order"
        )
    masks = [axis.group == number for number in range(len(axis.groups))]
    measured = [_measure(predictions, mask, resamples=resamples, seed=seed) for mask in masks]
    subgroups = []
    for number, (name, mask, own) in enumerate(zip(axis.groups, masks, measured, strict=True)):
        others = measured[:number] + measured[number + 1 :]
        remaining = (axis.group >= 0) & ~mask
        of_two = len(others) == 1  # the rest is the other group
        rest = others[0] if of_two else _measure(predictions, remaining, resamples=resamples, seed=seed)
        subgroups.append(_subgroup(predictions, own, rest=rest, axis=axis.name, name=name))
    return tuple(subgroups)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """Counts and scores of some images.

    Attributes:
        num_images: The number of images.
        num_patients: The number of their patients.
        counts: For each finding, the images with a known label, the images with the finding, and the patients
            of these.
        auc: AUC of each finding, in the first row on the original sample, then on each resample.
        sensitivity: The same for sensitivity.
        sensitivity_interval: Sensitivity of each finding on the original sample, with its interval.
        patients: Effective patients of each finding's AUC and of its sensitivity; NaN where they do not
            exist.
    """

    num_images: int
    num_patients: int
    counts: Int64[np.ndarray, "k 3"]
    auc: Float64[np.ndarray, "sample k"]
    sensitivity: Float64[np.ndarray, "sample k"]
    sensitivity_interval: tuple[Interval, ...]
    patients: Float64[np.ndarray, "k 2"]


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Counts of one finding.

    Attributes:
        counts: As in `_Measured`.
        hits: True positives of each patient; 0 with too few patients.
        positives: Images of each patient with the finding and a decision; 0 with too few patients.
        ranked: The ranked images, for the AUC; None with too few patients.
    """

    counts: tuple[int, int, int]
    hits: Float64[np.ndarray, " patient"]
    positives: Float64[np.ndarray, " patient"]
    ranked: Ranked | None


def _measure(
    predictions: LabeledPredictions, mask: Bool[np.ndarray, " n"], *, resamples: int, seed: int
) -> _Measured:
    counted = parallel_map(partial(_count, predictions, mask), range(len(predictions.findings)))
    hits = np.stack([finding.hits for finding in counted], axis=1)
    positives = np.stack([finding.positives for finding in counted], axis=1)
    summed = np.concatenate([hits, positives], axis=1)

    def measure(counts: Int32[np.ndarray, "sample patient"]) -> Float64[np.ndarray, "sample column"]:
        undefined = np.full(len(counts), math.nan)
        auc = [weighted_auroc(finding.ranked, counts) if finding.ranked else undefined for finding in counted]
        return np.concatenate([np.stack(auc, axis=1), counts.astype(np.float64) @ summed], axis=1)

    original = measure(np.ones((1, len(summed)), dtype=np.int32))
    resampled = over_resamples(measure, num_patients=len(summed), resamples=resamples, seed=seed)
    auc, hit_sums, positive_sums = np.split(np.concatenate([original, resampled]), 3, axis=1)
    with np.errstate(invalid="ignore"):
        sensitivity = hit_sums / np.where(positive_sums > 0, positive_sums, np.nan)
    auc_patients = [ranked_patients(finding.ranked) if finding.ranked else math.nan for finding in counted]
    sensitivity_patients = [effective_patients(column.astype(np.int64)) for column in positives.T]
    return _Measured(
        num_images=int(np.sum(mask)),
        num_patients=len(np.unique(predictions.patient_numbers[mask])),
        counts=np.array([finding.counts for finding in counted], dtype=np.int64),
        auc=auc,
        sensitivity=sensitivity,
        sensitivity_interval=tuple(share_interval(finding.hits, finding.positives) for finding in counted),
        patients=np.stack([auc_patients, sensitivity_patients], axis=1),
    )


def _count(predictions: LabeledPredictions, mask: Bool[np.ndarray, " n"], k: int) -> _Counted:
    patient = predictions.patient_numbers
    rows = np.flatnonzero(predictions.known[:, k] & mask)
    present = predictions.targets[rows, k] == 1
    with_finding, without = rows[present], rows[~present]
    counts = len(rows), len(with_finding), len(np.unique(patient[with_finding]))
    num_patients = int(patient.max()) + 1
    if counts[2] < FEWEST_PATIENTS:
        zeros = np.zeros(num_patients)
        return _Counted(counts, zeros, zeros, ranked=None)
    enough = len(np.unique(patient[without])) >= FEWEST_PATIENTS
    ranked = rank(present, predictions.probabilities[rows, k], patient[rows]) if enough else None
    decisions = predictions.decisions[with_finding, k]
    hits, positives = (
        np.bincount(patient[with_finding][selected], minlength=num_patients).astype(np.float64)
        for selected in (decisions == 1, decisions >= 0)
    )
    return _Counted(counts, hits, positives, ranked)


def _subgroup(
    predictions: LabeledPredictions, own: _Measured, *, rest: _Measured, axis: str, name: str
) -> Subgroup:
    in_both = predictions.in_mean & ~np.isnan(own.auc[0]) & ~np.isnan(rest.auc[0])
    return Subgroup(
        axis=axis,
        name=name,
        num_images=own.num_images,
        num_patients=own.num_patients,
        findings=tuple(
            _finding(finding, k, own=own, rest=rest) for k, finding in enumerate(predictions.findings)
        ),
        macro_auc=_interval(_mean(own.auc[:, in_both]), patients=_harmonic(own.patients[in_both, 0])),
        macro_auc_gap=_interval(
            _mean((own.auc - rest.auc)[:, in_both]),
            patients=_harmonic(np.minimum(own.patients, rest.patients)[in_both, 0]),
            difference=True,
        ),
        num_findings=int(np.sum(in_both)),
    )


def _finding(finding: Finding, k: int, *, own: _Measured, rest: _Measured) -> SubgroupFinding:
    num_known, num_positive, num_positive_patients = (int(count) for count in own.counts[k])
    auc, gap = own.auc[:, k], own.auc[:, k] - rest.auc[:, k]
    shown = auc if math.isnan(gap[0]) else gap
    # The smaller of the group and the rest: the variance of a difference is the sum of theirs.
    fewer = np.minimum(own.patients[k], rest.patients[k])
    aucs = [
        bounded_interval(float(side.auc[0, k]), side.auc[1:, k], patients=float(side.patients[k, 0]))
        for side in (own, rest)
    ]
    sensitivities = [side.sensitivity_interval[k] for side in (own, rest)]
    return SubgroupFinding(
        finding=finding,
        num_known=num_known,
        num_positive=num_positive,
        num_positive_patients=num_positive_patients,
        auc=aucs[0],
        auc_gap=_gap(gap, aucs, patients=float(fewer[0])),
        sensitivity=sensitivities[0],
        sensitivity_gap=_gap(
            own.sensitivity[:, k] - rest.sensitivity[:, k], sensitivities, patients=float(fewer[1])
        ),
        undefined_resamples=int(np.sum(np.isnan(shown[1:]))),
    )


def _gap(samples: Float64[np.ndarray, " sample"], sides: Sequence[Interval], *, patients: float) -> Interval:
    """Return the interval of a gap: the bootstrap's or, where one side is exactly 0 or 1, Newcombe's.

    No resample changes such a side. Newcombe (Statistics in Medicine 1998, method 10) combines the intervals
    of both sides as if they were independent, which is too wide where patients have images in both.
    """
    own, rest = sides
    if not (own.value in (0.0, 1.0) or rest.value in (0.0, 1.0)) or math.isnan(samples[0]):
        return _interval(samples, patients=patients, difference=True)
    down = math.hypot(own.value - own.low, rest.high - rest.value)
    up = math.hypot(own.high - own.value, rest.value - rest.low)
    value = float(samples[0])
    return Interval(value, value - down, value + up)


def _harmonic(patients: Float64[np.ndarray, " k"]) -> float:
    return float(len(patients) / np.sum(1 / patients)) if len(patients) else math.nan


def _mean(values: Float64[np.ndarray, "sample k"]) -> Float64[np.ndarray, " sample"]:
    """Return the mean of the defined values of each row; NaN where there are none."""
    count = np.sum(~np.isnan(values), axis=1)
    return np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)


def _interval(
    samples: Float64[np.ndarray, " sample"], *, patients: float, difference: bool = False
) -> Interval:
    return resampled_interval(float(samples[0]), samples[1:], patients=patients, difference=difference)


def _axis(name: str, groups: tuple[str, ...], names: Sequence[str]) -> Axis:
    present = tuple(group for group in groups if group in set(names))
    number = {group: k for k, group in enumerate(present)}
    return Axis(name, present, np.array([number.get(group, -1) for group in names], dtype=np.int64))
