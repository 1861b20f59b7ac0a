"""What is measured: a bundle on a store's images, or a file of predictions beside labels, ready to assess."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thorax.arrays import Probabilities
from thorax.atomic_io import sha256_of_file
from thorax.bundle import (
    Bundle,
    load_bundle,
    refuse_seen_patients,
)
from thorax.cli.brought import bundle_points, how_made, uncalibrated
from thorax.cli.console import progress_bar
from thorax.cli.examples import bundle_gallery
from thorax.datasets.splits import Split
from thorax.errors import BundleError, DataError
from thorax.evaluation.evaluate import Context, StatedPrevalence
from thorax.evaluation.inputs.join import (
    Labels,
    chosen_on,
    cohort_of,
    count_official_test,
    is_whole_part,
    join_predictions,
    official_test_warning,
    read_labels,
    trained_prevalence,
)
from thorax.evaluation.inputs.prediction_csv import read_predictions, sound_predictions
from thorax.evaluation.labeled import Cohort
from thorax.evaluation.thresholds import (
    ChosenOn,
    ThresholdSet,
)
from thorax.findings import Finding
from thorax.packages import versions
from thorax.prediction import ModelIdentity
from thorax.recipe.literals import EngineName
from thorax.reporting.gallery import Gallery
from thorax.store import Store, open_store

if TYPE_CHECKING:
    from thorax.auditing import Problem

__all__ = [
    "PartChoice",
    "Subject",
    "Validation",
    "predicted_subject",
    "store_subject",
]


@dataclass(frozen=True)
class PartChoice:
    """Which images: the part of a split, of one view or of all."""

    split: str
    part: str
    view: str | None = None


@dataclass(frozen=True)
class Validation:
    """Images that thresholds and calibration may be fitted on, and what the model says of them."""

    cohort: Cohort
    probabilities: Probabilities
    chosen_on: ChosenOn
    patients_shared: int = 0
    """Patients that are among the reported ones too, which makes it no validation."""


@dataclass(frozen=True)
class Subject:
    """A model's probabilities beside labels, and all that the numbers travel with.

    Attributes:
        cohort: The images.
        probabilities: A column for each of the cohort's findings.
        context: What the numbers travel with.
        reported: The reference to the images.
        audit: Gives what an audit found, as severity and text.
        points: Operating points that the model brings.
        prevalence: Prevalence for predictive values.
        trained: Prevalence where the model was trained.
        validation: Gives the validation part, on which thresholds may be chosen; None where there is none.
        uncalibrated: Takes the model's own calibration back; None where it has none that is known.
        gallery: Draws examples at some thresholds; None where there is no store, or no bundle.
    """

    cohort: Cohort
    probabilities: Probabilities
    context: Context
    reported: ChosenOn
    audit: Callable[[], list[tuple[str, str]]]
    points: tuple[ThresholdSet, ...] = ()
    prevalence: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    trained: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    validation: Callable[[], Validation | None] = lambda: None
    uncalibrated: Callable[[Probabilities], Probabilities] | None = None
    gallery: Callable[[ThresholdSet], Gallery] | None = None


def store_subject(
    folder: Path, store: Path, choice: PartChoice, *, device: str, engine: EngineName = "auto"
) -> Subject:
    """Let a bundle predict the images of a part.

    Raises:
        LeakError: Training or selection saw some of the patients.
    """
    from thorax.inference.engines import describe_engine, open_predictor
    from thorax.inference.ensemble import validation_part

    bundle, images = load_bundle(folder), open_store(store)
    bundle.refuse_other_preparation(images.path, images.preparation)
    images.verify()
    labels = Labels(images.table, images.dataset, images.split_sha256)
    split = labels.split(choice.split or _own_split(bundle))
    rows = split.rows(choice.part, views=(choice.view,) if choice.view else ())
    table = images.table.take(rows)
    refuse_seen_patients(bundle, images.dataset, table.patients().patients)
    predictor = open_predictor(bundle, device=device, engine=engine)
    computed_by = describe_engine(bundle, device=device, engine=engine)
    with progress_bar("predicting", unit="images") as progress:
        probabilities = predictor.predict_rows(images.pixels, rows, progress=progress)
    cohort = cohort_of(table, bundle.findings)

    @cache
    def validation() -> Validation:
        part = validation_part(bundle, images, split.name if choice.split else None)
        with progress_bar("predicting validation", unit="images") as progress:
            values = predictor.predict_rows(images.pixels, part.rows, progress=progress)
        chosen = cohort_of(images.table.take(part.rows), bundle.findings)
        return Validation(chosen, values, chosen_on(part.split, "val", chosen))

    def audited() -> list[tuple[str, str]]:
        from thorax.auditing import Evidence, audit, lists_of_split

        evidence = Evidence(part=choice.part, bundle=bundle)
        found = audit(images, lists_of_split(split, images.dataset), evidence)
        return [_told(problem) for problem in found.problems]

    def gallery(points: ThresholdSet) -> Gallery:
        return bundle_gallery(
            bundle, images, rows, cohort=cohort, probabilities=probabilities, points=points, device=device
        )

    prevalence = trained_prevalence(split, bundle.findings)
    return Subject(
        cohort=cohort,
        probabilities=probabilities,
        context=_context(
            cohort,
            split,
            choice,
            dataset=images.dataset,
            model=predictor.identity,
            made=(
                *how_made(bundle, images),
                ("Computed by", computed_by),
            ),
            warnings=_warnings(bundle, images, split, choice, num_images=len(rows)),
        ),
        reported=chosen_on(split, choice.part, cohort),
        points=bundle_points(predictor.bundle),
        prevalence=prevalence,
        trained=prevalence if split.name == bundle.split else {},
        validation=validation,
        uncalibrated=uncalibrated(bundle),
        audit=audited,
        gallery=gallery,
    )


def predicted_subject(
    file: Path,
    labels: Path | None,
    store: Path | None,
    choice: PartChoice,
    *,
    logits: bool = False,
    validation: Path | None = None,
) -> Subject:
    """Put a file of predictions beside the labels of a label file or a store.

    Args:
        file: The predictions.
        labels: A label file; or
        store: A store that has the labels.
        choice: Which images.
        logits: Whether the predictions are logits.
        validation: The model's predictions of validation images, where `file` does not have them.

    Raises:
        DataError: See `read_predictions`, `sound_predictions` and `join_predictions`.
    """
    known = _labels(labels, store)
    read = read_predictions(file, findings=known.table.findings)
    sound = sound_predictions(read, logits=logits)
    measured = join_predictions(sound, known, split=choice.split, part=choice.part)
    cohort, probabilities, split = measured.cohort, measured.probabilities, measured.split
    if choice.view:
        rows = np.flatnonzero([view == choice.view for view in cohort.views])
        if not len(rows):
            raise DataError(f"no predicted image has view {choice.view}; leave out --view")
        cohort, probabilities = cohort.take(rows), probabilities[rows]
    official = split and official_test_warning(split, measured.part, len(cohort.images))
    prevalence = trained_prevalence(split, cohort.findings) if split else {}
    found = (
        "Which patients this model was trained on is not known: they may be among these.",
        *sound.warnings,
        *measured.warnings,
        official or "",
        f"Only images of view {choice.view}." if choice.view else "",
    )
    on = measured.validation and Validation(
        *measured.validation, chosen_on(split, "val", measured.validation[0])
    )
    if validation is not None:
        on = _validation_of_file(validation, known, choice, cohort, logits=logits)
    return Subject(
        cohort=cohort,
        probabilities=probabilities,
        context=_context(
            cohort,
            split,
            choice,
            dataset=known.dataset,
            model=ModelIdentity(file.name, read.sha256, calibrated=False),
            made=(
                ("Predictions", f"{file.name}, {len(read.images):,} rows{', logits' if logits else ''}"),
                ("Labels", labels.name if labels else f"those of the store {store.name if store else ''}"),
            ),
            warnings=tuple(each for each in found if each),
        ),
        reported=chosen_on(split, measured.part, cohort),
        prevalence=prevalence,
        trained=prevalence,
        validation=lambda: on,
        audit=lambda: _audit_of_file(file, known, labels, store, split, choice),
    )


def _audit_of_file(
    file: Path,
    known: Labels,
    labels: Path | None,
    store: Path | None,
    split: Split | None,
    choice: PartChoice,
) -> list[tuple[str, str]]:
    """Audit predictions: with a store and a split all that `thorax audit` does, else what shows without."""
    from thorax.auditing import Evidence, Locator, audit, audit_predictions, lists_of_split
    from thorax.auditing import read_predictions as read_rows

    predicted = read_rows(file, Locator(known.table, known.dataset), known.table.findings)
    if store is not None and split is not None:
        evidence, lists = (
            Evidence(part=choice.part, predictions=predicted),
            lists_of_split(split, known.dataset),
        )
        return [_told(each) for each in audit(open_store(store), lists, evidence).problems]
    label_files = {labels.name: sha256_of_file(labels)} if labels else {}
    found = audit_predictions(predicted, known.table, known.dataset, label_files=label_files)
    looked = "Looked at: the predictions' values and ranking, and the version of the labels. Not looked at: "
    rest = "the split, its patients and images. Give a --store and a --split for these."
    return [*(_told(each) for each in found), ("note", looked + rest)]


def _told(problem: "Problem") -> tuple[str, str]:
    """Return severity and text of a problem, for a report."""
    examples = f" ({', '.join(problem.examples)})" if problem.examples else ""
    return problem.severity, f"{problem.what}{examples}. {problem.remedy}"


def _validation_of_file(
    file: Path, known: Labels, choice: PartChoice, reported: Cohort, *, logits: bool
) -> Validation:
    """Return the validation images that a file of their own has predictions of."""
    sound = sound_predictions(read_predictions(file, findings=known.table.findings), logits=logits)
    measured = join_predictions(sound, known, split=choice.split, part="val")
    if measured.cohort.findings != reported.findings:
        told = " and ".join(", ".join(map(str, each.findings)) for each in (measured.cohort, reported))
        raise DataError(f"{file} and the predictions are not of the same findings ({told}); give the same")
    return Validation(
        measured.cohort,
        measured.probabilities,
        chosen_on(measured.split, measured.part, measured.cohort),
        patients_shared=len(set(measured.cohort.patients) & set(reported.patients)),
    )


def _labels(file: Path | None, store: Path | None) -> Labels:
    if file is not None:
        return read_labels(file)
    assert store is not None
    images = open_store(store)
    return Labels(images.table, images.dataset, images.split_sha256)


def _context(
    cohort: Cohort,
    split: Split | None,
    choice: PartChoice,
    *,
    dataset: str,
    model: ModelIdentity,
    made: tuple[tuple[str, str], ...],
    warnings: tuple[str, ...],
) -> Context:
    programs = ("thorax", "numpy")
    return Context(
        split=split.name if split else "",
        part=choice.part if split else "",
        split_sha256=split.sha256 if split else "",
        images_sha256=chosen_on(split, choice.part, cohort).images_sha256,
        dataset=dataset,
        model=model,
        whole_part=split is not None and is_whole_part(split, choice.part, cohort),
        num_official_test=count_official_test(dataset, cohort.patients),
        versions=versions(*programs),
        made=made,
        warnings=warnings,
    )


def _warnings(
    bundle: Bundle, store: Store, split: Split, choice: PartChoice, *, num_images: int
) -> tuple[str, ...]:
    """Say what a reader must know about the images behind the figures."""
    foreign = sorted({training.dataset for training in bundle.trainings} - {store.dataset})
    notes = [
        f"Only images of view {choice.view}." if choice.view else "",
        f"{store.num_rejected:,} files of the store could not be used and are in no part."
        if store.num_rejected
        else "",
        f"The model was trained on {', '.join(foreign)}: patients that both data sets have cannot be "
        "recognised."
        if foreign
        else "",
        "Which patients an imported net was trained on is not known: they may be among these."
        if not bundle.all_trained
        else "",
        official_test_warning(split, choice.part, num_images),
    ]
    return tuple(note for note in notes if note)


def _own_split(bundle: Bundle) -> str:
    if bundle.split is None:
        raise BundleError(f"{bundle.folder} was not trained on one split; name the one to use with --split")
    return bundle.split
