"""`compare`: compare models on the same images, also models of different store sizes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from os import PathLike
from pathlib import Path

from thorax.atomic_io import StrPath
from thorax.bundle import Bundle
from thorax.errors import DataError, ThoraxError
from thorax.evaluation.compare import compare as measure
from thorax.evaluation.curves import RunRoc, roc_points
from thorax.evaluation.evaluate import Context
from thorax.evaluation.inputs.join import Labels
from thorax.evaluation.labeled_images import ScoredImages, ScoredRuns
from thorax.evaluation.looks import Measured, described, note_looks
from thorax.evaluation.operating_points import Fixed, ThresholdRule, parse_rule
from thorax.evaluation.side_by_side import ModelDecisions, decide
from thorax.evaluation.thresholds import ThresholdSet, one_half
from thorax.findings import Findings, select_findings
from thorax.inference.engines import check_engine, open_predictor
from thorax.inference.predictor import Predictor
from thorax.progress import ProgressCallback
from thorax.recipe.literals import EngineName
from thorax.store import Store
from thorax.workflows.matching_stores import StoresLike, opened_stores, store_for
from thorax.workflows.model_runs import GivenModel, ModelLike, given_models, refuse_other_recipes
from thorax.workflows.prediction_files import file_validation, rows_of, select_predicted
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    PartSelection,
    StorePart,
    labels_of,
    opened_bundle,
    predict_part,
    predict_validation,
    select_part,
)
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
        split: Name of the split; "" means the one that a bundle was trained on, and no split for CSVs.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        findings: Findings to compare, in this order; empty means all.
        rule: Rule that chooses every model's thresholds on validation images; "" means a bundle's own, and
            F1-optimal ones or 0.5 for other models.
        validation: CSVs of predictions on validation images, one per CSV of `models`.
        logits: Whether the CSVs contain logits.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of the resamples.
        device: "cpu", "cuda" or "auto", for bundles.
        engine: What computes the logits of every bundle.
        progress: Receives the number of predicted images.

    Raises:
        DataError: There are fewer than two models, `baseline` is not one of them, or they would be measured
            on different images.
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
    # ---- predict, or read ---------------------------------------------------------------------------------
    stores, known = _stores_and_labels(data)
    selection = PartSelection(split, part, view)
    parts, left_out = _store_parts(runs, stores, selection, device=device, engine=engine)
    files = _validation_files([name for name in runs if name not in parts], validation)
    read = {
        name: _read(Path(run), files[name], known, selection, logits=logits)
        for name, run in runs.items()
        if name not in parts
    }
    for chosen_part in parts.values():
        select_findings(findings, chosen_part.cohort.findings)
    for chosen_part in parts.values():
        chosen_part.verify()
    predicted: dict[str, PartPredictions] = {}
    points: dict[str, ThresholdSet] = {}
    for name in runs:
        if name in parts:
            opened = open_predictor(parts[name].bundle, device=device, engine=engine)
            predicted[name], choice = _predicted(opened, parts[name], name, rules, progress=progress)
        else:
            predicted[name], choice = read[name]
        points[name] = _own_points(choice, rules)
    common = _common_findings(predicted)
    chosen = select_findings(findings, common)
    contexts = {
        name: pinned(
            replace(
                predictions.context, warnings=(*predictions.context.warnings, *left_out, *unchecked[name])
            ),
            predictions.cohort.of_findings(chosen),
        )
        for name, predictions in predicted.items()
    }
    _refuse_other_parts(contexts)
    # ---- compare ------------------------------------------------------------------------------------------
    labeled = next(iter(predicted.values())).cohort
    comparison = measure(
        labeled.of_findings(chosen) if findings else labeled,
        [ScoredRuns(model=model.name, runs=_scores(model, predicted)) for model in given],
        baseline=None if baseline is None else given[list(models).index(baseline)].name,
        resamples=resamples,
        seed=seed,
    )
    command = described(
        "compare",
        models=",".join(runs),
        split=split,
        part=part,
        view=view,
        findings=findings if isinstance(findings, str) else ",".join(findings),
        rule=rule,
        seed=seed,
    )
    contexts = _with_histories(contexts, predicted, parts, command=command)
    return ComparisonResult(
        comparison=comparison,
        contexts=contexts,
        decisions={
            name: _decided(predictions.of_findings(chosen), points[name], resamples=resamples, seed=seed)
            for name, predictions in predicted.items()
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


def _with_histories(
    contexts: Mapping[str, Context],
    predicted: Mapping[str, PartPredictions],
    parts: Mapping[str, StorePart],
    *,
    command: str,
) -> dict[str, Context]:
    """Note one look for each model, and return the contexts with what came before this comparison."""
    histories = note_looks(
        [
            Measured(
                predicted[name].reported, context.model, parts[name].bundle.run if name in parts else None
            )
            for name, context in contexts.items()
        ],
        command=command,
    )
    return {
        name: replace(context, history=history)
        for (name, context), history in zip(contexts.items(), histories, strict=True)
    }


def _decided(
    predicted: PartPredictions, points: ThresholdSet, *, resamples: int, seed: int
) -> ModelDecisions:
    """Return a model's decisions on the findings that all models have."""
    findings = predicted.cohort.findings
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


