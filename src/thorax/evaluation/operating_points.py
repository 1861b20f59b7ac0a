"""Thresholds that turn a probability into a yes or a no."""

import re
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from jaxtyping import Bool, Float

from thorax.arrays import Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.statistics.ranking import ThresholdCounts, count_calls

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
    """The highest F1: what suits a list of findings to be read again."""

    name: str = "f1-optimal"


@dataclass(frozen=True, slots=True)
class Youden:
    """The highest sum of sensitivity and specificity (Youden, Cancer 1950), whatever the prevalence."""

    name: str = "youden"


@dataclass(frozen=True, slots=True)
class AtSensitivity:
    """At least this sensitivity, and the highest specificity with it: what suits triage."""

    sensitivity: float

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        _check_share(self.sensitivity, "sensitivity")

    @property
    def name(self) -> str:
        """For example sensitivity-90."""
        return f"sensitivity-{100 * self.sensitivity:.12g}"


@dataclass(frozen=True, slots=True)
class AtSpecificity:
    """At least this specificity, and the highest sensitivity with it: what suits few false alarms."""

    specificity: float

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        _check_share(self.specificity, "specificity")

    @property
    def name(self) -> str:
        """For example specificity-95."""
        return f"specificity-{100 * self.specificity:.12g}"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A threshold that no image chose: one half, or the user's own."""

    threshold: float
    name: str = "own"

    def __post_init__(self) -> None:
        """Refuse what no probability can be compared with in earnest."""
        if not 0 <= self.threshold <= 1:
            raise DataError(
                f"the threshold {self.threshold} is not in [0, 1]; thresholds are on probabilities, "
                "pass those on logits through the sigmoid"
            )


ThresholdRule = F1Optimal | Youden | AtSensitivity | AtSpecificity | Fixed
"""How a threshold is found."""


def parse_rule(name: str) -> ThresholdRule:
    """Return the rule of that name.

    Args:
        name: "f1-optimal", "youden", "one-half", "sensitivity-90" and "specificity-95" with any per cent
            between 0 and 100, or a threshold such as "0.3".

    Raises:
        DataError: No rule is called so.
    """
    match = re.fullmatch(r"(sensitivity|specificity)-(\d+(?:\.\d+)?)", name)
    if match:
        share = float(f"{match[2]}e-2")  # dividing by 100 would round twice
        return AtSensitivity(share) if match[1] == "sensitivity" else AtSpecificity(share)
    if re.fullmatch(r"\d*\.?\d+", name):
        return Fixed(float(name))
    rules: dict[str, ThresholdRule] = {
        "f1-optimal": F1Optimal(),
        "youden": Youden(),
        "one-half": Fixed(0.5, "one-half"),
    }
    if name not in rules:
        raise DataError(
            f"no rule for thresholds is called {name!r}; choose {', '.join(rules)}, sensitivity-90, "
            "specificity-95 (any per cent), or give a threshold such as 0.3"
        )
    return rules[name]


def choose_threshold(
    rule: ThresholdRule, target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]
) -> float | None:
    """Return the threshold that a rule chooses on these images, which must not be those reported on.

    The threshold lies half-way between the lowest probability that is called positive and the next one
    below it (0 below the lowest), so that the rounding of another inference engine, some 1e-7, does not move
    an image across. Of thresholds that serve the rule equally well the highest is taken: it calls the fewest
    images. There is none where no image has the finding, where every image has it and the rule looks at
    specificity, and where no threshold that calls an image serves the rule better than calling none.

    Args:
        rule: How.
        target: Whether each image has the finding.
        probability: In [0, 1].

    Raises:
        DataError: A probability is not a number in [0, 1].
    """
    _check_probabilities(probability)
    if isinstance(rule, Fixed):
        return rule.threshold
    counts = count_calls(target, probability)
    best = _best(rule, counts, positives=int(np.sum(target)), negatives=int(np.sum(~target)))
    return None if best is None else _threshold(counts, best)


def choose_thresholds(
    rule: ThresholdRule, targets: Targets, probabilities: Probabilities
) -> tuple[float | None, ...]:
    """Choose a threshold for each finding, on the images with a sure label of it.

    Args:
        rule: How.
        targets: Labels; only 1 and 0 count.
        probabilities: In [0, 1].

    Raises:
        DataError: A probability of an image with a sure label is not a number in [0, 1].
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
    """Return which threshold serves the rule; the first, infinite one calls nothing and is no threshold."""
    hits, alarms = counts.true_positives, counts.false_positives
    if positives == 0 or (negatives == 0 and isinstance(rule, Youden | AtSpecificity)):
        return None
    # Merits are whole numbers or quotients of them: equal ones are equal to the bit, and the first of them
    # is that of the highest threshold.
    match rule:
        case F1Optimal():
            merit = 2 * hits / (hits + alarms + positives)
        case Youden():
            merit = hits * negatives - alarms * positives
        case AtSensitivity(sensitivity):
            merit = np.where(hits / positives >= sensitivity, 1, 0)
        case AtSpecificity(specificity):
            merit = np.where((negatives - alarms) / negatives >= specificity, hits, -1)
        case _:
            assert_never(rule)
    return int(np.argmax(merit)) or None


def _threshold(counts: ThresholdCounts, best: int) -> float:
    lowest_called = float(counts.threshold[best])
    next_below = float(counts.threshold[best + 1]) if best + 1 < len(counts.threshold) else 0.0
    middle = (lowest_called + next_below) / 2
    # Two neighbouring floats have no number between them: the upper one divides them.
    return middle if middle > next_below else lowest_called


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
