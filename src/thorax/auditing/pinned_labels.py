"""Checks of labels against what pins them: NIH's own, and those that a result was measured on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from thorax.atomic_io import sha256_of_lines
from thorax.auditing.lists import Lists
from thorax.auditing.report import Problem, problem_if_any
from thorax.datasets import NIH_DATASET
from thorax.datasets.label_pins import finding_sha256, pin_labels
from thorax.datasets.nih_labels import official_test_rows
from thorax.datasets.table import SampleTable
from thorax.findings import finding_or_new

__all__ = ["check_labels_of_result", "check_published_labels"]


def check_published_labels(table: SampleTable, dataset: str) -> list[Problem]:
    """Find labels of NIH's official test that are in neither version of NIH's label file."""
    rows = official_test_rows(table.images) if dataset == NIH_DATASET else np.empty(0, np.int64)
    if not len(rows):
        return []
    official = table.take(rows)
    findings = official.findings
    published = pin_labels(official.images, official.targets(findings), findings, dataset=dataset).published
    if published is None or not published.differing:
        return []
    return [
        Problem(
            severity="warning",
            kind="labels-not-as-published",
            what=f"labels of NIH's official test: {published.by_finding}",
            count=published.num_differing,
            examples=published.examples,
            remedy="prepare the store from NIH's own label file, or say with every result whose labels these "
            "are",
        )
    ]


def check_labels_of_result(metrics: Mapping[str, Any], table: SampleTable, lists: Lists) -> list[Problem]:
    """Find findings whose labels are not those that a result was measured on, for the same images.

    Args:
        metrics: The `metrics.json` of the result.
        table: The store's table.
        lists: The split.
    """
    pinned = (metrics.get("labels") or {}).get("findings") or {}
    images = table.images
    for listed in lists.parts.values():
        names = [images[row] for row in listed.present.tolist()]
        if sha256_of_lines(sorted(names)) != metrics.get("images_sha256"):
            continue
        findings = tuple(f for f in map(finding_or_new, pinned) if f in table.findings)
        targets = table.targets(findings)[listed.present]
        changed = [
            finding.name
            for finding, column in zip(findings, targets.T, strict=True)
            if finding_sha256(names, column) != pinned[finding.name]
        ]
        return problem_if_any(
            "error",
            "labels-changed",
            changed,
            what=f"findings whose labels are not those that the result was measured on: {len(changed)} of "
            f"{len(findings)}",
            remedy="find out which labels were edited, and evaluate again",
        )
    return []
