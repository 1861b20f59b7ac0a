"""What is measured: a bundle on a store's images, or a file of predictions beside labels, ready to assess."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from thorax.arrays import Probabilities
from thorax.bundle import Bundle, Imported, OperatingPoints, PartReference, load_bundle, refuse_seen_patients
from thorax.cli.console import progress_bar
from thorax.cli.examples import bundle_gallery
from thorax.datasets.splits import Split
from thorax.errors import BundleError, DataError
from thorax.evaluation.assess import StatedPrevalence
from thorax.evaluation.cohort import Cohort
from thorax.evaluation.evaluate import Context
from thorax.evaluation.labels import (
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
from thorax.evaluation.operating_points import parse_rule
from thorax.evaluation.predictions import read_predictions, sound_predictions
from thorax.evaluation.threshold_sets import (
    ChosenOn,
    ThresholdSet,
    choose_threshold_set,
    read_threshold_set,
    refuse_tuned,
)
from thorax.findings import Finding, Findings
from thorax.prediction import ModelIdentity
from thorax.reporting.gallery import Gallery
from thorax.store import Store, open_store

__all__ = ["PartChoice", "Subject", "Validation", "predicted_subject", "store_subject", "with_points"]


@dataclass(frozen=True)
class PartChoice:
    """Which images: the part of a split, of one view or of all."""

    split: str
    part: str
    view: str | None = None


@dataclass(frozen=True)
class Validation:
    """Images that thresholds may be chosen on, and what the model says of them."""

    cohort: Cohort
    probabilities: Probabilities
    chosen_on: ChosenOn


@dataclass(frozen=True)
class Subject:
    """A model's probabilities beside labels, and all that the numbers travel with.

    Attributes:
        cohort: The images.
        probabilities: A column for each of the cohort's findings.
        context: What the numbers travel with.
        reported: The reference to the images.
        points: Operating points that the model brings.
        prevalence: Prevalence for predictive values.
        trained: Prevalence where the model was trained.
        validation: Gives the validation part, on which thresholds may be chosen; None where there is none.
        audit: Gives what an audit of the split found, as severity and text; None where there is no store.
        gallery: Draws examples at some thresholds; None where there is no store, or no bundle.
    """

    cohort: Cohort
    probabilities: Probabilities
    context: Context
    reported: ChosenOn
    points: tuple[ThresholdSet, ...] = ()
    prevalence: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    trained: Mapping[Finding, StatedPrevalence] = field(default_factory=dict)
    validation: Callable[[], Validation | None] = lambda: None
    audit: Callable[[], list[tuple[str, str]]] | None = None
    gallery: Callable[[ThresholdSet], Gallery] | None = None


def with_points(
    subject: Subject, *, rules: Sequence[str], file: Path | None, allow: bool
) -> tuple[ThresholdSet, ...]:
    """Return the operating points to report: of the file, by the rules, and those that the model brings.

    Raises:
        DataError: Some were chosen on the reported part, or would have to be, and `allow` does not say so.
    """
    findings = subject.cohort.findings
    points = [read_threshold_set(file, findings)] if file else []
    if rules:
        parsed = [parse_rule(rule) for rule in rules]
        validation = subject.validation() or Validation(
            subject.cohort, subject.probabilities, subject.reported
        )
        points += [
            choose_threshold_set(
                rule,
                validation.cohort.targets,
                validation.probabilities,
                findings=findings,
                chosen_on=validation.chosen_on,
            )
            for rule in parsed
        ]
    return tuple(refuse_tuned(each, subject.reported, allow=allow) for each in (*points, *subject.points))


def store_subject(folder: Path, store: Path, choice: PartChoice, *, device: str) -> Subject:
    """Let a bundle predict the images of a part.

    Raises:
        LeakError: Training or selection saw some of the patients.
    """
    from thorax.inference.assembly import validation_part
    from thorax.inference.open_engine import open_predictor

    bundle, images = load_bundle(folder), open_store(store)
    bundle.refuse_other_preparation(images.path, images.preparation)
    images.verify()
    labels = Labels(images.table, images.dataset, images.split_sha256)
    split = labels.split(choice.split or _own_split(bundle))
    rows = split.rows(choice.part, views=(choice.view,) if choice.view else ())
    table = images.table.take(rows)
    refuse_seen_patients(bundle, images.dataset, table.patients().patients)
    predictor = open_predictor(bundle, device=device)
    with progress_bar("predicting", unit="images") as progress:
        probabilities = predictor.predict_rows(images.pixels, rows, progress=progress)
    cohort = cohort_of(table, bundle.findings)

    def validation() -> Validation:
        part = validation_part(bundle, images, split.name if choice.split else None)
        with progress_bar("predicting validation", unit="images") as progress:
            values = predictor.predict_rows(images.pixels, part.rows, progress=progress)
        chosen = cohort_of(images.table.take(part.rows), bundle.findings)
        return Validation(chosen, values, chosen_on(part.split, "val", chosen))

    def audited() -> list[tuple[str, str]]:
        from thorax.audit import Evidence, audit, lists_of_split

        evidence = Evidence(part=choice.part, bundle=bundle)
        found = audit(images, lists_of_split(split, images.dataset), evidence)
        return [(problem.severity, f"{problem.what}. {problem.remedy}") for problem in found.problems]

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
            made=_made(bundle, images),
            warnings=_warnings(bundle, images, split, choice, num_images=len(rows)),
        ),
        reported=chosen_on(split, choice.part, cohort),
        points=_bundle_points(bundle),
        prevalence=prevalence,
        trained=prevalence if split.name == bundle.split else {},
        validation=validation,
        audit=audited,
        gallery=gallery,
    )


def predicted_subject(
    file: Path, labels: Path | None, store: Path | None, choice: PartChoice, *, logits: bool = False
) -> Subject:
    """Put a file of predictions beside the labels of a label file or a store."""
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
    validation = measured.validation
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
        validation=lambda: (
            validation and Validation(validation[0], validation[1], chosen_on(split, "val", validation[0]))
        ),
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
        versions={name: version(name) for name in programs},
        made=made,
        warnings=warnings,
    )


def _bundle_points(bundle: Bundle) -> tuple[ThresholdSet, ...]:
    """Return the operating points of a bundle; those of the rule one-half are reported anyway."""
    points: OperatingPoints | None = bundle.manifest.operating_points
    if points is None or points.rule == "one-half":
        return ()
    reference = points.chosen_on
    findings: Findings = bundle.findings
    return (
        ThresholdSet(
            rule=points.rule,
            findings=findings,
            thresholds=tuple(points.thresholds.get(finding.name) for finding in findings),
            chosen_on=_chosen_on(reference) if reference else None,
            origin="operating points of the bundle"
            if reference
            else "thresholds that came with a foreign checkpoint, and nobody says what chose them",
        ),
    )


def _trained_on(part: PartReference) -> str:
    return f"{part.part} part of {part.split}, {part.dataset}, {part.num_images:,} images"


def _chosen_on(reference: PartReference) -> ChosenOn:
    return ChosenOn(
        split=reference.split,
        part=reference.part,
        sha256=reference.sha256,
        images_sha256=reference.images_sha256,
        num_images=reference.num_images,
        num_patients=reference.num_patients,
    )


def _made(bundle: Bundle, store: Store) -> tuple[tuple[str, str], ...]:
    """Say how the model was made, and what its images are."""
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
        on = calibration.fitted_on
        lines.append(("Calibration", f"{calibration}, {on.part} part of {on.split}"))
    prepared = store.preparation
    lines.append(("Images", f"{prepared.size} pixels, {prepared.fit}; store {store.fingerprint}"))
    return tuple(lines)


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
