"""Whether probabilities hold at another site, what adjusts them there, and how many patients that takes.

Calibration in the large and the ratio of observed to expected say whether probabilities are too low or too
high on average; the slope says whether they are too extreme (below 1) or not extreme enough (Van Calster et
al., BMC Medicine 2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import Probabilities
from thorax.calibration import logit, sigmoid
from thorax.evaluation.calibration.adjust import (
    AdjustmentRule,
    FindingLabels,
    LogitAdjustment,
    choose_adjustment,
    degrees_of_freedom,
    too_few_patients,
)
from thorax.evaluation.labeled_images import LabeledImages, check_shapes
from thorax.evaluation.robustness import paired_mean
from thorax.evaluation.statistics.intervals import LEVEL, Interval, effective_patients, student_quantile
from thorax.findings import NO_FINDING, Finding
from thorax.progress import CountCallback
from thorax.randomness import uniform

__all__ = [
    "CurvePoint",
    "FindingAtSite",
    "SiteMeasurement",
    "in_the_large",
    "measure_site",
    "observed_expected",
    "slope_interval",
]

_FOLDS: Final = 10
_SIZES: Final = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400)
"""Numbers of local patients on the curve, as far as a quarter of the patients is left out."""

_CURVES: Final[tuple[AdjustmentRule, ...]] = ("auto", "intercept", "all")
_NONE: Final = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingAtSite:
    """One finding at a site.

    Attributes:
        finding: The finding.
        num_known: Images labeled present or absent.
        num_positive: Images labeled present: the observed number.
        positive_patients: Patients with such an image.
        negative_patients: Patients with an image labeled absent.
        expected: Sum of the probabilities of these images.
        observed_expected: Observed over expected; above 1 the probabilities are too low. Where nothing is
            observed the value and the lower end are 0, and only the upper end says anything.
        in_the_large: The intercept, with slope 1, that makes the mean probability right: 0 if it is. Minus
            infinity where nothing is observed, infinity where every image is positive.
        slope: The slope of a regression of the labels on the logit; below 1 the probabilities are too
            extreme. It does not exist with fewer than `MIN_PATIENTS` patients with or without the finding.
        not_said: What the data cannot say, as sentences without a period.
        adjustment: What adjusts the probabilities here, fitted on all of these images.
        log_loss_before: Mean -log(probability of the label) as the model is.
        log_loss_change: The same after adjusting less before, on patients that were left out while fitting;
            with an interval by patient.
    """

    finding: Finding
    num_known: int
    num_positive: int
    positive_patients: int
    negative_patients: int
    expected: float
    observed_expected: Interval
    in_the_large: Interval
    slope: Interval
    not_said: tuple[str, ...]
    adjustment: LogitAdjustment
    log_loss_before: float
    log_loss_change: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """How adjustments fitted on some of the patients do on the others.

    Attributes:
        rule: The adjustment.
        num_patients: Patients that it was fitted on.
        change: Change of the mean log loss over findings on the other patients: the mean over repetitions,
            and the 2.5th and 97.5th percentile of the repetitions, which are not a confidence interval.
        share_better: Share of repetitions in which the log loss fell.
    """

    rule: AdjustmentRule
    num_patients: int
    change: Interval
    share_better: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMeasurement:
    """A model's probabilities at a site.

    Attributes:
        findings: One entry per finding.
        rule: How adjustments were chosen.
        mean_log_loss_change: Mean of the changes over the findings, without No Finding, with a known label.
        curve: How many patients it takes; empty where there are too few.
        no_curve: Why there is no curve; "" if there is one.
        num_images: The number of images.
        num_patients: The number of patients.
        repetitions: Repetitions at each number of patients.
        seed: The seed of folds and repetitions.
    """

    findings: tuple[FindingAtSite, ...]
    rule: AdjustmentRule
    mean_log_loss_change: Interval
    curve: tuple[CurvePoint, ...]
    no_curve: str
    num_images: int
    num_patients: int
    repetitions: int
    seed: int

    @property
    def patients_needed(self) -> int | None:
        """The fewest patients from which on "auto" helped in 95 % of the repetitions; None if never."""
        needed = None
        for point in reversed([point for point in self.curve if point.rule == "auto"]):
            if point.share_better < LEVEL:
                break
            needed = point.num_patients
        return needed


def measure_site(
    labeled: LabeledImages,
    probabilities: Probabilities,
    *,
    rule: AdjustmentRule = "auto",
    repetitions: int = 20,
    seed: int = 0,
    progress: CountCallback | None = None,
) -> SiteMeasurement:
    """Measure calibration at a site, choose adjustments, and try how many patients these take.

    Args:
        labeled: Images of the site with their labels.
        probabilities: The model's, in [0, 1]; one column per finding.
        rule: How to adjust.
        repetitions: Random draws of patients at each point of the curve; 0 leaves the curve out.
        seed: Seed of folds and draws.
        progress: Called with the finished and all points of the curve.

    Raises:
        DataError: Shapes differ.
    """
    check_shapes(len(labeled.images), labeled.findings, probabilities=probabilities)
    names, numbers = np.unique(np.asarray(labeled.patients), return_inverse=True)
    patient = np.asarray(numbers, dtype=np.int64)
    known = np.asarray((labeled.targets == 0) | (labeled.targets == 1))
    columns = [
        FindingLabels(labeled.targets[rows, k] == 1, logit(probabilities[rows, k]), patient[rows])
        for k, rows in enumerate(known.T)
    ]
    fold = _order(len(names), seed, 0) % min(_FOLDS, len(names))
    changes = np.zeros(known.shape)
    for k, column in enumerate(columns):
        changes[known[:, k], k] = _left_out_changes(column, fold[column.patient], rule)
    in_mean = [k for k, finding in enumerate(labeled.findings) if finding != NO_FINDING and known[:, k].any()]
    curve, no_curve = _curve([columns[k] for k in in_mean], len(names), repetitions, seed, progress)
    return SiteMeasurement(
        findings=tuple(
            _finding(finding, columns[k], rule, paired_mean(changes[:, [k]], known[:, [k]], patient))
            for k, finding in enumerate(labeled.findings)
        ),
        rule=rule,
        mean_log_loss_change=paired_mean(changes[:, in_mean], known[:, in_mean], patient),
        curve=curve,
        no_curve=no_curve,
        num_images=len(labeled.images),
        num_patients=len(names),
        repetitions=repetitions,
        seed=seed,
    )


def observed_expected(
    present: Bool[np.ndarray, " n"], probability: Float64[np.ndarray, " n"], patient: Int64[np.ndarray, " n"]
) -> Interval:
    """Return the ratio of observed to expected positives, with an interval by patient.

    Exact limits of a Poisson count (Garwood 1936), for the count that would vary as much, relative to its
    size, as the observed number does between patients (as Fay and Feuer, Statistics in Medicine 1997, do for
    weighted sums), and with Student's quantile for the normal one. Where nothing is observed, a patient
    counts as one image, and the upper end is the rule of three: 3.7 over the expected number for a two-sided
    interval.

    Args:
        present: Whether each image has the finding.
        probability: The model's, in [0, 1].
        patient: The number of each image's patient.
    """
    expected = float(np.sum(probability))
    if not expected > 0:
        return _NONE
    observed = int(np.sum(present))
    count = np.bincount(patient)
    patients, effective = int(np.count_nonzero(count)), effective_patients(count)
    if effective < 2:  # noqa: PLR2004  (one patient says nothing about others)
        return Interval(observed / expected, math.nan, math.nan)
    student = student_quantile((1 + LEVEL) / 2, effective - 1) / student_quantile((1 + LEVEL) / 2, math.inf)
    if observed == 0:
        per_patient = len(present) / effective
        return Interval(0.0, 0.0, _gamma_quantile(1.0, (1 + LEVEL) / 2) * per_patient * student**2 / expected)
    ratio = observed / expected
    excess = np.bincount(patient, weights=present - ratio * probability)
    between = float(np.sum(excess**2)) * patients / (patients - 1) / observed
    within = float(np.sum(probability * (1 - probability))) / expected
    equivalent = observed / (max(between, within) * student**2)
    return Interval(
        ratio,
        ratio * _gamma_quantile(equivalent, (1 - LEVEL) / 2) / equivalent,
        ratio * _gamma_quantile(equivalent + 1, (1 + LEVEL) / 2) / equivalent,
    )


def in_the_large(logits: Float64[np.ndarray, " n"], ratio: Interval) -> Interval:
    """Return calibration in the large: the intercept at which the expected number is the observed one.

    It is the estimate of greatest likelihood with slope 1, and its interval is that of observed over
    expected on another scale.

    Args:
        logits: The model's.
        ratio: `observed_expected` of the same images.
    """
    expected = float(np.sum(sigmoid(logits)))
    return Interval(*(_intercept_for(logits, end * expected) for end in (ratio.value, ratio.low, ratio.high)))


def slope_interval(
    present: Bool[np.ndarray, " n"], logits: Float64[np.ndarray, " n"], patient: Int64[np.ndarray, " n"]
) -> Interval:
    """Return the calibration slope with an interval by patient; NaN where too few patients have a class."""
    column = FindingLabels(present, logits, patient)
    if too_few_patients(column) or (fit := column.fit()) is None:
        return _NONE
    reach = student_quantile((1 + LEVEL) / 2, degrees_of_freedom(column)) * fit.slope_error
    return Interval(fit.slope, fit.slope - reach, fit.slope + reach)


def _finding(
    finding: Finding, column: FindingLabels, rule: AdjustmentRule, change: Interval
) -> FindingAtSite:
    probability = sigmoid(column.logits)
    ratio = observed_expected(column.present, probability, column.patient)
    observed, few = int(column.present.sum()), too_few_patients(column)
    not_said = []
    if not len(column.present):
        not_said.append("anything: no image has a known label")
    elif observed == 0:
        not_said.append("how much too high the probabilities are: no image has the finding")
    elif observed == len(column.present):
        not_said.append("how much too low the probabilities are: every image has the finding")
    if few and len(column.present):
        not_said.append(f"the slope: {few}")
    return FindingAtSite(
        finding=finding,
        num_known=len(column.present),
        num_positive=observed,
        positive_patients=len(column.patients(present=True)),
        negative_patients=len(column.patients(present=False)),
        expected=float(np.sum(probability)),
        observed_expected=ratio,
        in_the_large=in_the_large(column.logits, ratio) if ratio.exists else _NONE,
        slope=slope_interval(column.present, column.logits, column.patient),
        not_said=tuple(not_said),
        adjustment=choose_adjustment(column, rule),
        log_loss_before=float(np.mean(column.losses)) if len(column.present) else math.nan,
        log_loss_change=change,
    )


def _left_out_changes(
    column: FindingLabels, fold: Int64[np.ndarray, " n"], rule: AdjustmentRule
) -> Float64[np.ndarray, " n"]:
    """Return the change of each image's loss by the adjustment fitted on the patients of other folds."""
    changes = np.zeros(len(fold))
    for number in np.unique(fold):
        outside = fold == number
        fitted = column.take(~outside)
        adjustment = choose_adjustment(fitted, rule)
        changes[outside] = _loss_changes(column.take(outside), adjustment)
    return changes


