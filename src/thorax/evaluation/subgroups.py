"""Subgroups: whether a model serves women as well as men, the old as well as the young, AP as well as PA.

Each group stands beside the rest of its axis, and the gap between the two is measured on the same resamples
of patients: a patient with images in both moves both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from thorax.errors import DataError
from thorax.evaluation.classification import LabeledPredictions
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
"""Bands of 20 years. Of the 112,120 images of NIH ChestX-ray14 under 1 % are of people of 80 and over."""

FEWEST_PATIENTS: Final = 10
"""Patients with a finding, and without it, that a group needs. With fewer an interval rests on a handful of
people, and says less than their number does."""

_SEXES: Final = {"F": "female", "M": "male", "O": "other"}


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """A way to divide images.

    Attributes:
        name: What they are divided by, for people.
        groups: The groups that have images, for people, in a fixed order.
        group: Which group each image is in; -1 where that is not known.
    """

    name: str
    groups: tuple[str, ...]
    group: Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class SubgroupFinding:
    """One finding in one group, and how far it is from the rest.

    Attributes:
        finding: The finding.
        num_known: Images of the group with a sure label.
        num_positive: Those that have the finding.
        num_positive_patients: Their patients.
        auc: NaN with fewer than `FEWEST_PATIENTS` patients with the finding, or without it.
        auc_gap: AUC of the group minus that of the rest; NaN where either does not exist.
        sensitivity: At the operating point; NaN without one, or with too few patients with the finding.
        sensitivity_gap: That of the group minus that of the rest.
        undefined_resamples: Resamples in which the gap of the AUCs (the AUC, where there is no gap) is
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
        num_images: Its images.
        num_patients: Their patients.
        findings: One entry per finding, in the order of the readings.
        macro_auc: Mean over the findings, No Finding not among them, whose AUC exists in the group and in
            the rest: the same findings in both.
        macro_auc_gap: Mean of their gaps.
        num_findings: How many these are.
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
    """Divide by sex: "F", "M" and "O"; anything else is not known."""
    return _axis("sex", tuple(_SEXES.values()), [_SEXES.get(sex, "") for sex in sexes])


def age_axis(ages: Float64[np.ndarray, " n"]) -> Axis:
    """Divide by `AGE_BANDS`; ages in years, NaN where not known."""
    band = np.clip(np.floor(np.nan_to_num(ages, nan=0.0) / 20), 0, len(AGE_BANDS) - 1).astype(int)
    names = [AGE_BANDS[k] if known else "" for k, known in zip(band, ages >= 0, strict=True)]
    return _axis("age", AGE_BANDS, names)


def view_axis(views: Sequence[str]) -> Axis:
    """Divide by view position: "PA" (walked in), "AP" (mostly at the bedside), "LL"; else not known."""
    return _axis("view", ("PA", "AP", "LL"), views)


def follow_up_axis(follow_ups: Float64[np.ndarray, " n"]) -> Axis:
    """Divide into a patient's first image (number 0) and later ones; NaN where not known."""
    names = np.where(np.isnan(follow_ups), "", np.where(follow_ups == 0, "first image", "later image"))
    return _axis("image of the patient", ("first image", "later image"), [str(name) for name in names])


