"""A net at rest: in evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["at_rest"]


@contextmanager
def at_rest(net: nn.Module) -> Iterator[None]:
    """Put a net into evaluation mode, and every part of it back into its own mode afterwards."""
    # Not eval() and train(): visiting every module of a DenseNet-121 twice takes 2 % of its pass forward.
    learning = [module for module in net.modules() if module.training]
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True
