"""Intervals that know that images of one patient are alike: the patient is what is resampled."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int32, Int64

from thorax.evaluation.ranking import Ranked, weighted_scores
from thorax.randomness import uniform

__all__ = ["LEVEL", "Interval", "Resamples", "bootstrap", "patient_resample", "percentile_interval"]

LEVEL: Final = 0.95
"""How often an interval is meant to hold the true value."""

_BLOCK: Final = 64
"""Resamples that are scored together: wide enough for whole cache lines, 7 MB for 25,596 images."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the interval around it; NaN stands for what does not exist.

    Attributes:
        value: The number, on the data as they are.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def exists(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.value)

    @property
    def ends(self) -> str:
        """The two ends for people, "n/a" where there are none."""
        return "n/a" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.ends})" if self.exists else "n/a"


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Scores of each finding on each resample; NaN where the resample has only one class of it.

    Attributes:
        auroc: One row per resample, one column per finding.
        average_precision: The same.
    """

    auroc: Float64[np.ndarray, "resample k"]
    average_precision: Float64[np.ndarray, "resample k"]


def patient_resample(
    seed: int, resamples: Int64[np.ndarray, " resample"], *, num_patients: int
) -> Int32[np.ndarray, "patient resample"]:
    """Return how often each patient is drawn in each of the numbered resamples.

    As many patients are drawn as there are, with replacement and equal chances. Resample r is a pure
    function of the seed, r and the number of patients, so that two models on the same images meet the same
    resamples.
    """
    draws = uniform(seed, "bootstrap", epoch=0, positions=resamples, count=num_patients)
    patient = (draws * num_patients).astype(np.int64)
    cell = patient * len(resamples) + np.arange(len(resamples), dtype=np.int64)[:, None]
    counts = np.bincount(cell.ravel(), minlength=num_patients * len(resamples))
    return counts.reshape(num_patients, len(resamples)).astype(np.int32)


def bootstrap(findings: Sequence[Ranked], *, num_patients: int, resamples: int, seed: int) -> Resamples:
    """Score each finding on resamples of the patients, the same resamples for all findings.

    Args:
        findings: Ranked images whose units are patient numbers below `num_patients`.
        num_patients: How many patients there are, those without a known label of a finding among them.
        resamples: How many resamples, at least 1.
        seed: Any integer.
    """
    auroc = np.empty((resamples, len(findings)))
    average_precision = np.empty((resamples, len(findings)))
    for numbers in _blocks(resamples):
        counts = patient_resample(seed, numbers, num_patients=num_patients)
        for column, ranked in enumerate(findings):
            auroc[numbers, column], average_precision[numbers, column] = weighted_scores(ranked, counts)
    return Resamples(auroc=auroc, average_precision=average_precision)


def percentile_interval(value: float, samples: Float64[np.ndarray, " resample"]) -> Interval:
    """Return the interval between the 2.5th and the 97.5th percentile of the defined samples.

    Samples that are NaN are left out; whoever shows the interval shows how many. Without a value, or with
    no defined sample, there is no interval. With few patients it is somewhat too narrow, as every plain
    bootstrap is. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    defined = samples[~np.isnan(samples)]
    if math.isnan(value) or len(defined) == 0:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _blocks(resamples: int) -> Iterator[Int64[np.ndarray, " resample"]]:
    for first in range(0, resamples, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, resamples), dtype=np.int64)
