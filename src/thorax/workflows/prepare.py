"""`prepare`: convert a data set's files into a store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from thorax.atomic_io import StrPath, is_remote
from thorax.cluster import Cluster
from thorax.datasets.sources import open_source
from thorax.datasets.splits import registered_sha256
from thorax.datasets.table import Source
from thorax.errors import DataError
from thorax.objects.mirror import Mirror, mirrored
from thorax.objects.place import place_of
from thorax.progress import ProgressCallback
from thorax.recipe.literals import Fit
from thorax.recipe.load import load_preparation
from thorax.store import Store, build_store, open_store
from thorax.store.build import refuse_used_folder
from thorax.store.sending import build_at, refuse_used_place

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
    cluster: Cluster | None = None,
    progress: ProgressCallback | None = None,
) -> Store:
    """Decode every image of a data set once into a store. If interrupted, the same call resumes.

    The store records the hash of each registered split of the whole data set, so that every result on it can
    name its split. What was noticed about the source is in the store's `notices`.

    Args:
        source: A folder in the layout of NIH ChestX-ray14 or with train/, val/ and test/, or a CSV with a
            column "path"; also at s3://.
        out: The store's folder, also at s3://; created if it does not exist.
        recipe: Prepare images as this shipped recipe or TOML file requires.
        size: Side of the prepared images in pixels, at least the recipe's; 256 without a recipe.
        fit: How an image becomes square: "pad", "crop" or "stretch"; "pad" without a recipe.
        view: Keep only images of this view position.
        dataset: Name of the data set that a CSV describes.
        workers: Processes; one per core if None.
        cluster: A Ray cluster that makes the shards, instead of processes here. Every node must see the
            source and `out` under the same path.
        progress: Receives the number of prepared images.

    Raises:
        RecipeError: There is no such recipe, or it requires larger images or another fit.
        DataError: The source is malformed; `out` holds something else, or a store of another source or other
            settings.
        ServiceError: There is no such cluster, or it has no room.

    Example:
        store = thorax.prepare("nih", "store", recipe="small-cpu")
    """
    preparation = load_preparation(None if recipe is None else os.fspath(recipe), size=size, fit=fit)
    if cluster is not None and (is_remote(source) or is_remote(out)):
        raise DataError(
            f"the nodes of a cluster share a file system, and {source if is_remote(source) else out} is in "
            "object storage; give folders as `source` and `out`, or prepare on this machine"
        )
    place = place_of(out) if is_remote(out) else None
    if place is None:
        refuse_used_folder(Path(out))
    else:
        refuse_used_place(place)
    with _opened(source, view=view, dataset=dataset) as (images, mirror):
        splits = registered_sha256(images.whole, images.dataset)
        options: dict[str, Any] = {"split_sha256": splits, "workers": workers, "progress": progress}
        if place is None:
            summary = build_store(images, Path(out), preparation, **options, cluster=cluster, mirror=mirror)
        else:
            summary = build_at(images, place, preparation, **options, mirror=mirror)
    return replace(open_store(out), notices=summary.notices)


@contextmanager
def _opened(source: StrPath, *, view: str | None, dataset: str) -> Iterator[tuple[Source, Mirror | None]]:
    """Yield a data set, and what brings its images if it is in object storage."""
    if not is_remote(source):
        yield open_source(Path(source), view=view, dataset=dataset), None
        return
    place = place_of(source)
    file = place.name if place.name.endswith((".csv", ".csv.gz")) else ""
    with mirrored(place.parent if file else place) as mirror:
        yield open_source(mirror.folder / file, view=view, dataset=dataset), mirror
