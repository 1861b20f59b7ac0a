"""The processes of a run, numbered by rank: which share each has, and what they tell each other.

`Ranks` is one process alone, whose every exchange is with itself; `process_group.ProcessGroup` is several.
Every process of a run calls the same methods in the same order.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor, nn

from thorax.errors import ThoraxError

__all__ = ["ALONE", "LossUnexplained", "ProcessLost", "Ranks"]


class ProcessLost(ThoraxError):  # noqa: N818  (named after the event)
    """Another process of the run has ended or cannot be reached; the run can be resumed."""


class LossUnexplained(ProcessLost):
    """The same, in a process that leaves it to the one that started all to say how the other ended."""

    exit_code = 113
    said_elsewhere = True


class Ranks:
    """A run in one process.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run: its log, checkpoints, report and bundle."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return which of `count` things in a row are this process's; shares differ by at most one."""
        return self.shares(count)[self.rank]

    def shares(self, count: int) -> list[slice]:
        """Return the shares of all processes, in order."""
        ends = [count * rank // self.size for rank in range(self.size + 1)]
        return [slice(first, end) for first, end in pairwise(ends)]

    def any(self, here: bool) -> bool:  # noqa: FBT001  (one truth, of which it returns another)
        """Return whether it is true in any process."""
        return here

    def any_lately(self, here: bool) -> bool:  # noqa: FBT001  (as above)
        """Return whether it is true in any process, as far as that is known without waiting for the slowest.

        What is true elsewhere is known at the next call; for one process there is no elsewhere.
        """
        return here

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Return what the first process makes, a value that JSON can hold; the others do not make it."""
        return make()

    def tensors_from_first(self, tensors: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Return the tensors of the first process, on the CPU in the others, which give None."""
        assert tensors is not None
        return tensors

    def whole_batch(self, logits: Tensor, *, count: int) -> Tensor:  # noqa: ARG002  (there is but one share)
        """Return the logits of the whole batch of `count` images, in order, from those of each share.

        Only the own ones lead back to the weights, so that the gradients of all processes add up to that of
        the batch.
        """
        return logits

    def all_rows(
        self,
        own: Float64[np.ndarray, "share k"],
        *,
        counts: Sequence[int],  # noqa: ARG002  (as above)
    ) -> Float64[np.ndarray, "n k"]:
        """Return the rows of all processes in order, of which each has so many."""
        return own

    def exchange(
        self,
        incoming: Tensor,
        outgoing: Tensor,
        *,
        received: Sequence[int],  # noqa: ARG002  (all of it comes from here)
        given: Sequence[int],  # noqa: ARG002
    ) -> None:
        """Give each process its part of `outgoing`, and fill `incoming` with what they give, by rank.

        Args:
            incoming: Receives rows.
            outgoing: Rows to give.
            received: How many come from each process.
            given: How many go to each process.
        """
        incoming.copy_(outgoing)

    def wrapped(self, net: nn.Module, *, like: Tensor | None) -> nn.Module:  # noqa: ARG002  (nothing is exchanged)
        """Return a net whose backward pass adds up the gradients of all processes.

        Every process begins with the weights of the first.

        Args:
            net: The net, with the parameters that learn.
            like: A batch of images like those of the net; None if it is compiled.
        """
        return net

    def average(self, tensors: Collection[Tensor]) -> None:
        """Replace the tensors by their means over the processes."""

    def watched(self) -> AbstractContextManager[None]:
        """Return a context in which the loss of another process is a `ProcessLost`."""
        return nullcontext()


ALONE = Ranks()
"""A run in one process."""
