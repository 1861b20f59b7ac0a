"""Thresholds that turn a probability into a yes or a no."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from thorax.errors import DataError
from thorax.evaluation.ranking import count_calls

__all__ = ["OperatingPoint", "f1_optimal_threshold"]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One finding's threshold, and what it did on the part that it was chosen on.

    The scores are those of the chosen threshold on the very images that chose it, and so optimistic: they
    belong beside the validation part, never beside a test result.

    Attributes:
        rule: How the threshold was chosen, for example "f1-optimal".
        threshold: `probability >= threshold` is called positive; None where the rule finds none.
        f1: Harmonic mean of precision and recall at the threshold, in [0, 1]; None without a threshold.
        precision: Share of the called that have the finding; None without a threshold.
        recall: Share of those with the finding that are called; None without a threshold.
        num_positive: Images with the finding.
        num_images: Images with a known label.
    """

    rule: str
    threshold: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    num_positive: int
    num_images: int


def f1_optimal_threshold(
    target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]
) -> OperatingPoint:
    """Return the threshold with the highest F1 on these images, which must not be those reported on.

    The threshold lies half-way between the lowest probability that is called positive and the next one
    below it (0 below the lowest), so that the rounding of another inference engine, some 1e-7, does not move
    an image across. Among thresholds of equal F1 the highest is taken: it calls the fewest images.
    Without a positive image there is no such threshold.

    Args:
        target: Whether each image has the finding.
        probability: In [0, 1].

    Raises:
        DataError: A probability is not a number in [0, 1].
    """
    _check_probabilities(probability)
    num_positive, num_images = int(np.sum(target)), len(target)
    if num_positive == 0:
        return OperatingPoint("f1-optimal", None, None, None, None, 0, num_images)
    counts = count_calls(target, probability)
    called = counts.true_positives + counts.false_positives
    # From whole numbers: equal F1 are equal to the bit, and the first of them is the highest threshold.
    f1 = 2 * counts.true_positives / (called + num_positive)
    best = int(np.argmax(f1))
    lowest_called = float(counts.threshold[best])
    next_below = float(counts.threshold[best + 1]) if best + 1 < len(f1) else 0.0
    middle = (lowest_called + next_below) / 2
    return OperatingPoint(
        rule="f1-optimal",
        # Two neighbouring floats have no number between them: the upper one divides them.
        threshold=middle if middle > next_below else lowest_called,
        f1=float(f1[best]),
        precision=float(counts.true_positives[best] / called[best]),
        recall=float(counts.true_positives[best] / num_positive),
        num_positive=num_positive,
        num_images=num_images,
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
