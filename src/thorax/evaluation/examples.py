"""Images worth looking at: of each kind of call the surest and the most uncertain, by probability alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64, Int8

__all__ = ["OUTCOMES", "Example", "Outcome", "pick_examples"]

Outcome = Literal["true positive", "false positive", "false negative", "true negative"]

OUTCOMES: Final[dict[Outcome, tuple[bool, int]]] = {
    "true positive": (True, 1),
    "false positive": (True, 0),
    "false negative": (False, 1),
    "true negative": (False, 0),
}
"""What each kind is: whether the finding is called, and its label."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image of one finding.

    Attributes:
        row: Which image.
        outcome: The kind of call.
        marks: "surest": furthest from the threshold of its kind, the highest probability of what is called
            and the lowest of what is not; "most uncertain": nearest to it. One image may be both.
    """

    row: int
    outcome: Outcome
    marks: tuple[Literal["surest", "most uncertain"], ...]


def pick_examples(
    targets: Int8[np.ndarray, " n"], probabilities: Float64[np.ndarray, " n"], *, threshold: float
) -> Sequence[Example]:
    """Pick at most two images of each kind of call; of equals, the first.

    Args:
        targets: One finding's labels; only 1 and 0 count.
        probabilities: What the model says.
        threshold: What reaches it is called.
    """
    away = np.abs(probabilities - threshold)
    called = probabilities >= threshold
    found: list[Example] = []
    for outcome, (is_called, label) in OUTCOMES.items():
        rows = np.flatnonzero((called == is_called) & (targets == label))
        if not len(rows):
            continue
        surest, nearest = (int(rows[pick(away[rows])]) for pick in (np.argmax, np.argmin))
        if surest == nearest:
            found.append(Example(surest, outcome, ("surest", "most uncertain")))
        else:
            found.append(Example(surest, outcome, ("surest",)))
            found.append(Example(nearest, outcome, ("most uncertain",)))
    return found
