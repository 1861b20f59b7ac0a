"""Losses: logits, targets and what is known of them to one number."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from thorax.models.tensors import KnownTensor, Logits, TargetsTensor
from thorax.recipe.schema import Bce

__all__ = ["LossFunction", "loss_function", "masked_bce"]

LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits, targets and known labels to a scalar."""


def masked_bce(logits: Logits, targets: TargetsTensor, known: KnownTensor) -> Float[Tensor, ""]:
    """Return binary cross-entropy in nats, the mean over the known labels; 0 where none is known.

    Computed in float32 whatever the arithmetic of the net.
    """
    each = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    counted = torch.where(known, each, 0.0)
    return counted.sum() / known.sum().clamp(min=1)


def loss_function(spec: Bce) -> LossFunction:
    """Return the loss that a recipe names."""
    match spec:
        case Bce():
            return masked_bce
