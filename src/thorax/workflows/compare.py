"""`compare`: compare models on the same images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from thorax.atomic_io import StrPath
from thorax.bundle import Bundle
from thorax.bundle.files import bundle_folder
from thorax.errors import DataError
from thorax.evaluation.compare import compare as measure
from thorax.evaluation.evaluate import Context
from thorax.evaluation.labeled_images import ScoredImages
from thorax.inference.engines import open_predictor
from thorax.progress import ProgressCallback
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    PartSelection,
    StoreLike,
    open_labels,
    opened_bundle,
    opened_store,
    predict_part,
    read_part,
    select_part,
)
from thorax.workflows.results import ComparisonResult

__all__ = ["compare"]


def compare(
    models: Sequence[BundleLike],
    *,
    store: StoreLike | None = None,
    labels: StrPath | None = None,
    logits: bool = False,
    split: str = "",
    part: str = "test",
    view: str | None = None,
    baseline: BundleLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> ComparisonResult:
    """Compare models on the same images, with paired intervals and p values.

    Args:
        models: At least two: bundles, or CSVs of any model's probabilities.
        store: A store, or its folder, prepared as the bundles require; it also has the labels. Or
        labels: Label file in NIH's layout, if all models are CSVs.
        logits: Whether the CSVs contain logits.
        split: Name of the split; "" means the one that a bundle was trained on, and no split for CSVs.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        baseline: The model that the others are compared with; None compares each pair.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of the resamples.
        device: "cpu", "cuda" or "auto", for bundles.
        progress: Called while images are predicted.

    Raises:
        DataError: There are fewer than two models, `baseline` is not one of them, or they would be measured
            on different images.
        LeakError: Some of the patients were used for training or selection of a bundle.
    """
    models = [_found(model) for model in models]
    baseline = None if baseline is None else _found(baseline)
    names = _names(models)
    if baseline is not None and baseline not in models:
        raise DataError(f"{_path(baseline)} is not one of the models; name one of {', '.join(names)}")
    # ---- predict, or read ---------------------------------------------------------------------------------
    images = None if store is None else opened_store(store)
    known, selection = open_labels(labels, images), PartSelection(split, part, view)
    predicted: dict[str, PartPredictions] = {}
    for name, model in zip(names, models, strict=True):
        if isinstance(model, Bundle) or Path(model).is_dir():
            bundle = opened_bundle(model)
            if images is None:
                raise DataError(f"{bundle.folder} needs the images of a store; give it as `store`")
            chosen = select_part(bundle, images, selection)
            predictor = open_predictor(bundle, device=device)
            predicted[name] = predict_part(predictor, chosen, stage=f"predicting {name}", progress=progress)
        else:
            predicted[name], _ = read_part(Path(model), known, selection, logits=logits)
    contexts = {name: predictions.context for name, predictions in predicted.items()}
    _refuse_other_parts(contexts)
    # ---- compare ------------------------------------------------------------------------------------------
    comparison = measure(
        predicted[names[0]].cohort,
        [
            ScoredImages(
                model=name,
                images=predictions.cohort.images,
                scores=predictions.probabilities,
                findings=predictions.cohort.findings,
            )
            for name, predictions in predicted.items()
        ],
        baseline=None if baseline is None else names[list(models).index(baseline)],
        resamples=resamples,
        seed=seed,
    )
    return ComparisonResult(comparison=comparison, contexts=contexts)


def _found(model: BundleLike) -> BundleLike:
    """Return a model, the starter's folder for its name."""
    return model if isinstance(model, Bundle) or Path(model).exists() else bundle_folder(model)


def _refuse_other_parts(contexts: Mapping[str, Context]) -> None:
    """Refuse parts of different splits, even if their images are the same."""
    where = {context.where: name for name, context in contexts.items()}
    if len(where) > 1:
        parts = "; ".join(f"{name}: {part}" for part, name in where.items())
        raise DataError(f"the models would be measured on different parts ({parts}); name one with `split`")


def _names(models: Sequence[BundleLike]) -> list[str]:
    """Return the name of each model: the last component of its path, or all of it if two share that.

    Raises:
        DataError: There are fewer than two different models, or one does not exist.
    """
    paths = [_path(model) for model in models]
    if len(set(paths)) < max(len(paths), 2):
        raise DataError(f"{len(paths)} models are given; give at least two, each once")
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"there is no {missing[0]}; give bundles, or CSVs of probabilities")
    short = [path.resolve().name for path in paths]
    return [name if short.count(name) == 1 else str(path) for path, name in zip(paths, short, strict=True)]


def _path(model: BundleLike) -> Path:
    """Return a model's path as a user would give it: that of the run, if a run made the bundle."""
    if not isinstance(model, Bundle):
        return Path(model)
    run = model.folder.parent
    return run if bundle_folder(run) == model.folder else model.folder
