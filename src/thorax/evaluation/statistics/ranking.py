"""ROC and precision-recall curves, AUC and average precision.

All scores are computed from `Ranked`, which is sorted once and then scored under any number of weightings, as
resampling patients requires: 1,000 resamples of 25,596 images and 14 findings take under a second
(`bench/evaluation.py`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64

from thorax.errors import DataError
from thorax.evaluation.statistics.presorted import Ranked, RunningSums, score_rows

__all__ = [
    "PARTIAL_RATE",
    "PrecisionRecallCurve",
    "RocCurve",
    "ThresholdCounts",
    "WeightedScores",
    "auroc_score",
    "average_precision_score",
    "compact_points",
    "count_by_threshold",
    "partial_auroc_score",
    "precision_recall_curve",
    "rank",
    "rank_pooled",
    "roc_curve",
    "weighted_auroc",
    "weighted_scores",
]

PARTIAL_RATE: Final = 0.1
"""The false positive rate up to which the partial AUC is taken: higher rates are of no use in practice."""


def rank(
    target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], unit: Int64[np.ndarray, " n"]
) -> Ranked:
    """Sort the images of one finding.

    Args:
        target: Whether each image has the finding.
        score: Larger means more likely; any finite or infinite number.
        unit: The weight column of each image, for example the number of its patient.

    Raises:
        DataError: A score is not a number.
    """
    _check_scores(score)
    falling_positives = np.flatnonzero(target)[np.argsort(-score[target], kind="stable")]
    falling_negatives = np.flatnonzero(~target)[np.argsort(-score[~target], kind="stable")]
    positive_scores = -score[falling_positives]
    negative_scores = -score[falling_negatives]
    starts = np.flatnonzero(_first_of_ties(positive_scores))
    return Ranked(
        positives=unit[falling_positives],
        negatives=unit[falling_negatives],
        group_starts=starts,
        negatives_above=np.searchsorted(negative_scores, positive_scores[starts], side="left"),
        negatives_at_or_above=np.searchsorted(negative_scores, positive_scores[starts], side="right"),
    )


def rank_pooled(
    target: Bool[np.ndarray, "n k"],
    score: Float[np.ndarray, "n k"],
    *,
    known: Bool[np.ndarray, "n k"],
    unit: Int64[np.ndarray, " n"],
) -> Ranked:
    """Sort all pairs of an image and a finding as if of one finding, for micro averages.

    A micro average measures how often a present pair scores above an absent one: it compares scores across
    findings, and rises where the scores merely separate common findings from rare ones.

    Args:
        target: Whether each image has each finding.
        score: Larger means more likely, on one scale for all findings.
        known: Which pairs have a label; the others are left out.
        unit: The weight column of each image.

    Raises:
        DataError: A score of a known pair is not a number.
    """
    row, _ = np.nonzero(known)
    return rank(target[known], score[known], unit[row])


@dataclass(frozen=True, slots=True, eq=False)
class WeightedScores:
    """Scores of one finding under each weighting; NaN where a class has no weight.

    Attributes:
        auroc: A quotient of two integers, rounded once.
        partial_auroc: The area up to `PARTIAL_RATE`.
        average_precision: As `average_precision_score` defines it.
    """

    auroc: Float64[np.ndarray, " resample"]
    partial_auroc: Float64[np.ndarray, " resample"]
    average_precision: Float64[np.ndarray, " resample"]


def weighted_scores(ranked: Ranked, weights: Int32[np.ndarray, "resample unit"]) -> WeightedScores:
    """Return the scores under each row of weights.

    A weight says how often the images of a unit count, so that a resample is a row of counts.

    Args:
        ranked: The images of one finding.
        weights: Not negative; one column for each unit in `ranked`.
    """
    scores = score_rows(
        ranked,
        weights,
        lambda sums: np.stack([_auroc(sums), _partial_auroc(sums, PARTIAL_RATE), _average_precision(sums)]),
    )
    return WeightedScores(*np.broadcast_to(scores, (3, len(weights))))


def weighted_auroc(
    ranked: Ranked, weights: Int32[np.ndarray, "resample unit"], *, max_false_positive_rate: float = 1.0
) -> Float64[np.ndarray, " resample"]:
    """Return the AUC, or the partial AUC up to a false positive rate, under each row of weights.

    Raises:
        DataError: The rate is not in (0, 1].
    """
    rate = max_false_positive_rate
    if rate == 1:
        return score_rows(ranked, weights, _auroc)
    if not 0 < rate < 1:
        raise DataError(
            f"a false positive rate of {rate} bounds no area under a ROC curve; give one in (0, 1]"
        )
    return score_rows(ranked, weights, lambda sums: _partial_auroc(sums, rate))


def auroc_score(target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Return the probability that a positive outranks a negative; ties count half.

    The area under the ROC curve (Hanley and McNeil, Radiology 1982), in [0, 1]; NaN if a class is absent.

    Raises:
        DataError: A score is not a number.
    """
    auroc, _ = _unweighted_scores(target, score)
    return auroc


