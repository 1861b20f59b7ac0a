"""Reliability: whether, of the images given 30 %, 30 % have the finding; and what a Brier loss is made of."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from thorax.evaluation.calibration import brier_loss
from thorax.evaluation.intervals import Interval
from thorax.evaluation.proportions import share_interval

__all__ = [
    "BrierParts",
    "ReliabilityBin",
    "Spacing",
    "brier_parts",
    "reliability_curve",
]

Spacing = Literal["equal-width", "equal-mass"]
"""How bins of a reliability curve are laid: over [0, 1], or with as many images each as ties allow."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images of similar probability, and how many of them have the finding.

    Attributes:
        low: Lowest probability of the bin; in bins of equal mass, that of its first image.
        high: Upper end, which belongs to the next bin, except in the last.
        num_images: Images in it.
        num_patients: Their patients.
        mean_probability: Of these images.
        share_positive: Share that has the finding, with its `share_interval`.
    """

    low: float
    high: float
    num_images: int
    num_patients: int
    mean_probability: float
    share_positive: Interval


@dataclass(frozen=True, slots=True)
class BrierParts:
    """What a Brier loss is made of: loss = reliability_loss - resolution + uncertainty + within_bins.

    Attributes:
        loss: The Brier loss.
        reliability_loss: Squared distance of probability and share of positives, averaged over bins.
        resolution: Squared distance of each bin's share of positives from that of all; larger is better.
        uncertainty: Loss of giving every image the share of positives of all; no model changes it.
        within_bins: What bins hide (Stephenson, Coelho and Jolliffe, Weather and Forecasting 2008).
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
    """Return the share of positives where the probability is low, higher, ..., with intervals by patient.

    Args:
        target: Whether each image has the finding.
        probability: In [0, 1].
        patient: The number of each image's patient.
        bins: At most how many. Bins without an image are left out.
        spacing: How they are laid. Images of equal probability are always in one bin.
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


def brier_parts(
    target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"], *, bins: int = 15
) -> BrierParts:
    """Split the Brier loss over bins of equal width (Murphy 1973); all NaN if there is no image."""
    if len(target) == 0:
        return BrierParts(*([math.nan] * 6))
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
    return BrierParts(
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
