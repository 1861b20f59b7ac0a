"""Whether counts differ from those of validation: population stability, and shares of images."""

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64
from scipy.special import betainc, betaincinv, betaln, chdtrc, chndtr

from thorax.distributions import CountedShare, Histogram
from thorax.evaluation.statistics.intervals import LEVEL, Interval

__all__ = [
    "beta_binomial",
    "expected_share",
    "share_interval_of",
    "share_p_value",
    "stability",
    "stability_p_value",
]

_TAIL: Final = (1 - LEVEL) / 2
_HALF: Final = 0.5
"""Added to each count, so that an empty bin does not make the change infinite."""
_HALVINGS: Final = 60


# ---- population stability ----------------------------------------------------------------------------


def stability(reference: Histogram, counts: Sequence[int]) -> Interval:
    """Return the population stability index between validation and other images, with its interval.

    The index is the sum over the bins of (a - b) ln(a / b), a and b the shares of the bin. What chance alone
    adds to it, (bins - 1) (1 / n + 1 / m), is taken off, and the interval is that of noncentral chi squared,
    whose center it is (Yurdakul and Naranjo, Journal of Risk Model Validation 2020). By custom, an index of
    .1 is a small change, and one of .25 a large one.

    Args:
        reference: Validation images.
        counts: Other images in the same bins, at least one.
    """
    index, size, freedom = _index(reference, counts)
    scaled = index * size

    # Of samples that happen to agree better than usual, the upper end is that of a usual agreement.
    most = max(scaled, float(freedom))
    low = _root(lambda center: float(chndtr(scaled, freedom, center)) - (1 - _TAIL), scaled)
    high = _root(lambda center: float(chndtr(most, freedom, center)) - _TAIL, most)
    value = max(0.0, scaled - freedom)
    return Interval(min(max(value, low), high) / size, low / size, high / size)


def stability_p_value(reference: Histogram, counts: Sequence[int]) -> float:
    """Return the probability of at least this index if nothing has changed; arguments as of `stability`."""
    index, size, freedom = _index(reference, counts)
    return float(chdtrc(freedom, index * size))


def _index(reference: Histogram, counts: Sequence[int]) -> tuple[float, float, int]:
    """Return the index, the factor that makes it chi squared, and the degrees of freedom of that."""
    effect, bins = reference.design_effect, len(reference.counts)
    before = np.array(reference.counts) / effect
    after = np.asarray(counts) / effect
    first, second = ((each + _HALF) / (each.sum() + _HALF * bins) for each in (before, after))
    index = float(np.sum((first - second) * np.log(first / second)))
    return index, float(1 / (1 / before.sum() + 1 / after.sum())), bins - 1


def _root(falling: Callable[[float], float], start: float) -> float:
    """Return where a falling function of a number from 0 on is 0; 0 if it is below 0 everywhere."""
    if falling(0.0) <= 0:
        return 0.0
    low, high = 0.0, max(1.0, start)
    while falling(high) > 0:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high


# ---- shares ------------------------------------------------------------------------------------------


def share_p_value(
    reference: CountedShare, count: int, images: int, *, kind: Literal["predictive", "design"]
) -> float:
    """Return the probability of a share at least as far from validation's if nothing has changed.

    Args:
        reference: The share on validation.
        count: Other images of which it is true.
        images: All of these images, at least one.
        kind: "predictive": on either side, with the uncertainty of validation's share (beta-binomial, with
            Jeffreys' prior). "design": above it alone, at `expected_share` as if that were known: for shares
            that are set when a gate is fitted, of which a small validation part says little more.
    """
    effect = reference.design_effect
    trials = max(1, round(images / effect))
    successes = min(trials, round(count / effect))
    if kind == "design":
        return _binomial_above(successes, trials, expected_share(reference))
    before, of = reference.count / effect, reference.of / effect
    chances = beta_binomial(trials, before + _HALF, of - before + _HALF)
    below, above = float(chances[: successes + 1].sum()), float(chances[successes:].sum())
    return min(1.0, 2 * min(below, above))


def expected_share(reference: CountedShare) -> float:
    """Return the share to expect of other images like those of validation, by the rule of succession."""
    return (reference.count + 1) / (reference.of + 2)


def share_interval_of(count: int, images: int, *, design_effect: float) -> Interval:
    """Return a share of images with its 95 % interval (Clopper and Pearson 1934, of effective images)."""
    trials = images / design_effect
    matching = min(trials, count / design_effect)
    low = float(betaincinv(matching, trials - matching + 1, _TAIL)) if count else 0.0
    high = float(betaincinv(matching + 1, trials - matching, 1 - _TAIL)) if count < images else 1.0
    return Interval(count / images, low, high)


def _binomial_above(successes: int, trials: int, chance: float) -> float:
    """Return the probability of at least so many successes."""
    return float(betainc(successes, trials - successes + 1, chance)) if successes else 1.0


def beta_binomial(trials: int, first: float, second: float) -> Float64[np.ndarray, " count"]:
    """Return the probability of each number of successes where their chance has a beta distribution."""
    counts = np.arange(trials + 1)
    ways = -np.log(trials + 1) - betaln(trials - counts + 1, counts + 1)
    chances = np.exp(ways + betaln(counts + first, trials - counts + second) - betaln(first, second))
    return np.asarray(chances / math.fsum(chances))
