"""After how many images the weekly rule shows that a finding has become more frequent."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64

from thorax.distributions import FindingDistribution, ValidationDistribution
from thorax.evaluation.monitoring.changes import beta_binomial
from thorax.evaluation.monitoring.weekly import WINDOWS, Quantity, level_of

__all__ = ["Detection", "detection"]

_POWER: Final = 0.9
_HALF: Final = 0.5
_TIMES: Final = 2


@dataclass(frozen=True, slots=True)
class Detection:
    """When a doubled prevalence of a finding would show.

    Attributes:
        finding: Its name.
        before: Share of images that are called on validation.
        after: The share with the doubled prevalence, from sensitivity and specificity.
        images: Images after which it is an alarm in nine of ten cases, at the end of a week; None if it is
            none while a quarter is compared.
    """

    finding: str
    before: float
    after: float
    images: int | None


def detection(reference: ValidationDistribution, name: str, *, weekly: int) -> Detection | None:
    """Return when a doubled prevalence of a finding would show; None where validation does not say it.

    Images of a site are counted from the change on, after more of them than any window holds. Of those in a
    window, the ones from before the change dilute it.

    Args:
        reference: Validation.
        name: The finding.
        weekly: Images of a week at the site, at least 1.
    """
    finding = reference.findings[name]
    positive, prevalence = finding.positive, finding.prevalence
    if positive is None or prevalence is None or finding.sensitivity is None or finding.specificity is None:
        return None
    before = positive.value
    more = min(prevalence, 1 - prevalence) * (finding.sensitivity + finding.specificity - 1)
    after = min(1.0, before + more)
    needed = [
        _needed(finding, after, max(size.fewest, size.weeks * weekly), level)
        for size, level in ((size, level_of(Quantity("positive", name), size, reference)) for size in WINDOWS)
    ]
    known = [-(-images // weekly) * weekly for images in needed if images is not None]
    return Detection(name, before, after, min(known, default=None))


def _needed(finding: FindingDistribution, after: float, window: int, level: float) -> int | None:
    """Return how many of a window's images must come after the change; None if all do not suffice."""
    positive = finding.positive
    assert positive is not None
    trials = max(1, round(window / positive.design_effect))
    count, of = positive.count / positive.design_effect, positive.of / positive.design_effect
    upper = _above(beta_binomial(trials, count + _HALF, of - count + _HALF))
    alarming = np.flatnonzero(2 * upper < level)
    if not len(alarming):
        return None

    def shows(images: int) -> bool:
        share = positive.value + (after - positive.value) * images / window
        chances = beta_binomial(trials, share * of + _HALF, (1 - share) * of + _HALF)
        return bool(_above(chances)[alarming[0]] >= _POWER)

    if not shows(window):
        return None
    low, high = 0, window
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _above(chances: Float64[np.ndarray, " count"]) -> Float64[np.ndarray, " count"]:
    """Return the probability of at least each number of successes."""
    return np.asarray(np.cumsum(chances[::-1])[::-1])
