"""Which images something was fitted, chosen or measured on."""

from collections.abc import Sequence

from thorax.atomic_io import sha256_of_lines
from thorax.recipe.sections import Section

__all__ = ["ImageSet"]


class ImageSet(Section):
    """A reference to images: their split and part, hashed lists, and how many they are.

    Equal images have an equal `images_sha256`, whichever split or part they are said to be of.
    """

    dataset: str
    """Name of the data set; "" where it is not stated."""
    split: str
    """Name of the split; "" where it is not stated."""
    part: str
    """Part of the split; "" where it is not stated."""
    sha256: str
    """SHA-256 of the whole list of the split; "" without one."""
    images_sha256: str
    """SHA-256 of the sorted names of the images."""
    num_images: int
    num_patients: int

    def __str__(self) -> str:
        where = f"{self.part} part of {self.split}" if self.split else "images of no stated split"
        return f"{where} ({self.num_images:,} images of {self.num_patients:,} patients)"

    @classmethod
    def of(
        cls,
        images: Sequence[str],
        patients: Sequence[str],
        *,
        dataset: str,
        split: str = "",
        part: str = "",
        split_sha256: str = "",
    ) -> "ImageSet":
        """Return the reference to these images.

        Args:
            images: Their names, in any order.
            patients: Whose they are, one per image.
            dataset: Name of their data set; "" where it is not stated.
            split: Name of the split; "" where it is not stated.
            part: Its part.
            split_sha256: SHA-256 of the whole list of the split.
        """
        return cls(
            dataset=dataset,
            split=split,
            part=part,
            sha256=split_sha256,
            images_sha256=sha256_of_lines(sorted(images)),
            num_images=len(images),
            num_patients=len(set(patients)),
        )
