"""Cross-checks of a bundle that has both weights and an exported graph: they must be the same model."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from thorax.arrays import Rows
from thorax.bundle import Bundle
from thorax.errors import BundleError, MissingExtra
from thorax.inference.engines import open_predictor
from thorax.inference.predictor import ReadRows

__all__ = ["CHECKED_IMAGES", "CrossCheck", "cross_check"]

CHECKED_IMAGES: Final = 8
"""Images that both engines predict."""

_LIMIT: Final = 1e-3
"""Largest difference of a probability: ten times that which an export allows, because a bundle may be opened
with other versions of both libraries, on another processor."""


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What a cross-check found.

    Attributes:
        num_images: Images that both predicted; 0 if nothing was checked.
        largest_difference: Largest difference of a probability; 0 if nothing was checked.
        absent: Why nothing was checked; "" if it was.
    """

    num_images: int = 0
    largest_difference: float = 0.0
    absent: str = ""

    def __str__(self) -> str:
        if self.absent:
            return f"not checked against each other: {self.absent}"
        difference = f"{self.largest_difference:.0e}" if self.largest_difference else "0"
        return f"agree on {self.num_images} images, largest difference of a probability {difference}"


def cross_check(bundle: Bundle, read: ReadRows, rows: Rows) -> CrossCheck | None:
    """Compare the weights of a bundle with its exported float32 graph on a few of some images.

    Args:
        bundle: The bundle.
        read: Returns images by row, prepared as the bundle requires, as `Store.pixels` does.
        rows: The rows to choose from.

    Returns:
        What was found; None if the bundle does not have both.

    Raises:
        BundleError: The two are not the same model.
    """
    exported = {(engine.kind, engine.precision) for engine in bundle.manifest.engines}
    if not bundle.manifest.has_weights or ("onnx", "float32") not in exported:
        return None
    pixels = read(
        rows[np.linspace(0, len(rows) - 1, min(len(rows), CHECKED_IMAGES)).round().astype(np.int64)]
    )
    try:
        by_weights = open_predictor(bundle, device="cpu", engine="torch").probabilities(pixels)
        by_graph = open_predictor(bundle, device="cpu", engine="onnx").probabilities(pixels)
    except MissingExtra:
        return CrossCheck(absent="torch is not installed")
    differences = np.abs(by_weights - by_graph)
    largest = float(differences.max(initial=0.0))
    if not largest <= _LIMIT:
        row, column = np.unravel_index(
            int(np.argmax(np.nan_to_num(differences, nan=np.inf))), differences.shape
        )
        raise BundleError(
            f"the weights and the exported graph of {bundle.folder} are not the same model: for one image, "
            f"they give {bundle.findings[int(column)].label} {by_weights[row, column]:.3f} and "
            f"{by_graph[row, column]:.3f} (a difference of {_LIMIT:g} is allowed); one of the two was "
            "exchanged, so do not use this bundle"
        )
    return CrossCheck(len(pixels), largest)
