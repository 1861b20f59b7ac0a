"""How a bundle refers to the images that something was fitted, chosen or measured on."""

from thorax.arrays import Rows
from thorax.bundle.manifest import PartReference
from thorax.datasets.splits import Split

__all__ = ["reference_part"]


def reference_part(split: Split, part: str, rows: Rows, *, dataset: str) -> PartReference:
    """Return the reference to these rows of a part of a split."""
    patients = split.table.frame["patient"].to_numpy()[rows]
    return PartReference(
        dataset=dataset,
        split=split.name,
        part=part,
        sha256=split.sha256,
        images_sha256=split.images_sha256(rows),
        num_images=len(rows),
        num_patients=len(set(patients)),
    )
