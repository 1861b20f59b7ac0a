"""How far probabilities are from shares, for each finding, with intervals by patient."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from thorax.evaluation.calibration import brier_loss, expected_calibration_error
from thorax.evaluation.classification import Readings, resampled_sums
from thorax.evaluation.intervals import Interval, effective_patients, resampled_interval
from thorax.evaluation.proportions import share_interval
from thorax.evaluation.reliability import BrierParts, ReliabilityBin, brier_parts, reliability_curve
from thorax.findings import Finding

__all__ = ["CalibrationError", "FindingCalibrationError", "measure_calibration"]

_BINS: Final = 15
"""Bins of the expected calibration error (Guo et al., ICML 2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCalibrationError:
    """One finding's probabilities against its labels; NaN without a known label.

    Attributes:
        finding: The finding.
        num_known: Images labelled present or absent.
        share_positive: Share of them that has the finding.
        mean_probability: What the model says of them, averaged: calibrated on the whole where it equals the
            share.
        brier: Mean squared distance of probability and label.
        parts: What the Brier loss is made of.
        ece: Expected calibration error over 15 bins of equal width. A resample adds noise of its own, so
            that intervals of few patients lie a little high: they hold the truth in 90 to 94 of 100 trials.
        curve: Reliability curve over 10 bins of equal mass.
    """

    finding: Finding
    num_known: int
    share_positive: Interval
    mean_probability: Interval
    brier: Interval
    parts: BrierParts
    ece: Interval
    curve: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationError:
    """All findings, and their plain means, No Finding not among them.

    Attributes:
        findings: One entry per finding, in the order of the readings.
        macro_brier: Mean over the findings with a known label.
        macro_ece: The same.
        num_findings: How many these are.
    """

    findings: tuple[FindingCalibrationError, ...]
    macro_brier: Interval
    macro_ece: Interval
    num_findings: int


def measure_calibration(readings: Readings, *, resamples: int = 1000, seed: int = 0) -> CalibrationError:
    """Measure how far each finding's probabilities are from the shares of images that have it.

    Args:
        readings: Labels and probabilities; calls are not looked at.
        resamples: How many resamples of the patients, at least 1; the first of those of `evaluate`.
        seed: Which ones.
    """
    patient = readings.patient
    measured = [
        _finding(readings, k, patient=patient, resamples=resamples, seed=seed)
        for k in range(len(readings.findings))
    ]
    in_mean = [k for k, used in enumerate(readings.in_mean) if used and measured[k][0].num_known]
    brier, ece = (
        np.stack(samples, axis=1) if samples else np.full((1, 1), math.nan)
        for samples in ([measured[k][1] for k in in_mean], [measured[k][2] for k in in_mean])
    )
    return CalibrationError(
        findings=tuple(finding for finding, _, _ in measured),
        macro_brier=_mean(brier, patients=effective_patients(np.bincount(patient))),
        macro_ece=_mean(ece, patients=effective_patients(np.bincount(patient))),
        num_findings=len(in_mean),
    )


def _finding(
    readings: Readings, k: int, *, patient: Int64[np.ndarray, " n"], resamples: int, seed: int
) -> tuple[FindingCalibrationError, Float64[np.ndarray, " sample"], Float64[np.ndarray, " sample"]]:
    """Return what is measured, and Brier loss and calibration error on each resample."""
    known = readings.known[:, k]
    target, probability = readings.targets[known, k] == 1, readings.probabilities[known, k]
    columns = _columns(target.astype(np.float64), probability)
    by_patient = np.stack(
        [np.bincount(patient[known], weights=each, minlength=patient.max() + 1) for each in columns], axis=1
    )
    # An empty bincount is of whole numbers.
    sums = resampled_sums(by_patient.astype(np.float64), resamples=resamples, seed=seed)
    with np.errstate(invalid="ignore"):
        means = sums[:, 1:4] / np.where(sums[:, :1] > 0, sums[:, :1], math.nan)
        ece = np.sum(np.abs(sums[:, 4:]), axis=1) / np.where(sums[:, 0] > 0, sums[:, 0], math.nan)
    brier, patients = means[:, 2], effective_patients(np.bincount(patient[known]))

    def interval(value: float, samples: Float64[np.ndarray, " sample"]) -> Interval:
        """Return the interval of a value whose first sample is the value itself."""
        return resampled_interval(value, samples[1:], patients=patients)

    return (
        FindingCalibrationError(
            finding=readings.findings[k],
            num_known=len(target),
            share_positive=share_interval(
                by_patient[:, 1].astype(np.float64), by_patient[:, 0].astype(np.float64)
            ),
            mean_probability=interval(float(means[0, 1]), means[:, 1]),
            brier=interval(brier_loss(target, probability), brier),
            parts=brier_parts(target, probability),
            ece=interval(expected_calibration_error(target, probability, bins=_BINS), ece),
            curve=reliability_curve(target, probability, patient=patient[known], spacing="equal-mass"),
        ),
        brier,
        ece,
    )


def _columns(
    target: Float64[np.ndarray, " n"], probability: Float64[np.ndarray, " n"]
) -> list[Float64[np.ndarray, " n"]]:
    """Return count, label, probability and squared distance of each image, then its excess in each bin."""
    number = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
    excess = [(number == each) * (probability - target) for each in range(_BINS)]
    return [np.ones_like(target), target, probability, (probability - target) ** 2, *excess]


def _mean(samples: Float64[np.ndarray, "sample k"], *, patients: float) -> Interval:
    """Return the mean over findings; on a resample without a label of one, over the others."""
    count = np.sum(~np.isnan(samples), axis=1)
    means = np.where(count > 0, np.nansum(samples, axis=1) / np.maximum(count, 1), math.nan)
    return resampled_interval(float(means[0]), means[1:], patients=patients)
