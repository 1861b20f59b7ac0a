"""Confusion counts and the rates computed from them, with intervals.

Everything is a sum over patients. The counts of each patient are one row of a matrix, so that thousands of
resamples of patients are a few matrix products.

Rates of one finding, micro averages, exact match and Hamming loss are shares of images, often near 0 or 1,
where resampling fails: they have Wilson's interval with patients as the unit (`share_interval`). The other
averages are not shares, and have bootstrap intervals.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.statistics.intervals import (
    Interval,
    effective_patients,
    f1_interval,
    over_resamples,
    resampled_interval,
    share_interval,
)
from thorax.findings import Finding

__all__ = [
    "AVERAGES",
    "RATES",
    "REPORT_RATES",
    "Average",
    "Classification",
    "Confusion",
    "FindingClassification",
    "Measure",
    "Rate",
    "classify",
    "confusion_cells",
    "rates_of",
    "resampled_sums",
]

Rate = Literal["sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "all_negative_accuracy"]
"""A quotient of confusion counts. Recall is sensitivity, precision is PPV (positive predictive value)."""

RATES: Final[tuple[Rate, ...]] = get_args(Rate)
"""The rates, in their order in arrays."""

Average = Literal["micro", "macro", "weighted", "samples"]
"""Averages of a rate: over all labels pooled, over findings, over findings weighted by their positives, over
images."""

AVERAGES: Final[tuple[Average, ...]] = get_args(Average)
"""The averages, in the order of scikit-learn's classification report."""

REPORT_RATES: Final[tuple[Rate, ...]] = ("ppv", "sensitivity", "f1")
"""Precision, recall and F1, the rates of scikit-learn's classification report, in its order."""

ConfusionCounts = Float64[np.ndarray, "*any 4"]
"""True positives, false positives, false negatives and true negatives, in this order."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of images by decision and label."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its interval and its denominator.

    Attributes:
        interval: NaN where the number does not exist.
        over: The denominator: images for a rate of one finding, labels for a micro average, findings or
            images with a defined rate for the other averages.
        undefined_resamples: Resamples in which the number does not exist; for an average over findings, those
            in which one of the findings is undefined.
    """

    interval: Interval
    over: int
    undefined_resamples: int


@dataclass(frozen=True, slots=True)
class FindingClassification:
    """One finding's decisions compared with its labels.

    Attributes:
        finding: The finding.
        confusion: Over the images with a known label and a decision.
        rates: By name. `all_negative_accuracy` is the accuracy of deciding negative for every image.
    """

    finding: Finding
    confusion: Confusion
    rates: Mapping[Rate, Measure]


@dataclass(frozen=True, slots=True)
class Classification:
    """How well a model's decisions agree with the labels of some images.

    Attributes:
        findings: One entry per finding, in the order of the predictions.
        averages: Over the findings other than No Finding. Undefined rates are left out; `Measure.over` says
            how many are left. Precision, recall and F1 equal those of scikit-learn's classification report
            with `zero_division=nan`.
        zero_averages: Averages of `REPORT_RATES` in which an undefined rate counts as 0: those of
            scikit-learn's report with `zero_division=0`. Findings without decisions are left out.
        support: The number of present labels, over the findings of the averages.
        exact_match: Share of images with every decision correct, among the images on which every finding with
            decisions has a known label.
        hamming_loss: Share of labels with a wrong decision.
        num_images: The number of images.
        num_patients: The number of patients.
    """

    findings: tuple[FindingClassification, ...]
    averages: Mapping[Average, Mapping[Rate, Measure]]
    zero_averages: Mapping[Average, Mapping[Rate, Measure]]
    support: int
    exact_match: Measure
    hamming_loss: Measure
    num_images: int
    num_patients: int


