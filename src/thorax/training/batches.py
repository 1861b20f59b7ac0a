"""Batches: which images each step sees, as a pure function of seed, epoch and step.

Rows are read from the memory-mapped store by the training thread itself. A second thread was measured and
left out: reading a batch takes about a hundredth of a step on a CPU, and on a GPU, whose work is queued,
it happens while the device computes (`bench/train.py` prints the ratio).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from thorax.arrays import UNCERTAIN, Known, Rows, Targets
from thorax.errors import RecipeError
from thorax.models.tensors import KnownTensor, PixelsTensor, TargetsTensor
from thorax.randomness import permutation
from thorax.recipe.schema import Data
from thorax.store import Store

__all__ = ["Batch", "Part", "known_labels", "steps_per_epoch", "training_batches"]


@dataclass(frozen=True)
class Part:
    """The images of one part of a split, with their labels.

    Attributes:
        store: Where the pixels are.
        rows: Row numbers in the store's table.
        targets: Labels of these rows, int8 (n, k).
    """

    store: Store
    rows: Rows
    targets: Targets

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """Images of one step.

    Attributes:
        positions: Where in the epoch they stand.
        pixels: As the store keeps them, on the CPU.
        targets: 1 or 0; 0 where not known.
        known: Where a target counts.
    """

    positions: Rows
    pixels: PixelsTensor
    targets: TargetsTensor
    known: KnownTensor


def known_labels(targets: Targets, uncertain: str) -> tuple[Float32[np.ndarray, "n k"], Known]:
    """Return targets of 1 and 0, and which of them count.

    Args:
        targets: Labels as the table has them.
        uncertain: "ignore", "positive" or "negative": what a recipe makes of an uncertain label.
    """
    hedged = targets == UNCERTAIN
    known = targets >= 0 if uncertain == "ignore" else (targets >= 0) | hedged
    present = (targets == 1) | (hedged & (uncertain == "positive"))
    return present.astype(np.float32), known


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of whole batches in an epoch.

    Raises:
        RecipeError: There is none.
    """
    if num_images < batch_size:
        raise RecipeError(
            f"training.batch_size = {batch_size} is more than the {num_images} images of the training part; "
            f"set training.batch_size={num_images} or lower"
        )
    return num_images // batch_size


def training_batches(
    part: Part, data: Data, *, seed: int, epoch: int, batch_size: int, first_step: int = 0
) -> Iterator[Batch]:
    """Yield the batches of an epoch from `first_step` on; a last, smaller batch is left out.

    Args:
        part: Training images.
        data: What an uncertain label means.
        seed: The run's seed.
        epoch: Which pass over the data; each has its own order.
        batch_size: Images per batch.
        first_step: How many batches to leave out at the start, for a resumed run.
    """
    order = permutation(seed, "order", epoch=epoch, length=len(part))
    for step in range(first_step, len(part) // batch_size):
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        members = order[positions]
        targets, known = known_labels(part.targets[members], data.uncertain)
        yield Batch(
            positions=positions,
            pixels=torch.from_numpy(part.store.pixels(part.rows[members])),
            targets=torch.from_numpy(targets),
            known=torch.from_numpy(known),
        )
