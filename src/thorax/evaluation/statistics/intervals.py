"""Intervals that know that images of one patient are alike: the patient is what is resampled."""

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
    "patient_means",
    "patient_resample",
    "percentile_interval",
    "ranked_patients",
    "resample_counts",
    "resampled_interval",
    "share_interval",
    "student_quantile",
    "wilson_interval",
]

_FEWEST_EFFECTIVE = 2.0
"""Effective patients below which their differences say nothing of the variance."""

_ADDED = 0.1
"""The part of a patient that is added with images of the rarer kind alone before the variance is taken. Where
few patients have that kind, they understate how much patients differ: without it, intervals of a share of .97
held it in 90 of 100 trials (40 patients, two images of one correlated by .4); with it in 97, with all of a
patient in 98 and with intervals twice as wide (bench/coverage.py)."""


LEVEL: Final = 0.95
"""How often an interval is meant to hold the true value."""

_BLOCK: Final = 64
"""Resamples that are drawn together: 1.4 MB of numbers for 2,797 patients, and work for 16 cores in 1,000."""

_FEWEST: Final = 2
"""Effective patients below which nothing can be said about how patients differ."""

_FURTHEST: Final = 0.5
"""Standard errors that the middle of the resamples is corrected by at most.

AUCs and average precisions want .1. Further off are statistics that resampling itself biases, such as the
calibration error of few images: most resamples have a larger one, and what lies below is rare and noisy.
"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the interval around it; NaN stands for what does not exist.

    Attributes:
        value: The number, on the data as they are.
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
        """The two ends for people, "n/a" where there are none."""
        return "n/a" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.ends})" if self.exists else "n/a"


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Scores of each finding on each resample; NaN where the resample has only one class of it.

    Attributes:
        auroc: One row per resample, one column per finding.
        partial_auroc: The same, up to `PARTIAL_RATE`.
        average_precision: The same.
    """

    auroc: Float64[np.ndarray, "resample k"]
    partial_auroc: Float64[np.ndarray, "resample k"]
    average_precision: Float64[np.ndarray, "resample k"]


def patient_resample(
    seed: int, resamples: Int64[np.ndarray, " resample"], *, num_patients: int
) -> Int32[np.ndarray, "resample patient"]:
    """Return how often each patient is drawn in each of the numbered resamples.

    As many patients are drawn as there are, with replacement and equal chances. Resample r is a pure
    function of the seed, r and the number of patients, so that two models on the same images meet the same
    resamples.
    """
    draws = uniform(seed, "bootstrap", epoch=0, positions=resamples, count=num_patients)
    patient = (draws * num_patients).astype(np.int64)
    cell = patient + num_patients * np.arange(len(resamples), dtype=np.int64)[:, None]
    counts = np.bincount(cell.ravel(), minlength=len(resamples) * num_patients)
    return counts.reshape(len(resamples), num_patients).astype(np.int32)


def resample_counts(num_patients: int, *, resamples: int, seed: int) -> Int32[np.ndarray, "resample patient"]:
    """Return how often each patient counts in each of the first `resamples` resamples.

    Row r is a pure function of the seed, r and the number of patients. Where a whole matrix would be
    large (4 bytes for each patient and resample), take `over_resamples`.
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
    """Return what is measured on each of `resample_counts`, some rows at a time, on all cores."""

    def block(first: int) -> Float64[np.ndarray, "*measured"]:
        numbers = np.arange(first, min(first + _BLOCK, resamples), dtype=np.int64)
        return measure(patient_resample(seed, numbers, num_patients=num_patients))

    return np.concatenate(parallel_map(block, range(0, resamples, _BLOCK)))


def bootstrap(findings: Sequence[Ranked], *, num_patients: int, resamples: int, seed: int) -> Resamples:
    """Score each finding on resamples of the patients, the same resamples for all findings.

    Args:
        findings: Ranked images whose units are patient numbers below `num_patients`; at least one.
        num_patients: How many patients there are, those without a known label of a finding among them.
        resamples: How many resamples, at least 1.
        seed: Any integer.
    """

    def measure(counts: Int32[np.ndarray, "resample patient"]) -> Float64[np.ndarray, "resample score k"]:
        scored = [weighted_scores(ranked, counts) for ranked in findings]
        return np.array([(s.auroc, s.partial_auroc, s.average_precision) for s in scored]).transpose(2, 1, 0)

    scores = over_resamples(measure, num_patients=num_patients, resamples=resamples, seed=seed)
    return Resamples(*np.moveaxis(scores, 1, 0))


def effective_patients(images: Int64[np.ndarray, " patient"]) -> float:
    """Return how many patients of equal size say as much as these, of uneven size.

    The square of the sum over the sum of squares (Kish, Survey Sampling, 1965): the number of patients where
    all have as many images, 1 where one has them all; NaN without images.

    Args:
        images: How many images each patient has of those that the statistic is an average over: for
            sensitivity, those with the finding.
    """
    total = int(np.sum(images))
    return total**2 / int(np.sum(images**2)) if total else math.nan


def ranked_patients(ranked: Ranked) -> float:
    """Return the `effective_patients` of the class that has fewer, which an AUC's error comes from most."""
    return min(effective_patients(np.bincount(units)) for units in (ranked.positives, ranked.negatives))


