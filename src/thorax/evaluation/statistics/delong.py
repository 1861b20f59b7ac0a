"""DeLong's variances of AUCs and of their differences, with patients as the unit.

An AUC is the share of negatives that a positive beats, averaged over positives, and equally the share of
positives that beat a negative, averaged over negatives. DeLong, DeLong and Clarke-Pearson (Biometrics 1988)
derive the variance from these shares. Obuchowski (Biometrics 1997) first sums them over the images of each
patient, which accounts for the correlation between images of one patient, positive or negative.

With each image as its own unit (`unit` 0, 1, 2... in `rank`) the result is exactly DeLong's variance: a unit
is then positive or negative, never both. With several images per patient it is larger, as it must be. The
shares are counted from sorted scores (Sun and Xu, IEEE Signal Processing Letters 2014).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from thorax.errors import DataError
from thorax.evaluation.statistics.intervals import LEVEL, Interval, student_quantile
from thorax.evaluation.statistics.presorted import Ranked

__all__ = ["AucContrast", "AucCovariance", "auc_contrast", "auc_covariance", "auc_interval"]


@dataclass(frozen=True, slots=True, eq=False)
class AucCovariance:
    """AUCs measured on the same units, and their sampling covariance.

    Attributes:
        auc: NaN where a class is absent.
        covariance: Symmetric. NaN in the row and column of an AUC that does not exist, or that has a class
            with only one unit, from which no variance can be estimated.
    """

    auc: Float64[np.ndarray, " k"]
    covariance: Float64[np.ndarray, "k k"]


@dataclass(frozen=True, slots=True)
class AucContrast:
    """A weighted sum of AUCs, such as the difference of two.

    Attributes:
        interval: The sum and its symmetric interval; the ends are NaN where the variance is.
        variance: The variance of the sum.
    """

    interval: Interval
    variance: float


def auc_covariance(ranked: Sequence[Ranked], *, num_units: int) -> AucCovariance:
    """Return the AUC of each ranking, and their covariance with units as clusters.

    The rankings may come from several models and several findings, and a finding may be labeled on only some
    of the images. For one ranking, or two with the same labels, the bias corrections I / (I - 1) are
    Obuchowski's. She gives none for two findings: there the smaller of the two is used, which keeps the
    matrix positive semidefinite where all findings are labeled on images of the same units.

    Args:
        ranked: Ranked images whose units are below `num_units`.
        num_units: The number of units (patients or images), shared by all rankings.

    Raises:
        DataError: A unit of a ranking is not below `num_units`.
    """
    components = [_components(ranking, num_units) for ranking in ranked]
    positive = np.array([one.positive for one in components]).reshape(-1, num_units)
    negative = np.array([one.negative for one in components]).reshape(-1, num_units)
    units = np.array([(one.positive_units, one.negative_units, one.units) for one in components])
    positive_factor, negative_factor, cross_factor = (
        _bias_factors(column) for column in units.reshape(-1, 3).T
    )
    crossed = positive @ negative.T
    return AucCovariance(
        auc=np.array([one.auc for one in components]),
        covariance=(
            positive_factor * (positive @ positive.T)
            + negative_factor * (negative @ negative.T)
            + cross_factor * (crossed + crossed.T)
        ),
    )


def auc_interval(auc: float, variance: float, *, patients: float = math.inf) -> Interval:
    """Return the interval of one AUC, computed on the scale of its logit.

    On that scale the ends stay in (0, 1), and the end nearer 1/2 is further from the AUC, as it should be.
    There is no interval without a variance, with a single patient, or around an AUC of exactly 0 or 1, whose
    estimated variance of 0 would shrink it to a point.

    Args:
        auc: In [0, 1].
        variance: The variance of the AUC.
        patients: `ranked_patients`, the degrees of freedom of Student's quantile plus 1, as for the
            bootstrap's interval; infinite for the normal quantile.
    """
    if not (0 < auc < 1 and variance >= 0 and patients > 1):
        return Interval(auc, math.nan, math.nan)
    center = math.log(auc / (1 - auc))
    scale = math.sqrt(variance) / (auc * (1 - auc))
    reach = student_quantile((1 + LEVEL) / 2, patients - 1) * scale
    return Interval(auc, _logistic(center - reach), _logistic(center + reach))


def auc_contrast(
    measured: AucCovariance, weights: Float64[np.ndarray, " k"], *, patients: float = math.inf
) -> AucContrast:
    """Return a weighted sum of AUCs: a difference with weights 1 and -1, a mean of k AUCs with 1 / k each.

    AUCs of weight 0 are ignored, whether they exist or not.

    Args:
        measured: The AUCs.
        weights: One per AUC.
        patients: `ranked_patients` or `mean_patients`, the degrees of freedom of Student's distribution plus
            1; infinite for the normal one. With a single patient there is no interval.
    """
    used = weights != 0
    nonzero = weights[used]
    value = float(nonzero @ measured.auc[used])
    variance = float(nonzero @ measured.covariance[np.ix_(used, used)] @ nonzero)
    if variance < 0:  # by rounding
        variance = 0.0
    if not patients > 1:
        variance = math.nan
    if math.isnan(variance):
        return AucContrast(Interval(value, math.nan, math.nan), variance)
    reach = student_quantile((1 + LEVEL) / 2, patients - 1) * math.sqrt(variance)
    return AucContrast(Interval(value, value - reach, value + reach), variance)


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """One AUC, and how much each unit's positives and negatives add to its error (0 in sum over units)."""

    auc: float
    positive: Float64[np.ndarray, " unit"]
    negative: Float64[np.ndarray, " unit"]
    positive_units: int
    negative_units: int
    units: int


