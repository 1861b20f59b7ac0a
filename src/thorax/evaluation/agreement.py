"""Agreement of two raters beyond chance: kappa, with an interval that also holds for few images.

Kappa is the intraclass kappa of two raters with a common rate of "present" (Scott 1955; Bloch and Kraemer,
Biometrics 1989). Its interval inverts a goodness-of-fit test (Donner and Eliasziw, Statistics in Medicine
1992), so that it exists at complete agreement and does not leave [-1, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool

from thorax.evaluation.statistics.intervals import Interval

__all__ = ["Agreement", "agreement"]

_CRITICAL: Final = 3.841458820694124
"""Quantile of chi squared with one degree of freedom at .95."""

_HALVINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two raters agree on the images that both rated.

    Attributes:
        images: Number of these images.
        agreed: On how many of them they agree.
        kappa: Agreement beyond chance, with its 95 % interval; NaN without an image, or if both raters say
            the same of all images.
    """

    images: int
    agreed: int
    kappa: Interval


def agreement(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Agreement:
    """Measure how two raters agree on whether a finding is present, one entry per image.

    Args:
        first: What one rater says of each image.
        second: What the other one says of the same images.
    """
    both, neither = int(np.sum(first & second)), int(np.sum(~first & ~second))
    images = len(first)
    return Agreement(images, both + neither, _kappa(both, images - both - neither, neither))


def _kappa(both: int, differing: int, neither: int) -> Interval:
    images = both + differing + neither
    present = (2 * both + differing) / (2 * images) if images else 0.0
    chance = present * (1 - present)
    if chance == 0:
        return Interval(math.nan, math.nan, math.nan)
    kappa = 1 - differing / (2 * images * chance)
    lowest = max(-present / (1 - present), -(1 - present) / present)  # below it, a cell would be negative

    def misfit(value: float) -> float:
        expected = (
            present**2 + chance * value,
            2 * chance * (1 - value),
            (1 - present) ** 2 + chance * value,
        )
        counts = (both, differing, neither)
        return sum(
            (count - images * share) ** 2 / (images * share) if share > 0 else (math.inf if count else 0.0)
            for count, share in zip(counts, expected, strict=True)
        )

    return Interval(kappa, _end(misfit, kappa, lowest), _end(misfit, kappa, 1.0))


def _end(misfit: Callable[[float], float], inside: float, limit: float) -> float:
    """Return the value between one that fits and a limit at which the fit becomes too bad."""
    if misfit(limit) <= _CRITICAL:
        return limit
    outside = limit
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if misfit(middle) <= _CRITICAL else (inside, middle)
    return inside
