"""Data sets: reading label files and folders into one sample table, and splitting it."""

import re
from typing import Final

__all__ = ["NIH_DATASET", "NIH_LAYOUT", "UNNAMED", "id_space", "is_unnamed"]

NIH_DATASET = "nih-chestxray14"
"""Name of NIH ChestX-ray14 in stores, bundles and reports."""

NIH_LAYOUT: Final = "nih-layout"
"""Name of every other data set in NIH's layout."""

UNNAMED: Final = "folder"
"""Name of a data set that was given none, in stores of earlier versions; today a hash of its images and
patients follows, as in "folder-1a2b3c4d5e6f"."""

_DEFAULT_NAME: Final = re.compile(rf"{UNNAMED}(-[0-9a-f]{{12}})?")


def is_unnamed(dataset: str) -> bool:
    """Return whether a data set has the name that is made for one without a name."""
    return _DEFAULT_NAME.fullmatch(dataset) is not None


def id_space(dataset: str) -> str:
    """Return the name within which ids of patients are compared.

    That is the data set's name. All data sets without a name share one, so that a patient is recognized
    though the list of images has grown since, or an earlier version made the store.
    """
    return UNNAMED if is_unnamed(dataset) else dataset
