"""`evaluate`: evaluate a model on one part of a split, with everything that its report shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import StrPath
from thorax.bundle import Bundle
from thorax.calibration import Calibration
from thorax.errors import BundleError, DataError, MissingExtra, RecipeError, ThoraxError
from thorax.evaluation.evaluate import Evaluation, EvaluationPlan
from thorax.evaluation.evaluate import evaluate as measure
from thorax.evaluation.inputs.join import Labels
from thorax.evaluation.inputs.radiologists import RadiologistLabels, read_radiologist_labels
from thorax.evaluation.operating_points import Fixed, ThresholdRule, parse_rule
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.evaluation.thresholds import ThresholdSet, read_threshold_set
from thorax.explain import best_method, open_explainer, reading_notes
from thorax.explain.explainers import Explainer, Maps, Method
from thorax.findings import Finding, Findings, finding_or_new, select_findings
from thorax.inference.engines import describe_engine, open_predictor
from thorax.progress import ProgressCallback
from thorax.recipe.literals import EngineName
from thorax.reporting.gallery import Gallery, MapSource, draw_gallery
from thorax.store import Store
from thorax.workflows.audit import audit_bundle, audit_file
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    PartSelection,
    StoreLike,
    StorePart,
    ValidationPredictions,
    file_validation,
    labels_of,
    opened_bundle,
    opened_data,
    predict_part,
    predict_validation,
    read_part,
    select_part,
)
from thorax.workflows.results import EvaluationResult
from thorax.workflows.thresholds import (
    Choosers,
    bundle_points,
    choose_points,
    try_calibrations,
)

__all__ = ["Prevalence", "evaluate"]

Prevalence = Mapping[str, float] | Mapping[Finding, float]
"""Prevalence in [0, 1], by finding or its name."""


def evaluate(
    model: BundleLike,
    data: StoreLike,
    *,
    split: str = "",
    part: str = "test",
    view: str | None = None,
    findings: str | Sequence[str] = (),
    rules: Sequence[str] = (),
    thresholds: StrPath | None = None,
    allow_test_tuning: bool = False,
    prevalence: Prevalence | None = None,
    radiologists: StrPath | None = None,
    validation: StrPath | None = None,
    logits: bool = False,
    gallery: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    engine: EngineName = "auto",
    progress: ProgressCallback | None = None,
) -> EvaluationResult:
    """Evaluate a model on one part of a split.

    Args:
        model: A run, a bundle or a `Model`; or a CSV of any model's probabilities, with a column of images
            and one per finding.
        data: A store, prepared as the bundle requires; for a CSV, any store or a label file in NIH's layout.
        split: Name of the split; "" means the one that the bundle was trained on, and no split for a CSV.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        findings: Findings to evaluate, in this order; empty means all.
        rules: Rules that choose thresholds on the split's validation part, such as "youden".
        thresholds: JSON file of thresholds with their origin.
        allow_test_tuning: Whether thresholds and calibration may be chosen on the reported images; results
            that depend on them are then marked.
        prevalence: Prevalence of findings at which to report predictive values, in [0, 1].
        radiologists: CSV of radiologists' labels, as a second reference standard.
        validation: CSV of the model's probabilities on validation images; only for a CSV.
        logits: Whether CSVs contain logits; only for a CSV.
        gallery: Whether to draw examples with the bundle's maps, for the report.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of the resamples.
        device: "cpu", "cuda" or "auto"; for a bundle.
        engine: What computes the bundle's logits.
        progress: Receives the number of predicted images.

    Raises:
        LeakError: Some of the patients were used for training or selection.
        DataError: The store, the split, a rule, or one of the files is invalid; or thresholds would be chosen
            on the reported images, and `allow_test_tuning` is false.
        BundleError: The bundle is damaged or does not have the engine, or no split is named and it was not
            trained on exactly one.

    Example:
        result = thorax.evaluate("run", store)
        result = thorax.evaluate(model, "store", part="test", rules=["youden"], gallery=False)
    """
    settings = _Settings(
        selection=PartSelection(split, part, view),
        findings=findings,
        rules=tuple(parse_rule(rule) for rule in rules),
        thresholds=None if thresholds is None else Path(thresholds),
        allow_test_tuning=allow_test_tuning,
        prevalence=_stated(prevalence),
        radiologists=None if radiologists is None else read_radiologist_labels(Path(radiologists)),
        resamples=resamples,
        seed=seed,
    )
    if not isinstance(model, Bundle) and Path(model).is_file():
        file = _PredictionFile(Path(model), None if validation is None else Path(validation), logits)
        return _evaluate_file(file, opened_data(data), settings)
    if validation is not None or logits:
        raise DataError(
            "`validation` and `logits` describe CSVs of probabilities, but the model is a bundle, which "
            "computes its own; leave them out"
        )
    computing = _Computing(device, engine, progress)
    return _evaluate_bundle(opened_bundle(model), _only_store(data), settings, computing, gallery=gallery)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What is evaluated, and how: the settings that bundles and files of predictions share."""

    selection: PartSelection
    findings: str | Sequence[str]
    rules: tuple[ThresholdRule, ...]
    thresholds: Path | None
    allow_test_tuning: bool
    prevalence: Mapping[Finding, StatedPrevalence]
    radiologists: RadiologistLabels | None
    resamples: int
    seed: int

    def threshold_set(self, findings: Findings) -> ThresholdSet | None:
        """Read the file of thresholds, if there is one."""
        return None if self.thresholds is None else read_threshold_set(self.thresholds, findings)


