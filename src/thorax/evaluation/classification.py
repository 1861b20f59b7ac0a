"""What yes and no are worth: confusion counts, and every rate that is made of them, with intervals.

Everything is a sum over patients. The counts of each patient stand in one row of a matrix, so that a
resample of patients is a product with its weights, and thousands of resamples are a few matrix products.

Rates of one finding, micro averages, exact match and Hamming loss are shares of images, often near 0 or 1,
where resampling fails: they have Wilson's interval with patients as the unit (see `proportions`). The other
averages are no shares and have the bootstrap's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64

from thorax.arrays import NOT_LABELED, Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.labeled import check_shapes
from thorax.evaluation.statistics.intervals import (
    Interval,
    effective_patients,
    f1_interval,
    over_resamples,
    resampled_interval,
    share_interval,
)
from thorax.findings import NO_FINDING, Finding, Findings

__all__ = [
    "AVERAGES",
    "RATES",
    "Average",
    "Calls",
    "Classification",
    "Confusion",
    "FindingClassification",
    "LabeledPredictions",
    "Measure",
    "Rate",
    "call",
    "classify",
    "rates_of",
    "resampled_sums",
    "tally",
]

Calls = Int8[np.ndarray, "n k"]
"""What is said of each image: 1 called positive, 0 called negative, `NOT_LABELED` not said."""

Rate = Literal["sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "all_negative_accuracy"]
"""A quotient of confusion counts. Recall is sensitivity, precision is PPV (positive predictive value)."""

RATES: Final[tuple[Rate, ...]] = get_args(Rate)
"""The rates in the order in which arrays hold them."""

Average = Literal["micro", "macro", "weighted", "samples"]
"""How rates become one: over all labels pooled, over findings, over findings weighted by their positives,
over images."""

AVERAGES: Final[tuple[Average, ...]] = get_args(Average)
"""The averages, in the order of scikit-learn's classification report."""

