"""Sensitivity and specificity of thresholds on validation images, as a bundle keeps them."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int64

from thorax.arrays import Probabilities
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.statistics.intervals import share_interval
from thorax.image_set import ImageSet
from thorax.rates import FindingRates, MeasuredRates, Share

__all__ = ["measure_rates"]


def measure_rates(
    cohort: LabeledImages,
    probabilities: Probabilities,
    thresholds: Mapping[str, float | None],
    *,
    measured_on: ImageSet,
) -> MeasuredRates:
    """Measure how often thresholds are right, with the intervals that `evaluate` reports.

    Args:
        cohort: The images with their labels; only 1 and 0 count.
        probabilities: In [0, 1]; one column per finding of the cohort.
        thresholds: By name of a finding.
        measured_on: Describes the images.
    """
    patient = np.unique(np.asarray(cohort.patients), return_inverse=True)[1]
    rates = {}
    for finding, target, probability in zip(cohort.findings, cohort.targets.T, probabilities.T, strict=True):
        threshold = thresholds.get(finding.name)
        if threshold is None:
            rates[finding.name] = FindingRates(sensitivity=None, specificity=None)
            continue
        called = probability >= threshold
        rates[finding.name] = FindingRates(
            sensitivity=_share(called, target == 1, patient),
            specificity=_share(~called, target == 0, patient),
        )
    return MeasuredRates(findings=rates, measured_on=measured_on)


def _share(
    matching: Bool[np.ndarray, " n"], among: Bool[np.ndarray, " n"], patient: Int64[np.ndarray, " n"]
) -> Share | None:
    """Return how many of some images match; None without such an image."""
    if not np.any(among):
        return None
    images = np.bincount(patient, weights=among)
    matched = np.bincount(patient, weights=among & matching)
    interval = share_interval(matched, images)
    return Share(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        matching=int(np.sum(matched)),
        images=int(np.sum(images)),
        patients=int(np.count_nonzero(images)),
    )