def partial_auroc_score(
    target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], *, max_false_positive_rate: float
) -> float:
    """Return the area under the ROC curve up to a false positive rate, standardized to [0, 1].

    1 is a perfect ranking and 1/2 a random one, as for the whole area, which is the case of rate 1 (McClish,
    Medical Decision Making 1989). NaN if a class is absent.

    Args:
        target: Whether each image has the finding.
        score: Larger means more likely.
        max_false_positive_rate: In (0, 1].

    Raises:
        DataError: A score is not a number, or the rate is not in (0, 1].
    """
    ranked = rank(target, score, np.zeros(len(target), dtype=np.int64))
    once = np.ones((1, 1), dtype=np.int32)
    return float(weighted_auroc(ranked, once, max_false_positive_rate=max_false_positive_rate)[0])


def average_precision_score(target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Return the precision at each positive, averaged over the positives; ties share one precision.

    The sum of precision times the increase in recall, without interpolation, as in scikit-learn; in (0, 1].
    NaN if a class is absent: without negatives every ranking is perfect, and a 1 would mean nothing.

    Raises:
        DataError: A score is not a number.
    """
    _, average_precision = _unweighted_scores(target, score)
    return average_precision


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdCounts:
    """True and false positives at decreasing thresholds.

    Attributes:
        threshold: `score >= threshold` is positive. The first is infinite (no positives), then each distinct
            score from the highest down.
        true_positives: Predicted positive, with the finding.
        false_positives: Predicted positive, without it.
    """

    threshold: Float64[np.ndarray, " point"]
    true_positives: Int64[np.ndarray, " point"]
    false_positives: Int64[np.ndarray, " point"]


def count_by_threshold(target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> ThresholdCounts:
    """Count true and false positives at every threshold.

    Raises:
        DataError: A score is not a number.
    """
    _check_scores(score)
    order = np.argsort(-score, kind="stable")
    falling = score[order].astype(np.float64)
    starts = np.flatnonzero(_first_of_ties(falling))
    predicted_positive = np.append(starts, len(falling))
    true_positives = np.concatenate([[0], np.cumsum(target[order])])[predicted_positive]
    return ThresholdCounts(
        threshold=np.concatenate([[np.inf], falling[starts]]),
        true_positives=true_positives,
        false_positives=predicted_positive - true_positives,
    )


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """Sensitivity against false positive rate as the threshold decreases, from (0, 0) to (1, 1).

    Attributes:
        false_positive_rate: In [0, 1], increasing; all NaN without negatives.
        true_positive_rate: In [0, 1], increasing; all NaN without positives.
        threshold: `score >= threshold` is positive; decreasing from infinity.
    """

    false_positive_rate: Float64[np.ndarray, " point"]
    true_positive_rate: Float64[np.ndarray, " point"]
    threshold: Float64[np.ndarray, " point"]


def roc_curve(target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> RocCurve:
    """Return the ROC curve with a point at each distinct score.

    Raises:
        DataError: A score is not a number.
    """
    counts = count_by_threshold(target, score)
    return RocCurve(
        false_positive_rate=_share(counts.false_positives, of=int(np.sum(~target))),
        true_positive_rate=_share(counts.true_positives, of=int(np.sum(target))),
        threshold=counts.threshold,
    )


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecallCurve:
    """Precision against recall as the threshold decreases; average precision is its step-wise area.

    Attributes:
        recall: In [0, 1], increasing from 0; all NaN without positives.
        precision: In [0, 1]; 1 by convention at the first point, where nothing is predicted positive.
        threshold: `score >= threshold` is positive; decreasing from infinity.
    """

    recall: Float64[np.ndarray, " point"]
    precision: Float64[np.ndarray, " point"]
    threshold: Float64[np.ndarray, " point"]


def precision_recall_curve(
    target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]
) -> PrecisionRecallCurve:
    """Return the precision-recall curve with a point at each distinct score.

    Raises:
        DataError: A score is not a number.
    """
    counts = count_by_threshold(target, score)
    predicted_positive = counts.true_positives + counts.false_positives
    return PrecisionRecallCurve(
        recall=_share(counts.true_positives, of=int(np.sum(target))),
        precision=np.where(
            predicted_positive > 0, counts.true_positives / np.maximum(predicted_positive, 1), 1.0
        ),
        threshold=counts.threshold,
    )


def compact_points(
    x: Float64[np.ndarray, " point"], y: Float64[np.ndarray, " point"], *, limit: int = 200
) -> tuple[tuple[float, float], ...]:
    """Return at most `limit` points of a curve, evenly spaced along it, including both ends.

    All are points of the curve; none is interpolated. A ROC curve has length 2 at most, so that 200 points
    are about a hundredth apart.

    Args:
        x: Abscissas in the order of the curve.
        y: Ordinates.
        limit: At least 2.
    """
    if len(x) <= limit:
        chosen = np.arange(len(x))
    else:
        distance = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        steps = np.linspace(0.0, distance[-1], limit)
        chosen = np.unique(np.minimum(np.searchsorted(distance, steps), len(x) - 1))
        chosen[-1] = len(x) - 1
    return tuple(zip(x[chosen].tolist(), y[chosen].tolist(), strict=True))


def _unweighted_scores(target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> tuple[float, float]:
    ranked = rank(target, score, np.zeros(len(target), dtype=np.int64))
    scores = weighted_scores(ranked, np.ones((1, 1), dtype=np.int32))
    return float(scores.auroc[0]), float(scores.average_precision[0])


def _auroc(sums: RunningSums) -> Float64[np.ndarray, " resample"]:
    twice_lost = _sum_of_products(
        sums.group, np.add(sums.negatives_above, sums.negatives_at_or_above, dtype=np.float64)
    )
    pairs = 2 * sums.positives * sums.negatives
    return np.asarray((pairs - twice_lost) / pairs)


def _average_precision(sums: RunningSums) -> Float64[np.ndarray, " resample"]:
    # A group without weight adds nothing, whatever its precision: the maximum with 1 avoids 0 / 0.
    precision = sums.positives_through_group / np.maximum(
        sums.positives_through_group + sums.negatives_at_or_above, 1
    )
    return np.asarray(_sum_of_products(sums.group, precision) / sums.positives)


def _partial_auroc(sums: RunningSums, rate: float) -> Float64[np.ndarray, " resample"]:
    """Sum over groups the area under each one's step of the curve, up to the bound on negatives.

    A group tied with negatives is a slope, which adds a triangle up to the bound.
    """
    bound = rate * sums.negatives[:, None]
    start, end = np.minimum(sums.negatives_above, bound), np.minimum(sums.negatives_at_or_above, bound)
    triangle = (end - start) ** 2 / (2 * np.maximum(sums.negatives_at_or_above - sums.negatives_above, 1))
    area = _sum_of_products(sums.group, bound - end + triangle) / (sums.positives * sums.negatives)
    random = rate**2 / 2
    return np.asarray(0.5 * (1 + (area - random) / (rate - random)))


def _sum_of_products(
    a: Float64[np.ndarray, "resample group"], b: Float64[np.ndarray, "resample group"]
) -> Float64[np.ndarray, " resample"]:
    return np.asarray(np.einsum("rg,rg->r", a, b))


def _first_of_ties(sorted_scores: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    first = np.ones(len(sorted_scores), dtype=np.bool_)
    first[1:] = sorted_scores[1:] != sorted_scores[:-1]
    return first


def _share(count: Int64[np.ndarray, " point"], *, of: int) -> Float64[np.ndarray, " point"]:
    return count / of if of else np.full(len(count), np.nan)


def _check_scores(score: Float[np.ndarray, " n"]) -> None:
    missing = int(np.sum(np.isnan(score)))
    if missing:
        first = int(np.argmax(np.isnan(score)))
        raise DataError(
            f"{missing} of {len(score)} scores are not a number (first: position {first}); "
            "leave those images out, or find out why the model gave no number for them"
        )
