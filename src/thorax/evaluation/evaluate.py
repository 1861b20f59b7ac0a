"""Assessment: everything that is measured of one model on one part, on the same resamples of patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from thorax.arrays import Probabilities
from thorax.evaluation.calibration.fit import Recalibrated, Recalibration
from thorax.evaluation.calibration.measure import CalibrationError, measure_calibration
from thorax.evaluation.classification import Classification, LabeledPredictions, call, classify
from thorax.evaluation.discrimination import Discrimination, evaluate_discrimination
from thorax.evaluation.inputs.radiologists import (
    RadiologistLabels,
    RadiologistReference,
    against_radiologists,
)
from thorax.evaluation.labeled import LabeledImages
from thorax.evaluation.prevalence import (
    LabelShift,
    PredictiveValues,
    StatedPrevalence,
    estimate_prevalence,
    predictive_values_at,
)
from thorax.evaluation.published import PNEUMONIA_F1, ComparableResults, PublishedF1, comparable_results
from thorax.evaluation.subgroups import (
    Subgroup,
    age_axis,
    evaluate_subgroups,
    follow_up_axis,
    sex_axis,
    view_axis,
)
from thorax.evaluation.thresholds import ThresholdSet, one_half
from thorax.findings import Finding
from thorax.prediction import ModelIdentity

__all__ = [
    "AtOperatingPoint",
    "Context",
    "Evaluation",
    "EvaluationPlan",
    "RadiologistEvaluation",
    "evaluate",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a number must travel with, or it is not shown.

    Attributes:
        split: Name of the split; "" where it is not stated.
        part: "train", "val" or "test"; "" without a split.
        split_sha256: SHA-256 of the whole list of the split, whichever images are at hand; "" without one.
        images_sha256: SHA-256 of the names of the images that were evaluated.
        dataset: What the images are, for people.
        model: Which model spoke.
        whole_part: Whether these are all images of the part, so that published figures may stand beside.
        num_official_test: How many of the images are in NIH's official test; None for other data.
        versions: Version of each program that the numbers rest on.
        made: How the model was made, as pairs of a name and what is to be said.
        warnings: What a reader must know before trusting the numbers.
    """

    split: str
    part: str
    split_sha256: str
    images_sha256: str
    dataset: str
    model: ModelIdentity
    whole_part: bool = False
    num_official_test: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    made: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The part in words, such as "nih-official, test part"; or that it is not stated."""
        return f"{self.split}, {self.part} part" if self.split else "split not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """What to measure beyond the ranking.

    Attributes:
        points: Operating points beside 0.5. The first is the one that subgroups and radiologists are at.
        prevalence: For predictive values: a stated prevalence for some findings.
        trained: Prevalence in training, from which that of these images is estimated.
        radiologists: Another reference standard, if there is one.
        recalibrated: The same probabilities after calibrations on trial.
        not_recalibrated: Why there are none, "" if there are.
        resamples: How many resamples of the patients, at least 1.
        seed: Which ones.
    """

    points: tuple[ThresholdSet, ...] = ()
    prevalence: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    trained: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    radiologists: RadiologistLabels | None = None
    recalibrated: tuple[Recalibrated, ...] = ()
    not_recalibrated: str = ""
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOperatingPoint:
    """What the model's calls are worth at one set of thresholds.

    Attributes:
        points: The thresholds and where they come from.
        classification: Rates, averages and confusion counts.
        predictive_values: At each finding's stated prevalence; None where none is stated, or without a
            threshold.
    """

    points: ThresholdSet
    classification: Classification
    predictive_values: tuple[PredictiveValues | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadiologistEvaluation:
    """The model against radiologists' labels.

    Attributes:
        reference: Which images and findings, and by what they are scored.
        ranking: AUC and average precision; None where no image is covered.
        classification: At the operating point; None likewise.
        points: Which operating point.
    """

    reference: RadiologistReference
    ranking: Discrimination | None
    classification: Classification | None
    points: ThresholdSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Everything about one model on one part.

    Attributes:
        ranking: How well it ranks.
        points: What its calls are worth: at the operating points of the plan, then at 0.5.
        calibration: How far its probabilities are from shares.
        recalibrated: What calibrations on trial make of that, each with what it is.
        not_recalibrated: Why there are none, "" if there are.
        shift: For each finding the prevalence that the probabilities point to; None where that in training
            is not known.
        stated: The prevalence that predictive values are at, by finding.
        trained: The prevalence in training, by finding.
        subgroups: Each group of each axis that is known of the images.
        radiologists: Against another reference standard.
        published: Published results that may stand beside; none where the part is not whole.
        pneumonia: Published F1 of pneumonia, ours not to beat.
    """

    ranking: Discrimination
    points: tuple[AtOperatingPoint, ...]
    calibration: CalibrationError
    recalibrated: tuple[tuple[Recalibration, CalibrationError], ...]
    not_recalibrated: str
    shift: tuple[LabelShift | None, ...]
    stated: Mapping[Finding, StatedPrevalence]
    trained: Mapping[Finding, StatedPrevalence]
    subgroups: tuple[Subgroup, ...]
    radiologists: RadiologistEvaluation | None
    published: ComparableResults
    published_f1: tuple[PublishedF1, ...]

    @property
    def primary(self) -> AtOperatingPoint:
        """The operating point that stands first."""
        return self.points[0]

    @property
    def test_tuned(self) -> bool:
        """Whether any thresholds, or a calibration, were chosen on the reported images."""
        chosen = [each.points.test_tuned for each in self.points]
        return any(chosen) or any(how.test_tuned for how, _ in self.recalibrated)


