"""Batches: the images of each step, as a pure function of seed, epoch and step, and their pixels.

On a GPU the pixels of a part are kept on the device if they fit (112,120 images of 224 pixels are 5.6 GB).
Otherwise, and on a CPU, the training thread itself reads them from the memory-mapped store, after announcing
them to the kernel a few steps earlier. Measurements showed no need for a second thread: reading a batch takes
about a hundredth of a step on a CPU, and on a GPU, whose work is queued, it happens while the device
computes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from thorax.arrays import UNCERTAIN, Rows, Targets
from thorax.errors import RecipeError
from thorax.models.tensors import KnownTensor, PixelsTensor, TargetsTensor
from thorax.randomness import permutation
from thorax.recipe.schema import Data, Training
from thorax.store import Store
from thorax.training.ranks import ALONE, Ranks

__all__ = [
    "Batch",
    "Part",
    "PartPixels",
    "fits",
    "known_labels",
    "reading_order",
    "steps_per_epoch",
    "to_device",
    "training_batches",
]

_RESIDENT = 0.4
"""Fraction of a GPU's free memory that the pixels of a part may take; the rest is for the net."""

_CHUNK = 4096
"""Images per transfer when a part is copied to the device."""

_STEPS_AHEAD = 4
"""Steps between announcing an image and fetching it; 2 to 8 were equally fast."""


@dataclass(frozen=True)
class Part:
    """The images of one part of a split, with their labels.

    Attributes:
        store: The store with the pixels.
        rows: Row numbers in the store's table.
        targets: Labels of these rows, int8 of shape (n, k).
    """

    store: Store
    rows: Rows
    targets: Targets

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """Images of one step, of which this process has a share.

    Attributes:
        positions: Their positions in the epoch.
        own: Those of the share, with one more in front for mixup: the image before it.
        pixels: Prepared images of the share as in the store, on the device.
        targets: 1 or 0, with 0 for unknown labels, of the whole batch; on the device.
        known: Whether each target is known; on the device.
    """

    positions: Rows
    own: Rows
    pixels: PixelsTensor
    targets: TargetsTensor
    known: KnownTensor


class PartPixels:
    """The pixels of a part for a device, either all kept there or fetched from the store when needed.

    Args:
        part: The images.
        device: Where the net computes.
        resident: Whether all pixels are kept on the device; None keeps them on a GPU if they take no more
            than two fifths of its free memory.
        held: The images that will be fetched; None for all.

    Attributes:
        part: The images.
        device: Where the net computes.
    """

    def __init__(
        self,
        part: Part,
        device: torch.device,
        *,
        resident: bool | None = None,
        held: slice | None = None,
    ) -> None:
        self.part, self.device = part, device
        side = part.store.preparation.size
        kept = part.rows if held is None else part.rows[held]
        self._first = 0 if held is None else held.start
        if resident is None:
            resident = device.type == "cuda" and fits(part, len(kept), device)
        self._resident: PixelsTensor | None = None
        if resident:
            self._resident = torch.empty((len(kept), side, side), dtype=torch.uint8, device=device)
            for first in range(0, len(kept), _CHUNK):
                rows = kept[first : first + _CHUNK]
                self._resident[first : first + _CHUNK] = torch.from_numpy(part.store.pixels(rows))

    def __len__(self) -> int:
        return len(self.part)

    @property
    def num_findings(self) -> int:
        """Number of findings that the part is labeled with."""
        return int(self.part.targets.shape[1])

    @property
    def resident(self) -> bool:
        """Whether all pixels are on the device."""
        return self._resident is not None

    def fetch(self, members: Rows) -> PixelsTensor:
        """Return the images at these indices of the part, on the device."""
        if self._resident is not None:
            return self._resident[to_device(torch.from_numpy(members - self._first), self.device)]
        return to_device(torch.from_numpy(self.part.store.pixels(self.part.rows[members])), self.device)

    def fetch_share(self, batch: Rows, places: Sequence[Rows], rank: int) -> PixelsTensor:
        """Return the images of a batch that a process needs; every process calls this for its own.

        Args:
            batch: Indices of the part.
            places: The places in the batch of the images that each process needs.
            rank: The process.
        """
        return self.fetch(batch[places[rank]])

    def expect(self, members: Rows) -> None:
        """Announce that these indices of the part will be fetched soon."""
        if self._resident is None:
            self.part.store.expect(self.part.rows[members])


