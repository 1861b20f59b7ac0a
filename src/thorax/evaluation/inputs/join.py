"""Joining predictions with labels from a label file or a store, for one part of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from thorax.arrays import Probabilities
from thorax.datasets import NIH_LAYOUT
from thorax.datasets.columns import described_images, with_known_names
from thorax.datasets.nih import is_nih, label_table, official_parts
from thorax.datasets.splits import (
    NIH_DATASET,
    NIH_IMAGES,
    NIH_OFFICIAL_TEST_IMAGES,
    Split,
    build_split,
    nih_official_test_patients,
    registered_sha256,
)
from thorax.datasets.table import Patients, SampleTable, read_csv, refuse_duplicates
from thorax.errors import DataError
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.findings import NIH15, NO_FINDING, Finding, Findings
from thorax.image_set import ImageSet
from thorax.quoting import cut, quoted

__all__ = [
    "JoinedPredictions",
    "Labels",
    "chosen_on",
    "count_official_test",
    "findings_warning",
    "is_whole_part",
    "join_predictions",
    "labeled_images",
    "official_test_warning",
    "read_labels",
    "split_warnings",
    "trained_prevalence",
]


@dataclass(frozen=True)
class Labels:
    """Labeled images, with or without their pixels.

    Attributes:
        table: One row per image.
        dataset: Name of the data set, within which patient ids are unique.
        split_sha256: SHA-256 of each registered split over the whole data set.
        split_images: Number of images in each part of these splits, where the table lacks some.
        origin: Where the labels come from, in words.
        warnings: What to know before measuring on them, as sentences.
    """

    table: SampleTable
    dataset: str
    split_sha256: Mapping[str, str]
    split_images: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    origin: str = ""
    warnings: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """Divide the images; see `build_split`."""
        return build_split(
            name,
            self.table,
            dataset=self.dataset,
            whole_sha256=self.split_sha256,
            whole_images=self.split_images,
        )


@dataclass(frozen=True)
class JoinedPredictions:
    """Predictions joined with labels: the rows of one part, or all rows that have labels.

    Attributes:
        cohort: The images.
        probabilities: One column per finding of the cohort.
        split: The split; None if not stated.
        part: The part; "" if no split is stated.
        validation: The images in the split's validation part and their probabilities, if there are any and
            another part is evaluated.
        warnings: Counts and names of what was left out.
    """

    cohort: LabeledImages
    probabilities: Probabilities
    split: Split | None
    part: str
    validation: tuple[LabeledImages, Float64[np.ndarray, "row k"]] | None
    warnings: tuple[str, ...]


def read_labels(path: Path) -> Labels:
    """Read a label file in NIH's layout, or a CSV as `prepare` takes it; the images are not needed.

    Raises:
        DataError: The file cannot be read, or a row is malformed; the message gives the line.
    """
    rows = read_csv(path, ())
    if not {"Image Index", "Finding Labels", "Patient ID"} <= set(rows.columns):
        return _described_labels(rows, path)
    frame, _ = label_table(rows, path)
    frame["official"] = official_parts(path.parent, frame["image"])
    frame["path"] = ""
    frame["boxes"] = pd.Series([()] * len(frame), frame.index, dtype=object)
    whole = Patients(*(tuple(map(str, frame[name])) for name in ("image", "patient", "official")))
    dataset = NIH_DATASET if is_nih(whole) else NIH_LAYOUT
    table = SampleTable(frame.reset_index(drop=True), NIH15)
    return Labels(table, dataset, registered_sha256(whole, dataset), origin=path.name)


def _described_labels(rows: pd.DataFrame, path: Path) -> Labels:
    """Return the labels of a CSV with a column "path" and one for each finding."""
    named, _ = with_known_names(rows, path)
    frame, findings = described_images(named, path)
    refuse_duplicates(frame["image"], path)
    frame["boxes"] = pd.Series([()] * len(frame), frame.index, dtype=object)
    whole = Patients(*(tuple(map(str, frame[name])) for name in ("image", "patient", "official")))
    dataset = whole.default_name()
    alone = "patient" not in named
    return Labels(
        SampleTable(frame.reset_index(drop=True), findings),
        dataset,
        registered_sha256(whole, dataset),
        origin=path.name,
        warnings=("the labels have no column 'patient', so each image counts as a separate patient",) * alone,
    )


def join_predictions(
    predictions: ScoredImages, labels: Labels, *, split: str = "", part: str = "test"
) -> JoinedPredictions:
    """Join predictions with labels, for the images of a part.

    Args:
        predictions: A model's scores.
        labels: The labels.
        split: Name of the split; "" takes all rows that have labels, without a stated split.
        part: The part of the split.

    Raises:
        DataError: No image or no finding has both, or there is no such split or part.
    """
    row_of = {image: row for row, image in enumerate(labels.table.images)}
    labeled_rows = [number for number, image in enumerate(predictions.images) if image in row_of]
    rows = np.array([row_of[predictions.images[number]] for number in labeled_rows], dtype=np.int64)
    findings = tuple(finding for finding in predictions.findings if finding in labels.table.findings)
    if not labeled_rows:
        raise DataError(
            f"none of the {len(predictions.images):,} predicted images is in the labels: the first is called "
            f"{quoted(predictions.images[0])} here and {quoted(labels.table.images[0])} there; give the "
            "labels of these images, or the same names"
        )
    if not findings:
        raise DataError(
            f"none of the predicted findings ({cut(', '.join(map(str, predictions.findings)), 200)}) is in "
            "the labels; give labels of these findings"
        )
    columns = [predictions.findings.index(finding) for finding in findings]
    values = predictions.scores[np.array(labeled_rows)][:, columns]
    unlabeled = [image for image in predictions.images if image not in row_of]
    warnings = [
        *labels.warnings,
        _named(unlabeled, "predicted images have no labels and are left out", one=_ONE_IMAGE),
        _named(
            [finding.name for finding in predictions.findings if finding not in findings],
            "predicted findings have no labels and are left out",
            one="predicted finding has no labels and is left out",
        ),
    ]
    labeled = labeled_images(labels.table.take(rows), findings)
    if not split:
        warnings += _without_prediction(labels, labeled)
        return JoinedPredictions(
            labeled, values, None, "", None, tuple(warning for warning in warnings if warning)
        )
    return _of_part(labeled, values, labels.split(split), part, warnings=warnings)


def _without_prediction(labels: Labels, labeled: LabeledImages) -> list[str]:
    """Return warnings of labeled images without a prediction, also of those of NIH's official test."""
    predicted = set(labeled.images)
    table = labels.table
    missing = [image for image in table.images if image not in predicted]
    warnings = [
        _named(missing, f"of {len(table):,} labeled images have no prediction and are not in these results")
    ]
    if count_official_test(labels.dataset, labeled.patients):
        official = nih_official_test_patients()
        of_test = [
            image
            for image, patient in zip(table.images, table.patients().patients, strict=True)
            if patient in official
        ]
        warnings.append(
            _named(
                [image for image in of_test if image not in predicted],
                f"of the {len(of_test):,} labeled images of NIH's official test have no prediction",
            )
        )
    return warnings


