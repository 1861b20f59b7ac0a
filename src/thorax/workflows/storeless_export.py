"""Exporting a bundle without a store: what cannot be checked then, and the drawn images to compare on."""

from typing import Final

import numpy as np

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.datasets.phantom import render_phantom
from thorax.datasets.phantom.cohort import draw_patient
from thorax.errors import DataError
from thorax.image_set import ImageSet
from thorax.imaging import prepare
from thorax.imaging.in_memory import read_array
from thorax.recipe.sections import Preparation

__all__ = ["phantom_pixels", "refuse_without_store"]

_SMALLEST: Final = 64


def refuse_without_store(bundle: Bundle, *, int8: bool, on_phantoms: bool) -> None:
    """Refuse an export that needs a store, or that did not accept what cannot be checked without one.

    Raises:
        DataError: It is quantized, or is not to be compared on phantoms.
    """
    if int8:
        raise DataError(
            f"{bundle.folder} is to be quantized, and validation images fit and judge that; give a store"
        )
    if not on_phantoms:
        raise DataError(
            f"without a store, it cannot be checked whether the exported engine of {bundle.folder} agrees "
            "with torch on images like those that it will predict; give a store, or accept with "
            "`on_phantoms` that they are compared on drawn radiographs alone"
        )


def phantom_pixels(preparation: Preparation, count: int) -> tuple[PixelsBatch, ImageSet]:
    """Draw the first image of so many patients, prepared for a bundle; and return what identifies them."""
    size = max(preparation.size, _SMALLEST)
    patients = [draw_patient(0, number) for number in range(count)]
    images = [render_phantom(patient, patient.visits[0], seed=0, size=size)[0] for patient in patients]
    prepared = [prepare(read_array(image, "phantom"), preparation) for image in images]
    names = [patient.image_name(patient.visits[0]) for patient in patients]
    identities = [str(patient.identity) for patient in patients]
    return np.stack(prepared), ImageSet.of(names, identities, dataset="phantoms")
