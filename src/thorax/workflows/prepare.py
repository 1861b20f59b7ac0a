"""`prepare`: convert a data set's files into a store."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from thorax.atomic_io import StrPath
from thorax.datasets.sources import open_source
from thorax.datasets.splits import registered_sha256
from thorax.progress import ProgressCallback
from thorax.recipe.literals import Fit
from thorax.recipe.load import load_preparation
from thorax.store import Store, build_store, open_store
from thorax.store.build import refuse_used_folder

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
) -> Store:
    """Decode every image of a data set once into a store. If interrupted, the same call resumes.

    The store records the hash of each registered split of the whole data set, so that every result on it can
    name its split. What was noticed about the source is in the store's `notices`.

    Args:
        source: A folder in the layout of NIH ChestX-ray14 or with train/, val/ and test/, or a CSV with a
            column "path".
        out: The store's folder; created if it does not exist.
        recipe: Prepare images as this shipped recipe or TOML file requires.
        size: Side of the prepared images in pixels, at least the recipe's; 256 without a recipe.
        fit: How an image becomes square: "pad", "crop" or "stretch"; "pad" without a recipe.
        view: Keep only images of this view position.
        dataset: Name of the data set that a CSV describes.
        workers: Processes; one per core if None.
        progress: Receives the number of prepared images.

    Raises:
        RecipeError: There is no such recipe, or it requires larger images or another fit.
        DataError: The source is malformed; `out` holds something else, or a store of another source or other
            settings.

    Example:
        store = thorax.prepare("nih", "store", recipe="small-cpu")
    """
    preparation = load_preparation(None if recipe is None else os.fspath(recipe), size=size, fit=fit)
    refuse_used_folder(Path(out))
    images = open_source(Path(source), view=view, dataset=dataset)
    splits = registered_sha256(images.whole, images.dataset)
    summary = build_store(
        images, Path(out), preparation, split_sha256=splits, workers=workers, progress=progress
    )
    return replace(open_store(summary.path), notices=summary.notices)