def _of_part(
    labeled: LabeledImages, values: Probabilities, split: Split, part: str, *, warnings: Sequence[str]
) -> JoinedPredictions:
    images = split.table.images
    wanted = [images[row] for row in split.rows(part)]
    inside = np.isin(labeled.images, wanted)
    if not inside.any():
        raise DataError(
            f"none of the {len(inside):,} predicted images is in the {part} part of {split.name}; "
            "name the part that they are of with `part`"
        )
    predicted = set(labeled.images)
    missing = [image for image in wanted if image not in predicted]
    others = int(np.sum(~inside))
    rows = np.flatnonzero(inside)
    of_validation = np.flatnonzero(np.isin(labeled.images, [images[row] for row in split.parts["val"]]))
    validation = None if part == "val" or not len(of_validation) else of_validation
    warnings = (
        *warnings,
        f"{others:,} predicted {'image is' if others == 1 else 'images are'} not in the {part} part of "
        f"{split.name} and left out."
        if others
        else "",
        _named(
            missing,
            f"of {len(wanted):,} images of the {part} part have no prediction: these results do not cover "
            "the whole part",
        ),
    )
    return JoinedPredictions(
        cohort=labeled.take(rows),
        probabilities=values[rows],
        split=split,
        part=part,
        validation=None if validation is None else (labeled.take(validation), values[validation]),
        warnings=tuple(warning for warning in warnings if warning),
    )


def labeled_images(table: SampleTable, findings: Findings) -> LabeledImages:
    """Return the images of a table with the labels of these findings."""
    frame = table.frame
    return LabeledImages(
        images=table.images,
        patients=[str(patient) for patient in frame["patient"]],
        targets=table.targets(findings),
        findings=findings,
        sexes=[str(sex) for sex in frame["sex"]],
        ages=frame["age"].to_numpy(dtype=np.float64, na_value=np.nan),
        views=[str(view) for view in frame["view"]],
        follow_ups=frame["follow_up"].to_numpy(dtype=np.float64, na_value=np.nan),
    )


