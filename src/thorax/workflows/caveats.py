"""What a reader must know before trusting results: one list of warnings, which every output shows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from thorax.bundle import Bundle, Trained
from thorax.bundle.split_source import split_source
from thorax.datasets import NIH_DATASET, NIH_LAYOUT, UNNAMED
from thorax.datasets.splits import Split
from thorax.datasets.table import SampleTable
from thorax.errors import BundleError, DataError, ThoraxError
from thorax.evaluation.discrimination import Discrimination
from thorax.evaluation.evaluate import Context
from thorax.evaluation.inputs.join import split_warnings
from thorax.evaluation.looks import note_look
from thorax.image_set import ImageSet
from thorax.recipe.load import load_recipe, recipe_sha256
from thorax.run_files import RECIPE
from thorax.store import Store

__all__ = [
    "bundle_warnings",
    "noted",
    "patients_warning",
    "ranking_warnings",
    "split_of_training",
    "unknown_training",
    "weights_warnings",
    "with_warnings",
]


def with_warnings(context: Context, warnings: Sequence[str]) -> Context:
    """Return the context with more warnings; those that are "" are left out."""
    more = (warning for warning in warnings if warning and warning not in context.warnings)
    return replace(context, warnings=(*context.warnings, *more))


def noted(context: Context, images: ImageSet, *, command: str, run: Path | None = None) -> Context:
    """Note a look at these images, and return the context with the history; see `note_look`."""
    return replace(context, history=note_look(images, context.model, command=command, run=run))


def split_of_training(bundle: Bundle, store: Store) -> str:
    """Return the split that a bundle was trained on, for the images of a store; of a file, with its path.

    Raises:
        BundleError: It was not trained on exactly one, or the file of the split is not found.
        DataError: It is a split of NIH ChestX-ray14, and the store has another data set.
    """
    split = split_source(bundle)
    if split is None:
        raise BundleError(f"{bundle.folder} was not trained on one split; name the one to use with `split`")
    if split.startswith("nih-") and store.dataset != NIH_DATASET:
        raise DataError(
            f"{bundle.folder} was trained on the split {split} of {NIH_DATASET}, and {store.location} "
            f"has another data set, {store.dataset}; name a split of that one, such as "
            "`split=folder-official`"
        )
    return split


def bundle_warnings(
    bundle: Bundle, store: Store, split: Split, part: str, *, view: str | None, num_images: int
) -> tuple[str, ...]:
    """Return warnings about the images that a bundle is evaluated on, and about how it was made."""
    notes = [
        *bundle.manifest.stated_in_full,
        f"Only images of view {view}." if view else "",
        _not_labeled(bundle, store),
        f"{store.num_rejected:,} files of the source could not be used and are not in any part."
        if store.num_rejected
        else "",
        *unknown_training(bundle, store),
        *_edited_recipe(bundle),
        patients_warning(store.table),
        *split_warnings(split, part, num_images),
    ]
    return tuple(note for note in notes if note)


def _not_labeled(bundle: Bundle, store: Store) -> str:
    missing = [finding.label for finding in bundle.findings if finding not in store.table.findings]
    if not missing:
        return ""
    return f"The model also predicts {', '.join(missing)}, which the data set does not label."


def unknown_training(bundle: Bundle, store: Store) -> tuple[str, ...]:
    """Return warnings about patients that a bundle may have seen but that a store cannot identify."""
    foreign = sorted({training.dataset for training in bundle.trainings} - {store.dataset})
    notes = [
        f"The model was trained on {', '.join(foreign)}: patients in both data sets cannot be identified."
        if foreign
        else "",
        _same_name(bundle, store),
        "It is not known which patients an imported network was trained on; some may be among these."
        if not bundle.all_trained
        else "",
        *weights_warnings(bundle),
    ]
    return tuple(note for note in notes if note)


def weights_warnings(bundle: Bundle) -> tuple[str, ...]:
    """Return a warning for each file of weights of unknown origin that training started from."""
    warnings = []
    for member in bundle.manifest.members:
        kind, _, path = member.model.weights.partition(":")
        if not isinstance(member.provenance, Trained) or kind != "file":
            continue
        known = member.provenance.initial_weights
        sum_text = f"SHA-256 {known.sha256}" if known else "SHA-256 not recorded"
        name = known.file if known else Path(path).name
        warnings.append(
            f"Training started from the weights in {name} ({sum_text}): it is not known which patients they "
            "were trained on; some may be among these."
        )
    return tuple(dict.fromkeys(warnings))


def _same_name(bundle: Bundle, store: Store) -> str:
    """Warn if a bundle was trained on other data of the same name, which every such data set has."""
    if store.dataset not in {UNNAMED, NIH_LAYOUT}:
        return ""
    for training in bundle.trainings:
        reference = training.trained_on
        ours = store.split_sha256.get(reference.split)
        if training.dataset == store.dataset and ours not in {None, reference.sha256}:
            return (
                f"The model was trained on other images that are also called {store.dataset}, as all data of "
                "this kind are: patients in both are recognized only if their ids are spelled alike."
            )
    return ""


def patients_warning(table: SampleTable) -> str:
    """Warn if a data set has no patients of its own, so that each image counts as one; otherwise ""."""
    frame = table.frame
    if not np.array_equal(frame["patient"].astype(str), frame["image"].astype(str)):
        return ""
    return (
        "The data set names no patients, so each image counts as a patient: other images of patients in "
        "training are not recognized, and intervals are too narrow if patients have several images."
    )


def _edited_recipe(bundle: Bundle) -> tuple[str, ...]:
    """Return a warning if the recipe beside a bundle is not the one that its manifest names."""
    if bundle.run is None or bundle.run == bundle.folder or len(bundle.manifest.members) > 1:
        return ()
    trained = bundle.manifest.members[0].provenance
    try:
        recipe = load_recipe(str(bundle.run / RECIPE))
    except ThoraxError:
        return ()
    if not isinstance(trained, Trained):
        return ()
    stated, actual = (trained.seed, trained.recipe_sha256), (recipe.training.seed, recipe_sha256(recipe))
    if stated == actual:
        return ()
    warning = (
        f"The bundle names a recipe with SHA-256 {stated[1][:12]} and seed {stated[0]}, and the recipe.toml "
        f"of its run has SHA-256 {actual[1][:12]} and seed {actual[0]}: one of them was edited."
    )
    return (warning,)


def ranking_warnings(ranking: Discrimination) -> tuple[str, ...]:
    """Return warnings about too few patients, AUCs that are perfect, and a mean without an interval."""
    defined = [result for result in ranking.findings if result.auc.exists]
    perfect = bool(defined) and all(result.auc.value == 1 for result in defined)
    mean = ranking.macro_auc
    return (
        ranking.too_few_patients,
        f"The AUC of each of the {len(defined)} findings is exactly 1: find out whether the labels, or "
        "something made from them, went into the predictions."
        if perfect and len(defined) > 1
        else "",
        "The mean AUC has no interval, because every finding has fewer than two patients of a class."
        if mean.exists and np.isnan(mean.low)
        else "",
    )
