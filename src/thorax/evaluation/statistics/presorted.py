"""The images of one finding in order of their scores, and what a weighting leaves of them.

What `ranking` computes is computed here: a score of a resample is a function of a few running sums, so that
the sorting is done once and a resample costs two passes over small whole numbers. Weights lie resample by
resample: to gather and add along a row of them takes half the time of the same along a column, and lets go of
the interpreter's lock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int32, Int64

__all__ = ["Ranked", "Tally", "score_rows"]

_CELLS: Final = 200_000
"""Images times resamples that are scored together: what a second-level cache holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The images of one finding, sorted by falling score and split into positives and negatives.

    Positives of equal score form a group: ties are counted between groups, never broken.

    Attributes:
        positives: For each positive, from the highest score down, the column of the weights it takes.
        negatives: The same for each negative.
        group_starts: Where each group begins in `positives`.
        above: For each group, how many negatives score strictly higher.
        through: For each group, how many negatives score as high or higher.
    """

    positives: Int64[np.ndarray, " positive"]
    negatives: Int64[np.ndarray, " negative"]
    group_starts: Int64[np.ndarray, " group"]
    above: Int64[np.ndarray, " group"]
    through: Int64[np.ndarray, " group"]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What the weights leave of a finding's images: running sums at each group of positives, and the whole.

    Attributes:
        before: Weight of the positives of the groups before each group.
        with_group: The same with the group's own.
        above: Weight of the negatives that score strictly higher than each group.
        through: Weight of those that score as high or higher.
        positives: Weight of all positives.
        negatives: Weight of all negatives.
    """

    before: Int32[np.ndarray, "resample group"]
    with_group: Int32[np.ndarray, "resample group"]
    above: Int32[np.ndarray, "resample group"]
    through: Int32[np.ndarray, "resample group"]
    positives: Int64[np.ndarray, " resample"]
    negatives: Int64[np.ndarray, " resample"]

    @property
    def group(self) -> Float64[np.ndarray, "resample group"]:
        """Weight of each group; as a float, in which sums of products stay exact up to 2**53."""
        return np.asarray(np.subtract(self.with_group, self.before, dtype=np.float64))


def score_rows(
    ranked: Ranked,
    weights: Int32[np.ndarray, "resample unit"],
    score: Callable[[Tally], Float64[np.ndarray, "*scores"]],
) -> Float64[np.ndarray, "*scores"]:
    """Score the rows of weights, a few at a time; NaN where a row leaves only one class."""
    if len(ranked.positives) == 0 or len(ranked.negatives) == 0:
        return np.full(len(weights), np.nan)
    height = max(1, _CELLS // (len(ranked.positives) + len(ranked.negatives)))
    blocks = []
    for first in range(0, len(weights), height):
        tally = _tally(ranked, weights[first : first + height])
        defined = (tally.positives > 0) & (tally.negatives > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            blocks.append(np.where(defined, score(tally), np.nan))
    return np.concatenate(blocks, axis=-1)


def _tally(ranked: Ranked, weights: Int32[np.ndarray, "resample unit"]) -> Tally:
    positives = _running_sum(weights.take(ranked.positives, axis=1))
    negatives = _running_sum(weights.take(ranked.negatives, axis=1))
    return Tally(
        before=positives.take(ranked.group_starts, axis=1),
        with_group=positives.take(np.append(ranked.group_starts[1:], len(ranked.positives)), axis=1),
        above=negatives.take(ranked.above, axis=1),
        through=negatives.take(ranked.through, axis=1),
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