def chosen_on(split: Split | None, part: str, cohort: LabeledImages, *, dataset: str) -> ImageSet:
    """Return the identity of these images."""
    return ImageSet.of(
        cohort.images,
        cohort.patients,
        dataset=dataset,
        split=split.name if split else "",
        part=part,
        split_sha256=split.sha256 if split else "",
    )


def trained_prevalence(split: Split, findings: Findings) -> Mapping[Finding, StatedPrevalence]:
    """Return the prevalence of each finding in the available images of a split's training part."""
    rows = split.parts["train"]
    if not len(rows):
        return {}
    targets = split.table.targets(findings)[rows]
    source = f"training part of {split.name}, {len(rows):,} images"
    return {
        finding: StatedPrevalence(float(np.mean(column[column >= 0])), source)
        for finding, column in zip(findings, targets.T, strict=True)
        if np.any(column >= 0)
    }


def count_official_test(dataset: str, patients: Sequence[str]) -> int | None:
    """Return how many of these images are in NIH's official test part; None for other data."""
    if dataset != NIH_DATASET:
        return None
    official = nih_official_test_patients()
    return sum(patient in official for patient in patients)


def is_whole_part(split: Split, part: str, cohort: LabeledImages) -> bool:
    """Return whether these are all images of the part of the whole data set."""
    if split.name == "nih-official" and part == "test":
        return len(cohort.images) == NIH_OFFICIAL_TEST_IMAGES
    return len(split.table) == NIH_IMAGES and len(cohort.images) == len(split.parts[part])


def official_test_warning(split: Split, part: str, num_images: int) -> str:
    """Return a warning if only some images of the official test part are evaluated; "" otherwise."""
    if (split.name, part) != ("nih-official", "test") or num_images == NIH_OFFICIAL_TEST_IMAGES:
        return ""
    return f"{num_images:,} of the {NIH_OFFICIAL_TEST_IMAGES:,} images of NIH's official test part."


def split_warnings(split: Split | None, part: str, num_images: int) -> tuple[str, ...]:
    """Return warnings about a part of a split: whether it is whole, and registered."""
    if split is None:
        return ()
    return (
        official_test_warning(split, part, num_images),
        _part_warning(split, part),
        _list_warning(split),
    )


def _part_warning(split: Split, part: str) -> str:
    """Return a warning if a part of the whole list of a split has unavailable images; otherwise ""."""
    available, listed = len(split.parts.get(part, ())), split.num_listed(part)
    if (split.name, part) == ("nih-official", "test") or listed == available:
        return ""
    if listed is None:
        return (
            f"Some images of the split {split.name} are not available, and how many of them belong to the "
            f"{part} part was not recorded: these results may not cover the whole part."
        )
    return (
        f"{available:,} of the {listed:,} images of the {part} part of {split.name} are available: these "
        "results do not cover the whole part."
    )


def _list_warning(split: Split) -> str:
    """Return a warning if a split is a list from a file, which may have been selected; otherwise ""."""
    if not split.name.startswith("file:"):
        return ""
    inside = sum(len(rows) for rows in split.parts.values())
    outside = len(split.table) - inside
    left_out = (
        f" {outside:,} of the {len(split.table):,} available images are in none of its parts."
        if outside
        else ""
    )
    return (
        f"The split {split.name} is a list from a file (SHA-256 {split.sha256[:12]}) and not registered: its "
        f"test part may have been selected, so publish the list with the results.{left_out}"
    )


def findings_warning(labeled: Findings, evaluated: Findings) -> str:
    """Return a warning if labeled findings are not evaluated, No Finding apart; otherwise ""."""
    counted = [finding for finding in labeled if finding != NO_FINDING]
    absent = [finding.name for finding in counted if finding not in evaluated]
    return _named(absent, f"of {len(counted):,} labeled findings are not evaluated and not in any mean")


_ONE_IMAGE: Final = "predicted image has no labels and is left out"


def _named(names: Sequence[str], what: str, *, one: str = "") -> str:
    """Return a sentence with the count and the first three names; "" without names."""
    what = one if one and len(names) == 1 else what
    if not names:
        return ""
    more = ", ..." if names[3:] else ""
    return f"{len(names):,} {what} ({', '.join(names[:3])}{more})."
