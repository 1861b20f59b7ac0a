"""Whether a bundle's net reacts to what its maps name: deletion and insertion over a store's boxed images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thorax.bundle import refuse_seen_patients
from thorax.evaluation.intervals import Interval, patient_means
from thorax.explain.choices import Method
from thorax.explain.faithfulness import Faithfulness
from thorax.explain.localize import BoxedRow
from thorax.explain.torch_explainer import TorchExplainer
from thorax.store import Store

__all__ = ["MapFaithfulness", "faithfulness_of_maps", "measure_curves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFaithfulness:
    """Means over findings in images, with patients as the unit of the intervals.

    Attributes:
        method: Whose maps.
        deletion: Area under the probability while cells are blurred in the map's order; lower is better.
        deletion_gain: How much lower that is than in random orders of the same cells.
        insertion: Area while they are brought back; higher is better.
        insertion_gain: How much higher that is than in random orders.
        num_maps: Findings in images.
        num_patients: Their patients.
    """

    method: Method
    deletion: Interval
    deletion_gain: Interval
    insertion: Interval
    insertion_gain: Interval
    num_maps: int
    num_patients: int


def measure_curves(
    explainer: TorchExplainer,
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
