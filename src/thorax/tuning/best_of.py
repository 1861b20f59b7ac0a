"""By how much the best of several trials flatters.

If N trials were equally good and their values differed only by chance, normally distributed with standard
deviation s, the best of them would still be expected s * e(N) above their mean, where e(N) is the expected
maximum of N standard normal variables (H. Leon Harter, "Expected values of normal order statistics",
Biometrika 48, 1961):

    e(N) = integral over z of z * N * pdf(z) * cdf(z) ** (N - 1)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev
from typing import Final

__all__ = ["BestOfMany", "best_of_many", "expected_maximum"]

FEWEST: Final = 3
"""Values below which a standard deviation is not shown."""

_REACH: Final = 12.0
"""The density is integrated from -12 to 12; beyond that range it is below 1e-31."""

_STEPS: Final = 4800
"""Intervals of the trapezoidal rule, whose error for such a smooth integrand is that of float64."""


@dataclass(frozen=True, slots=True)
class BestOfMany:
    """How far the best of N equally good trials would be from their mean: an estimate.

    Attributes:
        trials: N, the trials that competed.
        values: How many of them have a value, from which mean and sd come.
        mean: Mean of the values.
        sd: Their standard deviation.
        excess: The expected distance of the best from the mean, sd * e(N).
    """

    trials: int
    values: int
    mean: float
    sd: float
    excess: float


def best_of_many(values: Sequence[float], *, trials: int) -> BestOfMany | None:
    """Estimate by how much the best of several trials flatters; None for fewer than three values.

    The observed deviation also contains real differences between settings, so the estimate is too large where
    these are large.

    Args:
        values: The values of the trials that were trained to their end.
        trials: The number of trials that competed, with those that were pruned.
    """
    if len(values) < FEWEST:
        return None
    sd = stdev(values)
    return BestOfMany(trials, len(values), mean(values), sd, sd * expected_maximum(trials))


@cache
def expected_maximum(count: int) -> float:
    """Return the expected maximum of independent standard normal variables.

    Args:
        count: Number of variables, at least 1.
    """
    width = 2 * _REACH / _STEPS
    total = 0.0
    for step in range(_STEPS + 1):
        z = -_REACH + width * step
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        below = math.erfc(-z / math.sqrt(2)) / 2
        total += z * count * density * below ** (count - 1)
    return width * total
