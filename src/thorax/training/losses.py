"""Losses: logits, targets and a mask of known labels to a scalar.

Targets lie in [0, 1]: a mixed image has fractions, which count partly as a positive and partly as a negative.
Everything is computed from log-probabilities, so that loss and gradient stay finite if a probability rounds
to 0 or 1, and in float32, whatever the arithmetic of the net, or in float64 for logits of float64. Unknown
labels never contribute, whatever the logit; if no label is known, the loss and its gradient are 0.
"""

import math
from collections.abc import Callable, Sequence
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
PerLabel = Float[Tensor, "batch finding"]
Scalar = Float[Tensor, ""]

_SMALLEST = 1e-38
"""Close to float32's smallest normal number; keeps the slope of powers below 1 finite."""


def masked_bce(logits: Logits, targets: TargetsTensor, known: KnownTensor) -> Scalar:
    """Return binary cross-entropy in nats, averaged over the known labels."""
    logits, targets = _only_known(logits, targets, known)
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _mean_over_known(losses, known)


def weighted_bce(
    logits: Logits,
    targets: TargetsTensor,
    known: KnownTensor,
    *,
    positive_weight: PerFinding,
    negative_weight: PerFinding,
) -> Scalar:
    """Return binary cross-entropy with weighted classes, averaged over the known labels."""
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    losses = targets * positive_weight * positive + (1 - targets) * negative_weight * negative
    return _mean_over_known(losses, known)


def balanced_bce(
    logits: Logits,
    targets: TargetsTensor,
    known: KnownTensor,
    *,
    positive_weight: PerFinding,
    negative_weight: PerFinding,
) -> Scalar:
    """Return the sum over findings of the mean over images of the weighted cross-entropy.

    A finding's mean is over the images whose label is known; without any, it contributes nothing.
    """
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    losses = targets * positive_weight * positive + (1 - targets) * negative_weight * negative
    return (torch.where(known, losses, 0.0).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()


def focal(
    logits: Logits, targets: TargetsTensor, known: KnownTensor, *, alpha: float, gamma: float
) -> Scalar:
    """Return alpha (1 - p_t)^gamma times cross-entropy, averaged over the known labels.

    p_t is the probability that the net assigns to the true class (Lin et al., ICCV 2017, equation 5; alpha is
    one factor for both classes).
    """
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    # 1 - p is exp(-negative), and p is exp(-positive).
    losses = targets * torch.exp(-gamma * negative) * positive
    losses = losses + (1 - targets) * torch.exp(-gamma * positive) * negative
    return alpha * _mean_over_known(losses, known)


def asymmetric(
    logits: Logits,
    targets: TargetsTensor,
    known: KnownTensor,
    *,
    gamma_positive: float,
    gamma_negative: float,
    clip: float,
) -> Scalar:
    """Return the asymmetric loss, averaged over the known labels (the source sums them).

    With p_m = max(p - clip, 0): -(1 - p)^gamma_positive log p for a positive and
    -p_m^gamma_negative log(1 - p_m) for a negative (Ridnik et al., ICCV 2021).
    """
    logits, targets = _only_known(logits, targets, known)
    positive, negative = _cross_entropies(logits)
    losses = targets * torch.exp(-gamma_positive * negative) * positive
    if clip > 0:
        # 1 - p_m is (1 - p) + clip, and 1 at most.
        floor = torch.full_like(negative, math.log(clip))
        negative = -torch.logaddexp(-negative, floor).clamp(max=0)
    shifted = (torch.sigmoid(logits) - clip).clamp(min=_SMALLEST)
    losses = losses + (1 - targets) * shifted.pow(gamma_negative) * negative
    return _mean_over_known(losses, known)


def auc_margin(
    logits: Logits, targets: TargetsTensor, known: KnownTensor, *, margin: float, bce_weight: float
) -> Scalar:
    """Return a weighted mean of binary cross-entropy and the AUC margin loss.

    The latter is var+ + var- + max(0, margin + mean- - mean+)^2 of the probabilities of a finding's positives
    and negatives in the batch, averaged over the findings that have both: the min-max problem of Yuan et al.
    (ICCV 2021) with its inner variables a, b and alpha solved for the batch. A mixed image belongs partly to
    both classes.
    """
    bce = masked_bce(logits, targets, known)
    logits, targets = _only_known(logits, targets, known)
    scores = torch.sigmoid(logits)
    mean_positive, variance_positive, has_positive = _moments(scores, torch.where(known, targets, 0.0))
    mean_negative, variance_negative, has_negative = _moments(scores, torch.where(known, 1 - targets, 0.0))
    shortfall = functional.relu(margin + mean_negative - mean_positive)
    both = has_positive & has_negative
    losses = torch.where(both, variance_positive + variance_negative + shortfall.square(), 0.0)
    return (1 - bce_weight) * losses.sum() / both.sum().clamp(min=1) + bce_weight * bce


def loss_function(spec: Loss, *, positives: PerFinding, negatives: PerFinding) -> LossFunction:
    """Return the loss function of a recipe.

    Args:
        spec: The recipe's section.
        positives: Number of positive known labels of each finding among the training rows, on the device of
            the logits.
        negatives: Number of negative ones.
    """
    match spec:
        case Bce():
            return masked_bce
        case WeightedBce():
            ratio = _positive_weight(positives, negatives, largest=spec.max_weight)
            return partial(
                weighted_bce,
                positive_weight=_given(spec.positive_weights, instead_of=ratio),
                negative_weight=_given(spec.negative_weights, instead_of=torch.ones_like(ratio)),
            )
        case BalancedBce():
            known = (positives + negatives).clamp(min=1)
            return partial(
                balanced_bce,
                positive_weight=_given(spec.positive_weights, instead_of=negatives / known),
                negative_weight=_given(spec.negative_weights, instead_of=positives / known),
            )
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
            return partial(auc_margin, margin=spec.margin, bce_weight=spec.bce_part)
        case _:
            assert_never(spec)


def _only_known(logits: Logits, targets: TargetsTensor, known: KnownTensor) -> tuple[PerLabel, PerLabel]:
    """Convert to float32 or float64, with 0 for unknown labels: a NaN would reach the gradient as NaN * 0."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    return torch.where(known, logits.to(exact), 0.0), torch.where(known, targets.to(exact), 0.0)


def _cross_entropies(logits: PerLabel) -> tuple[PerLabel, PerLabel]:
    """Return -log p and -log(1 - p)."""
    return functional.softplus(-logits), functional.softplus(logits)


def _mean_over_known(losses: PerLabel, known: KnownTensor) -> Scalar:
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def _moments(scores: PerLabel, weights: PerLabel) -> tuple[PerFinding, PerFinding, Bool[Tensor, " finding"]]:
    """Return the weighted mean and variance of each finding, and whether it has any weight."""
    total = weights.sum(dim=0)
    present = total > 0
    total = torch.where(present, total, 1.0)
    mean = (weights * scores).sum(dim=0) / total
    return mean, (weights * (scores - mean).square()).sum(dim=0) / total, present


def _given(weights: Sequence[float] | None, *, instead_of: PerFinding) -> PerFinding:
    """Return a recipe's own weights if it has any."""
    return instead_of if weights is None else torch.tensor(weights).to(instead_of)


def _positive_weight(positives: PerFinding, negatives: PerFinding, *, largest: float) -> PerFinding:
    """Return negatives / positives, at most `largest`; 1 for a finding without both classes."""
    has_both = (positives > 0) & (negatives > 0)
    return torch.where(has_both, negatives / positives.clamp(min=1), 1.0).clamp(max=largest)
