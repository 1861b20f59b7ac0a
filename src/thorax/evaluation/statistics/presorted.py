"""The images of one finding, sorted by score once and summed under many weightings.

The score of a resample is a function of a few running sums, so that a resample costs only two passes over
small integers. Weights have one row per resample: gathering and adding along rows takes half the time that it
takes along columns, and releases the GIL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int32, Int64

__all__ = ["Ranked", "RunningSums", "score_rows"]

_CELLS: Final = 200_000
"""Images times resamples that are scored at once: about the size of a second-level cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The images of one finding, sorted by decreasing score, positives and negatives apart.

    Positives of equal score form a group, so that ties are counted and never broken.

    Attributes:
        positives: The weight column of each positive, from the highest score down.
        negatives: The same for each negative.
        group_starts: Index in `positives` at which each group begins.
        negatives_above: For each group, how many negatives score strictly higher.
        negatives_at_or_above: For each group, how many negatives score as high or higher.
    """

    positives: Int64[np.ndarray, " positive"]
    negatives: Int64[np.ndarray, " negative"]
    group_starts: Int64[np.ndarray, " group"]
    negatives_above: Int64[np.ndarray, " group"]
    negatives_at_or_above: Int64[np.ndarray, " group"]


@dataclass(frozen=True, slots=True, eq=False)
class RunningSums:
    """Weights of a finding's images, summed from the highest score down to each group of positives.

    Attributes:
        positives_before: Weight of the positives in the groups before each group.
        positives_through_group: The same including the group.
        negatives_above: Weight of the negatives that score strictly higher than each group.
        negatives_at_or_above: Weight of those that score as high or higher.
        positives: Weight of all positives.
        negatives: Weight of all negatives.
    """

    positives_before: Int32[np.ndarray, "resample group"]
    positives_through_group: Int32[np.ndarray, "resample group"]
    negatives_above: Int32[np.ndarray, "resample group"]
    negatives_at_or_above: Int32[np.ndarray, "resample group"]
    positives: Int64[np.ndarray, " resample"]
    negatives: Int64[np.ndarray, " resample"]

    @property
    def group(self) -> Float64[np.ndarray, "resample group"]:
        """Weight of each group, as float64, in which sums of products are exact up to 2**53."""
        return np.asarray(np.subtract(self.positives_through_group, self.positives_before, dtype=np.float64))


def score_rows(
    ranked: Ranked,
    weights: Int32[np.ndarray, "resample unit"],
    score: Callable[[RunningSums], Float64[np.ndarray, "*scores"]],
) -> Float64[np.ndarray, "*scores"]:
    """Score each row of weights, in blocks; NaN where a row leaves a class without weight."""
    if len(ranked.positives) == 0 or len(ranked.negatives) == 0:
        return np.full(len(weights), np.nan)
    height = max(1, _CELLS // (len(ranked.positives) + len(ranked.negatives)))
    blocks = []
    for first in range(0, len(weights), height):
        sums = _running_sums(ranked, weights[first : first + height])
        defined = (sums.positives > 0) & (sums.negatives > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            blocks.append(np.where(defined, score(sums), np.nan))
    return np.concatenate(blocks, axis=-1)


def _running_sums(ranked: Ranked, weights: Int32[np.ndarray, "resample unit"]) -> RunningSums:
    positives = _running_sum(weights.take(ranked.positives, axis=1))
    negatives = _running_sum(weights.take(ranked.negatives, axis=1))
    return RunningSums(
        positives_before=positives.take(ranked.group_starts, axis=1),
        positives_through_group=positives.take(
            np.append(ranked.group_starts[1:], len(ranked.positives)), axis=1
        ),
        negatives_above=negatives.take(ranked.negatives_above, axis=1),
        negatives_at_or_above=negatives.take(ranked.negatives_at_or_above, axis=1),
        positives=positives[:, -1].astype(np.int64),
        negatives=negatives[:, -1].astype(np.int64),
    )


def _running_sum(
    weights: Int32[np.ndarray, "resample image"],
) -> Int32[np.ndarray, "resample image_and_none"]:
    """Return the sum of each row's first 0, 1, ... weights."""
    total = np.empty((len(weights), weights.shape[1] + 1), dtype=np.int32)
    total[:, 0] = 0
    np.cumsum(weights, axis=1, dtype=np.int32, out=total[:, 1:])
    return total
