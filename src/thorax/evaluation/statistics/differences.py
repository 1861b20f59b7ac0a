"""The difference of two AUCs of the same patients: its interval, and the p value that inverts the interval.

Two intervals are computed from DeLong's covariance with patients as the unit, both with Student's quantile:

* on the difference's own scale, symmetric. For two models of equal worth it excludes 0 in at most 5 of 100
  trials, also where patients are few. Where one AUC is near 1 it lies too near 0, and misses the true
  difference in 10 of 100;
* from the logits of both AUCs, which follow a bivariate t distribution, carried over to the difference. It
  holds a true difference near 1, but excludes 0 between equal models in up to 9 of 100 trials.

What is shown reaches from the lower of the two low ends to the higher of the two high ends, and p is the
larger of the two p values: the smallest level at which this interval excludes 0. So p < .05 exactly where the
95 % interval excludes 0 (`bench/false_alarms.py` counts both).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64

from thorax.evaluation.statistics.intervals import LEVEL, Interval, student_quantile

__all__ = ["AucDifference", "auc_difference"]

_NODES: Final = np.linspace(-8, 8, 201)
"""Standard normal quantiles over which the distribution of the first AUC is integrated."""

_WEIGHTS: Final = np.exp(-(_NODES**2) / 2) / np.sum(np.exp(-(_NODES**2) / 2))
"""The share of each node in the integral."""

_BISECTIONS: Final = 45
"""Halvings of [-1, 1] in search of an end: to 6e-14."""

_ROUNDING: Final = 1e-12
"""Smaller than any nonzero difference of AUCs of up to 500,000 positives and negatives: 1 / (2 P N)."""


@dataclass(frozen=True, slots=True)
class AucDifference:
    """The second AUC less the first.

    Attributes:
        interval: The difference; the ends are NaN where no variance can be estimated.
        p: Two-sided p value of no difference, below 0.05 exactly where the interval excludes 0; NaN where
            there is no interval.
    """

    interval: Interval
    p: float


def auc_difference(
    auc: Float64[np.ndarray, "2"],
    covariance: Float64[np.ndarray, "2 2"],
    *,
    degrees: float,
    smallest_loss: float = 0.0,
) -> AucDifference:
    """Return the difference of two AUCs, or of two means of AUCs, with its interval and p value.

    There is no interval without a variance, without degrees of freedom, or where both AUCs are exactly 0 or
    1. Two rankings that agree on all pairs differ by exactly 0, with p = 1. An interval ends at -1 and 1.

    Args:
        auc: The first and the second, in [0, 1]; NaN where one does not exist.
        covariance: Their sampling covariance.
        degrees: Degrees of freedom of Student's distribution: effective patients less 1.
        smallest_loss: What one lost pair of a positive and a negative costs: 1 / (P N). An AUC of exactly 0
            or 1, whose estimated variance is 0, counts as if one pair were lost.
    """
    value = float(auc[1] - auc[0])
    spread = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    undefined = AucDifference(Interval(value, math.nan, math.nan), math.nan)
    if math.isnan(value) or math.isnan(spread) or not degrees > 0 or np.isin(auc, (0.0, 1.0)).all():
        return undefined
    if spread <= 0 or math.sqrt(spread) < _ROUNDING:
        return AucDifference(Interval(0.0, 0.0, 0.0), 1.0) if abs(value) < _ROUNDING else undefined
    ends = [_on_own_scale(value, math.sqrt(spread), degrees)]
    aucs, variances = _without_perfection(auc, covariance, smallest_loss)
    if np.all((aucs > 0) & (aucs < 1)) and np.all(np.diag(variances) > 0):
        ends.append(_from_logits(aucs, variances, degrees))
    lows, highs, p_values = zip(*ends, strict=True)
    return AucDifference(Interval(value, max(min(lows), -1.0), min(max(highs), 1.0)), max(p_values))


def _on_own_scale(value: float, error: float, degrees: float) -> tuple[float, float, float]:
    """Return both ends and the p value, symmetric around the value."""
    reach = student_quantile((1 + LEVEL) / 2, degrees) * error
    return value - reach, value + reach, 2 * float(_student_share(degrees, -abs(value) / error))


def _without_perfection(
    auc: Float64[np.ndarray, "2"], covariance: Float64[np.ndarray, "2 2"], smallest_loss: float
) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, "2 2"]]:
    """Return AUCs of 0 and 1 as if one pair were lost or won, with DeLong's variance of one such pair."""
    perfect = (auc == 0) | (auc == 1)
    variance = covariance + np.diag(np.where(perfect, 2 * smallest_loss**2, 0.0))
    return np.clip(auc, smallest_loss, 1 - smallest_loss), variance


def _from_logits(
    auc: Float64[np.ndarray, "2"], covariance: Float64[np.ndarray, "2 2"], degrees: float
) -> tuple[float, float, float]:
    """Return both ends and the p value of a difference whose logits follow a bivariate t distribution.

    Given the logit of the first AUC, the second's follows a t distribution with one more degree of freedom,
    so that the distribution of the difference is one integral over the first.
    """
    slope = auc * (1 - auc)
    center, scale = np.log(auc / (1 - auc)), covariance / np.outer(slope, slope)
    own, shared = math.sqrt(scale[0, 0]), scale[0, 1] / scale[0, 0]
    rest = max(scale[1, 1] - shared * scale[0, 1], 1e-12 * scale[1, 1])
    deviation = own * _student_quantiles(degrees)
    expected = center[1] + shared * deviation
    error = np.sqrt(rest * (degrees + (deviation / own) ** 2) / (degrees + 1))
    first, lost = _logistic(center[0] + deviation), _logistic(-center[0] - deviation)

    def share_below(difference: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, " d"]:
        won = np.clip(first + difference[:, None], 0.0, None)
        left = np.clip(lost - difference[:, None], 0.0, None)
        with np.errstate(divide="ignore"):
            logit = np.log(won) - np.log(left)
        shares: Float64[np.ndarray, " d"] = _student_share(degrees + 1, (logit - expected) / error) @ _WEIGHTS
        return shares

    low, high = np.full(2, -1.0), np.full(2, 1.0)
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = share_below(middle) < tails
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    none = float(share_below(np.zeros(1))[0])
    return float(low[0]), float(high[1]), 2 * min(none, 1 - none)


def _student_share(degrees: float, t: Float64[np.ndarray, "*n"] | float) -> Float64[np.ndarray, "*n"]:
    """Return the share of Student's t distribution below t."""
    from scipy.special import stdtr  # noqa: PLC0415  (0.15 s, only where intervals are computed)

    share: Float64[np.ndarray, "*n"] = np.asarray(stdtr(degrees, t))
    return share


def _student_quantiles(degrees: float) -> Float64[np.ndarray, " node"]:
    """Return the quantiles of Student's t distribution that correspond to `_NODES`."""
    from scipy.special import ndtr, stdtrit  # noqa: PLC0415  (as above)

    upper = np.abs(stdtrit(degrees, ndtr(-np.abs(_NODES))))
    quantiles: Float64[np.ndarray, " node"] = np.clip(np.copysign(upper, _NODES), -1e6, 1e6)
    return quantiles


def _logistic(x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))
