"""`compare`: compare models on the same images, also models of different store sizes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from thorax.atomic_io import StrPath
from thorax.errors import DataError, ThoraxError
from thorax.evaluation.common_images import common_images
from thorax.evaluation.compare import compare as measure
from thorax.evaluation.curves import RunRoc, roc_points
from thorax.evaluation.labeled_images import ScoredImages, ScoredRuns
from thorax.evaluation.looks import Measured, described, note_looks
from thorax.evaluation.operating_points import Fixed, ThresholdRule, parse_rule
from thorax.evaluation.side_by_side import ModelDecisions, decide
from thorax.evaluation.thresholds import ThresholdSet, one_half
from thorax.findings import Findings, select_findings
from thorax.inference.engines import open_predictor
from thorax.progress import ProgressCallback
from thorax.recipe.literals import EngineName
from thorax.workflows.compared_models import OpenedFile, OpenedModel, open_models
from thorax.workflows.matching_stores import StoresLike
from thorax.workflows.model_runs import GivenModel, ModelLike, given_models, refuse_other_recipes
from thorax.workflows.predictions import PartPredictions, PartSelection, predict_part, predict_validation
from thorax.workflows.results import ComparisonResult, pinned
from thorax.workflows.thresholds import Choosers, bundle_points, choose_points

__all__ = ["compare"]


def compare(
    models: Sequence[ModelLike],
    data: StoresLike,
    *,
    baseline: ModelLike | None = None,
    split: str = "",
    part: str = "test",
    view: str | None = None,
    findings: str | Sequence[str] = (),
    rule: str = "",
    validation: Sequence[StrPath] = (),
    logits: bool = False,
    common: bool = False,
    resamples: int = 10_000,
    seed: int = 0,
    device: str = "auto",
    engine: EngineName = "auto",
    progress: ProgressCallback | None = None,
) -> ComparisonResult:
    """Compare models on the same images: paired differences, and decisions at each model's own thresholds.

    Args:
        models: At least two, each as `evaluate` takes it; or several training runs of one recipe with other
            seeds, as a list or as the folder that has them. Their mean is then compared, with intervals that
            hold patients and seeds.
        data: A store; several stores of the same source, if bundles require different preparations; or, if
            all models are CSVs, a label file in NIH's layout.
        baseline: The model that the others are compared with; None compares each pair.
        split: Name of the split; "" means the one that bundles were trained on and reports state, for all
            models, and no split if there are only CSVs.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        findings: Findings to compare, in this order; empty means all.
        rule: Rule that chooses every model's thresholds on validation images; "" means a bundle's own, and
            F1-optimal ones or 0.5 for other models.
        validation: CSVs of predictions on validation images, one per CSV or report of `models`.
        logits: Whether the CSVs contain logits.
        common: Whether to compare on the images that all models have, if some lack images of others; the
            result then says so wherever it is shown.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of the resamples.
        device: "cpu", "cuda" or "auto", for bundles.
        engine: What computes the logits of every bundle.
        progress: Receives the number of predicted images.

    Raises:
        DataError: There are fewer than two models, `baseline` is not one of them, or they would be measured
            on different images and `common` is false.
        LeakError: Some of the patients were used for training or selection of a bundle.

    Example:
        comparison = thorax.compare(["run", "predictions.csv"], store, split="folder-official")
    """
    given = given_models(models)
    rules = [parse_rule(rule)] if rule else []
    if baseline is not None and baseline not in models:
        listed = ", ".join(model.name for model in given)
        raise DataError(f"{baseline} is not one of the models; name one of {listed}")
    runs = {name: run for model in given for name, run in model.runs.items()}
    unchecked = {name: refuse_other_recipes(model) for model in given for name in model.runs}
    # ---- read, and find the images that all have ----------------------------------------------------------
    selection = PartSelection(split, part, view)
    opened, notes = open_models(
        runs, data, selection, validation=validation, logits=logits, device=device, engine=engine
    )
    shared = common_images({name: model.cohort.images for name, model in opened.items()})
    shared.or_refuse(allow=common)
    notes = (*notes, shared.warning) if shared.is_partial else notes
    for model in opened.values():
        select_findings(findings, model.cohort.findings)
    for model in opened.values():
        model.verify()
    # ---- predict ------------------------------------------------------------------------------------------
    choices = {
        name: _choosers(
            model.of_images(shared.images), name, rules, device=device, engine=engine, progress=progress
        )
        for name, model in opened.items()
    }
    predicted = {name: choice.reported for name, choice in choices.items()}
    chosen = select_findings(findings, _common_findings(predicted))
    contexts = {
        name: pinned(
            replace(predictions.context, warnings=(*predictions.context.warnings, *notes, *unchecked[name])),
            predictions.cohort.of_findings(chosen),
        )
        for name, predictions in predicted.items()
    }
    # ---- compare ------------------------------------------------------------------------------------------
    labeled = next(iter(predicted.values())).cohort
    comparison = measure(
        labeled.of_findings(chosen) if findings else labeled,
        [ScoredRuns(model=model.name, runs=_scores(model, predicted)) for model in given],
        baseline=None if baseline is None else given[list(models).index(baseline)].name,
        resamples=resamples,
        seed=seed,
    )
    comparison = replace(comparison, common=shared if common else None)
    command = described(
        "compare",
        models=",".join(runs),
        split=split,
        part=part,
        view=view,
        findings=findings if isinstance(findings, str) else ",".join(findings),
        rule=rule,
        common=common or None,
        seed=seed,
    )
    histories = note_looks(
        [
            Measured(predicted[name].reported, context.model, opened[name].run)
            for name, context in contexts.items()
        ],
        command=command,
    )
    return ComparisonResult(
        comparison=comparison,
        contexts={
            name: replace(context, history=history)
            for (name, context), history in zip(contexts.items(), histories, strict=True)
        },
        decisions={
            name: _decided(choice, rules, chosen, resamples=resamples, seed=seed)
            for name, choice in choices.items()
        },
        curves=tuple(
            curve
            for model in given
            for name in model.runs
            for curve in _curves(model.name, name, predicted[name].of_findings(chosen))
        ),
    )


def _curves(model: str, run: str, predictions: PartPredictions) -> Iterator[RunRoc]:
    cohort = predictions.cohort
    for column, finding in enumerate(cohort.findings):
        known = cohort.targets[:, column] >= 0
        points = roc_points(cohort.targets[known, column] == 1, predictions.probabilities[known, column])
        yield RunRoc(model=model, run=run, finding=finding, points=points)


def _decided(
    choice: Choosers, rules: Sequence[ThresholdRule], findings: Findings, *, resamples: int, seed: int
) -> ModelDecisions:
    """Return a model's decisions on these findings at its own thresholds."""
    predicted, points = choice.reported.of_findings(findings), _own_points(choice, rules)
    return decide(
        predicted.cohort,
        predicted.probabilities,
        points.of_findings(findings),
        resamples=resamples,
        seed=seed,
    )