def evaluate_subgroups(
    readings: LabeledPredictions, axis: Axis, *, resamples: int = 1000, seed: int = 0
) -> tuple[Subgroup, ...]:
    """Measure each group of an axis against the rest of it, with patient-bootstrap intervals.

    Images whose group is not known are in no group and in no rest. On an axis with one group there is no
    rest, and no gap.

    Args:
        readings: Labels, probabilities and calls.
        axis: How the images are divided; as many as the readings have.
        resamples: How many resamples of the patients, at least 1; the first of those of `evaluate`.
        seed: Which ones.

    Raises:
        DataError: The axis does not have as many images as the readings.
    """
    if len(axis.group) != len(readings.targets):
        raise DataError(
            f"{len(axis.group)} images are divided by {axis.name}, and {len(readings.targets)} were read; "
            "give both in the same order"
        )
    parts = [axis.group == number for number in range(len(axis.groups))]
    measured = [_measure(readings, part, resamples=resamples, seed=seed) for part in parts]
    subgroups = []
    for number, (name, part, own) in enumerate(zip(axis.groups, parts, measured, strict=True)):
        others = measured[:number] + measured[number + 1 :]
        remaining = (axis.group >= 0) & ~part
        alone = len(others) == 1  # the rest is the other group
        rest = others[0] if alone else _measure(readings, remaining, resamples=resamples, seed=seed)
        subgroups.append(_subgroup(readings, own, rest=rest, axis=axis.name, name=name))
    return tuple(subgroups)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """What is counted and scored of some images.

    Attributes:
        num_images: How many they are.
        num_patients: How many patients they are of.
        counts: Of each finding, the images with a sure label, those with the finding, and their patients.
        auc: Of each finding; in the first row as the images are, then on each resample.
        sensitivity: The same.
        sensitivity_interval: Of each finding, as the images are.
        patients: Effective patients of each finding's AUC, and of its sensitivity; NaN where neither exists.
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
    """What is counted and scored of one finding.

    Attributes:
        counts: As of `_Measured`.
        hits: Of each patient, the images with the finding that are called so; none of too few patients.
        positives: Of each patient, the images with the finding that are called anything.
        ranked: The images, for the AUC; None: it takes more patients.
    """

    counts: tuple[int, int, int]
    hits: Float64[np.ndarray, " patient"]
    positives: Float64[np.ndarray, " patient"]
    ranked: Ranked | None


def _measure(
    readings: LabeledPredictions, part: Bool[np.ndarray, " n"], *, resamples: int, seed: int
) -> _Measured:
    counted = parallel_map(partial(_count, readings, part), range(len(readings.findings)))
    hits = np.stack([each.hits for each in counted], axis=1)
    positives = np.stack([each.positives for each in counted], axis=1)
    summed = np.concatenate([hits, positives], axis=1)

    def measure(counts: Int32[np.ndarray, "sample patient"]) -> Float64[np.ndarray, "sample column"]:
        undefined = np.full(len(counts), math.nan)
        auc = [weighted_auroc(each.ranked, counts) if each.ranked else undefined for each in counted]
        return np.concatenate([np.stack(auc, axis=1), counts.astype(np.float64) @ summed], axis=1)

    as_they_are = measure(np.ones((1, len(summed)), dtype=np.int32))
    drawn = over_resamples(measure, num_patients=len(summed), resamples=resamples, seed=seed)
    auc, some, of = np.split(np.concatenate([as_they_are, drawn]), 3, axis=1)
    with np.errstate(invalid="ignore"):
        sensitivity = some / np.where(of > 0, of, np.nan)
    effective = [ranked_patients(each.ranked) if each.ranked else math.nan for each in counted]
    whose = [effective_patients(each.astype(np.int64)) for each in positives.T]
    return _Measured(
        num_images=int(np.sum(part)),
        num_patients=len(np.unique(readings.patient_numbers[part])),
        counts=np.array([each.counts for each in counted], dtype=np.int64),
        auc=auc,
        sensitivity=sensitivity,
        sensitivity_interval=tuple(share_interval(each.hits, each.positives) for each in counted),
        patients=np.stack([effective, whose], axis=1),
    )


def _count(readings: LabeledPredictions, part: Bool[np.ndarray, " n"], k: int) -> _Counted:
    patient = readings.patient_numbers
    rows = np.flatnonzero(readings.known[:, k] & part)
    present = readings.targets[rows, k] == 1
    with_finding, without = rows[present], rows[~present]
    counts = len(rows), len(with_finding), len(np.unique(patient[with_finding]))
    num_patients = int(patient.max()) + 1
    if counts[2] < FEWEST_PATIENTS:
        nobody = np.zeros(num_patients)
        return _Counted(counts, nobody, nobody, ranked=None)
    enough = len(np.unique(patient[without])) >= FEWEST_PATIENTS
    ranked = rank(present, readings.probabilities[rows, k], patient[rows]) if enough else None
    calls, whose = readings.calls[with_finding, k], patient[with_finding]
    hits, positives = (
        np.bincount(whose[chosen], minlength=num_patients).astype(np.float64)
        for chosen in (calls == 1, calls >= 0)
    )
    return _Counted(counts, hits, positives, ranked)


def _subgroup(
    readings: LabeledPredictions, own: _Measured, *, rest: _Measured, axis: str, name: str
) -> Subgroup:
    in_both = readings.in_mean & ~np.isnan(own.auc[0]) & ~np.isnan(rest.auc[0])
    return Subgroup(
        axis=axis,
        name=name,
        num_images=own.num_images,
        num_patients=own.num_patients,
        findings=tuple(
            _finding(finding, k, own=own, rest=rest) for k, finding in enumerate(readings.findings)
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
    # The group or its rest, whichever has fewer: a difference errs by the sum of their variances.
    fewer = np.minimum(own.patients[k], rest.patients[k])
    aucs = [
        bounded_interval(float(each.auc[0, k]), each.auc[1:, k], patients=float(each.patients[k, 0]))
        for each in (own, rest)
    ]
    sensitivities = [each.sensitivity_interval[k] for each in (own, rest)]
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


def _gap(samples: Float64[np.ndarray, " sample"], of: Sequence[Interval], *, patients: float) -> Interval:
    """Return the interval of a gap: the bootstrap's, or, where one side is exactly 0 or 1, of both intervals.

    No resample changes such a side. Two intervals are joined as Newcombe does (Statistics in Medicine 1998,
    method 10), as if the two were independent: too wide, where patients have images in both.
    """
    own, rest = of
    if not (own.value in (0.0, 1.0) or rest.value in (0.0, 1.0)) or math.isnan(samples[0]):
        return _interval(samples, patients=patients, difference=True)
    down = math.hypot(own.value - own.low, rest.high - rest.value)
    up = math.hypot(own.high - own.value, rest.value - rest.low)
    value = float(samples[0])
    return Interval(value, value - down, value + up)


def _harmonic(patients: Float64[np.ndarray, " k"]) -> float:
    return float(len(patients) / np.sum(1 / patients)) if len(patients) else math.nan


def _mean(values: Float64[np.ndarray, "sample k"]) -> Float64[np.ndarray, " sample"]:
    """Return the mean of each row's defined values; NaN without one."""
    count = np.sum(~np.isnan(values), axis=1)
    return np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)


def _interval(
    samples: Float64[np.ndarray, " sample"], *, patients: float, difference: bool = False
) -> Interval:
    return resampled_interval(float(samples[0]), samples[1:], patients=patients, difference=difference)


def _axis(name: str, groups: tuple[str, ...], names: Sequence[str]) -> Axis:
    there = tuple(group for group in groups if group in set(names))
    number = {group: k for k, group in enumerate(there)}
    return Axis(name, there, np.array([number.get(each, -1) for each in names], dtype=np.int64))