Tally = Float64[np.ndarray, "*any 4"]
"""True positives, false positives, false negatives and true negatives, in this order."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabeledPredictions:
    """What a model said of some images, and what is true of them, to be measured.

    Attributes:
        targets: Labels; only 1 and 0 count.
        probabilities: In [0, 1].
        calls: What the operating points make of them; see `call`.
        patients: Which patient each image is of.
        findings: What the columns stand for.
    """

    targets: Targets
    probabilities: Probabilities
    calls: Calls
    patients: Sequence[str] | Int64[np.ndarray, " n"]
    findings: Findings

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit, and probabilities that are none."""
        check_shapes(
            len(self.patients),
            self.findings,
            targets=self.targets,
            probabilities=self.probabilities,
            calls=self.calls,
        )
        outside = ~((self.probabilities >= 0) & (self.probabilities <= 1))
        if np.any(outside):
            row, column = (int(each[0]) for each in np.nonzero(outside))
            raise DataError(
                f"{self.findings[column]}: {int(np.sum(outside))} probabilities are not in [0, 1] (first: "
                f"{self.probabilities[row, column]} in row {row}); give probabilities, not logits"
            )

    @property
    def known(self) -> Bool[np.ndarray, "n k"]:
        """Which labels are sure."""
        return np.asarray((self.targets == 0) | (self.targets == 1))

    @property
    def patient_numbers(self) -> Int64[np.ndarray, " n"]:
        """The number of each image's patient, from 0, in the order of their names."""
        _, number = np.unique(np.asarray(self.patients), return_inverse=True)
        return np.asarray(number, dtype=np.int64)

    @property
    def in_mean(self) -> Bool[np.ndarray, " k"]:
        """Which findings averages are taken over: No Finding, the absence of the others, never."""
        return np.array([finding != NO_FINDING for finding in self.findings])


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many images were called what, and were what."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its interval, and what it is taken over.

    Attributes:
        interval: NaN where it does not exist.
        over: The denominator: images for a rate of one finding, labels for a micro average, findings or
            images for the other averages. Only what is defined is counted.
        undefined_resamples: Resamples in which it does not exist; for an average over findings, those in
            which it is over fewer findings.
    """

    interval: Interval
    over: int
    undefined_resamples: int


@dataclass(frozen=True, slots=True)
class FindingClassification:
    """One finding's calls against its labels.

    Attributes:
        finding: The finding.
        confusion: Over the images that have a sure label and a call.
        rates: By name. `all_negative_accuracy` is the accuracy of calling every image negative.
    """

    finding: Finding
    confusion: Confusion
    rates: Mapping[Rate, Measure]


@dataclass(frozen=True, slots=True)
class Classification:
    """What the calls of a model are worth on some images.

    Attributes:
        findings: One entry per finding, in the order of the readings.
        averages: Over the findings other than No Finding. What is undefined stays out, and `Measure.over`
            says how much went in. Precision, recall and F1 equal those of scikit-learn's classification
            report with `zero_division=nan`.
        support: Labels that are present, over the findings of the averages.
        exact_match: Share of images of which every finding is called as labelled, over the images of which
            all findings that have calls are labelled.
        hamming_loss: Share of labels that are called wrong.
        num_images: Images.
        num_patients: Patients.
    """

    findings: tuple[FindingClassification, ...]
    averages: Mapping[Average, Mapping[Rate, Measure]]
    support: int
    exact_match: Measure
    hamming_loss: Measure
    num_images: int
    num_patients: int


def call(probabilities: Probabilities, thresholds: Sequence[float | None]) -> Calls:
    """Call positive what reaches its finding's threshold.

    Args:
        probabilities: One column per finding.
        thresholds: One per finding; None where there is none, and nothing is called.

    Raises:
        DataError: There is not one threshold per finding, or one is not a number.
    """
    if len(thresholds) != probabilities.shape[1]:
        raise DataError(
            f"{len(thresholds)} thresholds do not fit {probabilities.shape[1]} findings; "
            "give one for each, None where there is none"
        )
    calls = np.full(probabilities.shape, NOT_LABELED, dtype=np.int8)
    for column, threshold in enumerate(thresholds):
        if threshold is None:
            continue
        if math.isnan(threshold):
            raise DataError(f"threshold {column} of {len(thresholds)} is not a number; give None for none")
        calls[:, column] = probabilities[:, column] >= threshold
    return calls


def classify(readings: LabeledPredictions, *, resamples: int = 1000, seed: int = 0) -> Classification:
    """Measure the calls for each finding and on average, with intervals by patient.

    Args:
        readings: The calls and the labels.
        resamples: How many resamples of the patients, at least 1; the first of those of `evaluate`.
        seed: Which ones.
    """
    cells = _cells(readings)
    images = _image_columns(readings, cells)
    columns = np.concatenate([cells.reshape(len(cells), -1), images], axis=1)
    by_patient = _by_patient(columns, readings.patient_numbers)
    split = cells.shape[1] * 4
    counted = by_patient[:, :split].reshape(len(by_patient), -1, 4)
    sums = resampled_sums(by_patient, resamples=resamples, seed=seed)
    tallies = sums[:, :split].reshape(len(sums), -1, 4)
    used = readings.in_mean
    images_with = effective_patients(np.bincount(readings.patient_numbers))
    return Classification(
        findings=tuple(
            _finding(finding, tallies[:, column], counted[:, column])
            for column, finding in enumerate(readings.findings)
        ),
        averages={
            "micro": _rates(np.sum(tallies[:, used], axis=1), np.sum(counted[:, used], axis=1)),
            **_averages(tallies[:, used], sums[:, split:-4], patients=images_with),
        },
        support=int(np.sum(tallies[0][used][:, [0, 2]])),
        exact_match=_share(sums[:, -4:-2], by_patient[:, -4:-2]),
        hamming_loss=_share(sums[:, -2:], by_patient[:, -2:]),
        num_images=len(cells),
        num_patients=len(by_patient),
    )


def tally(present: Bool[np.ndarray, "*any"], called: Bool[np.ndarray, "*any"]) -> Tally:
    """Return 1 in the one of the four cells that each label falls into."""
    cells = (present & called, ~present & called, present & ~called, ~present & ~called)
    return np.stack(cells, axis=-1).astype(np.float64)


def rates_of(tallies: Tally) -> Float64[np.ndarray, "*any 7"]:
    """Return the rates of confusion counts, in the order of `RATES`; NaN where one is undefined."""
    numerator, denominator = _quotients(tallies)
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / np.where(denominator > 0, denominator, np.nan))


def resampled_sums(
    columns: Float64[np.ndarray, "patient column"], *, resamples: int, seed: int
) -> Float64[np.ndarray, "sample column"]:
    """Return the sums over patients, first as they are, then on each resample of the patients."""
    samples = over_resamples(
        lambda counts: counts.astype(np.float64) @ columns,
        num_patients=len(columns),
        resamples=resamples,
        seed=seed,
    )
    return np.vstack([np.sum(columns, axis=0), samples])


def _quotients(
    tallies: Tally,
) -> tuple[Float64[np.ndarray, "*any 7"], Float64[np.ndarray, "*any 7"]]:
    hit, alarm, miss, clear = np.moveaxis(tallies, -1, 0)
    every = hit + alarm + miss + clear
    numerators = (hit, clear, hit, clear, 2 * hit, hit + clear, alarm + clear)
    denominators = (
        hit + miss,
        clear + alarm,
        hit + alarm,
        clear + miss,
        2 * hit + alarm + miss,
        every,
        every,
    )
    return np.stack(numerators, axis=-1), np.stack(denominators, axis=-1)


def _cells(readings: LabeledPredictions) -> Float64[np.ndarray, "n k 4"]:
    counted = readings.known & (readings.calls >= 0)
    return tally(readings.targets == 1, readings.calls == 1) * counted[:, :, None]


def _image_columns(
    readings: LabeledPredictions, cells: Float64[np.ndarray, "n k 4"]
) -> Float64[np.ndarray, "n column"]:
    """Return for each image: its rates (0 if undefined), whether each is defined, and four counts.

    The counts are: all right, all labelled, labels called wrong, labels.
    """
    cells = cells[:, readings.in_mean]
    rates = rates_of(np.sum(cells, axis=1))
    asked = np.any(readings.calls[:, readings.in_mean] >= 0, axis=0)  # findings that are called at all
    labels = np.sum(cells, axis=(1, 2))
    wrong = np.sum(cells[:, :, 1:3], axis=(1, 2))
    complete = (labels == np.sum(asked)) & (labels > 0)
    counts = np.stack([complete & (wrong == 0), complete, wrong, labels], axis=1)
    return np.concatenate([np.nan_to_num(rates), ~np.isnan(rates), counts], axis=1)


def _by_patient(
    columns: Float64[np.ndarray, "n column"], patient: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "patient column"]:
    return np.stack([np.bincount(patient, weights=column) for column in columns.T], axis=1)


def _finding(
    finding: Finding, tallies: Float64[np.ndarray, "sample 4"], counted: Float64[np.ndarray, "patient 4"]
) -> FindingClassification:
    return FindingClassification(
        finding=finding,
        confusion=Confusion(*(int(count) for count in tallies[0])),
        rates=_rates(tallies, counted),
    )


def _rates(
    tallies: Float64[np.ndarray, "sample 4"], counted: Float64[np.ndarray, "patient 4"]
) -> dict[Rate, Measure]:
    """Return every rate of confusion counts, from the sums of each sample and from each patient's own."""
    values, (numerator, denominator) = rates_of(tallies), _quotients(counted)
    either = denominator - numerator / 2  # of F1, whose quotient counts a hit twice: TP + FP + FN
    measures: dict[Rate, Measure] = {}
    for k, rate in enumerate(RATES):
        if rate == "f1":
            over, interval = either[:, k], f1_interval(numerator[:, k] / 2, either[:, k])
        else:
            over, interval = denominator[:, k], share_interval(numerator[:, k], denominator[:, k])
        measures[rate] = Measure(interval, int(np.sum(over)), int(np.sum(np.isnan(values[1:, k]))))
    return measures