def _scores(model: GivenModel, predicted: Mapping[str, PartPredictions]) -> tuple[ScoredImages, ...]:
    return tuple(
        ScoredImages(
            model=name,
            images=predicted[name].cohort.images,
            scores=predicted[name].probabilities,
            findings=predicted[name].cohort.findings,
        )
        for name in model.runs
    )


def _choosers(
    model: OpenedModel,
    name: str,
    rules: Sequence[ThresholdRule],
    *,
    device: str,
    engine: EngineName,
    progress: ProgressCallback | None,
) -> Choosers:
    """Return a model's predictions, computed if it is a bundle, and what its thresholds are chosen from."""
    if isinstance(model, OpenedFile):
        return Choosers(model.file.reported, model.file.validation, own=model.file.own, allow=False)
    predictor = open_predictor(model.part.bundle, device=device, engine=engine)
    predicted = predict_part(predictor, model.part, stage=f"predicting {name}", progress=progress)
    own, validation = bundle_points(predictor.bundle, model.part.cohort.findings), None
    if any(not isinstance(rule, Fixed) for rule in rules) or not (own or rules):
        try:
            validation = predict_validation(predictor, model.part, progress=progress)
        except ThoraxError:  # without validation images, only a rule that was asked for cannot be followed
            if rules:
                raise
    return Choosers(predicted, validation, own=own, allow=False)


def _own_points(choice: Choosers, rules: Sequence[ThresholdRule]) -> ThresholdSet:
    """Return the thresholds at which a model decides: by the rule, its own, or else 0.5."""
    points = choose_points(choice, rules, None)
    return points[0] if points else one_half(choice.reported.cohort.findings)


def _common_findings(predicted: Mapping[str, PartPredictions]) -> Findings:
    """Return the findings that all models predict, in the first model's order."""
    first, *others = (predictions.cohort.findings for predictions in predicted.values())
    common = tuple(finding for finding in first if all(finding in findings for findings in others))
    if not common:
        raise DataError(
            f"the models {', '.join(predicted)} have no finding in common; there is nothing to compare"
        )
    return common