def _loss_changes(column: FindingLabels, adjustment: LogitAdjustment) -> Float64[np.ndarray, " n"]:
    adjusted = FindingLabels(column.present, adjustment.apply(column.logits), column.patient)
    return np.asarray(adjusted.losses - column.losses)


def _curve(
    columns: Sequence[FindingLabels],
    num_patients: int,
    repetitions: int,
    seed: int,
    progress: CountCallback | None,
) -> tuple[tuple[CurvePoint, ...], str]:
    sizes = [size for size in _SIZES if 4 * size <= 3 * num_patients]
    if len(sizes) <= 1:
        return (), f"{num_patients} patients are too few for a curve: it needs 67 to try 25 and 50"
    if not repetitions:
        return (), "not requested"
    points = []
    for done, size in enumerate(sizes, start=1):
        changes: dict[AdjustmentRule, list[float]] = {rule: [] for rule in _CURVES}
        for repetition in range(repetitions):
            inside = _order(num_patients, seed, 1 + repetition) < size
            means = [_split_changes(column, inside[column.patient]) for column in columns]
            for number, rule in enumerate(_CURVES):
                defined = [mean[number] for mean in means if not math.isnan(mean[number])]
                changes[rule].append(float(np.mean(defined)) if defined else 0.0)
        points += [_point(rule, size, np.array(values)) for rule, values in changes.items()]
        if progress is not None:
            progress(done, len(sizes))
    order = sorted(points, key=lambda point: _CURVES.index(point.rule))
    return tuple(order), ""


