"""Calibration error of each finding's probabilities, with intervals by patient."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from thorax.evaluation.calibration.fit import brier_loss, expected_calibration_error
from thorax.evaluation.classification import resampled_sums
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.statistics.intervals import (
    Interval,
    effective_patients,
    resampled_interval,
    resampled_reach,
    share_interval,
)
from thorax.findings import Finding

__all__ = [
    "BrierDecomposition",
    "CalibrationError",
    "FindingCalibrationError",
    "ReliabilityBin",
    "Spacing",
    "decompose_brier",
    "measure_calibration",
    "reliability_curve",
]

Spacing = Literal["equal-width", "equal-mass"]
"""Bins of a reliability curve: equal width over [0, 1], or equally many images as far as ties allow."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images of similar probability, and the share of them with the finding.

    Attributes:
        low: Lower end; in bins of equal mass, the probability of the first image.
        high: Upper end, which belongs to the next bin, except in the last.
        num_images: The number of images in the bin.
        num_patients: The number of their patients.
        mean_probability: Mean probability of these images.
        share_positive: Share of these images with the finding, with its `share_interval`.
    """

    low: float
    high: float
    num_images: int
    num_patients: int
    mean_probability: float
    share_positive: Interval


@dataclass(frozen=True, slots=True)
class BrierDecomposition:
    """Decomposition of a Brier loss: loss = reliability_loss - resolution + uncertainty + within_bins.

    Attributes:
        loss: The Brier loss.
        reliability_loss: Squared difference of mean probability and share of positives, averaged over bins.
        resolution: Squared difference of each bin's share of positives and the overall share; larger is
            better.
        uncertainty: Loss of predicting the overall share for every image; independent of the model.
        within_bins: Variation within bins (Stephenson, Coelho and Jolliffe, Weather and Forecasting 2008).
        skill: 1 - loss / uncertainty: 0 is no better than the prevalence; NaN where a class is absent.
    """

    loss: float
    reliability_loss: float
    resolution: float
    uncertainty: float
    within_bins: float
    skill: float


def reliability_curve(
    target: Bool[np.ndarray, " n"],
    probability: Float[np.ndarray, " n"],
    *,
    patient: Int64[np.ndarray, " n"],
    bins: int = 10,
    spacing: Spacing = "equal-width",
) -> tuple[ReliabilityBin, ...]:
    """Return the share of positives in bins of increasing probability, with intervals by patient.

    Args:
        target: Whether each image has the finding.
        probability: In [0, 1].
        patient: The number of each image's patient.
        bins: The largest number of bins. Empty bins are left out.
        spacing: How bins are spaced. Images of equal probability always share a bin.
    """
    if len(target) == 0:
        return ()
    score = probability.astype(np.float64)
    if spacing == "equal-width":
        edges = np.linspace(0.0, 1.0, bins + 1)
        bin_of_image = _equal_width_bins(score, bins)
    else:
        starts = np.sort(score)[np.arange(bins) * len(score) // bins]
        edges = np.append(np.unique(starts), score.max())
        bin_of_image = np.searchsorted(edges[:-1], score, side="right") - 1
    curve = []
    for number in np.unique(bin_of_image):
        inside = bin_of_image == number
        curve.append(
            ReliabilityBin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                num_images=int(np.sum(inside)),
                num_patients=len(np.unique(patient[inside])),
                mean_probability=float(np.mean(score[inside])),
                share_positive=_share_by_patient(target[inside], patient[inside]),
            )
        )
    return tuple(curve)


def decompose_brier(
    target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"], *, bins: int = 15
) -> BrierDecomposition:
    """Decompose the Brier loss over bins of equal width (Murphy 1973); all NaN if there is no image."""
    if len(target) == 0:
        return BrierDecomposition(*([math.nan] * 6))
    score = probability.astype(np.float64)
    bin_of_image = _equal_width_bins(score, bins)
    count = np.bincount(bin_of_image)
    inside = count > 0
    share = np.bincount(bin_of_image, weights=target)[inside] / count[inside]
    mean = np.bincount(bin_of_image, weights=score)[inside] / count[inside]
    weight, all_share = count[inside] / len(target), float(np.mean(target))
    loss, uncertainty = brier_loss(target, score), all_share * (1 - all_share)
    reliability = float(np.sum(weight * (mean - share) ** 2))
    resolution = float(np.sum(weight * (share - all_share) ** 2))
    return BrierDecomposition(
        loss=loss,
        reliability_loss=reliability,
        resolution=resolution,
        uncertainty=uncertainty,
        within_bins=loss - (reliability - resolution + uncertainty),
        skill=1 - loss / uncertainty if uncertainty > 0 else math.nan,
    )


def _share_by_patient(target: Bool[np.ndarray, " n"], patient: Int64[np.ndarray, " n"]) -> Interval:
    _, number = np.unique(patient, return_inverse=True)
    return share_interval(np.bincount(number, weights=target), np.bincount(number).astype(np.float64))


def _equal_width_bins(score: Float64[np.ndarray, " n"], bins: int) -> Int64[np.ndarray, " n"]:
    return np.minimum((score * bins).astype(np.int64), bins - 1)


_BINS: Final = 15
"""Bins of the expected calibration error (Guo et al., ICML 2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCalibrationError:
    """Calibration of one finding's probabilities; NaN without a known label.

    Attributes:
        finding: The finding.
        num_known: Images labeled present or absent.
        share_positive: Share of these images with the finding.
        mean_probability: Mean probability of these images: calibrated on average if it equals the share.
        brier: Mean squared difference of probability and label.
        decomposition: The terms of the Brier loss.
        ece: Expected calibration error over 15 bins of equal width. Noise makes it larger than the error of
            the model, so that its interval reaches much further down than up (`_ece_interval`).
        curve: Reliability curve over 10 bins of equal mass.
    """

    finding: Finding
    num_known: int
    share_positive: Interval
    mean_probability: Interval
    brier: Interval
    decomposition: BrierDecomposition
    ece: Interval
    curve: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationError:
    """Calibration error of all findings, and their unweighted means without No Finding.

    Attributes:
        findings: One entry per finding, in the order of the predictions.
        macro_brier: Mean Brier loss over the findings with a known label.
        macro_ece: Mean expected calibration error over the same findings.
        num_findings: The number of these findings.
    """

    findings: tuple[FindingCalibrationError, ...]
    macro_brier: Interval
    macro_ece: Interval
    num_findings: int


def measure_calibration(
    predictions: LabeledPredictions, *, resamples: int = 1000, seed: int = 0
) -> CalibrationError:
    """Measure the calibration error of each finding's probabilities.

    Args:
        predictions: Labels and probabilities; decisions are ignored.
        resamples: The number of resamples of the patients, at least 1; the same as those of `evaluate`.
        seed: The seed of the resamples.
    """
    patient = predictions.patient_numbers
    measured = [
        _finding(predictions, k, patient=patient, resamples=resamples, seed=seed)
        for k in range(len(predictions.findings))
    ]
    averaged = [
        (finding, samples)
        for (finding, samples), used in zip(measured, predictions.in_mean, strict=True)
        if used and finding.num_known
    ]
    brier, ece = (
        _mean(np.stack(columns, axis=1)) if columns else np.full(2, math.nan)
        for columns in (
            [samples.brier for _, samples in averaged],
            [samples.ece for _, samples in averaged],
        )
    )
    patients = effective_patients(np.bincount(patient))
    without_noise = [samples.ece_without_noise for _, samples in averaged]
    return CalibrationError(
        findings=tuple(finding for finding, _ in measured),
        macro_brier=resampled_interval(float(brier[0]), brier[1:], patients=patients),
        macro_ece=_ece_interval(
            float(ece[0]),
            float(np.mean(without_noise)) if without_noise else math.nan,
            samples=ece[1:],
            patients=patients,
        ),
        num_findings=len(averaged),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Scores of one finding, in the first place on the original sample, then on each resample.

    Attributes:
        brier: The Brier loss.
        ece: The expected calibration error.
        ece_without_noise: Of the original sample, what remains of it if signs come from other patients.
    """

    brier: Float64[np.ndarray, " sample"]
    ece: Float64[np.ndarray, " sample"]
    ece_without_noise: float


def _finding(
    predictions: LabeledPredictions, k: int, *, patient: Int64[np.ndarray, " n"], resamples: int, seed: int
) -> tuple[FindingCalibrationError, _Samples]:
    """Return the calibration error of one finding, and its scores on each sample."""
    known = predictions.known[:, k]
    target, probability = predictions.targets[known, k] == 1, predictions.probabilities[known, k]
    columns = _columns(target.astype(np.float64), probability)
    by_patient = np.stack(
        [np.bincount(patient[known], weights=column, minlength=patient.max() + 1) for column in columns],
        axis=1,
    )
    # An empty bincount has an integer type.
    by_patient = by_patient.astype(np.float64)
    sums = resampled_sums(by_patient, resamples=resamples, seed=seed)
    with np.errstate(invalid="ignore"):
        means = sums[:, 1:4] / np.where(sums[:, :1] > 0, sums[:, :1], math.nan)
        ece = np.sum(np.abs(sums[:, 4:]), axis=1) / np.where(sums[:, 0] > 0, sums[:, 0], math.nan)
    brier, patients = means[:, 2], effective_patients(np.bincount(patient[known]))
    without_noise = _ece_without_noise(by_patient[:, 0], by_patient[:, 4:])

    def interval(value: float, samples: Float64[np.ndarray, " sample"]) -> Interval:
        """Return the interval of a value, of which the first sample is the original one."""
        return resampled_interval(value, samples[1:], patients=patients)

    return (
        FindingCalibrationError(
            finding=predictions.findings[k],
            num_known=len(target),
            share_positive=share_interval(by_patient[:, 1], by_patient[:, 0]),
            mean_probability=interval(float(means[0, 1]), means[:, 1]),
            brier=interval(brier_loss(target, probability), brier),
            decomposition=decompose_brier(target, probability),
            ece=_ece_interval(
                expected_calibration_error(target, probability, bins=_BINS),
                without_noise,
                samples=ece[1:],
                patients=patients,
            ),
            curve=reliability_curve(target, probability, patient=patient[known], spacing="equal-mass"),
        ),
        _Samples(brier=brier, ece=ece, ece_without_noise=without_noise),
    )


def _ece_interval(
    value: float, without_noise: float, *, samples: Float64[np.ndarray, " resample"], patients: float
) -> Interval:
    """Return the interval of a calibration error, or of a mean of several.

    The absolute value turns the noise of each bin into error. Of a perfectly calibrated model the error is
    then positive, and that of a resample, which adds noise to noise, larger still: percentiles of resamples
    lie above the truth, and where many errors are averaged, above the value itself. No estimate of an
    absolute value is unbiased. So the interval reaches up from the value, which is too high on average, and
    down from `_ece_without_noise`, which is too low, by Student's quantile times the standard deviation of
    the resamples. It holds the value, and covers the truth in 94 to 100 of 100 trials (bench/coverage.py).
    """
    reach = resampled_reach(samples, patients=patients)
    if math.isnan(reach) or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    return Interval(value, min(max(without_noise - reach, 0.0), value), min(value + reach, 1.0))


def _ece_without_noise(
    images: Float64[np.ndarray, " patient"], excess: Float64[np.ndarray, "patient bin"]
) -> float:
    """Return a calibration error whose bins have signs that do not follow their own noise.

    If one half of the patients says whether a bin is too high or too low, and the other half by how much,
    noise cancels on average, and a perfectly calibrated model has an error of 0. This is the mean over all
    ways to halve them, with the noise of the halves taken as normal. Where a sign is uncertain, the error is
    too low.
    """
    total, patients = float(np.sum(images)), int(np.count_nonzero(images))
    if patients <= 1:
        return 0.0 if patients else math.nan
    sums = np.sum(excess, axis=0)
    noise = np.sqrt(np.maximum(np.sum(excess**2, axis=0) - sums**2 / patients, 0.0))
    noise *= math.sqrt(patients / (patients - 1))
    normal, parts = NormalDist(), np.abs(sums)
    for number in np.flatnonzero(noise):
        ratio = float(sums[number] / noise[number])
        spread = 2 * float(noise[number]) * normal.pdf(ratio)
        parts[number] = sums[number] * (2 * normal.cdf(ratio) - 1) - spread
    return float(np.sum(parts)) / total


def _columns(
    target: Float64[np.ndarray, " n"], probability: Float64[np.ndarray, " n"]
) -> list[Float64[np.ndarray, " n"]]:
    """Return count, label, probability and squared difference of each image, then its excess in each bin."""
    bin_of_image = _equal_width_bins(probability, _BINS)
    excess = [(bin_of_image == number) * (probability - target) for number in range(_BINS)]
    return [np.ones_like(target), target, probability, (probability - target) ** 2, *excess]


def _mean(samples: Float64[np.ndarray, "sample k"]) -> Float64[np.ndarray, " sample"]:
    """Return the mean over the findings that have labels in each sample."""
    count = np.sum(~np.isnan(samples), axis=1)
    return np.where(count > 0, np.nansum(samples, axis=1) / np.maximum(count, 1), math.nan)