def _stores_and_labels(data: StoresLike) -> tuple[tuple[Store, ...], Labels]:
    """Open the stores, or read the label file, and return the labels."""
    if isinstance(data, str | PathLike) and not isinstance(data, Store) and Path(data).is_file():
        return (), labels_of(Path(data))
    stores = opened_stores(data)
    if not stores:
        raise DataError("no store is given; give at least one, or a label file if all models are CSVs")
    return stores, labels_of(stores[0])


def _store_parts(
    runs: Mapping[str, BundleLike],
    stores: Sequence[Store],
    selection: PartSelection,
    *,
    device: str,
    engine: EngineName,
) -> tuple[dict[str, StorePart], tuple[str, ...]]:
    """Return each bundle's images that all of the stores have, by its name, and a note of those left out."""
    parts: dict[str, StorePart] = {}
    for name, run in runs.items():
        if not (isinstance(run, Bundle) or Path(run).is_dir()):
            continue
        bundle = opened_bundle(run)
        if not stores:
            raise DataError(
                f"{bundle.folder} needs the images of a store, and only a label file is given; give a store"
            )
        check_engine(bundle, device=device, engine=engine)
        parts[name] = select_part(bundle, store_for(bundle, stores), selection)
    if not parts:
        return parts, ()
    images = [set(part.cohort.images) for part in parts.values()]
    common = images[0].intersection(*images[1:])
    partial = sorted(images[0].union(*images[1:]) - common)
    if not partial:
        return parts, ()
    count = "1 image of the part is" if len(partial) == 1 else f"{len(partial):,} images of the part are"
    verb = "is" if len(partial) == 1 else "are"
    examples = f"{', '.join(partial[:3])}{', ...' if partial[3:] else ''}"
    warning = f"{count} only in some of the stores and {verb} left out ({examples})."
    return {name: part.of_images(common) for name, part in parts.items()}, (warning,)


def _validation_files(names: Sequence[str], files: Sequence[StrPath]) -> dict[str, Path | None]:
    """Return the file of predictions on validation images of each CSV model, by the model's name."""
    if files and len(files) != len(names):
        raise DataError(
            f"`validation` has {len(files)} files for {len(names)} CSVs of predictions; give one for each, "
            "in their order"
        )
    return {name: Path(file) if file else None for name, file in zip_longest(names, files)}


def _predicted(
    predictor: Predictor,
    part: StorePart,
    name: str,
    rules: Sequence[ThresholdRule],
    *,
    progress: ProgressCallback | None,
) -> tuple[PartPredictions, Choosers]:
    """Predict a bundle's images, and what its thresholds are chosen from."""
    predicted = predict_part(predictor, part, stage=f"predicting {name}", progress=progress)
    own, validation = bundle_points(predictor.bundle, part.cohort.findings), None
    if any(not isinstance(rule, Fixed) for rule in rules) or not (own or rules):
        try:
            validation = predict_validation(predictor, part, progress=progress)
        except ThoraxError:  # without validation images, only a rule that was asked for cannot be followed
            if rules:
                raise
    return predicted, Choosers(predicted, validation, own=own, allow=False)


def _read(
    file: Path, validation: Path | None, known: Labels, selection: PartSelection, *, logits: bool
) -> tuple[PartPredictions, Choosers]:
    """Read a file of predictions, and what its thresholds are chosen from."""
    predicted, on = select_predicted(rows_of(file, known), known, selection, logits=logits)
    if validation is not None:
        on = file_validation(validation, known, predicted, split=selection.split, logits=logits)
    return predicted, Choosers(predicted, on, own=(), allow=False)


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


def _refuse_other_parts(contexts: Mapping[str, Context]) -> None:
    """Refuse parts of different splits, even if their images are the same."""
    where = {context.where: name for name, context in contexts.items()}
    if len(where) > 1:
        parts = "; ".join(f"{name}: {part}" for part, name in where.items())
        raise DataError(f"the models would be measured on different parts ({parts}); name one with `split`")