def classify(predictions: LabeledPredictions, *, resamples: int = 1000, seed: int = 0) -> Classification:
    """Measure the decisions for each finding and on average, with intervals by patient.

    Args:
        predictions: Decisions and labels.
        resamples: The number of resamples of the patients, at least 1; the same as those of `evaluate`.
        seed: The seed of the resamples.
    """
    patient, split = predictions.patient_numbers, 4 * len(predictions.findings)
    columns = (cell for k in range(len(predictions.findings)) for cell in _cells(predictions, k).T)
    by_patient = np.concatenate(
        [_by_patient(columns, patient), _by_patient(_image_columns(predictions).T, patient)], axis=1
    )
    counted = by_patient[:, :split].reshape(len(by_patient), -1, 4)
    sums = resampled_sums(by_patient, resamples=resamples, seed=seed)
    counts = sums[:, :split].reshape(len(sums), -1, 4)
    used = predictions.in_mean
    patients = effective_patients(np.bincount(patient))
    micro = _rates(np.sum(counts[:, used], axis=1), np.sum(counted[:, used], axis=1))
    averaged = partial(_averages, counts[:, used], sums[:, split:-4], patients=patients)
    zero = {"micro": micro, **averaged(zero=True)}
    return Classification(
        findings=tuple(
            _finding(finding, counts[:, column], counted[:, column])
            for column, finding in enumerate(predictions.findings)
        ),
        averages={
            "micro": micro,
            **averaged(),
        },
        zero_averages={
            average: {
                rate: _or_zero(zero[average][rate], decided=bool(np.any(counts[0, used])))
                for rate in REPORT_RATES
            }
            for average in AVERAGES
        },
        support=int(np.sum(counts[0][used][:, [0, 2]])),
        exact_match=_share(sums[:, -4:-2], by_patient[:, -4:-2]),
        hamming_loss=_share(sums[:, -2:], by_patient[:, -2:]),
        num_images=len(patient),
        num_patients=len(by_patient),
    )


def confusion_cells(
    present: Bool[np.ndarray, "*any"], predicted_positive: Bool[np.ndarray, "*any"]
) -> ConfusionCounts:
    """Return the one-hot confusion cell of each label, in the order of `ConfusionCounts`."""
    positive, negative = predicted_positive, ~predicted_positive
    cells = (present & positive, ~present & positive, present & negative, ~present & negative)
    return np.stack(cells, axis=-1).astype(np.float64)


def rates_of(counts: ConfusionCounts) -> Float64[np.ndarray, "*any 7"]:
    """Return the rates of confusion counts, in the order of `RATES`; NaN where one is undefined."""
    numerator, denominator = _quotients(counts)
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / np.where(denominator > 0, denominator, np.nan))


def resampled_sums(
    columns: Float64[np.ndarray, "patient column"], *, resamples: int, seed: int
) -> Float64[np.ndarray, "sample column"]:
    """Return the sums over patients, first of the original sample, then of each resample."""
    samples = over_resamples(
        lambda counts: counts.astype(np.float64) @ columns,
        num_patients=len(columns),
        resamples=resamples,
        seed=seed,
    )
    return np.vstack([np.sum(columns, axis=0), samples])


def _quotients(
    counts: ConfusionCounts,
) -> tuple[Float64[np.ndarray, "*any 7"], Float64[np.ndarray, "*any 7"]]:
    """Return numerator and denominator of each rate, in the order of `RATES`."""
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    total = tp + fp + fn + tn
    numerators = (tp, tn, tp, tn, 2 * tp, tp + tn, fp + tn)
    denominators = (tp + fn, tn + fp, tp + fp, tn + fn, 2 * tp + fp + fn, total, total)
    return np.stack(numerators, axis=-1), np.stack(denominators, axis=-1)


def _cells(predictions: LabeledPredictions, k: int) -> Float64[np.ndarray, "n 4"]:
    """Return the confusion cells of one finding; those of all would take 32 bytes for each score."""
    target, decision = predictions.targets[:, k], predictions.decisions[:, k]
    counted = ((target == 0) | (target == 1)) & (decision >= 0)
    return np.asarray(confusion_cells(target == 1, decision == 1) * counted[:, None])


def _image_columns(predictions: LabeledPredictions) -> Float64[np.ndarray, "n column"]:
    """Return for each image its rates (0 if undefined), whether each is defined, and four counts.

    The counts: all decisions correct (0 or 1), all labeled (0 or 1), wrong decisions, labels.
    """
    cells = np.zeros((len(predictions.targets), 4))
    for k in np.flatnonzero(predictions.in_mean).tolist():
        cells += _cells(predictions, k)
    rates = rates_of(cells)
    decided = np.any(predictions.decisions[:, predictions.in_mean] >= 0, axis=0)
    labels = np.sum(cells, axis=1)
    wrong = np.sum(cells[:, 1:3], axis=1)
    complete = (labels == np.sum(decided)) & (labels > 0)
    counts = np.stack([complete & (wrong == 0), complete, wrong, labels], axis=1)
    return np.concatenate([np.nan_to_num(rates), ~np.isnan(rates), counts], axis=1)


