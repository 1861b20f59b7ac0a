"""`localize`: measure how well a bundle's maps point at boxed findings, and how faithful they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from thorax.arrays import Rows
from thorax.bundle import refuse_seen_patients
from thorax.errors import DataError
from thorax.evaluation.evaluate import Context
from thorax.evaluation.localization.regions import BoxedFinding, MapOverlap, map_overlap
from thorax.evaluation.localization.scores import MapFaithfulness
from thorax.evaluation.localization.scores import localize as measure
from thorax.evaluation.looks import described
from thorax.evaluation.statistics.patient_means import patient_means
from thorax.explain import open_explainer, open_torch_explainer
from thorax.explain.explainers import Explainer, Method, methods_named
from thorax.findings import Findings
from thorax.hardware import refuse_unknown_device
from thorax.packages import versions
from thorax.prediction import ModelIdentity
from thorax.progress import ProgressCallback, stage_progress
from thorax.store import Store
from thorax.workflows.caveats import noted, unknown_training
from thorax.workflows.predictions import (
    BundleLike,
    StoreLike,
    opened_bundle,
    opened_store,
    split_of,
)
from thorax.workflows.results import LocalizationResult

if TYPE_CHECKING:
    from thorax.explain.faithfulness import Faithfulness
    from thorax.explain.torch_explainer import TorchExplainer

__all__ = [
    "BoxedRow",
    "boxed_rows",
    "faithfulness_of_maps",
    "localize",
    "measure_curves",
    "measure_maps",
]

_BATCH: Final = 8
"""Images that are read and explained together."""

_MIN_BOXES: Final = 100
"""With fewer boxes, there is a warning."""


def localize(
    bundle: BundleLike,
    store: StoreLike,
    *,
    methods: Sequence[str] = (),
    split: str = "",
    part: str = "test",
    view: str | None = None,
    faithfulness: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> LocalizationResult:
    """Measure a bundle's maps against the boxes of a store's images.

    Args:
        bundle: The bundle, its folder, or the run that made it.
        store: A store with boxes, or its folder, prepared as the bundle requires.
        methods: Names of methods; if empty, CAM if the network has an exact one, otherwise Grad-CAM.
        split: Name of the split; "" means the one that the bundle was trained on.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        faithfulness: Whether to measure deletion and insertion too: thousands of passes through the network
            per box.
        resamples: Bootstrap resamples of the patients, at least 1.
        seed: Seed of resamples, random maps and random methods.
        device: "cpu", "cuda" or "auto".
        progress: Called while images are explained.

    Raises:
        LeakError: Some of the patients were used for training or selection.
        DataError: The store, the split or the part is invalid, or no image has a box of a known finding.
        BundleError: The bundle is damaged, or no split is named and it was not trained on exactly one.
        RecipeError: There is no such method, or the network does not support it.

    Example:
        localization = thorax.localize("run", store, progress=thorax.progress.tqdm())
    """
    opened, images = opened_bundle(bundle), opened_store(store)
    refuse_unknown_device(device)
    names = methods_named(methods, opened)
    chosen = split_of(opened, images, split)
    boxed = boxed_rows(images, chosen.rows(part, views=(view,) if view else ()), opened.findings)
    images.verify()
    # ---- deletion and insertion ---------------------------------------------------------------------------
    curves: tuple[MapFaithfulness, ...] = ()
    explainer: Explainer
    if faithfulness:
        explainer = by_torch = open_torch_explainer(opened, methods=names, device=device)
        count = stage_progress(progress, "blurring")
        measured = measure_curves(by_torch, images, boxed, methods=names, seed=seed, progress=count)
        curves = faithfulness_of_maps(measured, boxed, resamples=resamples, seed=seed)
    else:
        explainer = open_explainer(opened, methods=names, device=device)
    # ---- maps beside boxes --------------------------------------------------------------------------------
    count = stage_progress(progress, "explaining")
    overlaps = measure_maps(explainer, images, boxed, methods=names, seed=seed, progress=count)
    pairs = [pair for row in boxed for pair in row.pairs]
    localization = measure(pairs, overlaps, resamples=resamples, seed=seed)
    warning = f"Only {localization.num_pairs:,} boxes: the results can hardly tell methods apart."
    manifest = opened.manifest
    context = Context(
        split=chosen.name,
        part=part,
        split_sha256=chosen.sha256,
        images_sha256=chosen.images_sha256(np.array([row.row for row in boxed], dtype=np.int64)),
        dataset=images.dataset,
        model=ModelIdentity(manifest.name, opened.sha256, calibrated=manifest.calibration is not None),
        versions=versions("thorax", explainer.library, "numpy"),
        warnings=(
            *manifest.stated_in_full,
            *((f"Only images of view {view}.",) if view else ()),
            *((warning,) if localization.num_pairs < _MIN_BOXES else ()),
            *unknown_training(opened, images),
        ),
    )
    rows = np.array([row.row for row in boxed], dtype=np.int64)
    command = described("localize", split=split, part=part, view=view, methods=",".join(names), seed=seed)
    measured_on = chosen.image_set(part, rows, dataset=images.dataset)
    context = noted(context, measured_on, command=command, run=opened.run)
    return LocalizationResult(
        localization=localization, curves=curves, context=context, bundle=opened, images=measured_on
    )


@dataclass(frozen=True, slots=True)
class BoxedRow:
    """A row of a store with boxes of findings that a bundle predicts.

    Attributes:
        row: Number of the row.
        pairs: One per boxed finding.
    """

    row: int
    pairs: tuple[BoxedFinding, ...]


def boxed_rows(store: Store, rows: Rows, findings: Findings) -> list[BoxedRow]:
    """Return the rows that have boxes of these findings.

    Raises:
        DataError: There are none.
    """
    frame = store.table.frame.take(rows)
    boxed_rows_ = []
    for row, image, patient, boxes in zip(
        rows, frame["image"], frame["patient"], frame["boxes"], strict=True
    ):
        pairs = tuple(
            BoxedFinding(
                image=str(image),
                patient=str(patient),
                finding=finding,
                boxes=tuple(boxed.box for boxed in boxes if boxed.finding == finding),
                side=store.preparation.size,
            )
            for finding in dict.fromkeys(boxed.finding for boxed in boxes)
            if finding in findings
        )
        if pairs:
            boxed_rows_.append(BoxedRow(int(row), pairs))
    if not boxed_rows_:
        raise DataError(
            f"none of these {len(rows)} images of {store.location} has a box of a finding that the bundle "
            "knows; take a part of the split that has some, or prepare a store from a source with boxes"
        )
    return boxed_rows_


def measure_maps(
    explainer: Explainer,
    store: Store,
    boxed: Sequence[BoxedRow],
    *,
    methods: Sequence[Method],
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[MapOverlap]]:
    """Return the overlap of each method's maps with the boxes, in the order of all pairs of the rows.

    Args:
        explainer: Computes the bundle's maps.
        store: Prepared as the bundle requires.
        boxed: Rows from `boxed_rows`.
        methods: Methods of the maps.
        seed: Seed of random methods.
        progress: Called with the numbers of finished images and of all.

    Raises:
        LeakError: Some of the patients were used to make the bundle.
        DataError: The store is not prepared as the bundle requires.
        RecipeError: A network does not support a method.
    """
    bundle = explainer.bundle
    bundle.refuse_other_preparation(store.location, store.preparation)
    patients = {pair.patient for each in boxed for pair in each.pairs}
    refuse_seen_patients(bundle, store.dataset, patients)
    overlaps: dict[str, list[MapOverlap]] = {method: [] for method in methods}
    for first in range(0, len(boxed), _BATCH):
        batch = boxed[first : first + _BATCH]
        for method in methods:
            overlaps[method] += _measured(explainer, store, batch, method=method, seed=seed)
        if progress is not None:
            progress(first + len(batch), len(boxed))
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
) -> dict[Method, "list[Faithfulness]"]:
    """Return deletion and insertion of each method's maps, in the order of all pairs of the rows.

    Only boxed findings are used, because they are certainly present. All methods are compared with the same
    random orders. A finding takes 394 forward passes per method, and three times that for chance.

    Args:
        explainer: Computes the bundle's maps.
        store: Prepared as the bundle requires.
        boxed: Rows from `boxed_rows`.
        methods: Methods of the maps.
        seed: Seed of the random orders and of random methods.
        progress: Called with the numbers of finished images and of all.

    Raises:
        LeakError: Some of the patients were used to make the bundle.
        DataError: The store is not prepared as the bundle requires.
        RecipeError: The network does not support a method, or the bundle is an ensemble.
    """
    bundle = explainer.bundle
    bundle.refuse_other_preparation(store.location, store.preparation)
    refuse_seen_patients(bundle, store.dataset, {pair.patient for each in boxed for pair in each.pairs})
    curves: dict[Method, list[Faithfulness]] = {method: [] for method in methods}
    for number, each in enumerate(boxed, start=1):
        pixels = store.pixels(np.array([each.row], dtype=np.int64))
        findings = tuple(pair.finding for pair in each.pairs)
        maps = [explainer.maps(pixels, findings, method=method, seed=seed)[0] for method in methods]
        for k, finding in enumerate(findings):
            attributions = [of_method[k] for of_method in maps]
            faithfulness = explainer.faithfulness(pixels[0], finding, attributions=attributions, seed=seed)
            for method, curve in zip(methods, faithfulness, strict=True):
                curves[method].append(curve)
        if progress is not None:
            progress(number, len(boxed))
    return curves


def faithfulness_of_maps(
    curves: Mapping[Method, "Sequence[Faithfulness]"],
    boxed: Sequence[BoxedRow],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[MapFaithfulness, ...]:
    """Return the means of the results of `measure_curves` for these rows."""
    patients = [pair.patient for each in boxed for pair in each.pairs]
    summaries = []
    for method, of_maps in curves.items():
        areas = np.array(
            [
                (map_.deletion.area, map_.deletion_gain, map_.insertion.area, map_.insertion_gain)
                for map_ in of_maps
            ]
        )
        means = patient_means(areas, patients, resamples=resamples, seed=seed)
        summaries.append(
            MapFaithfulness(
                method=method,
                deletion=means[0],
                deletion_gain=means[1],
                insertion=means[2],
                insertion_gain=means[3],
                num_maps=len(of_maps),
                num_patients=len(set(patients)),
            )
        )
    return tuple(summaries)
