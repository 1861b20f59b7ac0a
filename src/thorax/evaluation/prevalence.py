"""Prevalence: what the numbers become where a finding is more or less common than where they were measured.

Sensitivity and specificity stay (what the finding looks like is the same, only how many have it differs);
predictive values and probabilities do not. The official NIH test has 3.5 times the Pneumothorax of its
training part, so that neither part's predictive values say what a clinic would meet.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from thorax.errors import DataError
from thorax.evaluation.classification import RATES, rates_of, resampled_sums, tally
from thorax.evaluation.statistics.intervals import (
    LEVEL,
    Interval,
    effective_patients,
    resampled_interval,
    share_interval,
)

__all__ = [
    "LabelShift",
    "PredictiveValues",
    "StatedPrevalence",
    "estimate_prevalence",
    "predictive_values",
    "predictive_values_at",
]

_HALVINGS = 60
"""Halvings of [0, 1] that find a prevalence to the last bit of a float64."""


@dataclass(frozen=True, slots=True)
class StatedPrevalence:
    """How common a finding is stated to be.

    Attributes:
        value: Share of images that have it, in [0, 1].
        source: Who states it, or where it was counted, for people.
    """

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """What a call means at a stated prevalence.

    Attributes:
        prevalence: The stated one.
        ppv: Share of the called that have the finding.
        npv: Share of those not called that do not.
        undefined_resamples: Resamples without a positive or without a negative image, or without a call.
    """

    prevalence: float
    ppv: Interval
    npv: Interval
    undefined_resamples: int


@dataclass(frozen=True, slots=True)
class LabelShift:
    """How common a finding is in images whose labels were not looked at.

    Attributes:
        prevalence: Where the images are likeliest, with an interval by patient; NaN where `undefined` says
            why. The interval does not hold how uncertain the model's calibration is.
        undefined: Why there is no estimate, or "".
    """

    prevalence: Interval
    undefined: str = ""


def predictive_values(
    sensitivity: Float64[np.ndarray, " n"], specificity: Float64[np.ndarray, " n"], *, prevalence: float
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return positive and negative predictive values by Bayes' theorem; NaN where nothing is called so.

    Raises:
        DataError: The prevalence is not in [0, 1].
    """
    _check_prevalence(prevalence)
    hit, miss = prevalence * sensitivity, prevalence * (1 - sensitivity)
    alarm, clear = (1 - prevalence) * (1 - specificity), (1 - prevalence) * specificity
    return _share(hit, hit + alarm), _share(clear, clear + miss)


def predictive_values_at(
    target: Bool[np.ndarray, " n"],
    called: Bool[np.ndarray, " n"],
    *,
    patient: Int64[np.ndarray, " n"],
    prevalence: float,
    resamples: int = 1000,
    seed: int = 0,
) -> PredictiveValues:
    """Return the predictive values that these calls would have at a stated prevalence.

    Sensitivity and specificity are resampled together, by patient; the prevalence is taken as it is. Where
    one of them is exactly 0 or 1, the interval also holds the predictive values at the end of its own.

    Args:
        target: Whether each image has the finding.
        called: Whether it is called positive.
        patient: The number of each image's patient, from 0.
        prevalence: In [0, 1].
        resamples: How many resamples of the patients, at least 1.
        seed: Which ones.

    Raises:
        DataError: The prevalence is not in [0, 1].
    """
    cells = tally(target, called)
    num_patients = int(patient.max(initial=-1)) + 1
    columns = [np.bincount(patient, weights=cell, minlength=num_patients) for cell in cells.T]
    # An empty bincount is of whole numbers.
    counts = np.stack(columns, axis=1).astype(np.float64)
    rates = rates_of(resampled_sums(counts, resamples=resamples, seed=seed))
    pair = [rates[:, RATES.index(name)] for name in ("sensitivity", "specificity")]
    ppv, npv = predictive_values(pair[0], pair[1], prevalence=prevalence)
    hit, alarm, miss, clear = counts.T
    edges = _at_the_edge(share_interval(hit, hit + miss), share_interval(clear, clear + alarm), prevalence)
    patients = effective_patients(np.bincount(patient))
    return PredictiveValues(
        prevalence=prevalence,
        ppv=_hull(resampled_interval(float(ppv[0]), ppv[1:], patients=patients), edges[0]),
        npv=_hull(resampled_interval(float(npv[0]), npv[1:], patients=patients), edges[1]),
        undefined_resamples=int(np.sum(np.isnan(ppv[1:]) | np.isnan(npv[1:]))),
    )


