"""Dropout and stochastic depth that are drawn for a whole batch, of which each process has a share.

Every process draws the same numbers, for all images of the batch, and uses those of its own: an image loses
the same values as in one process.
"""

from typing import Any, Final

from torch import Tensor, nn

from thorax.models.backbones import timm

__all__ = ["draw_for_whole_batch"]

_DROPOUT: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_DROP_PATH: Final[Any] = timm.layers.DropPath


class _Shared(nn.Module):
    """A dropout layer on a share of a batch.

    Args:
        layer: It multiplies by random numbers.
        share: The images of this process.
        count: Images of the batch.
    """

    def __init__(self, layer: nn.Module, share: slice, count: int) -> None:
        super().__init__()
        self.layer, self._share, self._count = layer, share, count

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        # Windowed attention has several rows per image.
        rows = len(values) // (self._share.stop - self._share.start)
        whole_images = isinstance(self.layer, _DROP_PATH)
        shape = [1] * (values.ndim - 1) if whole_images else values.shape[1:]
        factors: Tensor = self.layer(values.new_ones((rows * self._count, *shape)))
        return values * factors[rows * self._share.start : rows * self._share.stop]


def draw_for_whole_batch(net: nn.Module, share: slice, *, count: int) -> None:
    """Replace the dropout layers of a net in place; they have no weights, so its names stay the same.

    Args:
        net: The net.
        share: The images of a batch that it gets.
        count: Images of the whole batch.
    """
    for parent in list(net.modules()):
        if isinstance(parent, _Shared):
            continue
        for name, layer in list(parent.named_children()):
            rate = layer.p if isinstance(layer, _DROPOUT) else getattr(layer, "drop_prob", 0.0)
            if rate and isinstance(layer, (*_DROPOUT, _DROP_PATH)):
                setattr(parent, name, _Shared(layer, share, count))
