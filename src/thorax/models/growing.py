"""DenseNet's blocks for a compiler: features that grow by what is new, layer by layer.

timm's blocks hold a list and join all of it before each layer: 535 copies of parts and as many sums of their
gradients in a step of DenseNet-121, which a compiler makes kernels of, one by one. Joining what there is with
what is new has the same values in 58 copies and sums. Uncompiled, timm's own way stays.
"""

from types import MethodType

import torch
from torch import Tensor, nn

from thorax.models.torchvision_shim import timm

__all__ = ["grow_when_compiled"]


def grow_when_compiled(backbone: nn.Module) -> None:
    """Let the blocks of a DenseNet grow when they are compiled; other backbones stay as they are."""
    for block in backbone.modules():
        if isinstance(block, timm.models.densenet.DenseBlock):
            block.forward = MethodType(_grown, block)


def _grown(block: nn.ModuleDict, features: Tensor) -> Tensor:
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        joined: Tensor = type(block).forward(block, features)
        return joined
    for layer in block.values():
        features = torch.cat([features, layer(features)], dim=1)
    return features
