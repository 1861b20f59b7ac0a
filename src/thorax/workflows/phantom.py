"""`phantom`: draw a data set of synthetic radiographs."""

import numpy as np

from thorax.arrays import PixelsBatch
from thorax.atomic_io import StrPath
from thorax.datasets.phantom import PhantomSet, render_phantom, write_phantoms
from thorax.datasets.phantom.cohort import draw_patient
from thorax.image_set import ImageSet
from thorax.imaging import prepare
from thorax.imaging.in_memory import read_array
from thorax.recipe.sections import Preparation

__all__ = ["phantom", "phantom_pixels"]

_SMALLEST = 64


def phantom(
    out: StrPath, *, patients: int, seed: int = 0, size: int = 256, overwrite: bool = False
) -> PhantomSet:
    """Draw synthetic radiographs with known findings and boxes, in the layout of NIH ChestX-ray14.

    The same call on the same folder draws nothing again. The first patients of a larger set are the same
    images.

    Args:
        out: The folder: a new or empty one, or one in which the same call was interrupted.
        patients: Number of patients, with 3.6 images each on average; every fifth is in the test part.
        seed: Another seed gives other patients.
        size: Side of the images in pixels, from 64 to 1024.
        overwrite: Whether to replace other phantoms in `out`; any other file is refused.

    Raises:
        DataError: `patients`, `seed` or `size` is out of range, or `out` holds something else.

    Example:
        phantoms = thorax.phantom("phantoms", patients=20)
        phantoms.num_images
    """
    return write_phantoms(out, patients=patients, seed=seed, size=size, overwrite=overwrite)


def phantom_pixels(preparation: Preparation, count: int) -> tuple[PixelsBatch, ImageSet]:
    """Draw the first image of so many patients, prepared for a bundle; and return what identifies them."""
    size = max(preparation.size, _SMALLEST)
    patients = [draw_patient(0, number) for number in range(count)]
    images = [render_phantom(patient, patient.visits[0], seed=0, size=size)[0] for patient in patients]
    prepared = [prepare(read_array(image, "phantom"), preparation) for image in images]
    names = [patient.image_name(patient.visits[0]) for patient in patients]
    identities = [str(patient.identity) for patient in patients]
    return np.stack(prepared), ImageSet.of(names, identities, dataset="phantoms")
