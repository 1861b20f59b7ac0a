"""Decision curves: whether acting on a model's decisions is better than acting on all images, or on none.

Each threshold has a cost ratio: whoever acts on a probability of .2 and not on less accepts 4 false positives
for each true positive. At that rate the net benefit is the share of images that are true
positives, less the share that are false positives divided by 4 (Vickers and Elkin, Medical Decision Making
2006). Acting on every image has a net benefit, too, and acting on none has 0.

Each net benefit is a difference of two shares of images, and so is the gain over acting on all: true
negatives that are spared, less false negatives. Its interval combines the intervals by patient of both shares
and their correlation (Zou and Donner, Statistics in Medicine 2008), so that it is also valid where few images
are positive, or none. It holds at the prevalence of these images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.errors import DataError
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.statistics.intervals import Interval, share_interval
from thorax.findings import Finding

__all__ = ["THRESHOLDS", "DecisionCurve", "NetBenefit", "cost_ratio", "decision_curves"]

THRESHOLDS: Final = (
    *(0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8),
)
"""Thresholds of the curves of a report: 499 false positives for a true positive, to one for four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetBenefit:
    """The net benefit of deciding at one threshold, in true positives per image.

    Attributes:
        threshold: At and above it a probability is a positive decision.
        model: Net benefit of the model's decisions.
        treat_all: Net benefit of deciding positive for every image. That of never doing so is 0.
        over_all: `model` less `treat_all`, with the paired interval.
    """

    threshold: float
    model: Interval
    treat_all: Interval
    over_all: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCurve:
    """The net benefit of one finding, over the images whose label is known.

    Attributes:
        finding: The finding.
        num_known: Images labeled present or absent.
        num_positive: Images labeled present.
        points: One per threshold, in rising order; empty without a known label.
    """

    finding: Finding
    num_known: int
    num_positive: int
    points: tuple[NetBenefit, ...]

    @property
    def useful(self) -> tuple[tuple[float, float], ...]:
        """Ranges of thresholds at which the intervals of both gains, over all and over none, exclude 0."""
        ranges: list[tuple[float, float]] = []
        before = False
        for point in self.points:
            useful = point.model.low > 0 and point.over_all.low > 0
            if useful:
                first = ranges.pop()[0] if before else point.threshold
                ranges.append((first, point.threshold))
            before = useful
        return tuple(ranges)


def cost_ratio(threshold: float) -> float:
    """Return how many false positives count as much as one true positive at this threshold.

    Args:
        threshold: In (0, 1): 4 for .2, 1 for .5. NaN for other thresholds, at which no finite ratio exists.
    """
    return (1 - threshold) / threshold if 0 < threshold < 1 else math.nan


def decision_curves(
    predictions: LabeledPredictions, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[DecisionCurve, ...]:
    """Measure the net benefit of each finding at several thresholds.

    Probabilities are taken as they are. Where they are not calibrated, a threshold on them is not the risk at
    which one acts: the curve then has the net benefit of deciding by them as they are.

    Args:
        predictions: The probabilities with their labels; decisions are made here.
        thresholds: In (0, 1) and rising.

    Raises:
        DataError: There is no threshold, or they are not in (0, 1) and rising.
    """
    rising = all(first < second for first, second in pairwise(thresholds))
    if not thresholds or not rising or not all(0 < threshold < 1 for threshold in thresholds):
        raise DataError(
            f"thresholds {', '.join(f'{threshold:g}' for threshold in thresholds) or '(none)'} of a decision "
            "curve must lie between 0 and 1 and rise; at 0 and 1 no finite number of false positives is "
            "worth a true positive"
        )
    known, patient = predictions.known, predictions.patient_numbers
    return tuple(
        _curve(
            finding,
            predictions.targets[rows, k] == 1,
            predictions.probabilities[rows, k],
            patient[rows],
            np.asarray(thresholds, np.float64),
        )
        for k, (finding, rows) in enumerate(zip(predictions.findings, known.T, strict=True))
    )


def _curve(
    finding: Finding,
    target: Bool[np.ndarray, " n"],
    probability: Float64[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
    thresholds: Float64[np.ndarray, " t"],
) -> DecisionCurve:
    num_known, num_positive = len(target), int(np.sum(target))
    if num_known == 0:
        return DecisionCurve(finding=finding, num_known=0, num_positive=0, points=())
    patient = np.unique(patient, return_inverse=True)[1]
    images = np.bincount(patient).astype(np.float64)
    positives = _called(probability[target], patient[target], thresholds, len(images))
    negatives = _called(probability[~target], patient[~target], thresholds, len(images))
    ill = np.bincount(patient[target], minlength=len(images)).astype(np.float64)
    prevalence = share_interval(ill, images)
    ends = prevalence.value, prevalence.low, prevalence.high
    return DecisionCurve(
        finding=finding,
        num_known=num_known,
        num_positive=num_positive,
        points=tuple(
            NetBenefit(
                threshold=float(threshold),
                model=_less(hit, alarm, images, price=cost, worth=1.0),
                treat_all=Interval(*((1 + cost) * end - cost for end in ends)),
                over_all=_less(images - ill - alarm, ill - hit, images, price=1.0, worth=cost),
            )
            for threshold, cost, hit, alarm in zip(
                thresholds, thresholds / (1 - thresholds), positives, negatives, strict=True
            )
        ),
    )


def _called(
    probability: Float64[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
    thresholds: Float64[np.ndarray, " t"],
    num_patients: int,
) -> Float64[np.ndarray, "t patient"]:
    """Return how many images of each patient have a probability at or above each threshold."""
    reached = np.searchsorted(thresholds, probability, side="right")  # how many thresholds it reaches
    size = (len(thresholds) + 1) * num_patients
    counts = np.bincount(reached * num_patients + patient, minlength=size).reshape(-1, num_patients)
    return np.cumsum(counts[::-1], axis=0)[-2::-1].astype(np.float64)


def _less(
    gained: Float64[np.ndarray, " patient"],
    lost: Float64[np.ndarray, " patient"],
    images: Float64[np.ndarray, " patient"],
    *,
    price: float,
    worth: float,
) -> Interval:
    """Return `worth` times the share of gained images, less `price` times that of lost ones."""
    gain, loss = share_interval(gained, images), share_interval(lost, images)
    value = worth * gain.value - price * loss.value
    deviations = gained - gain.value * images, lost - loss.value * images
    own, other = (float(deviation @ deviation) for deviation in deviations)
    shared = float(deviations[0] @ deviations[1])
    correlation = shared / math.sqrt(own * other) if own > 0 and other > 0 else 0.0
    down = worth * (gain.value - gain.low), price * (loss.high - loss.value)
    up = worth * (gain.high - gain.value), price * (loss.value - loss.low)
    low, high = (
        math.sqrt(max(first**2 + second**2 - 2 * correlation * first * second, 0.0))
        for first, second in (down, up)
    )
    return Interval(value, value - low, value + high)
