"""Runs every check that the given evidence allows, and records what could not be checked."""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool

from thorax.arrays import Rows
from thorax.auditing.duplicates import check_blank, check_duplicates
from thorax.auditing.fingerprints import take_fingerprints
from thorax.auditing.label_checks import (
    ListedLabels,
    check_dropped_findings,
    check_label_version,
    check_listed_labels,
    check_prevalence,
    count_prevalence,
    measurable,
)
from thorax.auditing.lists import Lists, Locator
from thorax.auditing.pinned_labels import check_labels_of_result, check_published_labels
from thorax.auditing.prediction_checks import (
    check_columns_left_out,
    check_predicted_rows,
    check_predicted_values,
    check_ranking,
)
from thorax.auditing.protocol_checks import (
    NIH_PUBLISHED_LISTS_SHA256,
    check_absent_images,
    check_boxed_images,
    check_bundle,
    check_known_split,
    check_metrics,
    check_official_test_patients,
    check_patients,
    check_repeated_images,
)
from thorax.auditing.report import Audit, Problem
from thorax.auditing.seen_images import check_seen_images
from thorax.bundle import Bundle
from thorax.bundle.image_prints import image_prints
from thorax.datasets.splits import NIH_DATASET, NIH_SPLIT_SHA256, known_sha256
from thorax.datasets.table import SampleTable
from thorax.errors import DataError
from thorax.evaluation.inputs.prediction_csv import PredictionFile
from thorax.progress import ProgressCallback, stage_progress
from thorax.store.manifest import REJECTED
from thorax.store.store import Store
from thorax.tabular import read_table