def mean_patients(findings: Sequence[Ranked]) -> float:
    """Return the harmonic mean of `ranked_patients`, for a mean of AUCs: the rarest finding errs most."""
    counts = np.array([ranked_patients(each) for each in findings])
    return float(len(counts) / np.sum(1 / counts)) if len(counts) else math.nan


def percentile_interval(
    value: float,
    samples: Float64[np.ndarray, " resample"],
    *,
    patients: float = math.inf,
    difference: bool = False,
) -> Interval:
    """Return the interval between two percentiles of the defined samples: the 2.5th and 97.5th, corrected.

    Plain percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13) are too near
    with few patients: resampling n patients understates the variance by (n - 1) / n, and a normal quantile
    stands where Student's should. Hesterberg (The American Statistician 2015, section 4) moves the
    percentiles out by both. Where the middle of the samples is not the value, both ends move against that
    (bias-corrected percentiles, Efron, Canadian Journal of Statistics 1981): intervals of an AUC above .9
    would lie too high. Differences have no edge nearby, and are better off without. With n the effective
    patients of the rarer class, intervals hold the truth as often as they say also where patients are few
    and uneven, as `bench/coverage.py` shows.

    Samples that are NaN are left out; whoever shows the interval shows how many. Without a value, with no
    defined sample, or with fewer than 2 patients there is no interval.

    Args:
        value: The number, on the data as they are.
        samples: The same on each resample.
        patients: `effective_patients` of what the statistic is about; infinite where patients are many.
        difference: Whether the number is the difference of two figures, rather than one.
    """
    defined = samples[~np.isnan(samples)]
    if math.isnan(value) or len(defined) == 0 or not patients >= _FEWEST:
        return Interval(value, math.nan, math.nan)
    normal = NormalDist()
    middle, reach = 0.0 if difference else _middle(value, defined), _reach(patients)
    low, high = np.quantile(defined, [normal.cdf(2 * middle - reach), normal.cdf(2 * middle + reach)])
    return Interval(value, float(low), float(high))


def resampled_interval(
    value: float, samples: Float64[np.ndarray, " resample"], *, patients: float, difference: bool = False
) -> Interval:
    """Return the `percentile_interval`, or none where all samples are the same number.

    Its ends would be that number, as if other patients could not give another. Shares, and AUCs of 0 and 1,
    have intervals of their own there (see `proportions`).
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) and np.ptp(defined) == 0:
        return Interval(value, math.nan, math.nan)
    return percentile_interval(value, samples, patients=patients, difference=difference)


def patient_means(
    values: Float64[np.ndarray, "n k"], patients: Sequence[str], *, resamples: int, seed: int
) -> list[Interval]:
    """Return the mean of each column over its rows, with patients as the unit.

    Args:
        values: Some figures of each image, or of each finding in one; at least one row.
        patients: Whose each row is.
        resamples: How many resamples of the patients, at least 1.
        seed: Which ones.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    rows = np.bincount(patient)
    sums = np.stack([np.bincount(patient, weights=column) for column in values.T], axis=1)
    samples = over_resamples(
        lambda counts: (counts @ sums) / (counts @ rows)[:, None],
        num_patients=len(rows),
        resamples=resamples,
        seed=seed,
    )
    return [
        resampled_interval(float(np.mean(column)), sample, patients=effective_patients(rows))
        for column, sample in zip(values.T, samples.T, strict=True)
    ]


def _middle(value: float, samples: Float64[np.ndarray, " resample"]) -> float:
    """Return where the value lies among its samples, in standard errors from their median."""
    below = (np.mean(samples < value) + np.mean(samples <= value)) / 2
    furthest = NormalDist().cdf(_FURTHEST)
    return NormalDist().inv_cdf(min(max(float(below), 1 - furthest), furthest))