def _by_patient(
    columns: Iterable[Float64[np.ndarray, " n"]], patient: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "patient column"]:
    return np.stack([np.bincount(patient, weights=column) for column in columns], axis=1)


def _finding(
    finding: Finding, counts: Float64[np.ndarray, "sample 4"], counted: Float64[np.ndarray, "patient 4"]
) -> FindingClassification:
    return FindingClassification(
        finding=finding,
        confusion=Confusion(*(int(count) for count in counts[0])),
        rates=_rates(counts, counted),
    )


def _rates(
    counts: Float64[np.ndarray, "sample 4"], counted: Float64[np.ndarray, "patient 4"]
) -> dict[Rate, Measure]:
    """Return every rate from the confusion counts of each sample and of each patient."""
    values, (numerator, denominator) = rates_of(counts), _quotients(counted)
    union = denominator - numerator / 2  # of F1, whose quotient counts TP twice: TP + FP + FN
    measures: dict[Rate, Measure] = {}
    for k, rate in enumerate(RATES):
        if rate == "f1":
            over, interval = union[:, k], f1_interval(numerator[:, k] / 2, union[:, k])
        else:
            over, interval = denominator[:, k], share_interval(numerator[:, k], denominator[:, k])
        measures[rate] = Measure(interval, int(np.sum(over)), int(np.sum(np.isnan(values[1:, k]))))
    return measures


def _averages(
    counts: Float64[np.ndarray, "sample k 4"],
    images: Float64[np.ndarray, "sample column"],
    *,
    patients: float,
    zero: bool = False,
) -> dict[Average, dict[Rate, Measure]]:
    """Return the averages that are not shares, with bootstrap intervals for `patients` effective patients.

    Args:
        counts: Confusion counts of each sample and finding.
        images: For each sample, the sums of `_image_columns`.
        patients: Effective patients.
        zero: Whether an undefined rate counts as 0 rather than being left out.
    """
    rates = rates_of(counts)
    support = counts[:, :, 0] + counts[:, :, 2]
    summed, defined = images[:, : len(RATES)], images[:, len(RATES) :]
    if zero:
        rates = np.where(np.isnan(rates) & np.any(counts > 0, axis=-1, keepdims=True), 0.0, rates)
        with_labels = defined[:, [RATES.index("accuracy")]]
        defined = np.broadcast_to(with_labels, defined.shape)
    averages: dict[Average, dict[Rate, Measure]] = {"macro": {}, "weighted": {}, "samples": {}}
    for k, rate in enumerate(RATES):
        averages["macro"][rate] = _mean(rates[:, :, k], np.ones_like(support), patients=patients)
        averages["weighted"][rate] = _mean(rates[:, :, k], support, patients=patients)
        with np.errstate(invalid="ignore"):
            means = summed[:, k] / np.where(defined[:, k] > 0, defined[:, k], np.nan)
        averages["samples"][rate] = Measure(
            resampled_interval(float(means[0]), means[1:], patients=patients),
            int(defined[0, k]),
            int(np.sum(np.isnan(means[1:]))),
        )
    return averages


def _or_zero(measure: Measure, *, decided: bool) -> Measure:
    """Return a measure as scikit-learn reports it: 0 where it is undefined although there are decisions."""
    undefined = decided and not measure.interval.exists
    return replace(measure, interval=Interval(0.0, math.nan, math.nan)) if undefined else measure


def _mean(
    values: Float64[np.ndarray, "sample k"], weights: Float64[np.ndarray, "sample k"], *, patients: float
) -> Measure:
    """Average over the defined findings; count the resamples in which one of them is undefined."""
    defined = ~np.isnan(values)
    total = np.sum(weights * defined, axis=1)
    with np.errstate(invalid="ignore"):
        means = np.sum(np.nan_to_num(values) * weights, axis=1) / np.where(total > 0, total, np.nan)
    fewer = np.any(defined[0] & ~defined[1:], axis=1) | (total[1:] == 0)
    interval = resampled_interval(float(means[0]), means[1:], patients=patients)
    return Measure(interval, int(np.sum(defined[0])), int(np.sum(fewer)))


def _share(sums: Float64[np.ndarray, "sample 2"], counted: Float64[np.ndarray, "patient 2"]) -> Measure:
    """Return the first column's sum as a share of the second column's."""
    return Measure(
        share_interval(counted[:, 0], counted[:, 1]), int(sums[0, 1]), int(np.sum(sums[1:, 1] == 0))
    )
