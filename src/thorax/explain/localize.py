"""A bundle's maps on the boxed images of a store: what each is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thorax.arrays import Rows
from thorax.bundle import refuse_seen_patients
from thorax.errors import DataError
from thorax.evaluation.overlap import BoxedFinding, MapOverlap, map_overlap
from thorax.explain.choices import Method
from thorax.explain.explainer import Explainer
from thorax.findings import Findings
from thorax.store import Store

__all__ = ["BoxedRow", "boxed_rows", "measure_maps"]

_BATCH: Final = 8
"""Images that are read and explained together."""


@dataclass(frozen=True, slots=True)
class BoxedRow:
    """A row of a store with boxes of findings that a bundle knows.

    Attributes:
        row: Its number.
        pairs: One per boxed finding.
    """

    row: int
    pairs: tuple[BoxedFinding, ...]


def boxed_rows(store: Store, rows: Rows, findings: Findings) -> list[BoxedRow]:
    """Return those of some rows that have boxes of these findings.

    Raises:
        DataError: None has.
    """
    frame = store.table.frame.take(rows)
    found = []
    for row, image, patient, boxes in zip(
        rows, frame["image"], frame["patient"], frame["boxes"], strict=True
    ):
        pairs = tuple(
            BoxedFinding(
                image=str(image),
                patient=str(patient),
                finding=finding,
                boxes=tuple((b.x, b.y, b.width, b.height) for b in boxes if b.finding == finding),
                side=store.preparation.size,
            )
            for finding in dict.fromkeys(box.finding for box in boxes)
            if finding in findings
        )
        if pairs:
            found.append(BoxedRow(int(row), pairs))
    if not found:
        raise DataError(
            f"none of these {len(rows)} images of {store.path} has a box of a finding that the bundle knows; "
            "take a part of the split that has some, or prepare a store from a source with boxes"
        )
    return found


def measure_maps(
    explainer: Explainer,
    store: Store,
    boxed: Sequence[BoxedRow],
    *,
    methods: Sequence[Method],
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[MapOverlap]]:
    """Return what the maps of each method are worth, in the order of all pairs of the rows.

    Args:
        explainer: Of the bundle.
        store: Prepared as the bundle wants it.
        boxed: What `boxed_rows` returned.
        methods: Which methods.
        seed: Of methods that draw.
        progress: Called with the number of images done and of all.

    Raises:
        LeakError: The bundle saw some of the patients when it was made.
        DataError: The store is prepared otherwise than the bundle wants it.
        RecipeError: A method does not go with a net.
    """
    bundle = explainer.bundle
    bundle.refuse_other_preparation(store.path, store.preparation)
    patients = {pair.patient for each in boxed for pair in each.pairs}
    refuse_seen_patients(bundle, store.dataset, patients)
    overlaps: dict[str, list[MapOverlap]] = {method: [] for method in methods}
    for first in range(0, len(boxed), _BATCH):
        some = boxed[first : first + _BATCH]
        for method in methods:
            overlaps[method] += _measured(explainer, store, some, method=method, seed=seed)
        if progress is not None:
            progress(first + len(some), len(boxed))
    return overlaps


def _measured(
    explainer: Explainer, store: Store, boxed: Sequence[BoxedRow], *, method: Method, seed: int
) -> list[MapOverlap]:
    present = {pair.finding for each in boxed for pair in each.pairs}
    findings = tuple(finding for finding in explainer.bundle.findings if finding in present)
    pixels = store.pixels(np.array([each.row for each in boxed], dtype=np.int64))
    maps = explainer.maps(pixels, findings, method=method, seed=seed)
    return [
        map_overlap(of_image[findings.index(pair.finding)], pair)
        for of_image, each in zip(maps, boxed, strict=True)
        for pair in each.pairs
    ]
