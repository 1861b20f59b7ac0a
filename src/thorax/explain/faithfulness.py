"""Faithfulness of maps: deletion and insertion, compared with random orders.

Petsiuk, Das and Saenko 2018. The image is divided into square cells. Deletion blurs cells, from the highest
in the map to the lowest; insertion starts from the blurred image and restores them. The control does the same
in random orders of the same cells, since removing scattered pixels would not be comparable. A blurred image
is closer to the images of training than one with holes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from thorax.arrays import Attribution
from thorax.calibration import sigmoid
from thorax.errors import DataError
from thorax.models import Classifier, evaluation_mode
from thorax.models.tensors import Images
from thorax.randomness import permutation

__all__ = ["CELLS", "Curve", "Faithfulness", "faithfulness"]

CELLS: Final = 14
"""Cells along each side: 16 pixels each at 224, as in a ViT's map, and twice as many as in a CNN's."""

_BATCH: Final = 32
"""Changed images that pass through the network together."""

_BLUR: Final = 0.1
"""Standard deviation of the blur as a fraction of the image's side: no finding remains visible."""

Order = Int64[np.ndarray, " cell"]
"""Cells, numbered row by row, in the order in which they are changed."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The network's probability of the finding while cells are blurred or restored.

    Attributes:
        changed: Fraction of the cells that are changed, from 0 to 1.
        probability: Probability before any calibration.
    """

    changed: Float64[np.ndarray, " step"]
    probability: Float64[np.ndarray, " step"]

    @property
    def area(self) -> float:
        """Mean height: for deletion, lower is more faithful; for insertion, higher."""
        return float(np.trapezoid(self.probability, self.changed))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faithfulness:
    """The curves of one map, and those of random orders for the same image.

    Attributes:
        deletion: Deletion in the map's order.
        insertion: Insertion in the map's order.
        random_deletion: Mean deletion curve in random orders.
        random_insertion: Mean insertion curve in random orders.
    """

    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve

    @property
    def deletion_gain(self) -> float:
        """How much lower the probability is than in random orders while cells are blurred."""
        return self.random_deletion.area - self.deletion.area

    @property
    def insertion_gain(self) -> float:
        """How much higher the probability is than in random orders while cells are restored."""
        return self.insertion.area - self.random_insertion.area


def faithfulness(
    classifier: Classifier,
    image: Images,
    column: int,
    *,
    attributions: Sequence[Attribution],
    cells: int = CELLS,
    seed: int = 0,
) -> tuple[Faithfulness, ...]:
    """Return the deletion and insertion curves of each map, with those of the same three random orders.

    Args:
        classifier: The network; it is left unchanged.
        image: One image, at the network's input size.
        column: Index of the output.
        attributions: Maps of the image, at the network's input size.
        cells: Cells along each side; each cell, curve and order takes a forward pass.
        seed: Seed of the random orders.

    Raises:
        DataError: There is more than one image, or a map has another size.
    """
    side = image.shape[-1]
    shapes = [attribution.shape for attribution in attributions]
    if image.shape != (1, 1, side, side) or set(shapes) != {(side, side)} or not 0 < cells <= side:
        raise DataError(
            f"curves need one square image, maps of its size and at most one cell per pixel; got images of "
            f"shape {tuple(image.shape)}, maps of shapes {shapes} and {cells} cells a side; give one image "
            "and its maps"
        )
    cell = _cell_of_pixel(side, cells)
    random = [permutation(seed, "faithfulness", epoch=epoch, length=cells**2) for epoch in range(3)]
    orders = [*random, *(_order(attribution, cell, cells=cells) for attribution in attributions)]
    blurred = _blurred(image)
    with torch.no_grad(), evaluation_mode(classifier):
        deletion, insertion = (
            [_curve(classifier, pair, column, order=order, cell=cell) for order in orders]
            for pair in ((image, blurred), (blurred, image))
        )
    controls = [_mean(curves[: len(random)]) for curves in (deletion, insertion)]
    return tuple(
        Faithfulness(deletion=down, insertion=up, random_deletion=controls[0], random_insertion=controls[1])
        for down, up in zip(deletion[len(random) :], insertion[len(random) :], strict=True)
    )


def _cell_of_pixel(side: int, cells: int) -> Int64[np.ndarray, "side side"]:
    """Return the number of each pixel's cell; cells differ by a pixel if the side is not a multiple."""
    along = np.arange(side) * cells // side
    return along[:, None] * cells + along[None, :]


def _order(attribution: Attribution, cell: Int64[np.ndarray, "side side"], *, cells: int) -> Order:
    """Return the cells by descending mean of the map, with ties in reading order."""
    counts = np.bincount(cell.ravel(), minlength=cells**2)
    sums = np.bincount(cell.ravel(), weights=attribution.ravel(), minlength=cells**2)
    return np.argsort(-sums / counts, kind="stable").astype(np.int64)


def _curve(
    classifier: Classifier,
    pair: tuple[Images, Images],
    column: int,
    *,
    order: Order,
    cell: Int64[np.ndarray, "side side"],
) -> Curve:
    """Return the curve while the first image becomes the second, cell by cell."""
    before, after = pair
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank_of_pixel = torch.from_numpy(rank[cell]).to(before.device)
    logits = []
    for steps in torch.arange(len(order) + 1, device=before.device).split(_BATCH):  # type: ignore[no-untyped-call]
        images = torch.where(rank_of_pixel < steps[:, None, None, None], after, before)
        logits.append(classifier(images)[:, column : column + 1].float().cpu().numpy())
    return Curve(np.linspace(0, 1, len(order) + 1), sigmoid(np.concatenate(logits))[:, 0])


def _mean(curves: Sequence[Curve]) -> Curve:
    return Curve(curves[0].changed, np.mean([curve.probability for curve in curves], axis=0))


def _blurred(image: Images) -> Float[Tensor, "1 1 height width"]:
    """Blur with a Gaussian; the edges are repeated outside."""
    sd = _BLUR * image.shape[-1]
    reach = min(math.ceil(3 * sd), image.shape[-1] - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / sd) ** 2)
    kernel = (kernel / kernel.sum()).to(image.dtype)
    padded = functional.pad(image, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel.reshape(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.reshape(1, 1, -1, 1))