def _reach(patients: float) -> float:
    """Return how many standard errors of the resamples an interval reaches to each side."""
    if math.isinf(patients):
        return NormalDist().inv_cdf((1 + LEVEL) / 2)
    return student_quantile((1 + LEVEL) / 2, patients - 1) / math.sqrt(1 - 1 / patients)


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t distribution; the normal one where `freedom` is infinite."""
    from scipy.special import stdtrit  # noqa: PLC0415  (0.15 s, only where intervals are computed)

    return float(stdtrit(freedom, probability))


def wilson_interval(share: float, *, count: float) -> Interval:
    """Return Wilson's interval of a share of `count` independent images (Wilson, JASA 1927).

    Unlike the plain one it is never empty, and never leaves [0, 1]. NaN without an image.
    """
    if not count > 0:
        return Interval(math.nan, math.nan, math.nan)
    z2 = _normal_quantile() ** 2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    low, high = max(center - half, 0.0), min(center + half, 1.0)
    # Where the share is 0 or 1 the end is the share, which rounding must not part from it.
    return Interval(share, min(low, share), max(high, share))


def share_interval(
    some: Float64[np.ndarray, " patient"], images: Float64[np.ndarray, " patient"]
) -> Interval:
    """Return the interval of the share of images that are of some kind, with patients as the unit.

    Wilson's interval for the number of independent images that vary as these do: the variance of the share is
    that of a ratio of sums over patients (Rao and Scott, Biometrics 1992), and the number is made smaller by
    the square of Student's quantile over the normal one (Korn and Graubard, Survey Methodology 1998). Where
    all images are of one kind nothing varies, and a patient's images say no more than one: the number is
    then that of the `effective_patients`, and the interval is close to the rule of three over patients.

    Args:
        some: How many images of each patient are of the kind.
        images: How many images each patient has; those without any do not count.

    Returns:
        The share in [0, 1]; NaN without an image.
    """
    total = float(np.sum(images))
    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    share = float(np.sum(some)) / total
    return wilson_interval(share, count=_independent_images(some, images, share))


def bounded_interval(value: float, samples: Float64[np.ndarray, " resample"], *, patients: float) -> Interval:
    """Return the interval of a figure in [0, 1], also of one of exactly 0 or 1, which no resample changes.

    An AUC of 1 means that each positive patient beats every negative one: so many trials without one that
    failed, as for a share of nothing or of all (the rule of three, Hanley and Lippman-Hand, JAMA 1983).

    Args:
        value: The figure, on the data as they are.
        samples: The same on each resample.
        patients: `effective_patients` of what it is about.
    """
    if value in (0.0, 1.0):
        return wilson_interval(value, count=patients)
    return resampled_interval(value, samples, patients=patients)


def f1_interval(hits: Float64[np.ndarray, " patient"], either: Float64[np.ndarray, " patient"]) -> Interval:
    """Return the interval of F1 = 2 J / (1 + J), where J is the share of `hits` among images in `either`.

    F1 is no share, but rises with one: of the images that have the finding or are called, those that are both
    (Jaccard's index).

    Args:
        hits: Images of each patient that have the finding and are called.
        either: Images that have it, are called, or both.
    """
    index = share_interval(hits, either)
    return Interval(*(2 * end / (1 + end) for end in (index.value, index.low, index.high)))


def _independent_images(
    some: Float64[np.ndarray, " patient"], images: Float64[np.ndarray, " patient"], share: float
) -> float:
    total, effective = float(np.sum(images)), effective_patients(images.astype(np.int64))
    if not 0 < share < 1:
        return effective
    if effective < _FEWEST_EFFECTIVE:
        return 1.0
    size = float(np.sum(images**2)) / total
    added = _ADDED if share < 0.5 else 0.0  # noqa: PLR2004  (the part of a patient is all of the rarer kind)
    whole = total + _ADDED * size
    shrunk = (float(np.sum(some)) + added * size) / whole
    spread = float(np.sum((some - shrunk * images) ** 2))
    spread += _ADDED * size**2 * ((1 - shrunk) ** 2 if added else shrunk**2)
    patients = float(np.count_nonzero(images)) + _ADDED
    variance = spread / whole**2 * patients / (patients - 1)
    alike = variance / (shrunk * (1 - shrunk) / whole)  # how many images say as much as one
    student = student_quantile((1 + LEVEL) / 2, effective - 1)
    return total / max(alike, 1.0) * (_normal_quantile() / student) ** 2


def _normal_quantile() -> float:
    return NormalDist().inv_cdf((1 + LEVEL) / 2)
