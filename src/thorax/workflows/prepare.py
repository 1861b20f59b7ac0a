"""From a data set's files to a store."""

import os
from pathlib import Path
from typing import Literal

from thorax.atomic_io import StrPath
from thorax.datasets.sources import open_source
from thorax.datasets.splits import registered_sha256
from thorax.progress import ProgressCallback
from thorax.recipe.literals import Fit
from thorax.recipe.load import load_preparation
from thorax.store import StoreSummary, build_store

__all__ = ["prepare"]


def prepare(
    source: StrPath,
    out: StrPath,
    *,
    recipe: StrPath | None = None,
    size: int | None = None,
    fit: Fit | None = None,
    view: Literal["PA", "AP"] | None = None,
    dataset: str = "",
    workers: int | None = None,
    progress: ProgressCallback | None = None,
) -> StoreSummary:
    """Decode every image of a data set once into a store; stopped anywhere, the same call goes on.

    The store carries the hash of each registered split over the whole data set, so that every figure
    measured on it can name the split that it is of.

    Args:
        source: A folder in the layout of NIH ChestX-ray14, or a CSV with a column "path".
        out: The store's folder; made if it is not there.
        recipe: Prepare images as this shipped recipe or TOML file wants them.
        size: Side of the prepared images in pixels; 256 without a recipe.
        fit: How an image becomes square; "pad" without a recipe.
        view: Keep images of this view position alone.
        dataset: Name of the data set that a CSV describes.
        workers: Processes; one per core if None.
        progress: Receives how many images are prepared.

    Raises:
        RecipeError: There is no such recipe, or it wants another size or fit than the one given.
        DataError: The source is malformed; `out` holds something else, or a store of another source or other
            settings.
    """
    preparation = load_preparation(None if recipe is None else os.fspath(recipe), size=size, fit=fit)
    images = open_source(Path(source), view=view, dataset=dataset)
    return build_store(
        images,
        Path(out),
        preparation,
        split_sha256=registered_sha256(images.whole, images.dataset),
        workers=workers,
        progress=progress,
    )
