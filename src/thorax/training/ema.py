"""Exponential moving average of a net's weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """Averaged weights and buffers of a module; integer buffers are copied.

    The decay of update t (from 0) is min(decay, (1 + t) / (10 + t)), so that the random first weights
    are soon forgotten (as in TensorFlow's ExponentialMovingAverage with `num_updates`).

    Attributes:
        weights: The average, as a state dict of the module.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self.weights: dict[str, Tensor] = {
            name: t.detach().clone() for name, t in module.state_dict().items()
        }
        # The module's own tensors, which only change in place, so that no step needs a state dict.
        current = module.state_dict()
        averaged = [name for name, tensor in self.weights.items() if tensor.is_floating_point()]
        self._averages = [self.weights[name] for name in averaged]
        self._current = [current[name] for name in averaged]
        self._counts = [(self.weights[name], current[name]) for name in current.keys() - set(averaged)]

    @torch.no_grad()
    def update(self, *, step: int) -> None:
        """Move the average towards the module's weights after step number `step` of the run, from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._current, 1 - decay)
        for count, current in self._counts:
            count.copy_(current)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Load an average that was saved."""
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])
