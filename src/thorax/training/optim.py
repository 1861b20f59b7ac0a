"""Optimisers and learning rates.

A learning rate is a pure function of the step and, after a plateau, of a small state that is written down
with each checkpoint.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import nn

from thorax.recipe.schema import Adam, AdamW, Constant, Cosine, Optim, Plateau, Schedule, Sgd, WarmRestarts

__all__ = ["PlateauState", "build_optimizer", "learning_rate"]


def build_optimizer(
    spec: Optim, module: nn.Module, *, distances: Mapping[str, int] | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser that a recipe names, over every parameter that may learn.

    Each of its groups has an `lr_scale`, by which whoever sets the learning rate multiplies it: the recipe's
    `layer_decay` to the power of the distance from the head. Biases, norms and other vectors get no weight
    decay unless the recipe says so.

    Args:
        spec: The recipe's section.
        module: What learns.
        distances: How many layers each parameter is away from the head, by name; 0 for those not named.
    """
    members: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            no_decay = parameter.ndim <= 1 and not spec.decay_norms
            members.setdefault(((distances or {}).get(name, 0), no_decay), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {
            "params": parameters,
            "weight_decay": 0.0 if no_decay else spec.weight_decay,
            "lr_scale": spec.layer_decay**distance,
        }
        for (distance, no_decay), parameters in sorted(members.items(), key=lambda item: item[0])
    ]
    # One kernel for many tensors, on a CPU too.
    match spec:
        case Adam():
            return torch.optim.Adam(groups, lr=spec.lr, betas=spec.betas, fused=True)
        case AdamW():
            return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, fused=True)
        case Sgd():
            nesterov = spec.nesterov and spec.momentum > 0
            # torch 2.13's fused SGD cannot begin to move weights that others were frozen beside.
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov)
        case _:
            assert_never(spec)


def learning_rate(spec: Schedule, *, peak: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step; what a plateau does to it is `PlateauState.scale`.

    Args:
        spec: The recipe's schedule.
        peak: Learning rate after warm-up.
        step: Step of the run, from 0.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of the whole run.
    """
    warmup = round(spec.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * (step + 1) / warmup
    since = step - warmup
    match spec:
        case Constant() | Plateau():
            return peak
        case Cosine():
            last = steps_per_epoch * epochs - 1 - warmup
            return peak * _half_cosine(since / max(last, 1), spec.final)
        case WarmRestarts():
            for length in _cycles(spec.first_epochs * steps_per_epoch, spec.factor):
                if since < length:
                    return peak * _half_cosine(since / length, spec.final)
                since -= length
            raise AssertionError("cycles never end")
        case _:
            assert_never(spec)


def _half_cosine(progress: float, final: float) -> float:
    """Return 1 at progress 0, `final` at progress 1."""
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def _cycles(first: int, factor: int) -> Iterator[int]:
    length = first
    while True:
        yield length
        length *= factor


@dataclass(frozen=True, slots=True)
class PlateauState:
    """What a plateau schedule remembers.

    Attributes:
        best: Lowest validation loss so far.
        waited: Epochs since it was reached, or since the learning rate was last lowered.
        scale: What the learning rate is multiplied by.
    """

    best: float = math.inf
    waited: int = 0
    scale: float = 1.0

    def after_epoch(self, spec: Schedule, loss: float) -> "PlateauState":
        """Return the state after an epoch of this validation loss; only a plateau schedule changes it."""
        if not isinstance(spec, Plateau):
            return self
        if loss < self.best:
            return PlateauState(loss, 0, self.scale)
        if self.waited < spec.patience:
            return PlateauState(self.best, self.waited + 1, self.scale)
        return PlateauState(self.best, 0, self.scale * spec.factor)
