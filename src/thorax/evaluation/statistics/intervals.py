"""Confidence intervals with the patient as the unit, since images of one patient resemble each other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from jaxtyping import Float64, Int32, Int64

from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import weighted_scores
from thorax.hardware import parallel_map
from thorax.randomness import uniform

__all__ = [
    "LEVEL",
    "Interval",
    "Resamples",
    "bootstrap",
    "bounded_interval",
    "effective_patients",
    "f1_interval",
    "mean_patients",
    "over_resamples",
    "patient_resample",
    "percentile_interval",
    "ranked_patients",
    "resample_counts",
    "resampled_interval",
    "resampled_reach",
    "share_interval",
    "student_quantile",
    "wilson_interval",
]

LEVEL: Final = 0.95
"""Nominal coverage of all intervals."""

_BLOCK: Final = 64
"""Resamples scored together: 1.4 MB for 2,797 patients, and enough blocks in 1,000 resamples for 16 cores."""

_CELLS: Final = 1 << 22
"""Resamples times patients that are scored together, at most: 32 MB as float64, on each of the cores."""

_DRAWN: Final = 1 << 17
"""Patients drawn at once, which fit into a second-level cache: 64 times 60,000 took 1.7 times as long."""

_MIN_EFFECTIVE_PATIENTS: Final = 2
"""Effective patients below which the variance between patients cannot be estimated."""

_PSEUDO_PATIENT: Final = 0.1
"""Weight of a pseudo-patient, with images of the rarer kind only, that is added before the variance is
estimated. Where few patients have that kind, they understate how much patients differ: without it, intervals
of a share of .97 covered it in 90 of 100 trials (40 patients with two images each, correlated by .4); with it
in 97; with weight 1 in 98, but the intervals were twice as wide (bench/coverage.py)."""

_MAX_BIAS_CORRECTION: Final = 0.5
"""The largest correction for the bias of the resamples, in standard errors.

