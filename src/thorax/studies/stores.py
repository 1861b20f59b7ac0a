"""The stores of a study: those that are given, and those of phantoms, which the study draws itself."""

import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath
from thorax.errors import DataError
from thorax.progress import ProgressCallback
from thorax.recipe.schema import Preparation, Recipe
from thorax.store import Store
from thorax.studies.definition import StudyDefinition
from thorax.workflows.matching_stores import opened_stores
from thorax.workflows.phantom import phantom
from thorax.workflows.prepare import prepare

__all__ = ["GivenStores", "draw_phantoms", "given_stores", "with_stores"]

GivenStores = StrPath | Sequence[StrPath] | Mapping[str, StrPath | Sequence[StrPath]]
"""The stores of one data set: a folder, or several; or those of several data sets, by name."""

_PHANTOM_SIZE: Final = 256
"""Pixels of drawn phantoms, unless a recipe needs more."""


def with_stores(study: StudyDefinition, given: GivenStores | None) -> StudyDefinition:
    """Return a study with stores in place of those that its file names.

    Args:
        study: The study.
        given: Stores without a name are those of the only data set that is not phantoms.

    Raises:
        DataError: A name is not that of a data set with stores, it is not clear which one is meant, or a data
            set has no store.
    """
    named = _named(study, given)
    data = dict(study.data)
    for name, stores in named.items():
        if name not in data or data[name].phantoms is not None:
            known = ", ".join(_with_stores(study)) or "none"
            raise DataError(
                f"`stores` names {name!r}, and the data sets of study {study.name} that take stores are: "
                f"{known}; correct the name"
            )
        paths = tuple(os.fspath(store) for store in stores)
        data[name] = data[name].model_copy(update={"stores": paths})
    lacking = [name for name, one in data.items() if one.phantoms is None and not one.stores]
    if lacking:
        raise DataError(
            f"the data set {lacking[0]} of study {study.name} has no store; give one as `stores`, which "
            "`thorax prepare SOURCE --recipe RECIPE --out STORE` makes"
        )
    return study.model_copy(update={"data": data})


def given_stores(study: StudyDefinition) -> dict[str, tuple[Store, ...]]:
    """Open the stores that a study names, by data set.

    Raises:
        DataError: One does not exist, or two of a data set were not prepared from the same source.
    """
    return {name: opened_stores(one.stores) for name, one in study.data.items() if one.phantoms is None}


def draw_phantoms(
    study: StudyDefinition,
    folder: Path,
    recipes: Iterable[Recipe],
    *,
    progress: ProgressCallback | None = None,
) -> dict[str, tuple[Store, ...]]:
    """Draw and prepare the phantoms of a study, or what is missing of them, and open their stores.

    Args:
        study: The study.
        folder: Its folder, which gets `phantoms` and `stores`.
        recipes: The recipes; there is a store for each preparation that they require.
        progress: Receives the number of prepared images.
    """
    needed = sorted({(recipe.store.size, recipe.store.fit) for recipe in recipes})
    size = max(_PHANTOM_SIZE, *(size for size, _ in needed))
    stores = {}
    for name, one in study.data.items():
        if one.phantoms is None:
            continue
        images = folder / "phantoms" / f"{name}-{size}"
        phantom(images, patients=one.phantoms, size=size)
        stores[name] = tuple(
            prepare(
                images,
                folder / "stores" / f"{name}-{wanted.size}-{wanted.fit}",
                size=wanted.size,
                fit=wanted.fit,
                progress=progress,
            )
            for wanted in (Preparation(size=pixels, fit=fit) for pixels, fit in needed)
        )
    return stores


def _with_stores(study: StudyDefinition) -> list[str]:
    return [name for name, one in study.data.items() if one.phantoms is None]


def _named(study: StudyDefinition, given: GivenStores | None) -> dict[str, tuple[StrPath, ...]]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {name: _listed(stores) for name, stores in given.items()}
    names = _with_stores(study)
    if len(names) != 1:
        raise DataError(
            f"study {study.name} has {len(names)} data sets with stores ({', '.join(names) or 'none'}); say "
            "for which one a store is, as in NAME=STORE"
        )
    return {names[0]: _listed(given)}


def _listed(stores: StrPath | Sequence[StrPath]) -> tuple[StrPath, ...]:
    return (stores,) if isinstance(stores, str | PathLike) else tuple(stores)
