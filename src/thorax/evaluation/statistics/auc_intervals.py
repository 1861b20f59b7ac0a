"""Intervals of AUCs and of their means, from DeLong's variances with patients as the unit.

The obvious interval is symmetric on the scale of the logit. Where positives are few and the AUC is high, its
lower end lies too high: DeLong's variance is then small just when the AUC is too high by chance, and 0 where
the AUC is 1. Here three things differ (docs/experiments.md has what each of them is good for):

* The variance is a multiple of the one that normal scores of equal spread would have at the same AUC. Few
  patients estimate the multiple, not the variance, and some of an assumed multiple is mixed in.
* The end nearer 1/2 is that of a score interval, like Wilson's: the AUC from which the observed one is just
  within reach, with the standard error at that AUC instead of the observed one. The other end is the
  logit's. At an AUC of 1/2 both ends are halfway between the two.
* A part of a pair of a positive and a negative counts as lost, and as much as won, so that an AUC of 1 has an
  interval, close to that of the same images with one pair in the wrong order; and no result claims more than
  a perfect one would.

A mean of AUCs is treated as one AUC with the variance of the mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.evaluation.statistics.delong import auc_covariance
from thorax.evaluation.statistics.intervals import (
    LEVEL,
    Interval,
    effective_patients,
    ranked_patients,
    student_quantile,
)
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import weighted_auroc

__all__ = [
    "MeasuredAucs",
    "auc_intervals",
    "mean_auc_interval",
    "mean_correlation",
    "mean_covariance",
    "mean_degrees",
    "measure_aucs",
]

_LOST_PAIR: Final = 0.75
"""How much of a pair counts as lost, and as won. With 1 the lower end of an AUC of 1 would lie below that of
the same images with one pair lost; with 1/2 far above it."""

_LOST_PAIR_SPREAD: Final = 0.9
"""How much of a pair is lost in the variance that is added to DeLong's, which is 0 for an AUC of 1."""

_ASSUMED_PATIENTS: Final = 0.5
"""Weight of the assumed multiple, as a number of patients."""

_ASSUMED_MULTIPLE: Final = 0.5
"""The assumed multiple of the variance of normal scores."""

_MORE_DEGREES: Final = 1.0
"""Degrees of freedom beyond the effective patients of the rarer class, as the other class counts too."""

_FEWEST_PATIENTS: Final = 2.0
"""Effective patients of the rarer class below which an AUC has no interval."""

_FARTHEST: Final = 40.0
"""A logit beyond all ends."""

