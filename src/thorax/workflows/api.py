"""`thorax.prepare`, `evaluate` and `compare`, which accept paths and opened objects alike."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from thorax.atomic_io import StrPath
from thorax.bundle import Bundle
from thorax.errors import DataError
from thorax.progress import ProgressCallback
from thorax.recipe.literals import EngineName, Fit
from thorax.store import Store, open_store
from thorax.workflows import compare as _compare
from thorax.workflows import prepare as _prepare
from thorax.workflows.evaluate import Prevalence, evaluate_bundle, evaluate_predictions
from thorax.workflows.matching_stores import StoresLike
from thorax.workflows.predictions import BundleLike, StoreLike
from thorax.workflows.results import ComparisonResult, EvaluationResult

__all__ = ["compare", "evaluate", "prepare"]


def prepare(
    source: StrPath,
    out: StrPath,
    *,
    recipe: StrPath | None = None,
    size: int | None = None,
    fit: Fit | None = None,
    view: Literal["PA", "AP"] | None = None,
    dataset: str = "",
    workers: int | None = None,
    progress: ProgressCallback | None = None,
) -> Store:
    """Decode every image of a data set once into a store. If interrupted, the same call resumes.

    Args:
        source: A folder in the layout of NIH ChestX-ray14 or with train/, val/ and test/, or a CSV with a
            column "path".
        out: The store's folder; created if it does not exist.
        recipe: Prepare images as this shipped recipe or TOML file requires.
        size: Side of the prepared images in pixels; 256 without a recipe.
        fit: How an image becomes square: "pad", "crop" or "stretch"; "pad" without a recipe.
        view: Keep only images of this view position.
        dataset: Name of the data set that a CSV describes.
        workers: Processes; one per core if None.
        progress: Receives the number of prepared images.

    Raises:
        RecipeError: There is no such recipe, or it requires another size or fit than the one given.
        DataError: The source is malformed; `out` holds something else, or a store of another source or other
            settings.

    Example:
        store = thorax.prepare("nih", "store", recipe="small-cpu")
    """
    _prepare.prepare(
        source,
        out,
        recipe=recipe,
        size=size,
        fit=fit,
        view=view,
        dataset=dataset,
        workers=workers,
        progress=progress,
    )
    return open_store(out)


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
    if isinstance(model, Bundle) or not Path(model).is_file():
        if validation is not None or logits:
            raise DataError(
                "`validation` and `logits` describe CSVs of probabilities, but the model is a bundle, which "
                "computes its own; leave them out"
            )
        return evaluate_bundle(
            model, _store(data), split=split, part=part, view=view, findings=findings, rules=rules,
            thresholds=thresholds, allow_test_tuning=allow_test_tuning, prevalence=prevalence,
            radiologists=radiologists, gallery=gallery, resamples=resamples, seed=seed, device=device,
            engine=engine, progress=progress,
        )  # fmt: skip
    labels, store = _labels_or_store(data)
    return evaluate_predictions(
        model, labels=labels, store=store, validation=validation, logits=logits, split=split, part=part,
        view=view, findings=findings, rules=rules, thresholds=thresholds, allow_test_tuning=allow_test_tuning,
        prevalence=prevalence, radiologists=radiologists, resamples=resamples, seed=seed,
    )  # fmt: skip


def compare(
    models: Sequence[BundleLike],
    data: StoresLike,
    *,
    baseline: BundleLike | None = None,
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
    progress: ProgressCallback | None = None,
) -> ComparisonResult:
    """Compare models on the same images: paired differences, and decisions at each model's own thresholds.

    Args:
        models: At least two, each as `evaluate` takes it.
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
        progress: Receives the number of predicted images.

    Raises:
        DataError: There are fewer than two models, `baseline` is not one of them, or they would be measured
            on different images.
        LeakError: Some of the patients were used for training or selection of a bundle.

    Example:
        comparison = thorax.compare(["run", "predictions.csv"], store, split="folder-official")
    """
    labels: StrPath | None = None
    store: StoresLike | None = data
    if isinstance(data, str | PathLike) and not isinstance(data, Store) and Path(data).is_file():
        labels, store = data, None
    return _compare.compare(
        models, store=store, labels=labels, logits=logits, split=split, part=part, view=view,
        findings=findings, rule=rule, validation=validation, baseline=baseline, resamples=resamples,
        seed=seed, device=device, progress=progress,
    )  # fmt: skip


def _labels_or_store(data: StoreLike) -> tuple[StrPath | None, StoreLike | None]:
    """Return a label file, or a store."""
    if not isinstance(data, Store) and Path(data).is_file():
        return data, None
    return None, data


def _store(data: StoreLike) -> StoreLike:
    if isinstance(data, Store) or not Path(data).is_file():
        return data
    raise DataError(
        f"{data} is a file, and a bundle is evaluated on the images of a store; give the folder "
        "that `prepare` made"
    )
