"""Examples of each outcome for a report, with the bundle's maps."""

from functools import partial

import numpy as np

from thorax.arrays import PixelsBatch, Rows
from thorax.errors import BundleError, MissingExtra, RecipeError
from thorax.evaluation.evaluate import Evaluation
from thorax.explain import best_method, open_explainer, reading_notes
from thorax.explain.explainers import Explainer, Maps, Method
from thorax.findings import Finding
from thorax.reporting.gallery import Gallery, MapSource, draw_gallery
from thorax.workflows.predictions import PartPredictions, StorePart

__all__ = ["draw_examples"]


def draw_examples(
    part: StorePart, predicted: PartPredictions, evaluation: Evaluation, *, device: str
) -> Gallery:
    """Draw examples with the bundle's best maps; without maps, and the reason, where there are none."""

    def read(rows: Rows) -> PixelsBatch:
        return part.store.pixels(np.asarray(part.rows[rows]))

    points = evaluation.primary.points
    draw = partial(draw_gallery, predicted.cohort, predicted.probabilities, points, read=read)
    try:
        return draw(source=_map_source(open_explainer(part.bundle, device=device)))
    except (BundleError, MissingExtra, RecipeError) as error:
        return draw(source=None, absent=str(error))


def _map_source(explainer: Explainer) -> MapSource:
    method: Method = best_method(explainer.bundle)

    def maps(pixels: PixelsBatch, finding: Finding) -> Maps:
        return explainer.maps(pixels, (finding,), method=method)

    return MapSource(method=method, maps=maps, notes=reading_notes(explainer.bundle, (method,)))