_HALVINGS: Final = 40
"""Halvings of the way to `_FARTHEST` in search of an end: to 7e-11."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredAucs:
    """AUCs on the same units, and what their intervals depend on.

    Attributes:
        auc: NaN where a class is absent.
        covariance: Their sampling covariance, as `auc_covariance` returns it.
        pairs: The number of pairs of a positive and a negative image.
        positives: The effective number of positives: the geometric mean of the number of images and of the
            `effective_patients`, since images of one patient are neither alike nor independent.
        negatives: The same for negatives.
        patients: The `ranked_patients`.
    """

    auc: Float64[np.ndarray, " k"]
    covariance: Float64[np.ndarray, "k k"]
    pairs: Float64[np.ndarray, " k"]
    positives: Float64[np.ndarray, " k"]
    negatives: Float64[np.ndarray, " k"]
    patients: Float64[np.ndarray, " k"]


def measure_aucs(ranked: Sequence[Ranked], *, num_units: int) -> MeasuredAucs:
    """Return the AUC of each ranking, and what its interval depends on.

    Args:
        ranked: Ranked images whose units are below `num_units`.
        num_units: The number of units (patients or images), shared by all rankings.

    Raises:
        DataError: A unit of a ranking is not below `num_units`.
    """
    measured, once = auc_covariance(ranked, num_units=num_units), np.ones((1, num_units), np.int32)
    classes = [(ranking.positives, ranking.negatives) for ranking in ranked]
    images = np.array([[len(units) for units in both] for both in classes], np.float64).reshape(-1, 2)
    patients = np.array([[effective_patients(np.bincount(units)) for units in both] for both in classes])
    effective = np.sqrt(images * patients.reshape(-1, 2))
    return MeasuredAucs(
        auc=np.array([weighted_auroc(ranking, once)[0] for ranking in ranked], np.float64),
        covariance=measured.covariance,
        pairs=images[:, 0] * images[:, 1],
        positives=effective[:, 0],
        negatives=effective[:, 1],
        patients=np.array([ranked_patients(ranking) for ranking in ranked], np.float64),
    )


def auc_intervals(measured: MeasuredAucs, *, level: float = LEVEL) -> list[Interval]:
    """Return the interval of each AUC; no ends with fewer than 2 effective patients of a class.

    Args:
        measured: The AUCs.
        level: The coverage of each interval, in (0, 1).
    """
    defined = np.flatnonzero(~np.isnan(measured.auc))
    intervals = [Interval(math.nan, math.nan, math.nan)] * len(measured.auc)
    low, high = _ends(_spread(measured, defined), level)
    for number, k in enumerate(defined):
        shown = measured.patients[k] >= _FEWEST_PATIENTS
        ends = (float(low[number]), float(high[number])) if shown else (math.nan, math.nan)
        intervals[k] = Interval(float(measured.auc[k]), *ends)
    return intervals


def mean_auc_interval(
    measured: MeasuredAucs, used: Bool[np.ndarray, " k"], *, level: float = LEVEL
) -> Interval:
    """Return the unweighted mean of some AUCs with its interval.

    The degrees of freedom are those of `mean_degrees`. A finding that only one patient has is taken to vary
    like normal scores.

    Args:
        measured: The AUCs.
        used: Which of them are averaged; those that do not exist are left out.
        level: The coverage of the interval, in (0, 1).

    Returns:
        NaN without an AUC; no ends where none of the AUCs has an interval of its own.
    """
    chosen = np.flatnonzero(used & ~np.isnan(measured.auc))
    if len(chosen) == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(np.mean(measured.auc[chosen]))
    if np.max(measured.patients[chosen]) < _FEWEST_PATIENTS:
        return Interval(value, math.nan, math.nan)
    low, high = _ends(_mean_spread(_spread(measured, chosen), _correlation(measured, chosen)), level)
    return Interval(value, float(low[0]), float(high[0]))


def mean_correlation(
    measured: MeasuredAucs, first: Bool[np.ndarray, " k"], second: Bool[np.ndarray, " k"]
) -> float:
    """Return the sampling correlation of the means of two sets of AUCs; 0 where nothing is known of it."""
    known = np.where(np.isnan(measured.covariance), 0.0, measured.covariance)
    shared, own, other = (
        float(a @ known @ b) for a, b in ((first, second), (first, first), (second, second))
    )
    product = math.sqrt(max(own, 0.0) * max(other, 0.0))
    return min(max(shared / product, -1.0), 1.0) if product > 0 else 0.0


def mean_covariance(
    measured: MeasuredAucs, columns: Int64[np.ndarray, "run finding"]
) -> Float64[np.ndarray, "run run"]:
    """Return the sampling covariance of the means over findings of several runs on the same images.

    A finding of only one patient, from which no variance can be estimated, is taken to vary like normal
    scores, independently of the other findings, and from run to run as much alike as the other findings are
    on average.

    Args:
        measured: The AUCs.
        columns: Those of the findings of each run, which all exist.

    Returns:
        NaN where every finding has only one patient.
    """
    unknown = np.isnan(np.diag(measured.covariance)[columns[0]])
    if unknown.all():
        return np.full((len(columns), len(columns)), np.nan)
    known = columns[:, ~unknown]
    # An entry for each pair of runs and pair of findings.
    total = measured.covariance[known[:, None, :, None], known[None, :, None, :]].sum(axis=(2, 3))
    if unknown.any():
        alike = np.mean([_correlation(measured, of_finding) for of_finding in known.T], axis=0)
        error = np.sqrt(_normal_variances(measured))[columns[:, unknown]]
        total = total + alike * (error @ error.T)
    return np.asarray(total / columns.shape[1] ** 2)


def mean_degrees(
    variances: Float64[np.ndarray, " j"], degrees: Float64[np.ndarray, " j"], *, variance: float
) -> float:
    """Return the degrees of freedom of a mean's variance.

    The geometric mean of two numbers: the harmonic mean of the degrees of what is averaged, which are too few
    where much is averaged, and Satterthwaite's (Biometrics 1946), which are too many, as they take as
    independent what is measured on the same patients.

    Args:
        variances: The variances of what is averaged.
        degrees: Their degrees of freedom.
        variance: The variance of the mean.
    """
    count = len(degrees)
    few = count / float(np.sum(1 / degrees))
    independent = variance**2 * count**4 / float(np.sum(variances**2 / degrees))
    return math.sqrt(few * max(independent, few))


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """Shares of lost pairs (1 less the AUC), and how they vary.

    Attributes:
        lost: As observed.
        shrunk: With the part of a pair that counts as lost and as won.
        variance: The variance at `shrunk`.
        perfect: `shrunk` if no pair were lost.
        perfect_variance: The variance then.
        positives: As in `MeasuredAucs`.
        negatives: As in `MeasuredAucs`.
        degrees: Degrees of freedom of the variance.
    """

    lost: Float64[np.ndarray, " k"]
    shrunk: Float64[np.ndarray, " k"]
    variance: Float64[np.ndarray, " k"]
    perfect: Float64[np.ndarray, " k"]
    perfect_variance: Float64[np.ndarray, " k"]
    positives: Float64[np.ndarray, " k"]
    negatives: Float64[np.ndarray, " k"]
    degrees: Float64[np.ndarray, " k"]


def _shrunk(lost: Float64[np.ndarray, " j"], pairs: Float64[np.ndarray, " j"]) -> Float64[np.ndarray, " j"]:
    """Return shares of lost pairs with the part of a pair that counts as lost and as won."""
    return np.asarray((lost * pairs + _LOST_PAIR) / (pairs + 2 * _LOST_PAIR))


def _normal_variances(measured: MeasuredAucs) -> Float64[np.ndarray, " k"]:
    """Return the variance that normal scores of equal spread would have at each AUC."""
    share = _shrunk(1 - measured.auc, measured.pairs)
    return _normal_variance(share, measured.positives, measured.negatives)


def _spread(measured: MeasuredAucs, chosen: Int64[np.ndarray, " j"]) -> _Spread:
    pairs, patients = measured.pairs[chosen], measured.patients[chosen]
    positives, negatives = measured.positives[chosen], measured.negatives[chosen]
    variance, lost = np.diag(measured.covariance)[chosen], 1 - measured.auc[chosen]
    degrees = np.maximum(patients - 1, 0.0)

    def varying(
        share: Float64[np.ndarray, " j"], observed: Float64[np.ndarray, " j"]
    ) -> Float64[np.ndarray, " j"]:
        normal = _normal_variance(share, positives, negatives)
        added = observed + 2 * (_LOST_PAIR_SPREAD / pairs) ** 2
        assumed = _ASSUMED_PATIENTS * _ASSUMED_MULTIPLE * normal
        mixed = (degrees * added + assumed) / (degrees + _ASSUMED_PATIENTS)
        return np.where(np.isnan(variance), normal, mixed)  # NaN: one patient

    shrunk, perfect = (_shrunk(wrong, pairs) for wrong in (lost, 0 * lost))
    return _Spread(
        lost=lost,
        shrunk=shrunk,
        variance=varying(shrunk, variance),
        perfect=perfect,
        perfect_variance=varying(perfect, np.zeros_like(lost)),
        positives=positives,
        negatives=negatives,
        degrees=patients + _MORE_DEGREES,
    )


def _correlation(measured: MeasuredAucs, chosen: Int64[np.ndarray, " j"]) -> Float64[np.ndarray, "j j"]:
    """Return the correlations of some AUCs; 0 where a variance is 0 or unknown."""
    covariance = measured.covariance[np.ix_(chosen, chosen)]
    error = np.sqrt(np.diag(covariance))
    product = np.outer(error, error)
    correlation = np.eye(len(chosen))
    known = product > 0  # False for NaN
    correlation[known] = np.clip(covariance[known] / product[known], -1.0, 1.0)
    return np.where(np.isnan(correlation), 0.0, correlation)


def _mean_spread(spread: _Spread, correlation: Float64[np.ndarray, "j j"]) -> _Spread:
    """Return the mean of the shares as one share."""
    count, error = len(spread.lost), np.sqrt(spread.variance)
    variance = float(error @ correlation @ error) / count**2
    return _Spread(
        lost=np.array([np.mean(spread.lost)]),
        shrunk=np.array([np.mean(spread.shrunk)]),
        variance=np.array([variance]),
        perfect=np.array([np.mean(spread.perfect)]),
        perfect_variance=np.array([np.sum(spread.perfect_variance) / count**2]),
        positives=np.array([count / np.sum(1 / spread.positives)]),
        negatives=np.array([count / np.sum(1 / spread.negatives)]),
        degrees=np.array([mean_degrees(spread.variance, spread.degrees, variance=variance)]),
    )


def _ends(spread: _Spread, level: float) -> tuple[Float64[np.ndarray, " j"], Float64[np.ndarray, " j"]]:
    """Return the lower and the upper end of each AUC."""
    reach = np.array([student_quantile((1 + level) / 2, float(degrees)) for degrees in spread.degrees])
    most, least = _lost_ends(spread.lost, spread.shrunk, spread.variance, reach=reach, spread=spread)
    perfect = np.zeros_like(spread.lost)
    most_of_perfect, _ = _lost_ends(
        perfect, spread.perfect, spread.perfect_variance, reach=reach, spread=spread
    )
    _, least_of_worst = _lost_ends(
        1 - perfect, 1 - spread.perfect, spread.perfect_variance, reach=reach, spread=spread
    )
    most = np.maximum(np.maximum(most, most_of_perfect), spread.lost)
    least = np.minimum(np.minimum(least, least_of_worst), spread.lost)
    most, least = np.where(spread.lost < 1, most, 1.0), np.where(spread.lost > 0, least, 0.0)
    return 1 - most, 1 - least


def _lost_ends(
    lost: Float64[np.ndarray, " j"],
    shrunk: Float64[np.ndarray, " j"],
    variance: Float64[np.ndarray, " j"],
    *,
    reach: Float64[np.ndarray, " j"],
    spread: _Spread,
) -> tuple[Float64[np.ndarray, " j"], Float64[np.ndarray, " j"]]:
    """Return the largest and the smallest share of lost pairs that fits the observed one."""
    sizes = spread.positives, spread.negatives
    multiple = variance / _normal_variance(shrunk, *sizes)

    def within(logit: Float64[np.ndarray, " j"]) -> Bool[np.ndarray, " j"]:
        share = _logistic(logit)
        error = np.sqrt(multiple * _normal_variance(share, *sizes))
        return np.asarray(np.abs(share - lost) < reach * error)

    observed = np.clip(_logit(np.clip(lost, 1e-15, 1 - 1e-15)), -_FARTHEST, _FARTHEST)
    most, least = (_last(within, observed, np.full_like(lost, sign * _FARTHEST)) for sign in (1, -1))
    error = reach * np.sqrt(variance) / (shrunk * (1 - shrunk))
    return (
        _logistic((1 - shrunk) * most + shrunk * (_logit(shrunk) + error)),
        _logistic(shrunk * least + (1 - shrunk) * (_logit(shrunk) - error)),
    )


def _normal_variance(
    share: Float64[np.ndarray, " j"],
    positives: Float64[np.ndarray, " j"],
    negatives: Float64[np.ndarray, " j"],
) -> Float64[np.ndarray, " j"]:
    """Return the variance of the share of lost pairs among independent normal scores of equal spread.

    A positive loses to a share of the negatives. The variance of these shares, equal to that of the shares of
    the negatives, is the chance that two normal numbers with correlation 1/2 both lie below a quantile, less
    the square of the mean share (Owen, Annals of Mathematical Statistics 1956).
    """
    from scipy.special import ndtri, owens_t  # noqa: PLC0415  (0.15 s, only where intervals are computed)

    rarer = np.minimum(share, 1 - share)  # of equal variance, and exact near 0
    of_pairs = rarer * (1 - rarer)
    of_images = np.maximum(of_pairs - 2 * owens_t(ndtri(rarer), 1 / math.sqrt(3)), 0.0)
    more = np.maximum(positives + negatives - 2, 0.0)
    return np.asarray((of_pairs + more * of_images) / (positives * negatives))


def _last(
    holds: Callable[[Float64[np.ndarray, " j"]], Bool[np.ndarray, " j"]],
    start: Float64[np.ndarray, " j"],
    beyond: Float64[np.ndarray, " j"],
) -> Float64[np.ndarray, " j"]:
    """Return the last numbers on the way from `start` to `beyond` at which a condition holds."""
    for _ in range(_HALVINGS):
        middle = (start + beyond) / 2
        inside = holds(middle)
        start, beyond = np.where(inside, middle, start), np.where(inside, beyond, middle)
    return start


def _logit(share: Float64[np.ndarray, " j"]) -> Float64[np.ndarray, " j"]:
    return np.asarray(np.log(share) - np.log1p(-share))


def _logistic(logit: Float64[np.ndarray, " j"]) -> Float64[np.ndarray, " j"]:
    return np.asarray(0.5 * (1 + np.tanh(logit / 2)))
