"""The input gate of a store's images."""

from typing import Final

import numpy as np
from jaxtyping import Int64

from thorax.arrays import Rows
from thorax.gating.fit import FittedGate, GateImages, fit_gate
from thorax.image_set import ImageSet
from thorax.progress import ProgressCallback
from thorax.store import Store

__all__ = ["fit_store_gate", "known_ages", "too_few"]

_FEWEST_TRAIN: Final = 200
_FEWEST_VAL: Final = 30

_fitted: Final[dict[tuple[object, ...], FittedGate]] = {}
"""The gate that was fitted last, by what it was fitted on: runs with other seeds have the same one."""


def too_few(train: int, val: int) -> str:
    """Say that there are too few images for a gate, whose limits would be chance; "" if there are enough."""
    if train >= _FEWEST_TRAIN and val >= _FEWEST_VAL:
        return ""
    return (
        f"an input gate is fitted on at least {_FEWEST_TRAIN} training and {_FEWEST_VAL} validation images, "
        f"and there are {train:,} and {val:,}"
    )


def known_ages(store: Store, rows: Rows) -> Int64[np.ndarray, " n"]:
    """Return the ages in whole years of rows of a store, of those for which they are known."""
    ages = store.table.frame["age"].iloc[rows].dropna()
    return np.asarray(ages.to_numpy(dtype=np.int64))


def fit_store_gate(
    store: Store,
    *,
    train: tuple[Int64[np.ndarray, " train"], ImageSet],
    val: tuple[Int64[np.ndarray, " val"], ImageSet],
    progress: ProgressCallback | None = None,
) -> FittedGate:
    """Fit an input gate on rows of a store; see `fit_gate`.

    The same rows of the same store as in the last call are not fitted again.

    Args:
        store: The store.
        train: Rows of the training part, and what the bundle says of them.
        val: The same of the validation part.
        progress: Receives the numbers of pictures and steps.
    """
    ages = known_ages(store, train[0])
    parts = ((rows.tobytes(), reference) for rows, reference in (train, val))
    key = (store.fingerprint, ages.tobytes(), *parts)
    fitted = _fitted.get(key)
    if fitted is None:
        images = [GateImages(store.pixels, *part) for part in (train, val)]
        fitted = fit_gate(*images, fit=store.preparation.fit, ages=ages, progress=progress)
        _fitted.clear()
        _fitted[key] = fitted
    return fitted
