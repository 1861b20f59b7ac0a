"""Rules that choose the threshold at and above which a probability is a positive decision."""

import re
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from jaxtyping import Bool, Float

from thorax.arrays import Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.statistics.ranking import ThresholdCounts, count_by_threshold
from thorax.wording import did_you_mean

__all__ = [
    "AtSensitivity",
    "AtSpecificity",
    "F1Optimal",
    "Fixed",
    "ThresholdRule",
    "Youden",
    "choose_threshold",
    "choose_thresholds",
    "parse_rule",
]


@dataclass(frozen=True, slots=True)
class F1Optimal:
    """The highest F1: suited to a list of findings for a second reading."""

    name: str = "f1-optimal"


@dataclass(frozen=True, slots=True)
class Youden:
    """The highest sum of sensitivity and specificity (Youden, Cancer 1950), independent of prevalence."""

    name: str = "youden"


@dataclass(frozen=True, slots=True)
class AtSensitivity:
    """At least this sensitivity, with the highest specificity possible: suited to triage."""

    sensitivity: float

    def __post_init__(self) -> None:
        """Refuse values that are not between 0 and 1."""
        _check_share(self.sensitivity, "sensitivity")

    @property
    def name(self) -> str:
        """The rule's name, for example "sensitivity-90"."""
        return f"sensitivity-{100 * self.sensitivity:.12g}"


@dataclass(frozen=True, slots=True)
class AtSpecificity:
    """At least this specificity, with the highest sensitivity possible: suited to few false alarms."""

    specificity: float

    def __post_init__(self) -> None:
        """Refuse values that are not between 0 and 1."""
        _check_share(self.specificity, "specificity")

    @property
    def name(self) -> str:
        """The rule's name, for example "specificity-95"."""
        return f"specificity-{100 * self.specificity:.12g}"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A threshold that was not chosen on images: one half, or the user's own."""

    threshold: float
    name: str = "own"

    def __post_init__(self) -> None:
        """Refuse a threshold outside [0, 1]."""
        if not 0 <= self.threshold <= 1:
            raise DataError(
                f"the threshold {self.threshold} is not in [0, 1]; thresholds are on probabilities, "
                "pass those on logits through the sigmoid"
            )


ThresholdRule = F1Optimal | Youden | AtSensitivity | AtSpecificity | Fixed
"""How a threshold is chosen."""


def parse_rule(name: str) -> ThresholdRule:
    """Return the rule with this name.

    Args:
        name: "f1-optimal", "youden", "one-half", "sensitivity-90" or "specificity-95" with any percentage
            between 0 and 100, or a threshold such as "0.3"; "0.5" is "one-half".

    Raises:
        DataError: There is no such rule.
    """
    match = re.fullmatch(r"(sensitivity|specificity)-(\d+(?:\.\d+)?)", name)
    if match:
        share = float(f"{match[2]}e-2")  # division by 100 would round twice
        return AtSensitivity(share) if match[1] == "sensitivity" else AtSpecificity(share)
    rules: dict[str, ThresholdRule] = {
        "f1-optimal": F1Optimal(),
        "youden": Youden(),
        "one-half": Fixed(0.5, "one-half"),
    }
    if re.fullmatch(r"\d*\.?\d+", name):
        given = Fixed(float(name))
        return rules["one-half"] if given.threshold == 0.5 else given  # noqa: PLR2004  (one half)
    if name not in rules:
        known = (*rules, "sensitivity-90", "specificity-95")
        raise DataError(
            f"no rule for thresholds is called {name!r}{did_you_mean(name, known)}; choose "
            f"{', '.join(known)} (of any percentage), or give a threshold such as 0.3"
        )
    return rules[name]


def choose_threshold(
    rule: ThresholdRule, target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]
) -> float | None:
    """Return the threshold that a rule chooses on these images, which must not be the reported ones.

    The threshold lies half-way between the lowest probability that counts as positive and the next one below
    it (0 below the lowest), so that the rounding of another inference engine, some 1e-7, does not move an
    image across it. Of equally good thresholds the highest is taken, which has the fewest positives. There is
    none where no image has the finding, where every image has it and the rule depends on specificity, and
    where no threshold with a positive satisfies the rule better than having none.

    Args:
        rule: How to choose.
        target: Whether each image has the finding.
        probability: In [0, 1].

    Raises:
        DataError: A probability is not a number in [0, 1].
    """
    _check_probabilities(probability)
    if isinstance(rule, Fixed):
        return rule.threshold
    counts = count_by_threshold(target, probability)
    best = _best(rule, counts, positives=int(np.sum(target)), negatives=int(np.sum(~target)))
    return None if best is None else _threshold(counts, best)


def choose_thresholds(
    rule: ThresholdRule, targets: Targets, probabilities: Probabilities
) -> tuple[float | None, ...]:
    """Choose a threshold for each finding, on the images with a known label for it.

    Args:
        rule: How to choose.
        targets: Labels; only 1 and 0 count.
        probabilities: In [0, 1].

    Raises:
        DataError: A probability of an image with a known label is not a number in [0, 1].
    """
    return tuple(
        choose_threshold(rule, target[target >= 0] == 1, probability[target >= 0])
        for target, probability in zip(targets.T, probabilities.T, strict=True)
    )


def _best(
    rule: F1Optimal | Youden | AtSensitivity | AtSpecificity,
    counts: ThresholdCounts,
    *,
    positives: int,
    negatives: int,
) -> int | None:
    """Return the index of the best threshold; None if that is the first, infinite one, without positives."""
    tp, fp = counts.true_positives, counts.false_positives
    if positives == 0 or (negatives == 0 and isinstance(rule, Youden | AtSpecificity)):
        return None
    # Merits are integers or quotients of integers, so that equal merits are equal to the bit. The first
    # maximum belongs to the highest threshold.
    match rule:
        case F1Optimal():
            merit = 2 * tp / (tp + fp + positives)
        case Youden():
            merit = tp * negatives - fp * positives
        case AtSensitivity(sensitivity):
            merit = np.where(tp / positives >= sensitivity, 1, 0)
        case AtSpecificity(specificity):
            merit = np.where((negatives - fp) / negatives >= specificity, tp, -1)
        case _:
            assert_never(rule)
    return int(np.argmax(merit)) or None


def _threshold(counts: ThresholdCounts, best: int) -> float:
    lowest_positive = float(counts.threshold[best])
    next_below = float(counts.threshold[best + 1]) if best + 1 < len(counts.threshold) else 0.0
    middle = (lowest_positive + next_below) / 2
    # Between adjacent floats there is no middle: the upper one separates them.
    return middle if middle > next_below else lowest_positive


def _check_share(share: float, what: str) -> None:
    if not 0 < share < 1:
        raise DataError(
            f"a {what} of {share} cannot be asked for; give a share between 0 and 1, such as 0.9 "
            f"({what}-90 by name)"
        )


def _check_probabilities(probability: Float[np.ndarray, " n"]) -> None:
    outside = ~((probability >= 0) & (probability <= 1))
    if np.any(outside):
        first = int(np.argmax(outside))
        raise DataError(
            f"{int(np.sum(outside))} of {len(probability)} probabilities are not in [0, 1] "
            f"(first: {float(probability[first])} at position {first}); "
            "pass logits through the sigmoid, and leave out images without a number"
        )