def fits(part: Part, images: int, device: torch.device) -> bool:
    """Return whether so many images of a part take no more than two fifths of a GPU's free memory."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return images * part.store.preparation.size**2 <= _RESIDENT * free


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device; through pinned memory, so that the CPU continues during a GPU's copy."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def known_labels(
    targets: Int8[Tensor, "n k"], uncertain: str
) -> tuple[Bool[Tensor, "n k"], Bool[Tensor, "n k"]]:
    """Return which findings are present and which labels are known; unknown findings are not present.

    Args:
        targets: Labels as in the store's table.
        uncertain: How to treat an uncertain label: "ignore", "positive" or "negative".
    """
    is_uncertain = targets == UNCERTAIN
    known = targets >= 0 if uncertain == "ignore" else (targets >= 0) | is_uncertain
    present = targets == 1 if uncertain != "positive" else (targets == 1) | is_uncertain
    return present, known


_SMALLEST_BATCH = 2


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of whole batches in an epoch.

    Raises:
        RecipeError: There are fewer images than a batch needs.
    """
    if num_images < _SMALLEST_BATCH:
        count = "1 image" if num_images == 1 else "no images"
        raise RecipeError(
            f"the training part has {count}, and a batch takes at least {_SMALLEST_BATCH}; choose a split "
            "with more training images, or add images to the store"
        )
    if num_images < batch_size:
        raise RecipeError(
            f"training.batch_size = {batch_size} is more than the {num_images} images of the training part; "
            f"set training.batch_size={num_images} or lower"
        )
    return num_images // batch_size


def training_batches(  # noqa: PLR0913  (images, order, and first step)
    part: Part,
    pixels: PartPixels,
    data: Data,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    first_step: int = 0,
    ranks: Ranks = ALONE,
    mixed: bool = False,
) -> Iterator[Batch]:
    """Yield the batches of an epoch from `first_step` on; a last, smaller batch is skipped.

    Args:
        part: Training images.
        pixels: Their pixels, on the device.
        data: How to treat uncertain labels.
        seed: The run's seed.
        epoch: Number of the pass over the data, from 0; each has its own order.
        batch_size: Images per batch.
        first_step: How many batches to skip at the start, for a resumed run.
        ranks: The processes that share each batch.
        mixed: Whether each image is mixed with the one before it in the batch.
    """
    members = _members(part, seed=seed, epoch=epoch, batch_size=batch_size)
    steps = len(members)
    places = [
        _places(batch_size, share, before=mixed and ranks.size > 1) for share in ranks.shares(batch_size)
    ]
    own = places[ranks.rank]
    targets = torch.from_numpy(part.targets)
    for soon in members[first_step : first_step + _STEPS_AHEAD]:
        pixels.expect(soon[own])
    for step in range(first_step, steps):
        for soon in members[step + _STEPS_AHEAD : step + _STEPS_AHEAD + 1]:
            pixels.expect(soon[own])
        labels = to_device(targets[torch.from_numpy(members[step])], pixels.device)
        present, known = known_labels(labels, data.uncertain)
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        yield Batch(
            positions=positions,
            own=positions[own],
            pixels=pixels.fetch_share(members[step], places, ranks.rank),
            targets=present.float(),
            known=known,
        )


def _members(part: Part, *, seed: int, epoch: int, batch_size: int) -> Int64[np.ndarray, "steps batch"]:
    """Return the indices of the part in each batch of an epoch, (steps, batch_size)."""
    order = permutation(seed, "order", epoch=epoch, length=len(part))
    steps = len(part) // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def reading_order(
    pixels: Mapping[str, PartPixels], training: Training, *, epoch: int, step: int, ranks: Ranks, mixed: bool
) -> Iterator[Rows]:
    """Yield the rows of the store that a run reads from an epoch and step on, pass by pass.

    Args:
        pixels: The training part as "train", and those that are evaluated after each epoch, in order.
        training: Seed, epochs, batch size.
        epoch: The first epoch.
        step: Its first step.
        ranks: The processes; the rows are those of this one.
        mixed: See `training_batches`.
    """
    size = training.batch_size
    share = ranks.shares(size)[ranks.rank]
    own = _places(size, share, before=mixed and ranks.size > 1)
    for number in range(epoch, training.epochs):
        for name, each in pixels.items():
            if each.resident:
                continue
            if name == "train":
                members = _members(each.part, seed=training.seed, epoch=number, batch_size=size)
                yield each.part.rows[members[step if number == epoch else 0 :, own].ravel()]
            else:
                batches = ranks.share(-(-len(each) // size))
                yield each.part.rows[batches.start * size : batches.stop * size]


def _places(batch_size: int, share: slice, *, before: bool) -> Rows:
    """Return the places in a batch of the images of a share, with the image before them if need be."""
    places = np.arange(batch_size)[share]
    return np.concatenate([places[:1] - 1, places]) if before else places  # -1 is the last of the batch