@dataclass(frozen=True, slots=True)
class _Computing:
    """How a bundle's probabilities are computed."""

    device: str
    engine: EngineName
    progress: ProgressCallback | None


@dataclass(frozen=True, slots=True)
class _PredictionFile:
    """A CSV of predictions, with another of predictions on validation images or None."""

    path: Path
    validation: Path | None
    logits: bool

    def read(
        self, labels: Labels, selection: PartSelection, *, labels_from: str
    ) -> tuple[PartPredictions, ValidationPredictions | None]:
        """Return the predictions on the part and those on validation images."""
        predicted, validation = read_part(
            self.path, labels, selection, logits=self.logits, labels_from=labels_from
        )
        if self.validation is not None:
            validation = file_validation(
                self.validation, labels, predicted, split=selection.split, logits=self.logits
            )
        return predicted, validation


def _evaluate_bundle(
    bundle: Bundle, store: Store, settings: _Settings, computing: _Computing, *, gallery: bool
) -> EvaluationResult:
    part = select_part(bundle, store, settings.selection)
    wanted = select_findings(settings.findings, part.cohort.findings)
    given = settings.threshold_set(wanted)
    device, engine, progress = computing.device, computing.engine, computing.progress
    predictor = open_predictor(bundle, device=device, engine=engine)
    predicted = predict_part(
        predictor,
        part,
        computed_by=describe_engine(bundle, device=device, engine=engine),
        progress=progress,
    ).of_findings(wanted)
    validation, absent = None, ""
    try:
        validation = predict_validation(predictor, part, progress=progress).of_findings(wanted)
    except ThoraxError as error:  # only rules that were given require validation images
        if any(not isinstance(rule, Fixed) for rule in settings.rules):
            raise
        absent = str(error)
    own = bundle_points(predictor.bundle, wanted)
    choice = Choosers(predicted, validation, own=own, allow=settings.allow_test_tuning)
    evaluation = _measure(
        choice,
        settings,
        given,
        fitted=bundle.manifest.calibration,
        trained=predicted.prevalence if part.split.name == bundle.split else {},
        absent=absent,
    )
    examples = _draw_gallery(part, predicted, evaluation, device=device) if gallery else None
    return _result(choice, evaluation, audit_bundle(part), examples)


def _evaluate_file(file: _PredictionFile, data: Store | Path, settings: _Settings) -> EvaluationResult:
    labels = labels_of(data)
    labels_from = f"those of the store {data.path.name}" if isinstance(data, Store) else data.name
    predicted, validation = file.read(labels, settings.selection, labels_from=labels_from)
    wanted = select_findings(settings.findings, predicted.cohort.findings)
    predicted, validation = predicted.of_findings(wanted), validation and validation.of_findings(wanted)
    choice = Choosers(predicted, validation, own=(), allow=settings.allow_test_tuning)
    evaluation = _measure(
        choice,
        settings,
        settings.threshold_set(wanted),
        fitted=None,
        trained=predicted.prevalence,
        absent=_NO_VALIDATION,
    )
    problems = audit_file(file.path, data, predicted, part=settings.selection.part)
    return _result(choice, evaluation, problems, None)