AUCs and average precisions need about .1. Larger biases occur in statistics that resampling itself biases,
such as the calibration error of few images: most resamples have a larger error, and the few that do not are
noisy.
"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its confidence interval; NaN where one does not exist.

    Attributes:
        value: The number, on the original sample.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def exists(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.value)

    @property
    def ends(self) -> str:
        """The two ends as text; "n/a" where there are none."""
        return "n/a" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.ends})" if self.exists else "n/a"


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Scores of each finding on each resample; NaN where the resample has only one class.

    Attributes:
        auroc: One row per resample, one column per finding.
        partial_auroc: The same for the area up to `PARTIAL_RATE`.
        average_precision: The same for average precision.
    """

    auroc: Float64[np.ndarray, "resample k"]
    partial_auroc: Float64[np.ndarray, "resample k"]
    average_precision: Float64[np.ndarray, "resample k"]


def patient_resample(
    seed: int, resamples: Int64[np.ndarray, " resample"], *, num_patients: int
) -> Int32[np.ndarray, "resample patient"]:
    """Return how often each patient is drawn in each of the numbered resamples.

    Each resample draws as many patients as there are, uniformly with replacement. Resample r is a pure
    function of the seed, r and the number of patients, so that two models evaluated on the same images share
    their resamples.
    """
    counts = np.empty((len(resamples), num_patients), dtype=np.int32)
    rows = max(1, _DRAWN // max(num_patients, 1))
    for first in range(0, len(resamples), rows):
        some = resamples[first : first + rows]
        draws = uniform(seed, "bootstrap", epoch=0, positions=some, count=num_patients)
        cell = (draws * num_patients).astype(np.int64)
        cell += num_patients * np.arange(len(some), dtype=np.int64)[:, None]
        counted = np.bincount(cell.ravel(), minlength=cell.size)
        counts[first : first + rows] = counted.reshape(cell.shape)
    return counts


def resample_counts(num_patients: int, *, resamples: int, seed: int) -> Int32[np.ndarray, "resample patient"]:
    """Return how often each patient is drawn in each of the first `resamples` resamples.

    Row r is a pure function of the seed, r and the number of patients. Where the whole matrix would be large
    (4 bytes per patient and resample), use `over_resamples`.
    """
    numbers = np.arange(resamples, dtype=np.int64)
    return patient_resample(seed, numbers, num_patients=num_patients)


def over_resamples(
    measure: Callable[[Int32[np.ndarray, "resample patient"]], Float64[np.ndarray, "*measured"]],
    *,
    num_patients: int,
    resamples: int,
    seed: int,
) -> Float64[np.ndarray, "*measured"]:
    """Apply `measure` to all rows of `resample_counts`, one block of rows at a time, on all cores."""
    rows = max(1, min(_BLOCK, _CELLS // max(num_patients, 1)))

    def block(first: int) -> Float64[np.ndarray, "*measured"]:
        numbers = np.arange(first, min(first + rows, resamples), dtype=np.int64)
        return measure(patient_resample(seed, numbers, num_patients=num_patients))

    return np.concatenate(parallel_map(block, range(0, resamples, rows)))


def bootstrap(findings: Sequence[Ranked], *, num_patients: int, resamples: int, seed: int) -> Resamples:
    """Score each finding on resamples of the patients, the same resamples for all findings.

    Args:
        findings: Ranked images whose units are patient numbers below `num_patients`; at least one.
        num_patients: The number of patients, including those without a known label.
        resamples: The number of resamples, at least 1.
        seed: Any integer.
    """

    def measure(counts: Int32[np.ndarray, "resample patient"]) -> Float64[np.ndarray, "resample score k"]:
        scored = [weighted_scores(ranked, counts) for ranked in findings]
        return np.array([(s.auroc, s.partial_auroc, s.average_precision) for s in scored]).transpose(2, 1, 0)

    scores = over_resamples(measure, num_patients=num_patients, resamples=resamples, seed=seed)
    return Resamples(*np.moveaxis(scores, 1, 0))


def effective_patients(images: Int64[np.ndarray, " patient"]) -> float:
    """Return how many patients with equally many images would carry as much information as these.

    The square of the sum over the sum of squares (Kish, Survey Sampling, 1965): the number of patients if all
    have equally many images, 1 if one patient has all of them; NaN without images.

    Args:
        images: The number of images of each patient, among those that the statistic averages over (for
            sensitivity, those with the finding).
    """
    total = int(np.sum(images))
    return total**2 / int(np.sum(images**2)) if total else math.nan


def ranked_patients(ranked: Ranked) -> float:
    """Return the `effective_patients` of the class that has fewer, which dominates the error of an AUC."""
    return min(effective_patients(np.bincount(units)) for units in (ranked.positives, ranked.negatives))


def mean_patients(findings: Sequence[Ranked]) -> float:
    """Return the harmonic mean of `ranked_patients`, for a mean of AUCs: the rarest finding errs most."""
    counts = np.array([ranked_patients(ranked) for ranked in findings])
    return float(len(counts) / np.sum(1 / counts)) if len(counts) else math.nan


def percentile_interval(
    value: float,
    samples: Float64[np.ndarray, " resample"],
    *,
    patients: float = math.inf,
    difference: bool = False,
) -> Interval:
    """Return the interval between the 2.5th and 97.5th percentiles of the defined samples, corrected.

    Plain percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13) are too
    narrow with few patients: resampling n patients understates the variance by (n - 1) / n, and they amount
    to a normal quantile where Student's is needed. Hesterberg (The American Statistician 2015, section 4)
    widens the percentiles for both. Where the median of the samples differs from the value, both ends are
    shifted (bias-corrected percentiles, Efron, Canadian Journal of Statistics 1981); intervals of an AUC
    above .9 would otherwise lie too high. Differences have no boundary nearby, and are better without the
    shift. With the effective patients of the rarer class as n, coverage is nominal even where patients are
    few and have uneven numbers of images, as `bench/coverage.py` shows.

    The value itself is always inside: where resampling biases a number by more than the interval is wide, the
    interval is extended to it.

    Samples that are NaN are left out; reports state how many. Without a value, without a defined sample, or
    with fewer than 2 patients there is no interval.

    Args:
        value: The statistic on the original sample.
        samples: The statistic on each resample.
        patients: `effective_patients` of the statistic; infinite where patients are many.
        difference: Whether the statistic is a difference of two figures.
    """
    defined = samples[~np.isnan(samples)]
    if math.isnan(value) or len(defined) == 0 or not patients >= _MIN_EFFECTIVE_PATIENTS:
        return Interval(value, math.nan, math.nan)
    normal = NormalDist()
    bias, reach = 0.0 if difference else _bias(value, defined), _reach(patients)
    low, high = np.quantile(defined, [normal.cdf(2 * bias - reach), normal.cdf(2 * bias + reach)])
    return Interval(value, min(float(low), value), max(float(high), value))


def resampled_reach(samples: Float64[np.ndarray, " resample"], *, patients: float) -> float:
    """Return Student's quantile times the standard deviation of the defined samples.

    NaN where `resampled_interval` has no ends.
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) == 0 or np.ptp(defined) == 0 or not patients >= _MIN_EFFECTIVE_PATIENTS:
        return math.nan
    return float(np.std(defined)) * _reach(patients)


def resampled_interval(
    value: float, samples: Float64[np.ndarray, " resample"], *, patients: float, difference: bool = False
) -> Interval:
    """Return the `percentile_interval`, or no interval where all samples are equal.

    Both ends would be that one number, as if other patients could not give another. Shares, and AUCs of 0 and
    1, have `share_interval` and `bounded_interval` for that case.
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) and np.ptp(defined) == 0:
        return Interval(value, math.nan, math.nan)
    return percentile_interval(value, samples, patients=patients, difference=difference)


def _bias(value: float, samples: Float64[np.ndarray, " resample"]) -> float:
    """Return how far the value lies from the median of its samples, in standard errors."""
    below = (np.mean(samples < value) + np.mean(samples <= value)) / 2
    highest = NormalDist().cdf(_MAX_BIAS_CORRECTION)
    return NormalDist().inv_cdf(min(max(float(below), 1 - highest), highest))


def _reach(patients: float) -> float:
    """Return the half-width of an interval in standard errors of the resamples."""
    if math.isinf(patients):
        return NormalDist().inv_cdf((1 + LEVEL) / 2)
    return student_quantile((1 + LEVEL) / 2, patients - 1) / math.sqrt(1 - 1 / patients)


def student_quantile(probability: float, degrees: float) -> float:
    """Return a quantile of Student's t distribution; the normal one for infinite degrees of freedom."""
    from scipy.special import stdtrit  # noqa: PLC0415  (0.15 s, only where intervals are computed)

    return float(stdtrit(degrees, probability))


