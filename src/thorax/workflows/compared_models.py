"""Models that are compared, opened: the images of each bundle, and the predictions of each file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from os import PathLike
from pathlib import Path

from thorax.atomic_io import StrPath
from thorax.bundle import Bundle
from thorax.errors import DataError
from thorax.evaluation.inputs.join import Labels
from thorax.evaluation.labeled_images import LabeledImages
from thorax.inference.engines import check_engine
from thorax.recipe.literals import EngineName
from thorax.store import Store
from thorax.workflows.matching_stores import StoresLike, opened_stores, store_for
from thorax.workflows.prediction_files import (
    FilePredictions,
    has_predictions,
    read_part,
    report_split,
)
from thorax.workflows.predictions import (
    BundleLike,
    PartSelection,
    StorePart,
    labels_of,
    opened_bundle,
    select_part,
)

__all__ = ["OpenedBundle", "OpenedFile", "OpenedModel", "open_models"]


@dataclass(frozen=True, slots=True, eq=False)
class OpenedBundle:
    """A bundle with the images that it will predict."""

    part: StorePart

    @property
    def cohort(self) -> LabeledImages:
        """The images with their labels."""
        return self.part.cohort

    @property
    def where(self) -> str:
        """The part as text."""
        return f"{self.part.split.name}, {self.part.selection.part} part"

    @property
    def run(self) -> Path | None:
        """The run that made it, beside which looks are noted."""
        return self.part.bundle.run

    def verify(self) -> None:
        """Check that the store is whole and that the bundle saw none of the images, which reads them all."""
        self.part.verify()

    def of_images(self, images: Collection[str]) -> "OpenedBundle":
        """Return the bundle with these of its images."""
        return replace(self, part=self.part.of_images(images))


@dataclass(frozen=True, slots=True, eq=False)
class OpenedFile:
    """A model's predictions from a file."""

    file: FilePredictions

    @property
    def run(self) -> None:
        """None: looks are noted in the user's own folder only."""

    @property
    def cohort(self) -> LabeledImages:
        """The images with their labels."""
        return self.file.reported.cohort

    @property
    def where(self) -> str:
        """The part as text."""
        return self.file.reported.context.where

    def verify(self) -> None:
        """Do nothing: what the model saw is not known."""

    def of_images(self, images: Collection[str]) -> "OpenedFile":
        """Return the predictions of these images."""
        return replace(self, file=replace(self.file, reported=self.file.reported.of_images(images)))


OpenedModel = OpenedBundle | OpenedFile


def open_models(
    runs: Mapping[str, BundleLike],
    data: StoresLike,
    selection: PartSelection,
    *,
    validation: Sequence[StrPath],
    logits: bool,
    device: str,
    engine: EngineName,
) -> tuple[dict[str, OpenedModel], tuple[str, ...]]:
    """Find the images of bundles and read files of predictions, all of the same part of the same split.

    If no split is named, files that state none, and bundles that were not trained on one, are measured on the
    split of the other models.

    Args:
        runs: The models by name.
        data: A store, several of the same source, or a label file.
        selection: The images.
        validation: Files of predictions on validation images, one for each model that is a file.
        logits: Whether CSVs have logits.
        device: Where bundles will be computed, checked here.
        engine: What will compute them, checked here.

    Returns:
        The models by name, in the same order, and a note of images that only some of the stores have.

    Raises:
        DataError: A bundle has no store, a file cannot be read, or the parts differ.
        LeakError: Some of the patients were used for training or selection of a bundle.
    """
    stores, known = _stores_and_labels(data)
    files = {
        name: Path(run)
        for name, run in runs.items()
        if not isinstance(run, Bundle) and has_predictions(Path(run))
    }
    bundles = {name: opened_bundle(run) for name, run in runs.items() if name not in files}
    if stores:
        for bundle in bundles.values():
            check_engine(bundle, device=device, engine=engine)
    stated = {name: split for name, file in files.items() if (split := report_split(file))}
    parts, notes = _store_parts(bundles, stores, selection, stated)
    stated |= {name: part.split.name for name, part in parts.items()}
    of_validation = _validation_files(list(files), validation)
    opened: dict[str, OpenedModel] = {name: OpenedBundle(part) for name, part in parts.items()}
    sources = {part.split.name: part.split.source for part in parts.values()}
    for name, file in files.items():
        # A report knows the name of its split, but not the path of a file.
        unnamed = "" if name in stated else _only(stated)
        own = replace(selection, split=selection.split or sources.get(stated.get(name, unnamed), unnamed))
        opened[name] = OpenedFile(read_part(file, known, own, logits=logits, validation=of_validation[name]))
    if not selection.split and set(stated) < set(opened):
        others = ", ".join(name for name in opened if name not in stated)
        notes += (f"No split was named: {others} is measured on that of the other models.",) if stated else ()
    _refuse_other_parts(opened)
    return {name: opened[name] for name in runs}, notes


def _only(stated: Mapping[str, str]) -> str:
    """Return the split that models state, if it is only one; otherwise ""."""
    splits = set(stated.values())
    return splits.pop() if len(splits) == 1 else ""


def _stores_and_labels(data: StoresLike) -> tuple[tuple[Store, ...], Labels]:
    """Open the stores, or read the label file, and return the labels."""
    if isinstance(data, str | PathLike) and not isinstance(data, Store) and Path(data).is_file():
        return (), labels_of(Path(data))
    stores = opened_stores(data)
    if not stores:
        raise DataError("no store is given; give at least one, or a label file if all models are CSVs")
    return stores, labels_of(stores[0])


def _store_parts(
    bundles: Mapping[str, Bundle],
    stores: Sequence[Store],
    selection: PartSelection,
    stated: Mapping[str, str],
) -> tuple[dict[str, StorePart], tuple[str, ...]]:
    """Return each bundle's images that all of the stores have, by its name, and a note of those left out."""
    parts: dict[str, StorePart] = {}
    for name, bundle in sorted(bundles.items(), key=lambda item: item[1].split is None):
        if not stores:
            raise DataError(
                f"{bundle.folder} needs the images of a store, and only a label file is given; give a store"
            )
        others = {**stated, **{other: part.split.name for other, part in parts.items()}}
        sources = {part.split.name: part.split.source for part in parts.values()}
        unnamed = "" if bundle.split else _only(others)
        own = replace(selection, split=selection.split or sources.get(unnamed, unnamed))
        parts[name] = select_part(bundle, store_for(bundle, stores), own)
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


def _refuse_other_parts(models: Mapping[str, OpenedModel]) -> None:
    """Refuse parts of different splits, even if their images are the same."""
    where = {model.where: name for name, model in models.items()}
    if len(where) > 1:
        parts = "; ".join(f"{name}: {part}" for part, name in where.items())
        raise DataError(f"the models would be measured on different parts ({parts}); name one with `split`")
