"""`evaluate`: evaluate a model on one part of a split, with everything that its report shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath
from thorax.bundle import Bundle
from thorax.calibration import Calibration
from thorax.errors import DataError, ThoraxError
from thorax.evaluation.evaluate import Context, Evaluation, EvaluationPlan
from thorax.evaluation.evaluate import evaluate as measure
from thorax.evaluation.inputs.join import Labels, findings_warning
from thorax.evaluation.inputs.radiologists import RadiologistLabels, read_radiologist_labels
from thorax.evaluation.looks import described
from thorax.evaluation.operating_points import Fixed, ThresholdRule, parse_rule
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.evaluation.thresholds import ThresholdSet, read_threshold_set
from thorax.findings import Finding, Findings, select_findings
from thorax.inference.cross_check import cross_check
from thorax.inference.engines import check_engine, describe_engine, open_predictor
from thorax.progress import Progress, ProgressCallback
from thorax.recipe.literals import EngineName
from thorax.reporting.epoch_curves import curves_of_run
from thorax.reporting.gallery import Gallery
from thorax.store import Store
from thorax.workflows.audit import audit_bundle, audit_file
from thorax.workflows.caveats import noted, ranking_warnings, with_warnings
from thorax.workflows.examples import draw_examples
from thorax.workflows.held_back import held_back_of
from thorax.workflows.origins import checked_origin, choice_warnings
from thorax.workflows.prediction_files import has_predictions, read_part
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    PartSelection,
    StoreLike,
    labels_of,
    opened_bundle,
    opened_data,
    predict_part,
    predict_validation,
    select_part,
)
from thorax.workflows.results import EvaluationResult, pinned
from thorax.workflows.stated_prevalence import Prevalence, among, stated_prevalence
from thorax.workflows.thresholds import (
    Choosers,
    bands_of,
    bundle_points,
    choose_points,
    try_calibrations,
)

__all__ = ["Prevalence", "evaluate"]


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
    pixels: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    engine: EngineName = "auto",
    progress: ProgressCallback | None = None,
) -> EvaluationResult:
    """Evaluate a model on one part of a split.

    Args:
        model: A run, a bundle or a `Model`; or a CSV of any model's probabilities, with a column of images
            and one per finding; or the folder of a report, whose predictions and thresholds are read.
        data: A store, prepared as the bundle requires; for a CSV, any store, a label file in NIH's
            layout, or the CSV of readers' assessments that the page exports.
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
        pixels: Whether to search for identical and nearly identical images, which reads every image.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of the resamples.
        device: "cpu", "cuda" or "auto"; for a bundle.
        engine: What computes the bundle's logits.
        progress: Receives the number of predicted images.

    Raises:
        LeakError: Some of the patients were used for training or selection.
        DataError: The store, the split, a rule, or one of the files is invalid; or thresholds would be chosen
            on the reported images, and `allow_test_tuning` is false.
        BundleError: The bundle is damaged or does not have the engine, its weights and its exported graph
            disagree, or no split is named and it was not trained on exactly one.

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
        prevalence=stated_prevalence(prevalence),
        radiologists=None if radiologists is None else read_radiologist_labels(Path(radiologists)),
        resamples=resamples,
        seed=seed,
        pixels=pixels,
    )
    if not isinstance(model, Bundle) and has_predictions(Path(model)):
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
    pixels: bool

    def check(self, findings: Findings) -> None:
        """Check what is given for findings, before anything is predicted.

        Raises:
            DataError: The file of thresholds cannot be read, or `prevalence` has a finding that is not
                evaluated.
        """
        if self.thresholds is not None:
            read_threshold_set(self.thresholds, findings)
        among(self.prevalence, findings)

    def threshold_set(
        self, labels: Labels, reported: PartPredictions
    ) -> tuple[ThresholdSet | None, tuple[str, ...]]:
        """Read the file of thresholds, if there is one, and check its origin; see `checked_origin`."""
        if self.thresholds is None:
            return None, ()
        given = read_threshold_set(self.thresholds, reported.cohort.findings)
        return checked_origin(given, labels, reported, allow=self.allow_test_tuning)

    def command(self) -> str:
        """Return the settings that a look is noted with."""
        selection = self.selection
        names = self.findings if isinstance(self.findings, str) else ",".join(self.findings)
        return described(
            "evaluate",
            split=selection.split,
            part=selection.part,
            view=selection.view,
            findings=names,
            rules=",".join(rule.name for rule in self.rules),
            seed=self.seed,
            resamples=self.resamples,
        )


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


