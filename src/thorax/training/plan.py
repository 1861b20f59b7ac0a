"""The images that a run trains and validates on, checked before anything is computed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from thorax.atomic_io import sha256_of_file
from thorax.bundle import Bundle, InitialWeights, load_bundle, refuse_seen_patients
from thorax.datasets.splits import Split, build_split
from thorax.errors import BundleError, DataError, RecipeError
from thorax.findings import Findings
from thorax.image_set import ImageSet
from thorax.recipe.schema import Recipe
from thorax.store import Store
from thorax.training.batches import Part, known_labels, steps_per_epoch
from thorax.training.checks import check_store
from thorax.training.validation import macro_findings

__all__ = ["TrainingPlan", "plan_run"]


@dataclass(frozen=True)
class TrainingPlan:
    """The images and labels of a run, and their provenance.

    Attributes:
        findings: In the order of the outputs.
        train: Training images.
        val: Validation images.
        trained_on: Identity of the training images, for the bundle.
        selected_on: Identity of the validation images, for the bundle.
        test: Test images, only if their score is recorded for each epoch.
        num_test: Number of test images, which are for `evaluate`.
        origin: The bundle whose backbone the run starts from.
        initial_weights: The file of weights that the run starts from.
        steps: Steps of an epoch.
        notices: Notices to the user before the run, one sentence each.
    """

    findings: Findings
    train: Part
    val: Part
    trained_on: ImageSet
    selected_on: ImageSet
    test: Part | None
    num_test: int
    origin: Bundle | None
    initial_weights: InitialWeights | None
    steps: int
    notices: tuple[str, ...]

    def patients(self, part: Part) -> list[str]:
        """Return the patient of each image of a part."""
        return [str(patient) for patient in part.store.table.frame["patient"].to_numpy()[part.rows]]


def plan_run(recipe: Recipe, store: Store, *, record_test_curve: bool = False) -> TrainingPlan:
    """Find the images of a recipe in a store.

    Args:
        recipe: The recipe.
        store: Images and labels.
        record_test_curve: Whether the test part is also measured, only for the log.

    Raises:
        DataError: The store does not fit the recipe, a part is empty, or validation lacks labels that the
            recipe's metrics need.
        RecipeError: A batch is larger than the training part, or the run starts from weights that are a
            bundle's own.
        BundleError: The bundle that the run starts from cannot be opened.
        LeakError: That bundle was trained on this run's validation patients, or has seen test patients at
            all.
    """
    check_store(recipe, store)
    findings = recipe.data.finding_tuple()
    split = build_split(
        recipe.data.split, store.table, dataset=store.dataset, whole_sha256=store.split_sha256
    )
    origin = _origin(recipe, store, split)
    targets = store.table.targets(findings)

    def part(name: str, split: Split) -> Part:
        rows = split.rows(name, views=recipe.data.views)
        return Part(store, rows, targets[rows])

    sampled = _sampled(recipe, split)
    train, val = part("train", sampled), part("val", sampled)
    _check_validation(recipe, split, val, findings)
    return TrainingPlan(
        findings=findings,
        train=train,
        val=val,
        trained_on=split.image_set("train", train.rows, dataset=store.dataset),
        selected_on=split.image_set("val", val.rows, dataset=store.dataset),
        test=part("test", split) if record_test_curve else None,
        num_test=len(split.parts["test"]),
        origin=origin,
        initial_weights=_initial_weights(recipe),
        steps=steps_per_epoch(len(train), recipe.training.batch_size),
        notices=_notices(recipe, train, findings),
    )


def _origin(recipe: Recipe, store: Store, split: Split) -> Bundle | None:
    """Open the bundle that the run starts from; refuse one that has seen patients it must not have seen."""
    kind, _, path = recipe.model.weights.partition(":")
    if kind != "bundle":
        return None
    bundle = load_bundle(Path(path))
    patients = store.table.frame["patient"].to_numpy()
    for part, by in (("val", ("train", "pretrain")), ("test", None)):
        rows = split.parts.get(part, ())
        refuse_seen_patients(bundle, store.dataset, (str(patient) for patient in patients[rows]), by=by)
    return bundle


def _initial_weights(recipe: Recipe) -> InitialWeights | None:
    """Return the file of weights that the run starts from; refuse one whose bundle knows what it saw."""
    kind, _, name = recipe.model.weights.partition(":")
    path = Path(name)
    if kind != "file" or not path.is_file():  # a missing file is refused where it is read
        return None
    sha256 = sha256_of_file(path)
    try:
        bundle = load_bundle(path.parent, check_nets=False)
    except BundleError:
        return InitialWeights(file=path.name, sha256=sha256)
    if any(member.sha256 == sha256 for member in bundle.manifest.members):
        raise RecipeError(
            f"model.weights = {recipe.model.weights!r} are the weights of the bundle {path.parent}; start "
            f"with model.weights=bundle:{path.parent}, so that the patients that it saw are remembered"
        )
    return InitialWeights(file=path.name, sha256=sha256)


def _sampled(recipe: Recipe, split: Split) -> Split:
    """Return the split, reduced to the sample that the recipe asks for."""
    if recipe.data.sample is None:
        return split
    sampled = split.sampled(recipe.data.sample)
    for name in ("train", "val"):
        if len(split.parts[name]) and not len(sampled.parts[name]):
            raise RecipeError(
                f"data.sample = {recipe.data.sample} is too few: none of the sample is in the {name} part of "
                f"split {split.name}; set data.sample to a larger number"
            )
    return sampled


def _check_validation(recipe: Recipe, split: Split, val: Part, findings: Findings) -> None:
    if not (val.targets >= 0).any():
        raise DataError(
            f"none of the {len(val)} validation images of split {split.name} has a certain label for "
            f"{', '.join(map(str, findings))}, so nothing can be chosen on them; take another "
            "split with `data.split`, or other findings with `data.findings`"
        )
    metrics = [recipe.selection.metric] if recipe.selection.checkpoint == "best" else []
    metrics += [recipe.early_stopping.metric] if recipe.early_stopping else []
    if "macro-auc" in metrics and not any(macro_findings(val.targets, findings)):
        raise DataError(
            f"no finding has both positives and negatives among the {len(val)} validation images of split "
            f"{split.name}, so the metric macro-auc is undefined; use `selection.metric=loss` (and "
            "`early_stopping.metric=loss`), or prepare more images"
        )


def _notices(recipe: Recipe, train: Part, findings: Findings) -> tuple[str, ...]:
    notices = []
    if recipe.freeze.trained is not None and recipe.model.weights == "none":
        notices.append(
            "stages of the backbone are frozen at random weights, since model.weights = none, and will not "
            "learn anything; give weights, or set freeze.trained=none"
        )
    present, known = known_labels(torch.from_numpy(train.targets), recipe.data.uncertain)
    positives, negatives = present.any(dim=0), (known & ~present).any(dim=0)
    absent = [str(finding) for finding, any_ in zip(findings, positives, strict=True) if not any_]
    without = zip(findings, positives & ~negatives, strict=True)
    certain = [str(finding) for finding, only_positive in without if only_positive]
    if certain:
        notices.append(
            f"{', '.join(certain)}: no negative among the {len(train)} training images, so the net can only "
            "learn to predict its presence; write 0 where it is absent, or leave it out of data.findings"
        )
    if absent:
        notices.append(
            f"{', '.join(absent)}: no positive among the {len(train)} training images, so the net can only "
            "learn to predict its absence; prepare more images, or leave it out of data.findings"
        )
    return tuple(notices)
