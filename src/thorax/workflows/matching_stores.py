"""Stores of one source prepared in several ways: which store a bundle needs, and that their images agree."""

from collections.abc import Sequence
from os import PathLike
from typing import Final

import numpy as np

from thorax.bundle import Bundle
from thorax.datasets import id_space
from thorax.errors import DataError
from thorax.store import Store
from thorax.workflows.predictions import StoreLike, opened_store

__all__ = ["StoresLike", "opened_stores", "store_for"]

StoresLike = StoreLike | Sequence[StoreLike]
"""One store, or several of the same source that differ in their preparation."""

_REMEDY: Final = "prepare both from the same files and labels"


def opened_stores(stores: StoresLike) -> tuple[Store, ...]:
    """Open one store or several, which must have been prepared from the same source.

    Raises:
        DataError: Two stores differ in the data set, its splits, or the files, patients or labels of images
            that both have; the message says in which.
    """
    listed = (stores,) if isinstance(stores, str | PathLike | Store) else tuple(stores)
    opened = tuple(opened_store(store) for store in listed)
    for other in opened[1:]:
        _refuse_other_source(opened[0], other)
    return opened


def store_for(bundle: Bundle, stores: Sequence[Store]) -> Store:
    """Return the store that is prepared as a bundle requires.

    Raises:
        DataError: There is none.
    """
    for store in stores:
        if store.preparation == bundle.manifest.preparation:
            return store
    if len(stores) == 1:
        bundle.refuse_other_preparation(stores[0].path, stores[0].preparation)
    required = bundle.manifest.preparation
    given = "; ".join(f"{s.path} has size {s.preparation.size}, fit {s.preparation.fit}" for s in stores)
    raise DataError(
        f"{bundle.folder} requires images prepared with size {required.size} and fit {required.fit}, and "
        f"{given}; prepare a store with `size` {required.size} and `fit` {required.fit} as well"
    )


def _refuse_other_source(first: Store, other: Store) -> None:
    where = f"{first.path} and {other.path} are not of the same source"
    if id_space(first.dataset) != id_space(other.dataset):
        raise DataError(f"{where}: their data sets are {first.dataset} and {other.dataset}; {_REMEDY}")
    rows = {image: row for row, image in enumerate(other.table.images)}
    both = [(row, rows[image]) for row, image in enumerate(first.table.images) if image in rows]
    if not both:
        raise DataError(f"{where}: they have no image in common; {_REMEDY}")
    ours, theirs = (np.array(side, dtype=np.int64) for side in zip(*both, strict=True))
    _refuse_other_labels(first, other, ours, theirs, where=where)
    if first.split_sha256 != other.split_sha256:
        raise DataError(f"{where}: the lists of their splits differ; {_REMEDY}")
    same_images = len(both) == len(first) == len(other)
    if same_images and first.manifest.content_sha256 != other.manifest.content_sha256:
        raise DataError(f"{where}: images of the same names were prepared from different files; {_REMEDY}")


def _refuse_other_labels(
    first: Store, other: Store, ours: np.ndarray, theirs: np.ndarray, *, where: str
) -> None:
    """Refuse different patients, parts, findings or labels of the images that both stores have."""
    names = np.array(first.table.images)[ours]
    for column, what in (("patient", "patients"), ("official", "parts of the official split")):
        one, two = (
            store.table.frame[column].astype(str).to_numpy()[rows]
            for store, rows in ((first, ours), (other, theirs))
        )
        _refuse_any(one != two, names, f"{where}: they differ in the {what}")
    if first.table.findings != other.table.findings:
        raise DataError(f"{where}: they label different findings; {_REMEDY}")
    findings = first.table.findings
    differs = first.table.targets(findings)[ours] != other.table.targets(findings)[theirs]
    _refuse_any(differs.any(axis=1), names, f"{where}: they differ in the labels")


def _refuse_any(differs: np.ndarray, names: np.ndarray, what: str) -> None:
    if differs.any():
        raise DataError(
            f"{what} of {int(differs.sum()):,} images (first: {names[int(np.argmax(differs))]}); {_REMEDY}"
        )