def _split_changes(column: FindingLabels, inside: Bool[np.ndarray, " n"]) -> list[float]:
    """Return the mean change of the loss outside by each rule of `_CURVES` fitted inside."""
    fitted, others = column.take(inside), column.take(~inside)
    if not len(others.present):
        return [math.nan] * len(_CURVES)
    return [float(np.mean(_loss_changes(others, choose_adjustment(fitted, rule)))) for rule in _CURVES]


def _point(rule: AdjustmentRule, size: int, changes: Float64[np.ndarray, " repetition"]) -> CurvePoint:
    low, high = np.quantile(changes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return CurvePoint(
        rule=rule,
        num_patients=size,
        change=Interval(float(np.mean(changes)), float(low), float(high)),
        share_better=float(np.mean(changes < 0)),
    )


def _order(num_patients: int, seed: int, draw: int) -> Int64[np.ndarray, " patient"]:
    """Return the place of each patient in a random order; draws differ."""
    positions = np.arange(num_patients, dtype=np.int64)
    numbers = uniform(seed, "site", epoch=draw, positions=positions)[:, 0]
    places = np.empty(num_patients, dtype=np.int64)
    places[np.argsort(numbers, kind="stable")] = positions
    return places


def _intercept_for(logits: Float64[np.ndarray, " n"], expected: float) -> float:
    """Return the intercept at which the probabilities sum to a number; infinite where none does."""
    if math.isnan(expected):
        return math.nan
    if expected <= 0:
        return -math.inf
    if expected >= len(logits):
        return math.inf
    low, high = -float(np.max(logits)) - 50, -float(np.min(logits)) + 50
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if float(np.sum(sigmoid(middle + logits))) < expected else (low, middle)
    return (low + high) / 2


def _gamma_quantile(shape: float, probability: float) -> float:
    from scipy.special import gammaincinv  # noqa: PLC0415  (0.15 s, only where intervals are computed)

    return float(gammaincinv(shape, probability))
