"""The full evaluation of one model on one part, all of it on the same resamples of patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from thorax.arrays import Probabilities
from thorax.bands import Bands
from thorax.datasets.label_pins import LabelPins
from thorax.evaluation.abstention import Abstention, measure_abstention
from thorax.evaluation.calibration.fit import Recalibrated, Recalibration
from thorax.evaluation.calibration.measure import CalibrationError, measure_calibration
from thorax.evaluation.classification import Classification, classify
from thorax.evaluation.decision_curves import DecisionCurve, decision_curves
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.discrimination import Discrimination, evaluate_discrimination
from thorax.evaluation.held_back import HeldBack
from thorax.evaluation.inputs.radiologists import (
    RadiologistLabels,
    RadiologistReference,
    against_radiologists,
)
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.looks import History
from thorax.evaluation.prevalence import (
    LabelShift,
    PredictiveValues,
    StatedPrevalence,
    estimate_prevalence,
    predictive_values_at,
)
from thorax.evaluation.published_results import (
    PNEUMONIA_F1,
    ComparableResults,
    PublishedF1,
    comparable_results,
    covers_nih14,
)
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
    """The facts without which no number of an evaluation is shown.

    Attributes:
        split: Name of the split; "" if not stated.
        part: "train", "val" or "test"; "" without a split.
        split_sha256: SHA-256 of the whole list of the split, whichever images are available; "" without a
            split.
        images_sha256: SHA-256 of the names of the evaluated images.
        dataset: Name of the data set.
        model: The identity of the model.
        whole_part: Whether these are all images of the part, so that published results compare.
        num_official_test: How many of the images are in NIH's official test part; None for other data.
        versions: Version of each program that computed the numbers.
        made: How the model was made, as pairs of a heading and a text.
        warnings: What a reader must know before trusting the numbers.
        history: How often these images were measured before; None for training and validation parts.
        labels: What identifies the labels; None where they are not known yet.
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
    history: History | None = None
    labels: LabelPins | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """The warnings, and what the history says."""
        return (*self.warnings, *(self.history.sentences() if self.history else ()))

    @property
    def where(self) -> str:
        """The part as text, such as "nih-official, test part", or "split not stated"."""
        return f"{self.split}, {self.part} part" if self.split else "split not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """What an evaluation measures besides the ranking.

    Attributes:
        points: Operating points; 0.5 is added unless it is among them. The first is used for subgroups and
            radiologists.
        prevalence: Stated prevalence of some findings, for predictive values.
        trained: Prevalence in training, from which the prevalence in these images is estimated.
        radiologists: Radiologists' labels, if there are any.
        recalibrated: The same probabilities after trial calibrations.
        not_recalibrated: Why there are no trial calibrations; "" if there are.
        bands: Where findings are not decided, set on other images; None if that was not set.
        no_bands: Why there are no bands; "" if there are.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.
    """

    points: tuple[ThresholdSet, ...] = ()
    prevalence: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    trained: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    radiologists: RadiologistLabels | None = None
    recalibrated: tuple[Recalibrated, ...] = ()
    not_recalibrated: str = ""
    bands: Bands | None = None
    no_bands: str = ""
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOperatingPoint:
    """The performance of the model's decisions at one set of thresholds.

    Attributes:
        points: The thresholds and where they come from.
        classification: Rates, averages and confusion counts.
        predictive_values: At the stated prevalence of each finding; None without one, or without a threshold.
    """

    points: ThresholdSet
    classification: Classification
    predictive_values: tuple[PredictiveValues | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadiologistEvaluation:
    """The model compared with radiologists' labels.

    Attributes:
        reference: The images and findings, and how they are scored.
        ranking: AUC and average precision; None where no image is covered.
        classification: Rates at the operating point; None where no image is covered.
        points: The operating point.
    """

    reference: RadiologistReference
    ranking: Discrimination | None
    classification: Classification | None
    points: ThresholdSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """All results of one model on one part.

    Attributes:
        ranking: AUC and average precision.
        points: Rates at the operating points of the plan, and at 0.5.
        calibration: Calibration error of the probabilities.
        decision_curves: Net benefit of each finding over thresholds.
        recalibrated: Trial calibrations, each with the calibration error after it.
        not_recalibrated: Why there are no trial calibrations; "" if there are.
        abstention: How often nothing is decided, and how often the bands cover the truth; None without bands.
        no_bands: Why there are no bands; "" if there are.
        shift: Estimated prevalence of each finding; None where the prevalence in training is unknown.
        stated: The prevalence of each finding for which predictive values are computed.
        trained: The prevalence in training, by finding.
        subgroups: The groups of each axis known for the images.
        radiologists: The comparison with radiologists' labels, if there are any.
        published: Published results that compare; none unless the whole part was evaluated.
        published_f1: Published F1 of pneumonia, which does not compare with ours.
        held_back: What the model's input gate would hold back; None if that was not measured.
    """

    ranking: Discrimination
    points: tuple[AtOperatingPoint, ...]
    calibration: CalibrationError
    decision_curves: tuple[DecisionCurve, ...]
    recalibrated: tuple[tuple[Recalibration, CalibrationError], ...]
    not_recalibrated: str
    abstention: Abstention | None
    no_bands: str
    shift: tuple[LabelShift | None, ...]
    stated: Mapping[Finding, StatedPrevalence]
    trained: Mapping[Finding, StatedPrevalence]
    subgroups: tuple[Subgroup, ...]
    radiologists: RadiologistEvaluation | None
    published: ComparableResults
    published_f1: tuple[PublishedF1, ...]
    held_back: HeldBack | None = None

    @property
    def primary(self) -> AtOperatingPoint:
        """The first operating point."""
        return self.points[0]

    @property
    def test_tuned(self) -> bool:
        """Whether any thresholds or calibrations were chosen on the reported images."""
        tuned_points = any(point.points.test_tuned for point in self.points)
        return tuned_points or any(recalibration.test_tuned for recalibration, _ in self.recalibrated)


def evaluate(
    cohort: LabeledImages, probabilities: Probabilities, context: Context, *, plan: EvaluationPlan
) -> Evaluation:
    """Evaluate a model's probabilities on labeled images.

    Args:
        cohort: The images with their labels.
        probabilities: In [0, 1], one column per finding of the cohort.
        context: The facts about split, part and model; they decide which published results compare.
        plan: Thresholds, prevalences and resamples.

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
    half = one_half(cohort.findings)
    points = plan.points if half in plan.points else (*plan.points, half)
    predictions = [_labeled_predictions(cohort, probabilities, point) for point in points]
    whole = context.split if context.whole_part and covers_nih14(cohort.findings) else ""
    return Evaluation(
        ranking=ranking,
        points=tuple(
            _at_point(point, at_point, plan) for point, at_point in zip(points, predictions, strict=True)
        ),
        calibration=measure_calibration(predictions[0], resamples=plan.resamples, seed=plan.seed),
        decision_curves=decision_curves(predictions[0]),
        recalibrated=tuple(
            (
                recalibrated.recalibration,
                measure_calibration(
                    _labeled_predictions(cohort, recalibrated.probabilities, points[0]),
                    resamples=plan.resamples,
                    seed=plan.seed,
                ),
            )
            for recalibrated in plan.recalibrated
        ),
        not_recalibrated=plan.not_recalibrated,
        abstention=None
        if plan.bands is None
        else measure_abstention(cohort, probabilities, plan.bands, thresholds=points[0].thresholds),
        no_bands=plan.no_bands,
        shift=_shift(predictions[0], plan),
        stated=plan.prevalence,
        trained=plan.trained,
        subgroups=_subgroups(cohort, predictions[0]),
        radiologists=_against_radiologists(cohort, predictions[0], points[0], plan),
        published=comparable_results(whole, dataset=context.dataset, part=context.part),
        published_f1=PNEUMONIA_F1 if PNEUMONIA_F1[0].finding in cohort.findings else (),
    )


