"""The pixels of a part on the devices of several processes.

Validation images are kept where they are computed. Training images come in a new order each epoch, so every
process needs all of them some day: each keeps all if they fit, and otherwise its share, from which the others
get what their next images are. Without room for that, they are read from the store.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Int64

from thorax.arrays import Rows
from thorax.models.tensors import PixelsTensor
from thorax.training.batches import Part, PartPixels, fits, to_device
from thorax.training.ranks import Ranks

__all__ = ["SplitPixels", "evaluated_pixels", "training_pixels"]


def training_pixels(part: Part, device: torch.device, ranks: Ranks) -> PartPixels:
    """Return the training images, on the devices if they fit there.

    Args:
        part: The images.
        device: Where the net of this process computes.
        ranks: The processes.
    """
    if ranks.size == 1 or device.type != "cuda":
        return PartPixels(part, device)
    if not ranks.any(not fits(part, len(part), device)):
        return PartPixels(part, device, resident=True)
    if not ranks.any(not fits(part, -(-len(part) // ranks.size), device)):
        return SplitPixels(part, device, ranks)
    return PartPixels(part, device, resident=False)


def evaluated_pixels(part: Part, device: torch.device, ranks: Ranks, *, batch_size: int) -> PartPixels:
    """Return the images of a part whose batches are shared, with those of this process on its device.

    Args:
        part: The images.
        device: Where the net of this process computes.
        ranks: The processes.
        batch_size: Images per batch.
    """
    if ranks.size == 1:
        return PartPixels(part, device)
    batches = ranks.share(-(-len(part) // batch_size))
    return PartPixels(part, device, held=slice(batches.start * batch_size, batches.stop * batch_size))


class SplitPixels(PartPixels):
    """Pixels of which each process keeps a share on its device.

    Args:
        part: The images.
        device: Where the net of this process computes.
        ranks: The processes.
    """

    def __init__(self, part: Part, device: torch.device, ranks: Ranks) -> None:
        super().__init__(part, device, resident=True, held=ranks.share(len(part)))
        self._ranks = ranks
        self._ends: Final = np.array([share.stop for share in ranks.shares(len(part))])

    def fetch_share(self, batch: Rows, places: Sequence[Rows], rank: int) -> PixelsTensor:
        """Return the images at the places of this process, and give the others theirs."""
        owners = [self._owners(batch[taken]) for taken in places]
        given = [batch[taken][owner == rank] for taken, owner in zip(places, owners, strict=True)]
        outgoing = self.fetch(np.concatenate(given))
        incoming = torch.empty(
            (len(places[rank]), *outgoing.shape[1:]), dtype=torch.uint8, device=self.device
        )
        self._ranks.exchange(
            incoming,
            outgoing,
            received=[int((owners[rank] == giver).sum()) for giver in range(self._ranks.size)],
            given=list(map(len, given)),
        )
        # They arrive by owner, and in order of their places from each.
        arrived = np.argsort(np.argsort(owners[rank], kind="stable"), kind="stable")
        return incoming[to_device(torch.from_numpy(arrived), self.device)]

    def _owners(self, members: Rows) -> Int64[np.ndarray, " n"]:
        """Return the process that keeps each image."""
        return np.searchsorted(self._ends, members, side="right")
