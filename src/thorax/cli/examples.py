"""The gallery of a bundle's report: which explainer it has here, and why none if there is none."""

from functools import partial

import numpy as np

from thorax.arrays import PixelsBatch, Probabilities, Rows
from thorax.bundle import Bundle
from thorax.errors import BundleError, MissingExtra, RecipeError
from thorax.evaluation.labeled import Cohort
from thorax.evaluation.thresholds import ThresholdSet
from thorax.explain import Explainer, Maps, best_method, open_explainer, reading_notes
from thorax.findings import Finding
from thorax.reporting.gallery import Gallery, MapSource, draw_gallery
from thorax.store import Store

__all__ = ["bundle_gallery"]


def bundle_gallery(
    bundle: Bundle,
    store: Store,
    rows: Rows,
    *,
    cohort: Cohort,
    probabilities: Probabilities,
    points: ThresholdSet,
    device: str,
) -> Gallery:
    """Draw the examples of a bundle, with its best maps; without maps, and the reason, where there are none.

    Args:
        bundle: What predicted.
        store: Where the images are.
        rows: The cohort's rows of the store.
        cohort: The images.
        probabilities: What the bundle says of them.
        points: Thresholds.
        device: Where maps are computed.
    """

    def read(some: Rows) -> PixelsBatch:
        return store.pixels(np.asarray(rows[some]))

    draw = partial(draw_gallery, cohort, probabilities, points, read=read)
    try:
        return draw(source=_source(open_explainer(bundle, device=device)))
    except (BundleError, MissingExtra, RecipeError) as error:
        return draw(source=None, absent=str(error))


def _source(explainer: Explainer) -> MapSource:
    method = best_method(explainer.bundle)

    def maps(pixels: PixelsBatch, finding: Finding) -> Maps:
        return explainer.maps(pixels, (finding,), method=method)

    return MapSource(method=method, maps=maps, notes=reading_notes(explainer.bundle, (method,)))
