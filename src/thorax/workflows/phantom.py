"""`phantom`: draw a data set of synthetic radiographs."""

from thorax.atomic_io import StrPath
from thorax.datasets.phantom import PhantomSet, write_phantoms

__all__ = ["phantom"]


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
