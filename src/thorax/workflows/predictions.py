"""A model's predictions on one part of a split, and how a bundle computes them on a store."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Probabilities, Rows
from thorax.atomic_io import StrPath
from thorax.bundle import Bundle, load_bundle, refuse_seen_images, refuse_seen_patients
from thorax.bundle.image_prints import image_prints
from thorax.datasets.splits import Split
from thorax.evaluation.evaluate import Context
from thorax.evaluation.inputs.assessments import is_assessments, read_assessments
from thorax.evaluation.inputs.join import (
    Labels,
    chosen_on,
    count_official_test,
    labeled_images,
    read_labels,
    trained_prevalence,
)
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.findings import Finding, Findings
from thorax.image_set import ImageSet
from thorax.inference.ensemble import validation_part
from thorax.inference.predictor import Predictor
from thorax.progress import ProgressCallback, stage_progress
from thorax.store import Store, open_store
from thorax.workflows.caveats import bundle_warnings, split_of_training
from thorax.workflows.results import context_of, how_made, labeled_findings

__all__ = [
    "BundleLike",
    "PartPredictions",
    "PartSelection",
    "StoreLike",
    "StorePart",
    "ValidationPredictions",
    "labels_of",
    "opened_bundle",
    "opened_data",
    "opened_store",
    "predict_part",
    "predict_validation",
    "select_part",
    "split_of",
]

BundleLike = StrPath | Bundle
"""An open bundle, its folder, or the run that made it."""
StoreLike = StrPath | Store
"""An open store, or its folder."""


@dataclass(frozen=True, slots=True)
class PartSelection:
    """The images to evaluate on: one part of a split, with one view position or all.

    Attributes:
        split: Name of the split; "" means the one that a bundle was trained on, and no split for a file.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
    """

    split: str = ""
    part: str = "test"
    view: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartPredictions:
    """A model's probabilities with the labels of the images.

    Attributes:
        cohort: The images with their labels.
        probabilities: In [0, 1]; one column per finding of the cohort.
        context: The context of results on these images.
        reported: The reference to the images.
        split: The split; None if it is not stated.
        prevalence: Prevalence of each finding in the training part of the split.
    """

    cohort: LabeledImages
    probabilities: Probabilities
    context: Context
    reported: ImageSet
    split: Split | None
    prevalence: Mapping[Finding, StatedPrevalence]

    def of_images(self, images: Collection[str]) -> "PartPredictions":
        """Return the same predictions of these images only, in the order that they have."""
        kept = np.flatnonzero(np.isin(self.cohort.images, list(images)))
        if len(kept) == len(self.cohort.images):
            return self
        cohort, context = self.cohort.take(kept), self.context
        reported = chosen_on(self.split, context.part, cohort, dataset=context.dataset)
        return replace(
            self,
            cohort=cohort,
            probabilities=self.probabilities[kept],
            context=replace(
                context,
                images_sha256=reported.images_sha256,
                whole_part=False,
                num_official_test=count_official_test(context.dataset, cohort.patients),
            ),
            reported=reported,
        )

    def of_findings(self, findings: Findings) -> "PartPredictions":
        """Return the same predictions of these findings only, in their order."""
        return replace(
            self,
            cohort=self.cohort.of_findings(findings),
            probabilities=_columns(self.probabilities, self.cohort.findings, findings),
            prevalence={
                finding: self.prevalence[finding] for finding in findings if finding in self.prevalence
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidationPredictions:
    """A model's probabilities on images that may choose its thresholds and calibration.

    Attributes:
        cohort: The images with their labels.
        probabilities: In [0, 1]; one column per finding of the cohort.
        chosen_on: The reference to the images.
        patients_shared: Number of patients that are also among the reported ones; must be 0.
    """

    cohort: LabeledImages
    probabilities: Probabilities
    chosen_on: ImageSet
    patients_shared: int = 0

    def of_findings(self, findings: Findings) -> "ValidationPredictions":
        """Return the same predictions of these findings only, in their order."""
        probabilities = _columns(self.probabilities, self.cohort.findings, findings)
        return replace(self, cohort=self.cohort.of_findings(findings), probabilities=probabilities)


def _columns(
    probabilities: Probabilities, given: Findings, wanted: Findings
) -> Float64[np.ndarray, "n wanted"]:
    return probabilities[:, [given.index(finding) for finding in wanted]]


def opened_bundle(bundle: BundleLike) -> Bundle:
    """Open a bundle if it is not open yet; see `load_bundle`."""
    return bundle if isinstance(bundle, Bundle) else load_bundle(bundle)


def opened_store(store: StoreLike) -> Store:
    """Open a store if it is not open yet; see `open_store`."""
    return store if isinstance(store, Store) else open_store(store)


def opened_data(data: StoreLike) -> Store | Path:
    """Open a store if it is not open yet; of a label file, return the path."""
    if not isinstance(data, Store) and Path(data).is_file():
        return Path(data)
    return opened_store(data)


# ---- a bundle on a store's images ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StorePart:
    """The images of a store that a bundle may be evaluated on.

    Attributes:
        bundle: The bundle.
        store: The store, verified.
        selection: The selection of its images.
        split: The split.
        rows: Rows of the store.
        cohort: The images with the labels of those of the bundle's findings that the store labels.
    """

    bundle: Bundle
    store: Store
    selection: PartSelection
    split: Split
    rows: Rows
    cohort: LabeledImages

    def verify(self) -> None:
        """Read the whole store, which may be damaged, and refuse images that the bundle saw."""
        self.store.verify()
        # Equal images in two parts of the split that it was trained on are the audit's to report.
        if self.split.sha256 not in {training.trained_on.sha256 for training in self.bundle.trainings}:
            prints = image_prints(self.store.pixels, self.rows)
            refuse_seen_images(self.bundle, self.cohort.images, prints)

    def of_images(self, images: Collection[str]) -> "StorePart":
        """Return the part without the images that are not among these."""
        kept = np.flatnonzero(np.isin(self.cohort.images, list(images)))
        return replace(self, rows=self.rows[kept], cohort=self.cohort.take(kept))


def split_of(bundle: Bundle, store: Store, name: str = "") -> Split:
    """Split a store's images; without a name, by the split that the bundle was trained on.

    Raises:
        BundleError: No split is named, and the bundle was not trained on exactly one.
        DataError: There is no such split, or it is not for this data set.
    """
    return labels_of(store).split(name or split_of_training(bundle, store))


def select_part(bundle: Bundle, store: Store, selection: PartSelection) -> StorePart:
    """Return the images of a part, which `StorePart.verify` must check before they are used.

    Raises:
        BundleError: No split is named, and the bundle was not trained on exactly one.
        DataError: The store is prepared in another way, has no such split or part, or labels none of the
            bundle's findings.
        LeakError: Some of the patients were used for training or selection.
    """
    bundle.refuse_other_preparation(store.location, store.preparation)
    split = split_of(bundle, store, selection.split)
    rows = split.rows(selection.part, views=(selection.view,) if selection.view else ())
    table = store.table.take(rows)
    findings = labeled_findings(bundle, store)
    refuse_seen_patients(bundle, store.dataset, table.patients().patients)
    return StorePart(
        bundle=bundle,
        store=store,
        selection=selection,
        split=split,
        rows=rows,
        cohort=labeled_images(table, findings),
    )


def predict_part(
    predictor: Predictor,
    part: StorePart,
    *,
    made: tuple[tuple[str, str], ...] = (),
    stage: str = "predicting",
    progress: ProgressCallback | None = None,
) -> PartPredictions:
    """Predict the images of a part.

    Args:
        predictor: The part's bundle with an engine.
        part: The images.
        made: How the predictions are made, as pairs of name and text, beside what the bundle says.
        stage: Name of the stage for `progress`.
        progress: Called while images are predicted.
    """
    count = stage_progress(progress, stage)
    predicted = predictor.predict_rows(part.store.pixels, part.rows, progress=count)
    findings = part.cohort.findings
    return PartPredictions(
        cohort=part.cohort,
        probabilities=_columns(predicted, part.bundle.findings, findings),
        context=context_of(
            part.cohort,
            part.split,
            part.selection.part,
            dataset=part.store.dataset,
            model=predictor.identity,
            made=(*how_made(part.bundle, part.store), *made),
            warnings=bundle_warnings(
                part.bundle,
                part.store,
                part.split,
                part.selection.part,
                view=part.selection.view,
                num_images=len(part.rows),
            ),
        ),
        reported=chosen_on(part.split, part.selection.part, part.cohort, dataset=part.store.dataset),
        split=part.split,
        prevalence=trained_prevalence(part.split, findings),
    )


def predict_validation(
    predictor: Predictor, part: StorePart, *, progress: ProgressCallback | None = None
) -> ValidationPredictions:
    """Predict the validation images of a part's split.

    Raises:
        BundleError: No split is named, and the bundle was not trained on exactly one.
        DataError: There are no such images.
        LeakError: Some of the patients were used for training, or are in the test part of another split.
    """
    # A named split, even the bundle's own, is the one whose validation part chooses.
    chosen = validation_part(part.bundle, part.store, part.selection.split or None)
    count = stage_progress(progress, "predicting validation")
    predicted = predictor.predict_rows(part.store.pixels, chosen.rows, progress=count)
    cohort = labeled_images(part.store.table.take(chosen.rows), part.cohort.findings)
    return ValidationPredictions(
        cohort=cohort,
        probabilities=_columns(predicted, part.bundle.findings, cohort.findings),
        chosen_on=chosen_on(chosen.split, "val", cohort, dataset=part.store.dataset),
    )


def labels_of(data: Store | Path) -> Labels:
    """Return the labels of a store, of a label file, or of readers' assessments.

    Raises:
        DataError: The file cannot be read.
    """
    if isinstance(data, Path):
        return read_assessments(data) if is_assessments(data) else read_labels(data)
    origin = f"those of the store in {data.path.name}/"
    return Labels(data.table, data.dataset, data.split_sha256, data.split_images, origin)
