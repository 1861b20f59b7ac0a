"""References to the images that something was fitted, chosen or measured on."""

from collections.abc import Sequence

from thorax.atomic_io import sha256_of_lines
from thorax.recipe.sections import Section

__all__ = ["ImageSet"]


class ImageSet(Section):
    """A reference to a set of images: split, part, hashes and counts.

    Equal sets have an equal `images_sha256`, whatever their split and part.
    """

    dataset: str
    """Name of the data set; "" if not stated."""
    split: str
    """Name of the split; "" if not stated."""
    part: str
    """Part of the split; "" if not stated."""
    sha256: str
    """SHA-256 of the whole list of the split; "" without a split."""
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
            images: Names of the images, in any order.
            patients: The patient of each image.
            dataset: Name of the data set; "" if not stated.
            split: Name of the split; "" if not stated.
            part: Part of the split; "" if not stated.
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
