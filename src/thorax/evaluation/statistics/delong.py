"""Variances of AUCs, and of their differences, without resampling: DeLong's, with patients as the unit.

An AUC is a mean over positives of the share of negatives that each one beats, and a mean over negatives of
the share of positives that beat each one. DeLong, DeLong and Clarke-Pearson (Biometrics 1988) take the
variance from these shares. Obuchowski (Biometrics 1997) sums them over the images of each patient first,
which keeps what images of one patient have in common, positives and negatives alike.

With images as their own units (`unit` 0, 1, 2... in `rank`) the result is DeLong's own variance exactly:
a unit is then positive or negative, never both. With patients of several images it is wider, as it must be.
The shares are counted from sorted scores (Sun and Xu, IEEE Signal Processing Letters 2014).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from thorax.errors import DataError
from thorax.evaluation.statistics.intervals import LEVEL, Interval, student_quantile
from thorax.evaluation.statistics.presorted import Ranked

__all__ = ["AucContrast", "AucCovariance", "auc_contrast", "auc_covariance", "auc_interval"]


_ROUNDING: Final = 1e-12
"""Less than any difference of two AUCs of up to 500,000 positives and negatives: one tie is 1 / (2 P N)."""


@dataclass(frozen=True, slots=True, eq=False)
class AucCovariance:
    """AUCs measured on the same units, and how they vary together from sample to sample of units.

    Attributes:
        auc: NaN where a class is absent.
        covariance: Symmetric. NaN in the row and the column of an AUC that does not exist, or one of whose
            classes comes from a single unit, which says nothing about others.
    """

    auc: Float64[np.ndarray, " k"]
    covariance: Float64[np.ndarray, "k k"]


@dataclass(frozen=True, slots=True)
class AucContrast:
    """A weighted sum of AUCs, such as the difference of two, and whether it is nought.

    Attributes:
        interval: The sum and its interval, symmetric about it; no ends where the variance is NaN.
        variance: Of the sum.
        z: The sum in standard errors.
        p: Two-sided p value, by Student's distribution where patients are few. Two rankings that agree on
            all pairs have a sum of exactly 0, and 1 here.
    """

    interval: Interval
    variance: float
    z: float
    p: float


def auc_covariance(ranked: Sequence[Ranked], *, num_units: int) -> AucCovariance:
    """Return the AUC of each ranking, and their covariance with units as clusters.

    The rankings may be of several models and of several findings; a finding may have a label on some of the
    images only. For one ranking, or two of the same labels, the factors I / (I - 1) that remove the bias are
    Obuchowski's. For two findings she gives none: there the smaller of the two is taken, which keeps the
    matrix positive semidefinite where all findings have labels on images of the same units.

    Args:
        ranked: Ranked images whose units are below `num_units`.
        num_units: How many units there are, in all rankings the same: patients, or images.

    Raises:
        DataError: A ranking names a unit that does not exist.
    """
    parts = [_components(each, num_units) for each in ranked]
    positive = np.array([part.positive for part in parts]).reshape(-1, num_units)
    negative = np.array([part.negative for part in parts]).reshape(-1, num_units)
    count = np.array([(part.positive_units, part.negative_units, part.units) for part in parts])
    of_positive, of_negative, of_both = (_factors(each) for each in count.reshape(-1, 3).T)
    crossed = positive @ negative.T
    return AucCovariance(
        auc=np.array([part.auc for part in parts]),
        covariance=(
            of_positive * (positive @ positive.T)
            + of_negative * (negative @ negative.T)
            + of_both * (crossed + crossed.T)
        ),
    )


def auc_interval(auc: float, variance: float, *, patients: float = math.inf) -> Interval:
    """Return the interval of one AUC, computed on the scale of its logit.

    On that scale the ends stay in (0, 1), and the one towards 1/2 lies further out, as it should. There is
    no interval where there is no variance, around an AUC of exactly 0 or 1, whose estimated variance of 0
    would make it a point, or with a single patient.

    Args:
        auc: In [0, 1].
        variance: Of the AUC.
        patients: `ranked_patients`, so that Student's quantile can allow for few of them, as it does for the
            bootstrap's interval; infinite for the normal one.
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
    """Return the sum of AUCs under these weights: 1 and -1 for a difference, 1 / k for each of k in a mean.

    AUCs of weight 0 do not enter, whether they exist or not.

    Args:
        measured: The AUCs.
        weights: One for each.
        patients: `ranked_patients` or `mean_patients`, so that Student's distribution can allow for few of
            them; infinite for the normal one. With a single patient there is neither interval nor p value.
    """
    used = weights != 0
    chosen = weights[used]
    value = float(chosen @ measured.auc[used])
    variance = float(chosen @ measured.covariance[np.ix_(used, used)] @ chosen)
    if variance < 0:  # by rounding
        variance = 0.0
    if not patients > 1:
        variance = math.nan
    if abs(value) < _ROUNDING:
        z, p = 0.0, 1.0
    elif variance > 0:
        z = value / math.sqrt(variance)
        p = math.erfc(_as_normal(abs(z), patients - 1) / math.sqrt(2))
    else:
        z, p = math.nan, math.nan
    if math.isnan(variance):
        return AucContrast(Interval(value, math.nan, math.nan), variance, z, p)
    reach = student_quantile((1 + LEVEL) / 2, patients - 1) * math.sqrt(variance)
    return AucContrast(Interval(value, value - reach, value + reach), variance, z, p)


def _as_normal(t: float, freedom: float) -> float:
    """Return the standard normal value that is as unlikely as this of Student's distribution.

    To 1e-2 from 3 degrees of freedom on (Wallace, Annals of Mathematical Statistics 1959).
    """
    if math.isinf(freedom):
        return t
    return (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t**2 / freedom))


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """One AUC, and what each unit's positives and negatives add to its error; sums of 0 over the units."""

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
        nothing = np.full(num_units, np.nan)
        return _Components(math.nan, nothing, nothing, 0, 0, 0)
    size = np.diff(ranked.group_starts, append=num_positives)
    beaten = 1 - (ranked.above + ranked.through) / (2 * num_negatives)
    # A positive beats the negatives from its `through` on and ties those from its `above` on, so that twice
    # the positives that beat a negative is a running sum over both.
    starts = np.bincount(np.append(ranked.above, ranked.through), np.append(size, size), num_negatives + 1)
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


def _factors(units: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "k k"]:
    """Return I / (I - 1) for each pair of AUCs, I the larger of their two numbers of units."""
    larger = np.maximum.outer(units, units)
    factor = np.full(larger.shape, np.nan)
    enough = np.minimum.outer(units, units) > 1
    factor[enough] = larger[enough] / (larger[enough] - 1)
    return factor


def _check_units(ranked: Ranked, num_units: int) -> None:
    largest = max(np.max(each, initial=-1) for each in (ranked.positives, ranked.negatives))
    if largest >= num_units:
        raise DataError(
            f"a ranked image is of unit {largest}, but there are {num_units} units, from 0; "
            "number the units once for all rankings"
        )


def _logistic(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))  # which cannot overflow
