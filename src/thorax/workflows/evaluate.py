"""`evaluate`: evaluate a model on one part of a split, with everything that its report shows."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from thorax.arrays import PixelsBatch, Rows
from thorax.atomic_io import StrPath, sha256_of_file
from thorax.auditing import Evidence, Problem, audit, audit_predictions, lists_of_split
from thorax.errors import BundleError, DataError, MissingExtra, RecipeError, ThoraxError
from thorax.evaluation.evaluate import Evaluation, EvaluationPlan
from thorax.evaluation.evaluate import evaluate as measure
from thorax.evaluation.inputs.join import Labels
from thorax.evaluation.inputs.prediction_csv import read_predictions
from thorax.evaluation.inputs.radiologists import read_radiologist_labels
from thorax.evaluation.operating_points import Fixed, parse_rule
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.evaluation.thresholds import (
    read_threshold_set,
)
from thorax.explain import best_method, open_explainer, reading_notes
from thorax.explain.explainers import Explainer, Maps, Method
from thorax.findings import Finding, Findings, finding_or_new, select_findings
from thorax.inference.engines import describe_engine, open_predictor
from thorax.progress import ProgressCallback
from thorax.recipe.literals import EngineName
from thorax.reporting.gallery import Gallery, MapSource, draw_gallery
from thorax.store import Store
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    PartSelection,
    StoreLike,
    StorePart,
    file_validation,
    open_labels,
    opened_bundle,
    opened_store,
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

__all__ = ["Prevalence", "evaluate_bundle", "evaluate_predictions"]

Prevalence = Mapping[str, float] | Mapping[Finding, float]
"""Prevalence in [0, 1], by finding or its name."""


def evaluate_bundle(
    bundle: BundleLike,
    store: StoreLike,
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
    gallery: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    engine: EngineName = "auto",
    progress: ProgressCallback | None = None,
) -> EvaluationResult:
    """Evaluate a bundle on one part of a store's images.

    Args:
        bundle: The bundle, its folder, or the run that made it.
        store: A store, or its folder, prepared as the bundle requires.
        split: Name of the split; "" means the one that the bundle was trained on.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        findings: Findings to evaluate, in this order; empty means all that the bundle predicts.
        rules: Rules that choose thresholds on the split's validation part, such as "youden"; if empty,
            `STANDARD_RULES`, provided that there are validation images.
        thresholds: JSON file of thresholds with their origin; see `read_threshold_set`.
        allow_test_tuning: Whether thresholds and calibration may be chosen on the reported images; results
            that depend on them are then marked.
        prevalence: Prevalence of findings at which to report predictive values, in [0, 1]; for the others,
            that of the split's training part.
        radiologists: CSV of radiologists' labels, as a second reference standard.
        gallery: Whether to draw examples of each outcome, with the bundle's maps.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of the resamples.
        device: "cpu", "cuda" or "auto".
        engine: What computes the bundle's logits.
        progress: Called while images are predicted.

    Raises:
        LeakError: Some of the patients were used for training or selection.
        DataError: The store, the split, a rule, or one of the files is invalid; or thresholds would be chosen
            on the reported images, and `allow_test_tuning` is false.
        BundleError: The bundle is damaged or does not have the engine, or no split is named and it was not
            trained on exactly one.
    """
    stated = _stated(prevalence)
    parsed = [parse_rule(rule) for rule in rules]
    readers = read_radiologist_labels(Path(radiologists)) if radiologists else None
    # ---- predict ------------------------------------------------------------------------------------------
    opened, images = opened_bundle(bundle), opened_store(store)
    wanted = select_findings(findings, opened.findings)
    chosen = select_part(opened, images, PartSelection(split, part, view))
    given = read_threshold_set(Path(thresholds), wanted) if thresholds else None
    predictor = open_predictor(opened, device=device, engine=engine)
    computed_by = describe_engine(opened, device=device, engine=engine)
    predicted = predict_part(predictor, chosen, computed_by=computed_by, progress=progress).of_findings(
        wanted
    )
    # ---- choose thresholds and calibrations on validation images ------------------------------------------
    validation, absent = None, ""
    try:
        validation = predict_validation(predictor, chosen, progress=progress).of_findings(wanted)
    except ThoraxError as error:  # only rules that were given require validation images
        if any(not isinstance(rule, Fixed) for rule in parsed):
            raise
        absent = str(error)
    choice = Choosers(
        predicted, validation, own=bundle_points(predictor.bundle, wanted), allow=allow_test_tuning
    )
    points = choose_points(choice, parsed, given)
    recalibrated = try_calibrations(choice, opened.manifest.calibration)
    # ---- measure, audit, draw -----------------------------------------------------------------------------
    plan = EvaluationPlan(
        points=points,
        prevalence={**predicted.prevalence, **_among(stated, predicted.cohort.findings)},
        trained=predicted.prevalence if chosen.split.name == opened.split else {},
        radiologists=readers,
        recalibrated=recalibrated,
        not_recalibrated="" if recalibrated else absent,
        resamples=resamples,
        seed=seed,
    )
    evaluation = measure(predicted.cohort, predicted.probabilities, predicted.context, plan=plan)
    problems = audit(
        images, lists_of_split(chosen.split, images.dataset), Evidence(part=part, bundle=opened)
    ).problems
    return EvaluationResult(
        evaluation=evaluation,
        context=predicted.context,
        audit=_audit_lines(problems),
        gallery=_draw_gallery(chosen, predicted, evaluation, device=device) if gallery else None,
        cohort=predicted.cohort,
        probabilities=predicted.probabilities,
        validation=None if validation is None else (validation.cohort, validation.probabilities),
    )


def evaluate_predictions(
    predictions: StrPath,
    *,
    labels: StrPath | None = None,
    store: StoreLike | None = None,
    validation: StrPath | None = None,
    logits: bool = False,
    split: str = "",
    part: str = "test",
    view: str | None = None,
    findings: str | Sequence[str] = (),
    rules: Sequence[str] = (),
    thresholds: StrPath | None = None,
    allow_test_tuning: bool = False,
    prevalence: Prevalence | None = None,
    radiologists: StrPath | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> EvaluationResult:
    """Evaluate any model's predictions, given as a CSV, against the labels of a label file or a store.

    Args:
        predictions: CSV with a column of images and one per finding.
        labels: Label file in NIH's layout; or
        store: A store, or its folder, that has the labels.
        validation: CSV of the model's predictions on validation images; by default, those on the split's
            validation part in `predictions`.
        logits: Whether the predictions are logits.
        split: Name of the split; "" evaluates all images that have labels.
        part: "train", "val" or "test".
        view: See `evaluate_bundle`, also for the arguments below.
        findings: Findings to evaluate, in this order; empty means all that are predicted and labeled.
        rules: Rules that choose thresholds on validation images.
        thresholds: JSON file of thresholds with their origin.
        allow_test_tuning: Whether thresholds and calibration may be chosen on the reported images.
        prevalence: Prevalence of findings at which to report predictive values.
        radiologists: CSV of radiologists' labels.
        resamples: Bootstrap resamples of the patients.
        seed: Seed of the resamples.

    Raises:
        DataError: A file is invalid, no predicted image has a label or is in the part, or thresholds would be
            chosen on the reported images, and `allow_test_tuning` is false.
    """
    stated = _stated(prevalence)
    parsed = [parse_rule(rule) for rule in rules]
    readers = read_radiologist_labels(Path(radiologists)) if radiologists else None
    # ---- read ---------------------------------------------------------------------------------------------
    file, images = Path(predictions), None if store is None else opened_store(store)
    known = open_labels(labels, images)
    labels_from = f"those of the store {images.path.name}" if images else Path(labels or "").name
    predicted, on = read_part(
        file, known, PartSelection(split, part, view), logits=logits, labels_from=labels_from
    )
    if validation is not None:
        on = file_validation(Path(validation), known, predicted, split=split, logits=logits)
    wanted = select_findings(findings, predicted.cohort.findings)
    predicted, on = predicted.of_findings(wanted), on and on.of_findings(wanted)
    # ---- choose thresholds and calibrations on validation images ------------------------------------------
    given = read_threshold_set(Path(thresholds), predicted.cohort.findings) if thresholds else None
    choice = Choosers(predicted, on, own=(), allow=allow_test_tuning)
    points = choose_points(choice, parsed, given)
    recalibrated = try_calibrations(choice, None)
    # ---- measure, audit -----------------------------------------------------------------------------------
    plan = EvaluationPlan(
        points=points,
        prevalence={**predicted.prevalence, **_among(stated, predicted.cohort.findings)},
        trained=predicted.prevalence,
        radiologists=readers,
        recalibrated=recalibrated,
        not_recalibrated="" if recalibrated else _NO_VALIDATION,
        resamples=resamples,
        seed=seed,
    )
    evaluation = measure(predicted.cohort, predicted.probabilities, predicted.context, plan=plan)
    return EvaluationResult(
        evaluation=evaluation,
        context=predicted.context,
        audit=_audit_of_file(file, known, predicted, images, labels=labels, part=part),
        gallery=None,
        cohort=predicted.cohort,
        probabilities=predicted.probabilities,
        validation=None if on is None else (on.cohort, on.probabilities),
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


# ---- audit and examples ----------------------------------------------------------------------------------


def _audit_of_file(
    file: Path,
    known: Labels,
    predicted: PartPredictions,
    store: Store | None,
    *,
    labels: StrPath | None,
    part: str,
) -> tuple[tuple[str, str], ...]:
    """Audit predictions: with a store and a split as `audit` does, else what shows without."""
    rows = read_predictions(file, findings=known.table.findings, images=known.table.images)
    if store is not None and predicted.split is not None:
        lists = lists_of_split(predicted.split, known.dataset)
        return _audit_lines(audit(store, lists, Evidence(part=part, predictions=rows)).problems)
    label_files = {Path(labels).name: sha256_of_file(Path(labels))} if labels else {}
    problems = audit_predictions(rows, known.table, known.dataset, label_files=label_files)
    looked = "Looked at: the predictions' values and ranking, and the version of the labels. Not looked at: "
    rest = "the split, its patients and images. Give a store and a split for these."
    return (*_audit_lines(problems), ("note", looked + rest))


def _audit_lines(problems: Sequence[Problem]) -> tuple[tuple[str, str], ...]:
    """Return severity and text of each problem, for a report."""
    lines = []
    for problem in problems:
        examples = f" ({', '.join(problem.examples)})" if problem.examples else ""
        lines.append((problem.severity, f"{problem.what}{examples}. {problem.remedy}"))
    return tuple(lines)


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
