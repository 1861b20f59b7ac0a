"""Intervals of average precisions and of their means, computed without resampling, with patients as the unit.

How much an image adds to the error of an average precision is its derivative with respect to the weight of
the image (the infinitesimal jackknife: Efron, SIAM 1982). Summed over the images of each patient, squared and
added up, it is a variance that includes the chance number of positives, on which an average precision
depends. The interval is symmetric on the scale of the logit, with Student's quantile. As in `auc_intervals`,
part of a pair counts as lost, the pair of the last positive and one negative above it; and no ranking has a
higher lower end than a perfect one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from thorax.evaluation.statistics.auc_intervals import mean_degrees
from thorax.evaluation.statistics.intervals import LEVEL, Interval, ranked_patients, student_quantile
from thorax.evaluation.statistics.presorted import Ranked

__all__ = [
    "MeasuredPrecisions",
    "mean_precision_interval",
    "measure_precisions",
    "precision_intervals",
]

_LOST_PAIR: Final = 0.75
"""How much of a pair counts as lost, as for an AUC."""

_LOST_PAIR_SPREAD: Final = 0.8
"""How much of a pair is lost in the variance that is added, which is 0 for a perfect ranking."""

_MORE_DEGREES: Final = 1.0
"""Degrees of freedom beyond the effective patients of the rarer class, as for an AUC."""

_FEWEST_PATIENTS: Final = 2.0
"""Effective patients of the rarer class below which there is no interval."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPrecisions:
    """Average precisions of the same units, and what their intervals depend on.

    Attributes:
        value: NaN where a class is absent.
        influence: How much the images of each unit add to the error; 0 in sum over the units.
        one_pair: What a perfect ranking loses if its last positive falls behind one negative.
        patients: The `ranked_patients`.
    """

    value: Float64[np.ndarray, " k"]
    influence: Float64[np.ndarray, "k unit"]
    one_pair: Float64[np.ndarray, " k"]
    patients: Float64[np.ndarray, " k"]


def measure_precisions(ranked: Sequence[Ranked], *, num_units: int) -> MeasuredPrecisions:
    """Return the average precision of each ranking, and what its interval depends on.

    Args:
        ranked: Ranked images whose units are below `num_units`.
        num_units: The number of units (patients or images), shared by all rankings.
    """
    measured = [_influence(ranking, num_units) for ranking in ranked]
    positives = np.array([len(ranking.positives) for ranking in ranked], np.float64)
    return MeasuredPrecisions(
        value=np.array([value for value, _ in measured], np.float64),
        influence=np.array([influence for _, influence in measured]).reshape(-1, num_units),
        one_pair=1 / np.maximum(positives * (positives + 1), 1),
        patients=np.array([ranked_patients(ranking) for ranking in ranked], np.float64),
    )


def precision_intervals(measured: MeasuredPrecisions) -> list[Interval]:
    """Return the interval of each average precision; no ends with fewer than 2 effective patients."""
    return [
        mean_precision_interval(measured, np.arange(len(measured.value)) == k)
        for k in range(len(measured.value))
    ]


def mean_precision_interval(measured: MeasuredPrecisions, used: Bool[np.ndarray, " k"]) -> Interval:
    """Return the unweighted mean of some average precisions with its interval.

    A finding that only one patient has is taken to vary as if two had it. The degrees of freedom are those of
    `mean_degrees`.

    Args:
        measured: The average precisions.
        used: Which of them are averaged; those that do not exist are left out.

    Returns:
        NaN without an average precision; no ends where none of them has an interval of its own.
    """
    chosen = np.flatnonzero(used & ~np.isnan(measured.value))
    if len(chosen) == 0:
        return Interval(math.nan, math.nan, math.nan)
    value, patients = float(np.mean(measured.value[chosen])), measured.patients[chosen]
    if np.max(patients) < _FEWEST_PATIENTS:
        return Interval(value, math.nan, math.nan)
    several = np.maximum(patients, _FEWEST_PATIENTS)
    influence = measured.influence[chosen] * np.sqrt(several / (several - 1))[:, None]
    added = 2 * (_LOST_PAIR_SPREAD * measured.one_pair[chosen]) ** 2
    variance = float(np.sum(np.mean(influence, axis=0) ** 2) + np.sum(added) / len(chosen) ** 2)
    degrees = mean_degrees(np.sum(influence**2, axis=1) + added, patients + _MORE_DEGREES, variance=variance)
    quantile = student_quantile((1 + LEVEL) / 2, degrees)
    perfect = 1 - _LOST_PAIR * measured.one_pair[chosen]
    low, high = _logit_ends(float(np.mean(measured.value[chosen] * perfect)), quantile * math.sqrt(variance))
    error = quantile * math.sqrt(np.sum(added)) / len(chosen)
    low_of_perfect, _ = _logit_ends(float(np.mean(perfect)), error)
    return Interval(value, min(low, low_of_perfect, value), max(high, value) if value < 1 else 1.0)


def _influence(ranked: Ranked, num_units: int) -> tuple[float, Float64[np.ndarray, " unit"]]:
    """Return an average precision, and its derivative with respect to the weight of each unit."""
    influence = np.zeros(num_units)
    num_positives = len(ranked.positives)
    if num_positives == 0 or len(ranked.negatives) == 0:
        return math.nan, influence
    size = np.diff(ranked.group_starts, append=num_positives)
    above = ranked.negatives_at_or_above.astype(np.float64)
    positives = np.cumsum(size).astype(np.float64)
    precision = positives / (positives + above)
    value = float(size @ precision) / num_positives
    # One more positive raises the precision at it and below; one more negative lowers it there.
    raised, lowered = (
        np.cumsum((size * count / (positives + above) ** 2)[::-1])[::-1] for count in (above, positives)
    )
    gain = (precision + raised - value) / num_positives
    first_below = np.searchsorted(
        ranked.negatives_at_or_above, np.arange(len(ranked.negatives)), side="right"
    )
    loss = np.append(lowered, 0.0)[first_below] / num_positives
    influence += np.bincount(ranked.positives, np.repeat(gain, size), num_units)
    influence -= np.bincount(ranked.negatives, loss, num_units)
    return value, influence


def _logit_ends(center: float, reach: float) -> tuple[float, float]:
    """Return the ends of an interval that is symmetric on the scale of the logit."""
    logit, scale = math.log(center / (1 - center)), reach / (center * (1 - center))
    low, high = (0.5 * (1 + math.tanh(end / 2)) for end in (logit - scale, logit + scale))
    return low, high