def _averages(
    tallies: Float64[np.ndarray, "sample k 4"],
    images: Float64[np.ndarray, "sample column"],
    *,
    patients: float,
) -> dict[Average, dict[Rate, Measure]]:
    """Return the averages that are no shares, with intervals by the bootstrap, for so many patients."""
    rates = rates_of(tallies)
    support = tallies[:, :, 0] + tallies[:, :, 2]
    summed, defined = images[:, : len(RATES)], images[:, len(RATES) :]
    averages: dict[Average, dict[Rate, Measure]] = {"macro": {}, "weighted": {}, "samples": {}}
    for k, rate in enumerate(RATES):
        averages["macro"][rate] = _mean(rates[:, :, k], np.ones_like(support), patients=patients)
        averages["weighted"][rate] = _mean(rates[:, :, k], support, patients=patients)
        with np.errstate(invalid="ignore"):
            means = summed[:, k] / np.where(defined[:, k] > 0, defined[:, k], np.nan)
        averages["samples"][rate] = Measure(
            resampled_interval(float(means[0]), means[1:], patients=patients),
            int(defined[0, k]),
            int(np.sum(np.isnan(means[1:]))),
        )
    return averages


def _mean(
    values: Float64[np.ndarray, "sample k"], weights: Float64[np.ndarray, "sample k"], *, patients: float
) -> Measure:
    """Average over the findings that are defined; count the resamples in which one of them is not."""
    defined = ~np.isnan(values)
    total = np.sum(weights * defined, axis=1)
    with np.errstate(invalid="ignore"):
        means = np.sum(np.nan_to_num(values) * weights, axis=1) / np.where(total > 0, total, np.nan)
    fewer = np.any(defined[0] & ~defined[1:], axis=1) | (total[1:] == 0)
    interval = resampled_interval(float(means[0]), means[1:], patients=patients)
    return Measure(interval, int(np.sum(defined[0])), int(np.sum(fewer)))


def _share(sums: Float64[np.ndarray, "sample 2"], counted: Float64[np.ndarray, "patient 2"]) -> Measure:
    """Return the share of the second column's sum that the first one's is."""
    return Measure(
        share_interval(counted[:, 0], counted[:, 1]), int(sums[0, 1]), int(np.sum(sums[1:, 1] == 0))
    )
