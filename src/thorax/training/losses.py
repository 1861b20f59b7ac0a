"""Losses: logits, targets and what is known of them to one number.

Targets lie in [0, 1]: mixed images have fractions, which count as that much of a positive and the rest of a
negative. All is computed in float32 whatever the arithmetic of the net, and from logarithms of
probabilities, so that loss and gradient stay finite where a probability rounds to 0 or 1. An unknown label
never matters, whatever the logit, and where none is known the loss and its gradient are 0.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from thorax.models.tensors import KnownTensor, Logits, TargetsTensor
from thorax.recipe.schema import Asymmetric, AucMargin, BalancedBce, Bce, Focal, Loss, WeightedBce

__all__ = [
    "LossFunction",
    "asymmetric",
    "auc_margin",
    "balanced_bce",
    "focal",
    "loss_function",
    "masked_bce",
    "weighted_bce",
]

LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits, targets and known labels to a scalar."""

PerFinding = Float[Tensor, " finding"]
Each = Float[Tensor, "batch finding"]
Scalar = Float[Tensor, ""]

_SMALLEST = 1e-38
"""Close to float32's smallest normal number: below it a power below 1 has an infinite slope."""


def masked_bce(logits: Logits, targets: TargetsTensor, known: KnownTensor) -> Scalar:
    """Return binary cross-entropy in nats, the mean over the known labels."""
    logits, targets = _only_known(logits, targets, known)
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _mean_over_known(each, known)


def weighted_bce(
    logits: Logits, targets: TargetsTensor, known: KnownTensor, *, positive_weight: PerFinding
) -> Scalar:
    """Return binary cross-entropy whose positives weigh `positive_weight`, the mean over the known labels."""
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    return _mean_over_known(targets * positive_weight * positive + (1 - targets) * negative, known)


def balanced_bce(
    logits: Logits,
    targets: TargetsTensor,
    known: KnownTensor,
    *,
    positive_weight: PerFinding,
    negative_weight: PerFinding,
) -> Scalar:
    """Return the sum over findings of the mean over images of the weighted cross-entropy.

    A finding's mean is over the images whose label is known; without one, it adds nothing.
    """
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    each = targets * positive_weight * positive + (1 - targets) * negative_weight * negative
    return (torch.where(known, each, 0.0).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()


def focal(
    logits: Logits, targets: TargetsTensor, known: KnownTensor, *, alpha: float, gamma: float
) -> Scalar:
    """Return alpha (1 - p_t)^gamma times cross-entropy, the mean over the known labels.

    p_t is the probability that the net gives to what is true (Lin et al., ICCV 2017, equation 5; alpha is one
    factor for both classes).
    """
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    # 1 - p is exp(-negative), and p is exp(-positive).
    each = targets * torch.exp(-gamma * negative) * positive
    each = each + (1 - targets) * torch.exp(-gamma * positive) * negative
    return alpha * _mean_over_known(each, known)


def asymmetric(
    logits: Logits,
    targets: TargetsTensor,
    known: KnownTensor,
    *,
    gamma_positive: float,
    gamma_negative: float,
    clip: float,
) -> Scalar:
    """Return the asymmetric loss, the mean over the known labels (the source has the sum).

    With p_m = max(p - clip, 0): -(1 - p)^gamma_positive log p for a positive and
    -p_m^gamma_negative log(1 - p_m) for a negative (Ridnik et al., ICCV 2021).
    """
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    each = targets * torch.exp(-gamma_positive * negative) * positive
    if clip > 0:
        # 1 - p_m is (1 - p) + clip, and 1 at most.
        floor = torch.full_like(negative, math.log(clip))
        negative = -torch.logaddexp(-negative, floor).clamp(max=0)
    shifted = (torch.sigmoid(logits) - clip).clamp(min=_SMALLEST)
    each = each + (1 - targets) * shifted.pow(gamma_negative) * negative
    return _mean_over_known(each, known)


def auc_margin(
    logits: Logits, targets: TargetsTensor, known: KnownTensor, *, margin: float, bce_part: float
) -> Scalar:
    """Return a part of binary cross-entropy and, for the rest, the AUC margin loss.

    That is var+ + var- + max(0, margin + mean- - mean+)^2 of the probabilities of a finding's positives and
    negatives in the batch, the mean over the findings that have both: the min-max problem of Yuan et al.
    (ICCV 2021) with its inner variables a, b and alpha solved for the batch. A mixed image belongs to both
    classes in parts.
    """
    bce = masked_bce(logits, targets, known)
    logits, targets = _only_known(logits, targets, known)
    scores = torch.sigmoid(logits)
    mean_positive, variance_positive, has_positive = _moments(scores, torch.where(known, targets, 0.0))
    mean_negative, variance_negative, has_negative = _moments(scores, torch.where(known, 1 - targets, 0.0))
    short = functional.relu(margin + mean_negative - mean_positive)
    both = has_positive & has_negative
    each = torch.where(both, variance_positive + variance_negative + short.square(), 0.0)
    return (1 - bce_part) * each.sum() / both.sum().clamp(min=1) + bce_part * bce


def loss_function(spec: Loss, *, positives: PerFinding, negatives: PerFinding) -> LossFunction:
    """Return the loss that a recipe names.

    Args:
        spec: The recipe's section.
        positives: How many known labels of each finding are positive among the training rows; on the device
            of the logits.
        negatives: How many are negative.
    """
    match spec:
        case Bce():
            return masked_bce
        case WeightedBce():
            weight = _positive_weight(positives, negatives, largest=spec.max_weight)
            return partial(weighted_bce, positive_weight=weight)
        case BalancedBce():
            known = (positives + negatives).clamp(min=1)
            return partial(balanced_bce, positive_weight=negatives / known, negative_weight=positives / known)
        case Focal():
            return partial(focal, alpha=spec.alpha, gamma=spec.gamma)
        case Asymmetric():
            return partial(
                asymmetric,
                gamma_positive=spec.gamma_positive,
                gamma_negative=spec.gamma_negative,
                clip=spec.clip,
            )
        case AucMargin():
            return partial(auc_margin, margin=spec.margin, bce_part=spec.bce_part)
        case _:
            assert_never(spec)


def _only_known(logits: Logits, targets: TargetsTensor, known: KnownTensor) -> tuple[Each, Each]:
    """Lift to float32, and put 0 where nothing is known: a NaN there would reach the gradient as NaN * 0."""
    return torch.where(known, logits.float(), 0.0), torch.where(known, targets.float(), 0.0)


def _cross_entropies(logits: Each) -> tuple[Each, Each]:
    """Return -log p and -log(1 - p)."""
    return functional.softplus(-logits), functional.softplus(logits)


def _mean_over_known(each: Each, known: KnownTensor) -> Scalar:
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def _moments(scores: Each, weights: Each) -> tuple[PerFinding, PerFinding, Bool[Tensor, " finding"]]:
    """Return the weighted mean and variance of each finding, and whether it has any weight."""
    total = weights.sum(dim=0)
    present = total > 0
    total = torch.where(present, total, 1.0)
    mean = (weights * scores).sum(dim=0) / total
    return mean, (weights * (scores - mean).square()).sum(dim=0) / total, present


def _positive_weight(positives: PerFinding, negatives: PerFinding, *, largest: float) -> PerFinding:
    """Return negatives / positives, at most `largest`; 1 for a finding that lacks one of them."""
    has_both = (positives > 0) & (negatives > 0)
    return torch.where(has_both, negatives / positives.clamp(min=1), 1.0).clamp(max=largest)