def wilson_interval(share: float, *, count: float, level: float = LEVEL) -> Interval:
    """Return Wilson's interval of a share among `count` independent images (Wilson, JASA 1927).

    Unlike the normal approximation it never shrinks to a point and never leaves [0, 1]. NaN without an image.
    """
    if not count > 0:
        return Interval(math.nan, math.nan, math.nan)
    z2 = _normal_quantile(level) ** 2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    low, high = max(center - half, 0.0), min(center + half, 1.0)
    # Where the share is 0 or 1 it is one of the ends, also after rounding.
    return Interval(share, min(low, share), max(high, share))


def share_interval(
    matching: Float64[np.ndarray, " patient"],
    images: Float64[np.ndarray, " patient"],
    *,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of the share of images that match a condition, with patients as the unit.

    Wilson's interval with an effective number of images: the number of independent images whose share would
    have the same variance. That variance is the one of a ratio of sums over patients (Rao and Scott,
    Biometrics 1992), and the number is divided by the squared ratio of Student's quantile to the normal one
    (Korn and Graubard, Survey Methodology 1998). Where all images match, or none, the variance is unknown and
    a patient counts as one image: the number is then that of the `effective_patients`, divided in the same
    way, so that no step lies between 0 of 8 and 1 of 8. It is never less than one image.

    Args:
        matching: The number of matching images of each patient.
        images: The number of images of each patient; patients without any are ignored.
        level: The coverage of the interval, in (0, 1).

    Returns:
        The share in [0, 1]; NaN without an image.
    """
    total = float(np.sum(images))
    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    share = float(np.sum(matching)) / total
    count = _independent_images(matching, images, share=share, level=level)
    return wilson_interval(share, count=count, level=level)


def bounded_interval(value: float, samples: Float64[np.ndarray, " resample"], *, patients: float) -> Interval:
    """Return the interval of a figure in [0, 1], including exactly 0 and 1, which no resample changes.

    An AUC of 1 means that every positive patient beats every negative one: that many trials without a
    failure, as for a share of 0 or 1 (the rule of three, Hanley and Lippman-Hand, JAMA 1983).

    Args:
        value: The figure on the original sample.
        samples: The figure on each resample.
        patients: `effective_patients` of the figure.
    """
    if value in (0.0, 1.0):
        return wilson_interval(value, count=_fewer_images(patients, patients))
    return resampled_interval(value, samples, patients=patients)


def f1_interval(hits: Float64[np.ndarray, " patient"], union: Float64[np.ndarray, " patient"]) -> Interval:
    """Return the interval of F1 = 2 J / (1 + J), where J is the Jaccard index: `hits` as a share of `union`.

    F1 itself is not a share of images, but it increases with J, which is one.

    Args:
        hits: The number of true positives of each patient.
        union: The number of images of each patient that have the finding, are predicted positive, or both.
    """
    jaccard = share_interval(hits, union)
    return Interval(*(2 * end / (1 + end) for end in (jaccard.value, jaccard.low, jaccard.high)))


def _independent_images(
    matching: Float64[np.ndarray, " patient"],
    images: Float64[np.ndarray, " patient"],
    *,
    share: float,
    level: float,
) -> float:
    """Return how many independent images would give the share as large a variance."""
    total, effective = float(np.sum(images)), effective_patients(images.astype(np.int64))
    if not 0 < share < 1 or effective < _MIN_EFFECTIVE_PATIENTS:
        return _fewer_images(effective, effective, level=level)
    size = float(np.sum(images**2)) / total
    added = _PSEUDO_PATIENT if share < 0.5 else 0.0  # noqa: PLR2004  (of the rarer kind)
    whole = total + _PSEUDO_PATIENT * size
    shrunk = (float(np.sum(matching)) + added * size) / whole
    squares = float(np.sum((matching - shrunk * images) ** 2))
    squares += _PSEUDO_PATIENT * size**2 * ((1 - shrunk) ** 2 if added else shrunk**2)
    patients = float(np.count_nonzero(images)) + _PSEUDO_PATIENT
    variance = squares / whole**2 * patients / (patients - 1)
    design_effect = variance / (shrunk * (1 - shrunk) / whole)
    return _fewer_images(total / max(design_effect, 1.0), effective, level=level)


def _fewer_images(images: float, patients: float, *, level: float = LEVEL) -> float:
    """Return a number of images, divided for few patients by a squared ratio of quantiles; at least 1."""
    if patients < _MIN_EFFECTIVE_PATIENTS:
        return 1.0
    ratio = _normal_quantile(level) / student_quantile((1 + level) / 2, patients - 1)
    return max(images * ratio**2, 1.0)


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