def evaluate(
    cohort: LabeledImages, probabilities: Probabilities, context: Context, *, plan: EvaluationPlan
) -> Evaluation:
    """Measure everything.

    Args:
        cohort: The images with their labels.
        probabilities: In [0, 1], a column for each finding of the cohort.
        context: What the numbers travel with; says which published results may stand beside.
        plan: At which thresholds, prevalences and resamples.

    Raises:
        DataError: There is nothing to measure, lengths differ, or a probability is not in [0, 1].
    """
    ranking = evaluate_discrimination(
        cohort.targets,
        probabilities,
        patients=cohort.patients,
        findings=cohort.findings,
        resamples=plan.resamples,
        seed=plan.seed,
    )
    points = (*plan.points, one_half(cohort.findings))
    readings = [_readings(cohort, probabilities, each) for each in points]
    whole = context.split if context.whole_part else ""
    return Evaluation(
        ranking=ranking,
        points=tuple(_at_point(each, called, plan) for each, called in zip(points, readings, strict=True)),
        calibration=measure_calibration(readings[0], resamples=plan.resamples, seed=plan.seed),
        recalibrated=tuple(
            (
                each.how,
                measure_calibration(
                    _readings(cohort, each.probabilities, points[0]), resamples=plan.resamples, seed=plan.seed
                ),
            )
            for each in plan.recalibrated
        ),
        not_recalibrated=plan.not_recalibrated,
        shift=_shift(readings[0], plan),
        stated=plan.prevalence,
        trained=plan.trained,
        subgroups=_subgroups(cohort, readings[0], plan),
        radiologists=_against_radiologists(cohort, readings[0], points[0], plan),
        published=comparable_results(whole, dataset=context.dataset, part=context.part),
        published_f1=PNEUMONIA_F1 if any(PNEUMONIA_F1[0].finding == each for each in cohort.findings) else (),
    )


def _readings(
    cohort: LabeledImages, probabilities: Probabilities, points: ThresholdSet
) -> LabeledPredictions:
    return LabeledPredictions(
        targets=cohort.targets,
        probabilities=probabilities,
        calls=call(probabilities, points.thresholds),
        patients=cohort.patients,
        findings=cohort.findings,
    )


def _at_point(points: ThresholdSet, readings: LabeledPredictions, plan: EvaluationPlan) -> AtOperatingPoint:
    return AtOperatingPoint(
        points=points,
        classification=classify(readings, resamples=plan.resamples, seed=plan.seed),
        predictive_values=tuple(_predictive(readings, k, plan) for k in range(len(readings.findings))),
    )


def _predictive(readings: LabeledPredictions, k: int, plan: EvaluationPlan) -> PredictiveValues | None:
    stated = plan.prevalence.get(readings.findings[k])
    rows = readings.known[:, k] & (readings.calls[:, k] >= 0)
    if stated is None or not np.any(rows):
        return None
    return predictive_values_at(
        readings.targets[rows, k] == 1,
        readings.calls[rows, k] == 1,
        patient=_numbered(readings.patient_numbers[rows]),
        prevalence=stated.value,
        resamples=plan.resamples,
        seed=plan.seed,
    )


def _shift(readings: LabeledPredictions, plan: EvaluationPlan) -> tuple[LabelShift | None, ...]:
    shifts: list[LabelShift | None] = []
    for finding, probability in zip(readings.findings, readings.probabilities.T, strict=True):
        trained = plan.trained.get(finding)
        shifts.append(
            None
            if trained is None
            else estimate_prevalence(probability, trained=trained.value, patient=readings.patient_numbers)
        )
    return tuple(shifts)


def _subgroups(
    cohort: LabeledImages, readings: LabeledPredictions, plan: EvaluationPlan
) -> tuple[Subgroup, ...]:
    axes = (
        None if cohort.sexes is None else sex_axis(cohort.sexes),
        None if cohort.ages is None else age_axis(cohort.ages),
        None if cohort.views is None else view_axis(cohort.views),
        None if cohort.follow_ups is None else follow_up_axis(cohort.follow_ups),
    )
    return tuple(
        subgroup
        for axis in axes
        if axis is not None
        for subgroup in evaluate_subgroups(readings, axis, resamples=plan.resamples, seed=plan.seed)
    )


def _against_radiologists(
    cohort: LabeledImages, readings: LabeledPredictions, points: ThresholdSet, plan: EvaluationPlan
) -> RadiologistEvaluation | None:
    if plan.radiologists is None:
        return None
    reference = against_radiologists(
        plan.radiologists,
        cohort.images,
        probabilities=readings.probabilities,
        calls=readings.calls,
        findings=cohort.findings,
    )
    if not reference.num_covered or not reference.findings:
        return RadiologistEvaluation(reference=reference, ranking=None, classification=None, points=points)
    patients: Sequence[str] = [cohort.patients[row] for row in reference.rows]
    ranking = evaluate_discrimination(
        reference.targets,
        reference.scores,
        patients=patients,
        findings=reference.findings,
        resamples=plan.resamples,
        seed=plan.seed,
    )
    covered = LabeledPredictions(
        targets=reference.targets,
        probabilities=reference.scores,
        calls=reference.calls,
        patients=patients,
        findings=reference.findings,
    )
    return RadiologistEvaluation(
        reference=reference,
        ranking=ranking,
        classification=classify(covered, resamples=plan.resamples, seed=plan.seed),
        points=points,
    )


def _numbered(patient: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.unique(patient, return_inverse=True)[1].astype(np.int64)