__all__ = ["Evidence", "audit", "audit_predictions", "read_boxed_images"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What to check besides a store and its split; None where it is not available.

    Attributes:
        part: The part that is, or will be, evaluated.
        predictions: A model's output.
        bundle: The model.
        metrics: Its evaluation, as `read_metrics` returns it.
        labels: Labels that come with lists of images.
        boxed: Names of all images with boxes, where the store has only some of them.
        pixels: Whether to search for duplicates, which reads every image.
    """

    part: str = "test"
    predictions: PredictionFile | None = None
    bundle: Bundle | None = None
    metrics: Mapping[str, Any] | None = None
    labels: tuple[ListedLabels, ...] = ()
    boxed: Collection[str] | None = None
    pixels: bool = True


def audit(
    store: Store,
    lists: Lists,
    evidence: Evidence | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> Audit:
    """Check a store, a split and any further evidence for errors.

    Args:
        store: The images and labels.
        lists: The split, as `lists_of_split` or `locate_parts` returns it.
        evidence: Everything else to check.
        progress: Receives the number of images checked.
    """
    evidence = evidence or Evidence()
    locator = Locator(store.table, store.dataset)
    problems, checked, unchecked = _audit_lists(store, lists, locator, evidence)
    problems += _audit_labels(store, lists)
    for labels in evidence.labels:
        problems += check_listed_labels(store.table, locator, labels)
    checked += ["label version, prevalence by part, findings left out of the test part"]
    if evidence.pixels:
        problems += _audit_pixels(store, lists, progress=progress)
        checked += ["equal, changed and blank images"]
    else:
        unchecked += ["equal, changed and blank images: reading pixels was turned off"]
    problems += _audit_model(store, lists, evidence)
    if evidence.bundle is not None:
        compared, why_not = _audit_seen_images(store, lists, evidence)
        problems += compared
        checked += [] if why_not else ["copies of images that the bundle saw"]
        unchecked += [f"copies of images that the bundle saw: {why_not}"] if why_not else []
    given = {
        "predictions": evidence.predictions,
        "what the bundle was chosen on": evidence.bundle,
        "what metrics.json says": evidence.metrics,
        "labels in the lists": evidence.labels or None,
    }
    checked += [name for name, value in given.items() if value is not None]
    unchecked += [f"{name}: not given" for name, value in given.items() if value is None]
    return Audit(
        dataset=store.dataset,
        split=lists.name,
        split_sha256=lists.sha256,
        num_images={part: len(listed.present) for part, listed in lists.parts.items()},
        problems=tuple(problems),
        checked=tuple(checked),
        unchecked=tuple(unchecked),
        prevalence=count_prevalence(store.table, lists),
    )


def audit_predictions(
    file: PredictionFile, table: SampleTable, dataset: str, *, label_files: Mapping[str, str]
) -> list[Problem]:
    """Check predictions for the errors that show without a split and without pixels.

    Args:
        file: A model's output.
        table: The labeled images.
        dataset: Name of their data set.
        label_files: SHA-256, by name, of the files that the labels come from.
    """
    listed = Locator(table, dataset).locate(file.images)
    return [
        *check_predicted_values(file, listed),
        *check_ranking(file, listed, table),
        *check_label_version(table, dataset, label_files),
        *check_published_labels(table, dataset),
    ]


def _audit_lists(
    store: Store, lists: Lists, locator: Locator, evidence: Evidence
) -> tuple[list[Problem], list[str], list[str]]:
    known = _known_hashes(store, lists.name)
    is_known = lists.sha256 in known
    problems = [
        *check_patients(lists),
        *check_repeated_images(lists),
        *check_absent_images(lists, locator, _read_rejected(store)),
        *check_official_test_patients(lists, store.dataset, known=is_known),
        *check_known_split(lists, known),
    ]
    checked = [
        "patients and images in two parts; repeated, absent and rejected images; copies; the split's hash"
    ]
    boxed = evidence.boxed
    if boxed is None and store.dataset == NIH_DATASET:
        boxed = _boxed_in_store(store)
    if boxed is None:
        return problems, checked, ["boxed images in training: no list of them was given"]
    problems += check_boxed_images(lists, boxed, known=is_known)
    return problems, [*checked, "boxed images in training"], []


def _audit_labels(store: Store, lists: Lists) -> list[Problem]:
    problems = check_label_version(store.table, store.dataset, store.manifest.label_files)
    problems += check_published_labels(store.table, store.dataset)
    problems += check_prevalence(store.table, lists)
    if "test" in lists.parts:
        candidate = measurable(store.table, lists, store.dataset)
        kept = _mask(lists.parts["test"].present, len(store))
        problems += check_dropped_findings(store.table, candidate, kept, where="the test part")
    return problems


def _audit_pixels(store: Store, lists: Lists, *, progress: ProgressCallback | None) -> list[Problem]:
    prints = take_fingerprints(store.pixels, len(store), progress=stage_progress(progress, "hashing"))
    return [
        *check_duplicates(
            store.table, lists, prints, store.pixels, progress=stage_progress(progress, "comparing")
        ),
        *check_blank(store.table, prints),
    ]


def _audit_model(store: Store, lists: Lists, evidence: Evidence) -> list[Problem]:
    problems: list[Problem] = []
    file = evidence.predictions
    if file is not None:
        listed = Locator(store.table, store.dataset).locate(file.images)
        problems += check_predicted_rows(file, listed, lists, evidence.part)
        problems += check_predicted_values(file, listed)
        problems += check_ranking(file, listed, store.table)
        if evidence.part in lists.parts:
            candidate = _mask(lists.parts[evidence.part].present, len(store))
            kept = _mask(listed.present, len(store))
            problems += check_dropped_findings(store.table, candidate, kept, where="the predictions")
            problems += check_columns_left_out(file, store.table, lists, evidence.part)
    if evidence.bundle is not None:
        problems += check_bundle(evidence.bundle, lists, evidence.part, dataset=store.dataset)
    if evidence.metrics is not None:
        problems += check_metrics(evidence.metrics, lists)
        problems += check_labels_of_result(evidence.metrics, store.table, lists)
    return problems


def _audit_seen_images(store: Store, lists: Lists, evidence: Evidence) -> tuple[list[Problem], str]:
    """Return the problems, and why nothing was compared, or ""."""
    bundle, part = evidence.bundle, evidence.part
    assert bundle is not None
    if not evidence.pixels:
        return [], "reading pixels was turned off"
    if store.preparation != bundle.manifest.preparation:
        return [], "the store is not prepared as the bundle requires"
    rows = lists.parts[part].present if part in lists.parts else np.empty(0, np.int64)
    images = store.table.images
    prints = image_prints(store.pixels, rows)
    return check_seen_images(bundle, [images[row] for row in rows], prints, part=part), ""


def read_boxed_images(path: Path, locator: Locator) -> frozenset[str]:
    """Read the image names of a list of boxes such as `BBox_List_2017.csv`, gzipped or not.

    Raises:
        DataError: The file is not a CSV with a column of images.
    """
    table = read_table(path, fill=True)
    return frozenset(locator.locate(table.column(table.image_column)).images)


def _known_hashes(store: Store, name: str) -> set[str]:
    """Return the hashes of the registered splits, and of the fold of one that has this name."""
    registered = {**store.split_sha256, **(NIH_SPLIT_SHA256 if store.dataset == NIH_DATASET else {})}
    known = {*registered.values(), known_sha256(name, registered)} - {""}
    return known | {NIH_PUBLISHED_LISTS_SHA256} if store.dataset == NIH_DATASET else known


def _boxed_in_store(store: Store) -> frozenset[str]:
    frame = store.table.frame
    return frozenset(str(image) for image, boxes in zip(frame["image"], frame["boxes"], strict=True) if boxes)


def _mask(rows: Rows, count: int) -> Bool[np.ndarray, " _"]:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask


def _read_rejected(store: Store) -> dict[str, str]:
    """Return the reason for each file in `rejected.csv`, by file name without folders."""
    try:
        with (store.path / REJECTED).open(encoding="utf-8", newline="") as file:
            return {PurePosixPath(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{store.path / REJECTED} cannot be read ({error}); prepare the store anew"
        ) from error
