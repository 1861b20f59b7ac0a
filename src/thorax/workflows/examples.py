"""Examples of each outcome for a report, with the bundle's maps."""

from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from thorax.arrays import PixelsBatch, Rows
from thorax.errors import BundleError, MissingExtra, RecipeError
from thorax.evaluation.evaluate import Evaluation
from thorax.explain import best_method, open_explainer, reading_notes
from thorax.explain.explainers import Explainer, Maps, Method
from thorax.explain.radiograph import inside
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
        return draw(source=_map_source(open_explainer(part.bundle, device=device), part))
    except (BundleError, MissingExtra, RecipeError) as error:
        return draw(source=None, absent=str(error))


def _map_source(explainer: Explainer, part: StorePart) -> MapSource:
    sizes, preparation = part.store.image_sizes(), part.bundle.manifest.preparation

    def shown(row: int) -> tuple[slice, slice]:
        height, width = sizes[part.rows[row]].tolist()
        return inside(height, width, preparation)

    method: Method = best_method(explainer.bundle)
    source = MapSource(
        method=method,
        maps=partial(_maps, explainer, method),
        notes=reading_notes(explainer.bundle, (method,)),
        shown=shown,
    )
    if explainer.library != "torch" or method == _INSTEAD:
        return source
    return replace(source, instead=MapSource(method=_INSTEAD, maps=partial(_maps, explainer, _INSTEAD)))


def _maps(explainer: Explainer, method: Method, pixels: PixelsBatch, finding: Finding) -> Maps:
    return explainer.maps(pixels, (finding,), method=method)


_INSTEAD: Final[Method] = "layer-cam"
"""Where Grad-CAM is 0 everywhere: its weights are positive, so it is 0 only where no gradient is."""