def _at_the_edge(
    sensitivity: Interval, specificity: Interval, prevalence: float
) -> tuple[Float64[np.ndarray, " end"], Float64[np.ndarray, " end"]]:
    """Return both predictive values at the ends of a rate of exactly 0 or 1, which no resample changes."""
    pairs = [(end, specificity.value) for end in _ends_of_edge(sensitivity)] + [
        (sensitivity.value, end) for end in _ends_of_edge(specificity)
    ]
    ends = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return predictive_values(ends[:, 0], ends[:, 1], prevalence=prevalence)


def _ends_of_edge(rate: Interval) -> tuple[float, ...]:
    return (rate.low, rate.high) if rate.value in (0.0, 1.0) else ()


def _hull(interval: Interval, more: Float64[np.ndarray, " end"]) -> Interval:
    """Return the interval, made wide enough for more ends; NaN among them and in it count as none."""
    ends = [each for each in (interval.low, interval.high, *more.tolist()) if not math.isnan(each)]
    if not ends or not interval.exists:
        return interval
    return Interval(interval.value, min(*ends, interval.value), max(*ends, interval.value))


def estimate_prevalence(
    probability: Float[np.ndarray, " n"], *, trained: float, patient: Int64[np.ndarray, " n"]
) -> LabelShift:
    """Estimate how common a finding is in these images from its probabilities alone.

    The prevalence under which the images are likeliest, to which the EM of Saerens et al. (Neural Computation
    2002) climbs step by step. The log likelihood is concave, so that halving finds its maximum, always. It
    asks for probabilities that are calibrated at `trained`, and for images of the finding that look alike in
    both places (label shift); where either fails the estimate is off, and no interval says so.

    Args:
        probability: In [0, 1].
        trained: Prevalence where the probabilities are calibrated.
        patient: The number of each image's patient.
    """
    undefined = _why_undefined(probability, trained)
    if undefined:
        return LabelShift(Interval(np.nan, np.nan, np.nan), undefined)
    score = probability.astype(np.float64)
    present, absent = score / trained, (1 - score) / (1 - trained)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(_slopes(present, absent, middle)) > 0 else (low, middle)
    best = (low + high) / 2
    slopes = _slopes(present, absent, best)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * _standard_error(slopes, patient)
    return LabelShift(Interval(best, max(best - half, 0.0), min(best + half, 1.0)))


def _why_undefined(probability: Float[np.ndarray, " n"], trained: float) -> str:
    outside = int(np.sum(~((probability >= 0) & (probability <= 1))))
    if outside:
        raise DataError(
            f"{outside} of {len(probability)} probabilities are not in [0, 1]; give probabilities, not logits"
        )
    if len(probability) == 0:
        return "there are no images"
    if not 0 < trained < 1:
        return f"the prevalence in training is {trained:g}, from which no other can be told"
    if np.ptp(probability) == 0:
        return f"all {len(probability)} probabilities are equal"
    return ""


def _slopes(
    present: Float64[np.ndarray, " n"], absent: Float64[np.ndarray, " n"], prevalence: float
) -> Float64[np.ndarray, " n"]:
    """Return the derivative of each image's log likelihood by the prevalence."""
    return np.asarray((present - absent) / (prevalence * present + (1 - prevalence) * absent))


def _standard_error(slopes: Float64[np.ndarray, " n"], patient: Int64[np.ndarray, " n"]) -> float:
    """Return the sandwich estimate with the slopes of each patient's images added up first."""
    _, number = np.unique(patient, return_inverse=True)
    by_patient = np.bincount(number, weights=slopes - np.mean(slopes))
    return float(np.sqrt(np.sum(by_patient**2)) / np.sum(slopes**2))  # minus the second derivative


def _share(
    part: Float64[np.ndarray, "*any"], whole: Float64[np.ndarray, "*any"]
) -> Float64[np.ndarray, "*any"]:
    with np.errstate(invalid="ignore"):
        return np.asarray(part / np.where(whole > 0, whole, np.nan))


def _check_prevalence(prevalence: float) -> None:
    if not 0 <= prevalence <= 1:
        raise DataError(f"a prevalence of {prevalence} is none; give a share in [0, 1], such as 0.03 for 3 %")
