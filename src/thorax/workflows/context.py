"""The context of results: split, images, provenance of the model, and warnings."""

from thorax.bundle import Bundle, Imported
from thorax.datasets.splits import Split
from thorax.evaluation.evaluate import Context
from thorax.evaluation.inputs.join import (
    chosen_on,
    count_official_test,
    is_whole_part,
    official_test_warning,
)
from thorax.evaluation.labeled import LabeledImages
from thorax.image_set import ImageSet
from thorax.packages import versions
from thorax.prediction import ModelIdentity
from thorax.store import Store

__all__ = ["bundle_warnings", "context_of", "how_made", "unknown_training"]


def context_of(
    cohort: LabeledImages,
    split: Split | None,
    part: str,
    *,
    dataset: str,
    model: ModelIdentity,
    made: tuple[tuple[str, str], ...],
    warnings: tuple[str, ...],
) -> Context:
    """Return the context of results on some images; see `Context`."""
    return Context(
        split=split.name if split else "",
        part=part if split else "",
        split_sha256=split.sha256 if split else "",
        images_sha256=chosen_on(split, part, cohort, dataset=dataset).images_sha256,
        dataset=dataset,
        model=model,
        whole_part=split is not None and is_whole_part(split, part, cohort),
        num_official_test=count_official_test(dataset, cohort.patients),
        versions=versions("thorax", "numpy"),
        made=made,
        warnings=warnings,
    )


def bundle_warnings(
    bundle: Bundle, store: Store, split: Split, part: str, *, view: str | None, num_images: int
) -> tuple[str, ...]:
    """Return warnings about the images that a bundle is evaluated on."""
    notes = [
        f"Only images of view {view}." if view else "",
        f"{store.num_rejected:,} files of the source could not be used and are not in any part."
        if store.num_rejected
        else "",
        *unknown_training(bundle, store),
        official_test_warning(split, part, num_images),
    ]
    return tuple(note for note in notes if note)


def unknown_training(bundle: Bundle, store: Store) -> tuple[str, ...]:
    """Return warnings about patients that a bundle may have seen but that a store cannot identify."""
    foreign = sorted({training.dataset for training in bundle.trainings} - {store.dataset})
    notes = [
        f"The model was trained on {', '.join(foreign)}: patients in both data sets cannot be identified."
        if foreign
        else "",
        "It is not known which patients an imported network was trained on; some may be among these."
        if not bundle.all_trained
        else "",
    ]
    return tuple(note for note in notes if note)


def how_made(bundle: Bundle, store: Store) -> tuple[tuple[str, str], ...]:
    """Return the provenance of the model and its images, as pairs of name and text."""
    lines = []
    for number, member in enumerate(bundle.manifest.members, start=1):
        name = "Net" if len(bundle.manifest.members) == 1 else f"Net {number}"
        origin = member.provenance
        if isinstance(origin, Imported):
            lines.append((name, f"imported: {origin.source}, file sha256 {origin.file_sha256}"))
            continue
        lines += [
            (name, f"recipe {origin.recipe}, sha256 {origin.recipe_sha256}, seed {origin.seed}"),
            (f"{name} trained on", _trained_on(origin.trained_on)),
            (f"{name} chosen as", f"{origin.selected_by}, epoch {origin.epoch}"),
        ]
    calibration = bundle.manifest.calibration
    if calibration:
        fitted_on = calibration.fitted_on
        lines.append(("Calibration", f"{calibration}, {fitted_on.part} part of {fitted_on.split}"))
    prepared = store.preparation
    lines.append(("Images", f"{prepared.size} pixels, {prepared.fit}; store {store.fingerprint}"))
    return tuple(lines)


def _trained_on(part: ImageSet) -> str:
    return f"{part.part} part of {part.split}, {part.dataset}, {part.num_images:,} images"
