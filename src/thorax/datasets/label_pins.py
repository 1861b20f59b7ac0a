"""Pinned labels: hashes of the labels that something was measured on, and whether they are NIH's own.

A hash is over the labels themselves, whatever file and order of rows and columns they came in. For each
finding, it is the SHA-256 of one line per image, sorted by image, "image TAB label", where the label is 1, 0,
-1 for uncertain, or empty; for all findings, that of one line per finding, sorted by name, "finding TAB
SHA-256". Every line ends with a newline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Int8

from thorax.arrays import NOT_LABELED, UNCERTAIN, Targets
from thorax.atomic_io import sha256_of_lines
from thorax.datasets import NIH_DATASET
from thorax.datasets.nih_labels import (
    LabelVersion,
    differing_cells,
    nih_label_versions,
    official_test_rows,
)
from thorax.findings import NIH15, Findings

__all__ = ["LabelPins", "PublishedLabels", "finding_sha256", "labels_sha256", "pin_labels"]

_TEXT: Final = {1: "1", 0: "0", UNCERTAIN: "-1", NOT_LABELED: ""}
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLabels:
    """Labels of images of NIH's official test, compared with those that NIH published.

    Attributes:
        version: The version of NIH's labels that they differ least from, "v2020" or "2017".
        num_images: Images that are in the official test.
        num_cells: Labels compared: one for each of these images and each finding that NIH labels.
        differing: Number of labels that differ from NIH's, by finding; findings without any are left out.
        examples: Up to three images with a label that differs.
    """

    version: str
    num_images: int
    num_cells: int
    differing: Mapping[str, int]
    examples: tuple[str, ...]

    @property
    def num_differing(self) -> int:
        """Number of labels that differ from NIH's."""
        return sum(self.differing.values())

    def __str__(self) -> str:
        if not self.differing:
            return f"labels as NIH published them ({self.version})"
        differ = "differs" if self.num_differing == 1 else "differ"
        return (
            f"{self.num_differing:,} of {self.num_cells:,} cells {differ} from NIH's labels ({self.version})"
        )

    @property
    def details(self) -> str:
        """The same, with the number of differing labels by finding, and images that have some."""
        return f"{self.by_finding}; for example {', '.join(self.examples)}" if self.differing else str(self)

    @property
    def by_finding(self) -> str:
        """The same, with the number of differing labels by finding."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.differing.items())
        return f"{self}: {counts}" if counts else str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPins:
    """What identifies the labels of some images.

    Attributes:
        sha256: Hash of all labels.
        findings: Hash of each finding's labels, by its name.
        num_cells: Number of labels: one for each image and finding.
        num_unknown: Labels that are neither present nor absent, which no result counts.
        published: The comparison with NIH's labels; None where no image is in NIH's official test.
    """

    sha256: str
    findings: Mapping[str, str]
    num_cells: int
    num_unknown: int
    published: PublishedLabels | None

    @property
    def summary(self) -> str:
        """How many labels there are, and whether they are NIH's own, as far as that can be known."""
        known = f"{self.num_cells - self.num_unknown:,} of {self.num_cells:,} present or absent"
        if self.published is None:
            return known
        return (
            f"{known}; {self.published.num_images:,} images in NIH's official test: {self.published.details}"
        )

    def warnings(self) -> tuple[str, ...]:
        """Return what a reader must know of these labels, as sentences."""
        notes = []
        if self.published and self.published.differing:
            notes.append(f"The labels are not those that NIH published: {self.published.details}.")
        if self.num_unknown:
            notes.append(
                f"{self.num_unknown:,} of {self.num_cells:,} labels (one for each image and finding) are "
                "neither present nor absent, and are left out of every result."
            )
        return tuple(notes)


def pin_labels(images: Sequence[str], targets: Targets, findings: Findings, *, dataset: str) -> LabelPins:
    """Return what identifies the labels of images.

    Args:
        images: Names of the images, without repeats, in any order.
        targets: Their labels.
        findings: The findings of the columns.
        dataset: Name of the data set; the labels of NIH's are compared with those that NIH published.
    """
    by_finding = {
        finding.name: finding_sha256(images, column)
        for finding, column in zip(findings, targets.T, strict=True)
    }
    return LabelPins(
        sha256=labels_sha256(by_finding),
        findings=by_finding,
        num_cells=targets.size,
        num_unknown=int((targets < 0).sum()),
        published=_published(images, targets, findings) if dataset == NIH_DATASET else None,
    )


def finding_sha256(images: Sequence[str], labels: Int8[np.ndarray, " n"]) -> str:
    """Return the hash of one finding's labels, whatever the order of the images."""
    lines = (f"{image}\t{_TEXT[label]}" for image, label in zip(images, labels.tolist(), strict=True))
    return sha256_of_lines(sorted(lines))


def labels_sha256(findings: Mapping[str, str]) -> str:
    """Return the hash over the hashes of findings, whatever their order."""
    return sha256_of_lines([f"{name}\t{sha256}" for name, sha256 in sorted(findings.items())])


def _published(images: Sequence[str], targets: Targets, findings: Findings) -> PublishedLabels | None:
    columns = [column for column, finding in enumerate(findings) if finding in NIH15]
    labeled = tuple(findings[column] for column in columns)
    rows = official_test_rows(images)
    if not labeled or not len(rows):
        return None
    names, labels = [images[row] for row in rows.tolist()], targets[rows][:, columns]
    compared = [
        (version.name, _differing(version, names, labels, labeled)) for version in nih_label_versions()
    ]
    # The newest version where several differ equally little.
    version, differs = min(compared, key=lambda one: int(one[1].sum()))
    counts = differs.sum(axis=0).tolist()
    return PublishedLabels(
        version=version,
        num_images=len(rows),
        num_cells=differs.size,
        differing={finding.name: count for finding, count in zip(labeled, counts, strict=True) if count},
        examples=tuple(names[row] for row in np.flatnonzero(differs.any(axis=1))[:_EXAMPLES].tolist()),
    )


def _differing(
    version: LabelVersion, images: Sequence[str], labels: Targets, findings: Findings
) -> Bool[np.ndarray, "n k"]:
    """Return which labels differ: by the SHA-256 of each finding for the whole test, else image by image."""
    if len(images) == len(version.checks) and all(
        finding_sha256(images, column) == version.findings[finding.name]
        for finding, column in zip(findings, labels.T, strict=True)
    ):
        return np.zeros(labels.shape, np.bool_)
    return differing_cells(version, images, labels, findings)
