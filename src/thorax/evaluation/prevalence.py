"""Predictive values at another prevalence, and estimates of prevalence from probabilities.

Sensitivity and specificity do not depend on prevalence if the finding looks the same in both populations;
predictive values and probabilities do. Pneumothorax is 3.5 times as common in NIH's official test part as in
its training part, so that the predictive values of neither part apply to a clinic.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from thorax.errors import DataError
from thorax.evaluation.classification import RATES, confusion_cells, rates_of, resampled_sums
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
"""Bisections of [0, 1] that find a prevalence to the last bit of a float64."""


@dataclass(frozen=True, slots=True)
class StatedPrevalence:
    """A stated prevalence and its source.

    Attributes:
        value: Share of images that have the finding, in [0, 1].
        source: Origin of the statement or of the count, as text.
    """

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """Predictive values at a stated prevalence.

    Attributes:
        prevalence: The stated prevalence.
        ppv: Share of images with the finding among those with a positive decision.
        npv: Share of images without it among those with a negative decision.
        undefined_resamples: Resamples in which PPV or NPV is undefined: without an image of one class, or
            without a decision of one kind.
    """

    prevalence: float
    ppv: Interval
    npv: Interval
    undefined_resamples: int


@dataclass(frozen=True, slots=True)
class LabelShift:
    """Prevalence of a finding, estimated without labels.

    Attributes:
        prevalence: The maximum likelihood estimate, with an interval by patient; NaN where `undefined` gives
            a reason. The interval does not include the uncertainty of the model's calibration.
        undefined: Why there is no estimate, or "".
    """

    prevalence: Interval
    undefined: str = ""


def predictive_values(
    sensitivity: Float64[np.ndarray, " n"], specificity: Float64[np.ndarray, " n"], *, prevalence: float
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return positive and negative predictive values by Bayes' theorem; NaN where there is no such decision.

    Raises:
        DataError: The prevalence is not in [0, 1].
    """
    _check_prevalence(prevalence)
    tp, fn = prevalence * sensitivity, prevalence * (1 - sensitivity)
    fp, tn = (1 - prevalence) * (1 - specificity), (1 - prevalence) * specificity
    return _share(tp, tp + fp), _share(tn, tn + fn)


def predictive_values_at(
    target: Bool[np.ndarray, " n"],
    predicted_positive: Bool[np.ndarray, " n"],
    *,
    patient: Int64[np.ndarray, " n"],
    prevalence: float,
    resamples: int = 1000,
    seed: int = 0,
) -> PredictiveValues:
    """Return the predictive values that these decisions would have at a stated prevalence.

    Sensitivity and specificity are resampled together, by patient; the prevalence is taken as exact. Where
    one of them is exactly 0 or 1, the interval also covers the predictive values at the ends of its interval.

    Args:
        target: Whether each image has the finding.
        predicted_positive: Whether its decision is positive.
        patient: The number of each image's patient, from 0.
        prevalence: In [0, 1].
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.

    Raises:
        DataError: The prevalence is not in [0, 1].
    """
    cells = confusion_cells(target, predicted_positive)
    num_patients = int(patient.max(initial=-1)) + 1
    columns = [np.bincount(patient, weights=cell, minlength=num_patients) for cell in cells.T]
    # An empty bincount has an integer type.
    counts = np.stack(columns, axis=1).astype(np.float64)
    rates = rates_of(resampled_sums(counts, resamples=resamples, seed=seed))
    pair = [rates[:, RATES.index(name)] for name in ("sensitivity", "specificity")]
    ppv, npv = predictive_values(pair[0], pair[1], prevalence=prevalence)
    tp, fp, fn, tn = counts.T
    edges = _at_the_edge(share_interval(tp, tp + fn), share_interval(tn, tn + fp), prevalence)
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
    """Return the interval, widened to include more ends; NaN ends are ignored."""
    ends = [end for end in (interval.low, interval.high, *more.tolist()) if not math.isnan(end)]
    if not ends or not interval.exists:
        return interval
    return Interval(interval.value, min(*ends, interval.value), max(*ends, interval.value))


def estimate_prevalence(
    probability: Float[np.ndarray, " n"], *, trained: float, patient: Int64[np.ndarray, " n"]
) -> LabelShift:
    """Estimate the prevalence of a finding in these images from its probabilities alone.

    This is the maximum likelihood estimate, to which the EM algorithm of Saerens et al. (Neural Computation
    2002) converges. The log likelihood is concave, so that bisection always finds its maximum. The estimate
    assumes probabilities that are calibrated at `trained`, and a finding that looks the same in both
    populations (label shift); where either fails it is wrong, and the interval does not show that.

    Args:
        probability: In [0, 1].
        trained: The prevalence at which the probabilities are calibrated.
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
    half_width = NormalDist().inv_cdf((1 + LEVEL) / 2) * _standard_error(slopes, patient)
    return LabelShift(Interval(best, max(best - half_width, 0.0), min(best + half_width, 1.0)))


def _why_undefined(probability: Float[np.ndarray, " n"], trained: float) -> str:
    outside = int(np.sum(~((probability >= 0) & (probability <= 1))))
    if outside:
        raise DataError(
            f"{outside} of {len(probability)} probabilities are not in [0, 1]; give probabilities, not logits"
        )
    if len(probability) == 0:
        return "there are no images"
    if not 0 < trained < 1:
        return f"the prevalence in training is {trained:g}, from which no other can be estimated"
    if np.ptp(probability) == 0:
        return f"all {len(probability)} probabilities are equal"
    return ""


def _slopes(
    present: Float64[np.ndarray, " n"], absent: Float64[np.ndarray, " n"], prevalence: float
) -> Float64[np.ndarray, " n"]:
    """Return the derivative of each image's log likelihood with respect to the prevalence."""
    return np.asarray((present - absent) / (prevalence * present + (1 - prevalence) * absent))


def _standard_error(slopes: Float64[np.ndarray, " n"], patient: Int64[np.ndarray, " n"]) -> float:
    """Return the sandwich estimate, with slopes summed within each patient first."""
    _, number = np.unique(patient, return_inverse=True)
    by_patient = np.bincount(number, weights=slopes - np.mean(slopes))
    return float(np.sqrt(np.sum(by_patient**2)) / np.sum(slopes**2))  # minus the second derivative


def _share(
    numerator: Float64[np.ndarray, "*any"], denominator: Float64[np.ndarray, "*any"]
) -> Float64[np.ndarray, "*any"]:
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / np.where(denominator > 0, denominator, np.nan))


def _check_prevalence(prevalence: float) -> None:
    if not 0 <= prevalence <= 1:
        raise DataError(
            f"a prevalence of {prevalence} is not a share; give a share in [0, 1], such as 0.03 for 3 %"
        )