def _labeled_predictions(
    cohort: LabeledImages, probabilities: Probabilities, points: ThresholdSet
) -> LabeledPredictions:
    return LabeledPredictions(
        targets=cohort.targets,
        probabilities=probabilities,
        decisions=binarize(probabilities, points.thresholds),
        patients=cohort.patients,
        findings=cohort.findings,
    )


def _at_point(
    points: ThresholdSet, predictions: LabeledPredictions, plan: EvaluationPlan
) -> AtOperatingPoint:
    return AtOperatingPoint(
        points=points,
        classification=classify(predictions, resamples=plan.resamples, seed=plan.seed),
        predictive_values=tuple(_predictive(predictions, k, plan) for k in range(len(predictions.findings))),
    )


def _predictive(predictions: LabeledPredictions, k: int, plan: EvaluationPlan) -> PredictiveValues | None:
    stated = plan.prevalence.get(predictions.findings[k])
    rows = predictions.known[:, k] & (predictions.decisions[:, k] >= 0)
    if stated is None or not np.any(rows):
        return None
    return predictive_values_at(
        predictions.targets[rows, k] == 1,
        predictions.decisions[rows, k] == 1,
        patient=_renumbered(predictions.patient_numbers[rows]),
        prevalence=stated.value,
        resamples=plan.resamples,
        seed=plan.seed,
    )


def _shift(predictions: LabeledPredictions, plan: EvaluationPlan) -> tuple[LabelShift | None, ...]:
    shifts: list[LabelShift | None] = []
    for finding, probability in zip(predictions.findings, predictions.probabilities.T, strict=True):
        trained = plan.trained.get(finding)
        shifts.append(
            None
            if trained is None
            else estimate_prevalence(probability, trained=trained.value, patient=predictions.patient_numbers)
        )
    return tuple(shifts)


def _subgroups(cohort: LabeledImages, predictions: LabeledPredictions) -> tuple[Subgroup, ...]:
    axes = (
        None if cohort.sexes is None else sex_axis(cohort.sexes),
        None if cohort.ages is None else age_axis(cohort.ages),
        None if cohort.views is None else view_axis(cohort.views),
        None if cohort.follow_ups is None else follow_up_axis(cohort.follow_ups),
    )
    return evaluate_subgroups(predictions, [axis for axis in axes if axis is not None])


def _against_radiologists(
    cohort: LabeledImages, predictions: LabeledPredictions, points: ThresholdSet, plan: EvaluationPlan
) -> RadiologistEvaluation | None:
    if plan.radiologists is None:
        return None
    reference = against_radiologists(
        plan.radiologists,
        cohort.images,
        probabilities=predictions.probabilities,
        decisions=predictions.decisions,
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
        decisions=reference.decisions,
        patients=patients,
        findings=reference.findings,
    )
    return RadiologistEvaluation(
        reference=reference,
        ranking=ranking,
        classification=classify(covered, resamples=plan.resamples, seed=plan.seed),
        points=points,
    )


def _renumbered(patient: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.unique(patient, return_inverse=True)[1].astype(np.int64)