def _evaluate_bundle(
    bundle: Bundle, store: Store, settings: _Settings, computing: _Computing, *, gallery: bool
) -> EvaluationResult:
    device, engine, progress = computing.device, computing.engine, computing.progress
    # ---- checks, before all images are read ---------------------------------------------------------------
    check_engine(bundle, device=device, engine=engine)
    part = select_part(bundle, store, settings.selection)
    wanted = select_findings(settings.findings, part.cohort.findings)
    settings.check(wanted)
    part.verify()
    # ---- predict ------------------------------------------------------------------------------------------
    predictor = open_predictor(bundle, device=device, engine=engine)
    computed_by = ("Computed by", describe_engine(bundle, device=device, engine=engine))
    checked = cross_check(bundle, part.store.pixels, part.rows)
    made = (computed_by, ("Weights and exported graph", str(checked))) if checked else (computed_by,)
    predicted = predict_part(predictor, part, made=made, progress=progress).of_findings(wanted)
    labels = labels_of(store)
    given, warnings = settings.threshold_set(labels, predicted)
    validation, absent = None, ""
    try:
        validation = predict_validation(predictor, part, progress=progress).of_findings(wanted)
    except ThoraxError as error:  # only rules that were given require validation images
        if any(not isinstance(rule, Fixed) for rule in settings.rules):
            raise
        absent = str(error)
    own = bundle_points(predictor.bundle, wanted)
    choice = Choosers(
        predicted, validation, own=own, allow=settings.allow_test_tuning, bundle=predictor.bundle
    )
    calibration = bundle.manifest.calibration
    stage = _measuring(progress)
    evaluation = _measure(
        choice,
        settings,
        given,
        fitted=calibration,
        trained=predicted.prevalence if part.split.name == bundle.split else {},
        absent=absent,
    )
    stage("gate")
    evaluation = replace(
        evaluation,
        held_back=held_back_of(
            bundle, part, predicted, resamples=settings.resamples, seed=settings.seed, progress=progress
        ),
    )
    stage("examples")
    examples = draw_examples(part, predicted, evaluation, device=device) if gallery else None
    stage("audit")
    repeated = choice_warnings(
        choice,
        (*own, *((given,) if given else ())),
        fitted=None if engine.endswith("int8") else calibration,  # fitted on the logits of another net
        findings=bundle.findings,
    )
    warnings = (*warnings, *repeated, findings_warning(labels.table.findings, wanted))
    context = _noted(choice, evaluation, settings, warnings, run=bundle.run)
    result = _result(choice, evaluation, context, audit_bundle(part, pixels=settings.pixels), examples)
    stage("")
    return replace(result, training=curves_of_run(bundle.run))


_STEPS: Final = ("intervals", "gate", "examples", "audit", "")
"""What follows the predictions, in this order; then nothing."""


def _measuring(progress: ProgressCallback | None) -> Callable[[str], None]:
    """Return a function to call when one of these steps begins; the first has begun."""

    def begin(step: str) -> None:
        if progress is not None:
            number, steps = _STEPS.index(step), len(_STEPS) - 1
            progress(Progress("measuring", number, steps, 0.0, None, "steps", step))

    begin(_STEPS[0])
    return begin


def _evaluate_file(file: _PredictionFile, data: Store | Path, settings: _Settings) -> EvaluationResult:
    labels = labels_of(data)
    read = read_part(file.path, labels, settings.selection, logits=file.logits, validation=file.validation)
    wanted = select_findings(settings.findings, read.reported.cohort.findings)
    predicted, validation = read.reported.of_findings(wanted), read.validation
    validation = validation and validation.of_findings(wanted)
    own = tuple(points.of_findings(wanted) for points in read.own)
    given, warnings = settings.threshold_set(labels, predicted)
    choice = Choosers(predicted, validation, own=own, allow=settings.allow_test_tuning)
    trained = predicted.prevalence
    evaluation = _measure(choice, settings, given, fitted=None, trained=trained, absent=_NO_VALIDATION)
    problems = audit_file(
        read.rows, data, predicted, part=settings.selection.part, logits=file.logits, pixels=settings.pixels
    )
    repeated = choice_warnings(choice, (*own, *((given,) if given else ())), fitted=None)
    warnings = (*warnings, *repeated, findings_warning(labels.table.findings, wanted))
    return _result(choice, evaluation, _noted(choice, evaluation, settings, warnings), problems, None)


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
    bands, no_bands = bands_of(choice)
    plan = EvaluationPlan(
        points=points,
        prevalence={**reported.prevalence, **among(settings.prevalence, reported.cohort.findings)},
        trained=trained,
        radiologists=settings.radiologists,
        recalibrated=recalibrated,
        not_recalibrated="" if recalibrated else absent,
        bands=bands,
        no_bands=no_bands,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return measure(reported.cohort, reported.probabilities, reported.context, plan=plan)


def _noted(
    choice: Choosers,
    evaluation: Evaluation,
    settings: _Settings,
    warnings: Sequence[str],
    *,
    run: Path | None = None,
) -> Context:
    """Note the look, and return the context with its history and with all warnings."""
    reported = choice.reported
    context = with_warnings(reported.context, (*warnings, *ranking_warnings(evaluation.ranking)))
    return noted(context, reported.reported, command=settings.command(), run=run)


def _result(
    choice: Choosers,
    evaluation: Evaluation,
    context: Context,
    problems: tuple[tuple[str, str], ...],
    gallery: Gallery | None,
) -> EvaluationResult:
    reported, validation = choice.reported, choice.validation
    return EvaluationResult(
        evaluation=evaluation,
        context=pinned(context, reported.cohort),
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