def _measure(
    choice: Choosers,
    settings: _Settings,
    given: ThresholdSet | None,
    *,
    fitted: Calibration | None,
    trained: Mapping[Finding, StatedPrevalence],
    absent: str,
) -> Evaluation:
    """Choose thresholds and calibrations on validation images, and measure the reported ones.

    Args:
        choice: The reported and the validation images.
        settings: The settings.
        given: Thresholds of a file.
        fitted: The model's own calibration.
        trained: Prevalence in the model's training images, as far as it is known.
        absent: Why there are no validation images.
    """
    reported = choice.reported
    points = choose_points(choice, settings.rules, given)
    recalibrated = try_calibrations(choice, fitted)
    plan = EvaluationPlan(
        points=points,
        prevalence={**reported.prevalence, **_among(settings.prevalence, reported.cohort.findings)},
        trained=trained,
        radiologists=settings.radiologists,
        recalibrated=recalibrated,
        not_recalibrated="" if recalibrated else absent,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return measure(reported.cohort, reported.probabilities, reported.context, plan=plan)


def _result(
    choice: Choosers, evaluation: Evaluation, problems: tuple[tuple[str, str], ...], gallery: Gallery | None
) -> EvaluationResult:
    reported, validation = choice.reported, choice.validation
    return EvaluationResult(
        evaluation=evaluation,
        context=reported.context,
        audit=problems,
        gallery=gallery,
        cohort=reported.cohort,
        probabilities=reported.probabilities,
        validation=None if validation is None else (validation.cohort, validation.probabilities),
    )


def _only_store(data: StoreLike) -> Store:
    """Open the store on whose images a bundle is evaluated."""
    opened = opened_data(data)
    if isinstance(opened, Store):
        return opened
    raise DataError(
        f"{data} is a file, and a bundle is evaluated on the images of a store; give the folder "
        "that `prepare` made"
    )


_NO_VALIDATION: Final = (
    "there are no predictions of validation images; give a file of them, or name a split of whose validation "
    "part the predictions have some"
)


def _stated(prevalence: Prevalence | None) -> dict[Finding, StatedPrevalence]:
    stated = {}
    for finding, value in (prevalence or {}).items():
        if not 0 <= value <= 1:
            raise DataError(f"`prevalence` of {finding} is {value}; give a share between 0 and 1")
        name = finding if isinstance(finding, Finding) else finding_or_new(finding)
        stated[name] = StatedPrevalence(value, "stated by the user")
    return stated


def _among(
    stated: Mapping[Finding, StatedPrevalence], findings: Findings
) -> Mapping[Finding, StatedPrevalence]:
    """Return the stated prevalences, all of which must be of evaluated findings."""
    for finding in stated:
        if finding not in findings:
            known = ", ".join(map(str, findings))
            raise DataError(f"`prevalence` has {finding}, which is not evaluated; choose from {known}")
    return stated


# ---- examples -------------------------------------------------------------------------------------------


def _draw_gallery(
    part: StorePart, predicted: PartPredictions, evaluation: Evaluation, *, device: str
) -> Gallery:
    """Draw examples with the bundle's best maps; without maps, and the reason, where there are none."""

    def read(rows: Rows) -> PixelsBatch:
        return part.store.pixels(np.asarray(part.rows[rows]))

    points = evaluation.primary.points
    draw = partial(draw_gallery, predicted.cohort, predicted.probabilities, points, read=read)
    try:
        return draw(source=_map_source(open_explainer(part.bundle, device=device)))
    except (BundleError, MissingExtra, RecipeError) as error:
        return draw(source=None, absent=str(error))


def _map_source(explainer: Explainer) -> MapSource:
    method: Method = best_method(explainer.bundle)

    def maps(pixels: PixelsBatch, finding: Finding) -> Maps:
        return explainer.maps(pixels, (finding,), method=method)

    return MapSource(method=method, maps=maps, notes=reading_notes(explainer.bundle, (method,)))
