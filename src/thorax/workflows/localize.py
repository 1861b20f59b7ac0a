"""Whether a bundle's net reacts to what its maps name: deletion and insertion over a store's boxed images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from thorax.arrays import Rows
from thorax.bundle import refuse_seen_patients
from thorax.errors import DataError
from thorax.evaluation.localization.regions import BoxedFinding, MapOverlap, map_overlap
from thorax.evaluation.localization.scores import MapFaithfulness
from thorax.evaluation.statistics.intervals import patient_means
from thorax.explain.faithfulness import Faithfulness
from thorax.explain.methods import Explainer, Method
from thorax.findings import Findings
from thorax.store import Store

if TYPE_CHECKING:
    from thorax.explain.torch_explainer import TorchExplainer

__all__ = [
    "BoxedRow",
    "boxed_rows",
    "faithfulness_of_maps",
    "measure_curves",
    "measure_maps",
]

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


def measure_curves(
    explainer: "TorchExplainer",
    store: Store,
    boxed: Sequence[BoxedRow],
    *,
    methods: Sequence[Method],
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Method, list[Faithfulness]]:
    """Return the curves of each method's maps, in the order of all pairs of the rows.

    Boxed findings are those that are certainly there. All methods stand beside the same random orders. For
    each finding it takes 394 passes forward for each method, and three times that for chance.

    Args:
        explainer: Of the bundle.
        store: Prepared as the bundle wants it.
        boxed: What `boxed_rows` returned.
        methods: Which methods.
        seed: Of random orders, and of methods that draw.
        progress: Called with the number of images done and of all.

    Raises:
        LeakError: The bundle saw some of the patients when it was made.
        DataError: The store is prepared otherwise than the bundle wants it.
        RecipeError: A method does not go with the net, or the bundle is an ensemble.
    """
    bundle = explainer.bundle
    bundle.refuse_other_preparation(store.path, store.preparation)
    refuse_seen_patients(bundle, store.dataset, {pair.patient for each in boxed for pair in each.pairs})
    curves: dict[Method, list[Faithfulness]] = {method: [] for method in methods}
    for number, each in enumerate(boxed, start=1):
        pixels = store.pixels(np.array([each.row], dtype=np.int64))
        findings = tuple(pair.finding for pair in each.pairs)
        maps = [explainer.maps(pixels, findings, method=method, seed=seed)[0] for method in methods]
        for k, finding in enumerate(findings):
            attributions = [of[k] for of in maps]
            found = explainer.faithfulness(pixels[0], finding, attributions=attributions, seed=seed)
            for method, curve in zip(methods, found, strict=True):
                curves[method].append(curve)
        if progress is not None:
            progress(number, len(boxed))
    return curves


def faithfulness_of_maps(
    curves: Mapping[Method, Sequence[Faithfulness]],
    boxed: Sequence[BoxedRow],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[MapFaithfulness, ...]:
    """Return the means of what `measure_curves` returned for these rows."""
    patients = [pair.patient for each in boxed for pair in each.pairs]
    summaries = []
    for method, found in curves.items():
        areas = np.array(
            [(c.deletion.area, c.deletion_gain, c.insertion.area, c.insertion_gain) for c in found]
        )
        means = patient_means(areas, patients, resamples=resamples, seed=seed)
        summaries.append(
            MapFaithfulness(
                method=method,
                deletion=means[0],
                deletion_gain=means[1],
                insertion=means[2],
                insertion_gain=means[3],
                num_maps=len(found),
                num_patients=len(set(patients)),
            )
        )
    return tuple(summaries)