def _components(ranked: Ranked, num_units: int) -> _Components:
    _check_units(ranked, num_units)
    num_positives, num_negatives = len(ranked.positives), len(ranked.negatives)
    if num_positives == 0 or num_negatives == 0:
        undefined = np.full(num_units, np.nan)
        return _Components(math.nan, undefined, undefined, 0, 0, 0)
    size = np.diff(ranked.group_starts, append=num_positives)
    beaten = 1 - (ranked.negatives_above + ranked.negatives_at_or_above) / (2 * num_negatives)
    # A positive beats the negatives from index `negatives_at_or_above` on, and beats or ties those from
    # `negatives_above` on. Twice the number of positives that beat a negative is a running sum over both.
    starts = np.bincount(
        np.append(ranked.negatives_above, ranked.negatives_at_or_above),
        np.append(size, size),
        num_negatives + 1,
    )
    beating = np.cumsum(starts[:num_negatives]) / (2 * num_positives)
    auc = float(size @ beaten) / num_positives
    positives = np.bincount(ranked.positives, minlength=num_units)
    negatives = np.bincount(ranked.negatives, minlength=num_units)
    won = np.bincount(ranked.positives, np.repeat(beaten, size), num_units)
    lost = np.bincount(ranked.negatives, beating, num_units)
    return _Components(
        auc=auc,
        positive=(won - positives * auc) / num_positives,
        negative=(lost - negatives * auc) / num_negatives,
        positive_units=int(np.count_nonzero(positives)),
        negative_units=int(np.count_nonzero(negatives)),
        units=int(np.count_nonzero(positives + negatives)),
    )


def _bias_factors(units: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "k k"]:
    """Return I / (I - 1) for each pair of AUCs, where I is the larger of their numbers of units."""
    larger = np.maximum.outer(units, units)
    factors = np.full(larger.shape, np.nan)
    enough = np.minimum.outer(units, units) > 1
    factors[enough] = larger[enough] / (larger[enough] - 1)
    return factors


def _check_units(ranked: Ranked, num_units: int) -> None:
    largest = max(np.max(units, initial=-1) for units in (ranked.positives, ranked.negatives))
    if largest >= num_units:
        raise DataError(
            f"a ranked image belongs to unit {largest}, but there are {num_units} units, numbered from 0; "
            "number the units once for all rankings"
        )


def _logistic(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))  # cannot overflow
